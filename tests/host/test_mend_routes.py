"""The routes of the editor of masks, asked as a browser asks, and as somebody who should not."""

import gzip
import http.client
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.datasets.cache import picture_digest
from semantic_focus.datasets.folder import load_picture
from semantic_focus.datasets.mask_file import mask_path, read_masks, save_masks
from semantic_focus.regions.masks import SemanticMasks

from .graphs import PATIENCE
from .test_dataset_routes import ask, post

if TYPE_CHECKING:
    from host.serve import ComfyServer

HEIGHT, WIDTH = 48, 64
LABELS = ("face", "hair", "background")
BYTES = "application/octet-stream"


@pytest.fixture
def folder(server: "ComfyServer", tmp_path: Path) -> Path:
    """A listed folder with a.png, the left half of which is face, and b.png without a mask file."""
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (WIDTH, HEIGHT), colour).save(tmp_path / f"{name}.png")
    face = torch.zeros(HEIGHT, WIDTH)
    face[:, : WIDTH // 2] = 1
    masks = SemanticMasks(torch.stack([face, torch.zeros_like(face), 1 - face])[None], LABELS)
    digest = picture_digest(load_picture(tmp_path / "a.png"))
    save_masks(mask_path(tmp_path / "a.png"), masks, {"image_digest": digest})
    post(server, "dataset", {"folder": str(tmp_path)})
    return tmp_path


def place(folder: Path, name: str = "a.png") -> dict[str, str]:
    return {"folder": str(folder), "name": name}


def mend(server: "ComfyServer", route: str, **body: Any) -> dict[str, Any]:
    status, answer = post(server, f"mend/{route}", body)
    assert status == 200
    return answer


def packet(said: dict[str, Any], *layers: np.ndarray) -> bytes:
    head = json.dumps(said).encode()
    return (
        len(head).to_bytes(4, "little")
        + head
        + b"".join(layer.astype(np.uint8).tobytes() for layer in layers)
    )


def send(server: "ComfyServer", route: str, body: bytes, **options: Any) -> tuple[int, bytes]:
    status, _, content = ask(server, "POST", f"/api/semantic_focus/mend/{route}", body, BYTES, **options)
    return status, content


def save(server: "ComfyServer", where: dict[str, str], stamp: str, **layers: Any) -> dict[str, Any]:
    """Layers by label: values, and where they are decided."""
    said = {"place": where, "stamp": stamp, "labels": list(layers)}
    status, content = send(server, "save", packet(said, *(one for pair in layers.values() for one in pair)))
    assert status == 200
    return json.loads(content)


def layers(server: "ComfyServer", where: dict[str, str], opened: dict[str, Any]) -> dict[str, np.ndarray]:
    """Value, said and machine uint8[K, H, W], and persons uint8[H, W]."""
    asked = json.dumps({"place": where}).encode()
    status, _, content = ask(server, "POST", "/api/semantic_focus/mend/layers", asked)
    assert status == 200
    count, size = len(opened["labels"]), (opened["height"], opened["width"])
    found = np.frombuffer(content, np.uint8).reshape(3 * count + 1, *size)
    named = dict(zip(("value", "said", "machine"), found[:-1].reshape(3, count, *size), strict=True))
    return {**named, "persons": found[-1]}


def test_a_region_is_painted_kept_and_taken_back(server: "ComfyServer", folder: Path):
    before = mask_path(folder / "a.png").read_bytes()
    opened = mend(server, "open", place=place(folder))
    assert (opened["width"], opened["height"], opened["file"]) == (WIDTH, HEIGHT, "a.png")
    assert [one["name"] for one in opened["labels"]] == list(LABELS)
    assert opened["by_hand"] == [] and opened["doubts"] == []
    values, said = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    values[10:20, 30:50], said[5:25, 25:55] = 200, 255
    saved = save(server, place(folder), opened["stamp"], hair=(values, said))
    assert saved["by_hand"] == ["hair"] and saved["stamp"] != opened["stamp"]
    shown = layers(server, place(folder), saved)
    hair, face = LABELS.index("hair"), LABELS.index("face")
    assert np.array_equal(shown["said"][hair], said) and not shown["said"][face].any()
    assert np.array_equal(shown["value"][hair], values)
    assert not shown["machine"][hair].any() and (shown["value"].sum(0) == 255).all()
    # the face gave way: 255 - 200 is left
    assert (shown["value"][face][10:20, 30:32] == 55).all() and (shown["machine"][face][:, :32] == 255).all()
    kept = read_masks(mask_path(folder / "a.png"))
    assert torch.equal((kept.region("hair")[0] * 255).round(), torch.from_numpy(values).float())
    listed = post(server, "dataset", {"folder": str(folder)})[1]["pictures"]
    assert [one["by_hand"] for one in listed] == [["hair"], []]

    again = mend(server, "take_back", place=place(folder), stamp=saved["stamp"], regions=None)
    assert again["by_hand"] == [] and mask_path(folder / "a.png").read_bytes() == before


def test_the_picture_and_its_edges(server: "ComfyServer", folder: Path):
    """A bright square on a dark ground, outlined two pixels too wide."""
    pixels = np.full((200, 200, 3), 40, np.uint8)
    pixels[60:140, 60:140] = 220
    Image.fromarray(pixels).save(folder / "b.png")
    status, headers, content = ask(
        server, "POST", "/semantic_focus/mend/picture", json.dumps({"place": place(folder, "b.png")}).encode()
    )
    assert (status, headers["Content-Type"], headers["Cache-Control"]) == (200, "image/jpeg", "no-store")
    assert np.abs(np.asarray(Image.open(io.BytesIO(content))).astype(int) - pixels).max() < 60
    drawn = np.zeros((120, 120), np.uint8)
    drawn[18:102, 18:102] = 255
    window = {"place": place(folder, "b.png"), "x": 40, "y": 40, "width": 120, "height": 120}
    status, content = send(server, "snap", packet(window, drawn))
    assert status == 200
    found = np.frombuffer(content, np.uint8).reshape(120, 120) >= 128
    square = np.zeros((120, 120), bool)
    square[20:100, 20:100] = True
    assert (found != square).sum() < 0.5 * ((drawn >= 128) != square).sum()
    for wrong in ({"x": 100}, {"width": 121}, {"x": -1}, {"y": 1.5}, {"height": 0}):
        status, content = send(server, "snap", packet({**window, **wrong}, drawn))
        assert status in (200, 400) and json.loads(content)["error"]


def test_of_two_tabs_the_second_is_told_and_can_save_then(server: "ComfyServer", folder: Path):
    opened = mend(server, "open", place=place(folder))
    values, said = np.zeros((2, HEIGHT, WIDTH), np.uint8)
    values[:4], said[:4] = 255, 255
    first = save(server, place(folder), opened["stamp"], hair=(values, said))
    known = mask_path(folder / "a.png").read_bytes()
    second = save(server, place(folder), opened["stamp"], face=(values, said))
    assert second["conflict"] is True and second["by_hand"] == ["hair"]
    assert second["stamp"] == first["stamp"] and "conflict" not in first
    back = mend(server, "take_back", place=place(folder), stamp=opened["stamp"], regions=["hair"])
    assert back["conflict"] is True and mask_path(folder / "a.png").read_bytes() == known
    again = save(server, place(folder), second["stamp"], face=(values, said))
    assert again["by_hand"] == ["hair", "face"]
    kept = read_masks(mask_path(folder / "a.png"))
    assert kept.region("face")[0, :4].min() == 1 and kept.region("hair")[0, :4].max() == 0


def test_a_picture_without_masks_is_begun(server: "ComfyServer", folder: Path):
    opened = mend(server, "open", place=place(folder, "b.png"))
    assert opened["stamp"] == "" and len(opened["labels"]) == 6
    assert not mask_path(folder / "b.png").exists()
    values = np.full((HEIGHT, WIDTH), 255, np.uint8)
    saved = save(server, place(folder, "b.png"), "", **{"my sword": (values, values)})
    assert saved["by_hand"] == ["my sword"]
    assert saved["labels"][-1] == {"name": "my sword", "part": False, "soft": False}
    assert {one["name"]: one["soft"] for one in saved["labels"]}["lighting"] is True
    mend(server, "take_back", place=place(folder, "b.png"), stamp=saved["stamp"], regions=None)
    assert not mask_path(folder / "b.png").exists()


def test_a_body_may_be_packed_and_is_bounded(server: "ComfyServer", folder: Path):
    opened = mend(server, "open", place=place(folder))
    values = np.full((HEIGHT, WIDTH), 255, np.uint8)
    said = {"place": place(folder), "stamp": opened["stamp"], "labels": ["hair"]}

    def packed(body: bytes) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        headers = {"Content-Type": BYTES, "Content-Encoding": "gzip"}
        connection.request("POST", "/semantic_focus/mend/save", gzip.compress(body, 1), headers)
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content

    assert packed(packet(said, values, values))[1]["by_hand"] == ["hair"]
    status, answer = packed(packet(said) + bytes(200 << 20))
    assert status == 400 and "longer than" in answer["error"]
    asked = json.dumps({"place": place(folder)}).encode()
    _, headers, content = ask_packed(server, "/semantic_focus/mend/layers", asked)
    assert headers["Content-Encoding"] == "gzip"
    assert len(gzip.decompress(content)) == (3 * len(LABELS) + 1) * HEIGHT * WIDTH


def ask_packed(server: "ComfyServer", path: str, body: bytes) -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("POST", path, body, {"Content-Type": "application/json", "Accept-Encoding": "gzip"})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


WRONG_PACKETS: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "0 bytes"),
    "a cut head": (b"\x10\0\0\0{}", "send all of it"),
    "an endless head": (b"\xff\xff\xff\xff{}", "send all of it"),
    "no JSON": (b"\x02\0\0\0{]", "cannot be read as JSON"),
    "no object": (b"\x02\0\0\0[]", "JSON list"),
    "deep": (b"\x00\x40\0\0" + b"[" * 0x4000, "too deep"),
    "no place": (packet({"stamp": "", "labels": []}), "place is"),
    "no labels": (packet({"place": {}, "stamp": ""}), "labels: give"),
    "labels twice": (packet({"place": {}, "stamp": "", "labels": ["a", "a"]}), "labels: give"),
    "no stamp": (packet({"place": {}, "stamp": 3, "labels": []}), "stamp is"),
}


@pytest.mark.parametrize("what", WRONG_PACKETS)
def test_a_body_that_is_none_is_refused(server: "ComfyServer", what: str):
    body, words = WRONG_PACKETS[what]
    status, content = send(server, "save", body)
    assert status == 400 and words in json.loads(content)["error"]


def test_what_cannot_be_saved_is_said_and_changes_nothing(server: "ComfyServer", folder: Path):
    opened = mend(server, "open", place=place(folder))
    known, values = mask_path(folder / "a.png").read_bytes(), np.zeros((HEIGHT, WIDTH), np.uint8)
    for layers_of, words in (
        ({"hair": (values[:2], values)}, "one for each pixel"),
        ({"9 lives": (values, values)}, "letter first"),
    ):
        assert words in save(server, place(folder), opened["stamp"], **layers_of)["error"]
    assert mask_path(folder / "a.png").read_bytes() == known


def test_a_place_that_takes_no_file_is_said_before_anybody_paints(server: "ComfyServer", folder: Path):
    name = f"{'x' * 240}.png"
    Image.new("RGB", (WIDTH, HEIGHT)).save(folder / name)
    assert "longer than a disk takes" in mend(server, "open", place=place(folder, name))["error"]


def test_masks_that_are_not_to_be_changed_are_said(server: "ComfyServer", folder: Path):
    save_masks(folder / "b_zi_masks.safetensors", {"face": torch.ones(HEIGHT, WIDTH)})
    assert "made by hand as a whole" in mend(server, "open", place=place(folder, "b.png"))["error"]
    mask_path(folder / "a.png").write_bytes(b"damaged")
    assert "not a complete safetensors file" in mend(server, "open", place=place(folder))["error"]
    Image.new("RGB", (WIDTH, HEIGHT + 1)).save(folder / "a.png")
    mask_path(folder / "a.png").unlink()
    save_masks(
        mask_path(folder / "a.png"), {"face": torch.ones(HEIGHT, WIDTH)}, {"image_digest": "of another"}
    )
    assert "masks are 64x48, the picture is 64x49" in mend(server, "open", place=place(folder))["error"]


ROUTES = ("open", "picture", "layers", "take_back")


@pytest.mark.parametrize(
    ("where", "status", "words"),
    [
        ({"folder": "/nowhere", "name": "a.png"}, 403, "was not listed"),
        ({"folder": "", "name": "a.png"}, 403, "was not listed"),
        ({"folder": "{folder}", "name": "gone.png"}, 404, "no such file"),
        ({"folder": "{folder}", "name": "../a.png"}, 200, "leads out"),
        ({"folder": "{folder}", "name": "a_zi_masks.safetensors"}, 200, "is no picture"),
        ({"folder": 3, "name": "a.png"}, 200, "must be a text"),
        ({"shown": "an id that nobody gave"}, 200, "run the node again"),
        ({"shown": {}}, 200, "must be a text"),
        ("a.png", 400, "place is a JSON str"),
        (None, 400, "place is a JSON NoneType"),
    ],
)
def test_no_other_place_is_opened(server: "ComfyServer", folder: Path, where: Any, status: int, words: str):
    if isinstance(where, dict):
        where = {key: str(folder) if text == "{folder}" else text for key, text in where.items()}
    for route in ROUTES:
        found, answer = post(server, f"mend/{route}", {"place": where, "stamp": ""})
        assert found == status and words in answer["error"]
    for route in ("save", "snap"):
        said = {"place": where, "stamp": "", "labels": [], "x": 0, "y": 0, "width": 1, "height": 1}
        found, content = send(server, route, packet(said, np.zeros(1 if route == "snap" else 0)))
        assert found == status and words in json.loads(content)["error"]


def test_other_sites_and_forms_are_not_heard(server: "ComfyServer", folder: Path):
    asked = json.dumps({"place": place(folder), "stamp": ""}).encode()
    for route in ROUTES:
        path = f"/semantic_focus/mend/{route}"
        assert ask(server, "POST", path, asked, site="cross-site")[0] == 403
        assert ask(server, "POST", path, asked, "text/plain")[0] == 400
        assert ask(server, "GET", path)[0] in (404, 405)
    body = packet({"place": place(folder), "stamp": "", "labels": []})
    for route in ("save", "snap"):
        assert send(server, route, body, site="cross-site")[0] == 403
        for kind in ("text/plain", "application/json", f"{BYTES}; charset=x"):
            assert ask(server, "POST", f"/semantic_focus/mend/{route}", body, kind)[0] == 400
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        connection.request("POST", f"/semantic_focus/mend/{route}", body)  # without any type, as a Blob
        assert connection.getresponse().status == 400
        connection.close()
