"""The routes of the editor of masks, asked as a browser asks, and as somebody who should not."""

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
    status, content = ask(
        server, "POST", "/api/semantic_focus/mend/layers", json.dumps({"place": where}).encode()
    )[::2]
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
