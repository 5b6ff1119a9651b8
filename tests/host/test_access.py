"""Nobody gets what is not for them: all routes and nodes, asked with all tricks for a private folder."""

import http.client
import itertools
import json
import select
import socket
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

from semantic_focus.datasets.mask_file import save_masks
from semantic_focus.settings.access import FILE, VARIABLE
from semantic_focus.training.curves_file import curve_line
from semantic_focus.training.step_record import StepRecord

from .graphs import PATIENCE, node

if TYPE_CHECKING:
    from host.serve import ComfyServer

WORDS = "words that nobody else should read"
MOST_IN_ADDRESS = 2000
OWN = "/api/semantic_focus"


@dataclass
class House:
    """ComfyUI's input folder with the dataset `open` and with links, and a private folder elsewhere."""

    server: "ComfyServer"
    open: Path
    private: Path
    connection: http.client.HTTPConnection

    def ask(
        self, method: str, route: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, str, bytes]:
        """Status, type and content of an answer."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Content-Type": "application/json", **named} if body is not None else named
        self.connection.request(method, route, body, given)
        answer = self.connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read()

    def post(self, route: str, **body: Any) -> tuple[int, str, bytes]:
        return self.ask("POST", f"{OWN}/{route}", json.dumps(body).encode())

    def thumbnail(
        self, folder: str, name: str, route: str = "thumbnail", **query: str
    ) -> tuple[int, str, bytes]:
        asked = {"folder": folder, "name": name, **query}
        quoted = urllib.parse.urlencode(asked, errors="surrogateescape")
        return self.ask("GET", f"{OWN}/{route}?{quoted}")

    def rules(self, text: str) -> None:
        (self.server.user_directory / FILE).write_text(text, encoding="utf-8")


def dataset(folder: Path, name: str) -> Path:
    """A folder with one picture, its caption and its masks, and with the curves of a run."""
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 48), (200, 30, 30)).save(folder / f"{name}.png")
    (folder / f"{name}.txt").write_text(WORDS)
    step = StepRecord(1, 0.5, {WORDS: 0.5}, 0.0, 0.0, 1e-4)
    (folder / "curves.jsonl").write_text(curve_line(step) + "\n")
    save_masks(folder / f"{name}_zi_masks.safetensors", {"face": torch.ones(48, 64)})
    return folder


@pytest.fixture(scope="module")
def built(server: "ComfyServer", tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    private = dataset(tmp_path_factory.mktemp("elsewhere") / "private", "secret")
    opened = dataset(server.base_directory / "input" / "open", "one")
    (opened / "sub").mkdir()
    Image.new("RGB", (64, 48)).save(opened / "sub" / "two.png")
    strays = {
        "folder": private,
        "file/secret.png": private / "secret.png",
        "gone/a.png": private / "gone.png",
    }
    strays |= {"caption/b.txt": private / "secret.txt", "below/deep/way": private, "circle": "circle"}
    for name, target in strays.items():
        link = server.base_directory / "input" / "links" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    for name in ("gone/c", "caption/b", "below/d", "below/deep/e"):
        Image.new("RGB", (8, 8)).save(server.base_directory / "input" / "links" / f"{name}.png")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    yield House(server, opened, private, connection)
    connection.close()
    (server.user_directory / FILE).unlink(missing_ok=True)


@pytest.fixture
def house(built: House) -> Iterator[House]:
    """A server that reads its own folders only, as one that others can reach."""
    built.rules("[read]\nstrict = true\n")
    yield built
    (built.server.user_directory / FILE).unlink(missing_ok=True)


def tricks(house: House) -> list[str]:
    """Names of folders that lead out of ComfyUI's own, or nowhere, or are no names."""
    private, own = str(house.private), str(house.open)
    up = "../" * 40
    links = house.open.parent / "links"
    return [
        *(
            private,
            f"{private}/",
            f" {private}\n",
            f'"{private}"',
            f"/{private}",
            f"//{private}",
            f"/.{private}",
        ),
        *(f"{own}/{up}{private[1:]}", f"{up}{private[1:]}", f"{own}/../../..", f"{own}\\..\\.."),
        *(
            f"{links}/folder",
            f"{links}/folder/.",
            f"{links}/below/deep/way",
            f"{links}/file",
            f"{links}/gone",
        ),
        *(f"{links}/caption", f"{links}/circle", f"/proc/self/root{private}", f"/dev/fd/../../..{private}"),
        *("/", "~", "~root", "~/..", ".", "..", "/etc", "/proc/self/cwd", "file://" + private),
        *(r"\\host\share", "//host/share", r"\/host/share", r"/\host\share", r"\\?\C:\x", r"\\.\pipe\x"),
        *(
            r"\??\UNC\host\share",
            "//?/UNC/host/share",
            "C:\\",
            "C:/Users",
            "smb://host/share",
            r"\\127.0.0.1\c$",
        ),
        *(f"{private}\0", f"{own}\0/../..", "\0", "", " ", "a" * 300, "a/" * 3000, "x" * 100_000),
        *(private.replace("/", "%2f"), private.replace("/", "\u2215"), private.replace("/", "\uff0f")),
        *(
            f"{own}/\u2024\u2024/..{private}",
            unicodedata.normalize("NFD", "/é/ü"),
            "/\ud800",
            "/\udcff",
            "\u202e/",
        ),
    ]


def names(house: House) -> list[str]:
    """Names of pictures that lead out of an open folder, or are no names."""
    private = house.private
    return [
        *(f"{private}/secret.png", f"/{private}/secret.png", "../" * 40 + f"{private}/secret.png"[1:]),
        *("../links/folder/secret.png", "sub/../../links/folder/secret.png", "..\\links\\folder\\secret.png"),
        *("../links/file/secret.png", "./../links/file/secret.png", "%2e%2e/links/folder/secret.png"),
        *(
            "\uff0e\uff0e/links/folder/secret.png",
            "one.png/../../links/file/secret.png",
            "one.png\0",
        ),
        *(
            "one.png\0.txt",
            "one.txt",
            "one_zi_masks.safetensors",
            "",
            ".",
            "..",
            "/",
            "gone.png",
            "x" * 300 + ".png",
        ),
        *(
            "y/" * 3000 + "x.png",
            r"\\host\share\x.png",
            "//host/share/x.png",
            "C:\\x.png",
            r"C:x.png",
            "\ud800.png",
        ),
    ]


def is_private(answer: tuple[int, str, bytes]) -> bool:
    """Whether an answer has something of the private folder: a picture, its name in a list, its caption."""
    _, kind, content = answer
    listed = json.loads(content).get("pictures", ()) if kind == "application/json" else ()
    shown = any("secret.png" in picture["name"] for picture in listed)
    return shown or kind.startswith("image/") or WORDS.encode() in content


def test_without_rules_a_server_of_its_own_computer_shows_what_its_user_can_read(built: House):
    """So that the other tests ask for something that is there."""
    private = str(built.private)
    assert is_private(built.post("dataset", folder=private))
    assert is_private(built.post("caption", folder=private, name="secret.png"))
    assert is_private(built.thumbnail(private, "secret.png"))
    assert is_private(built.post("training/folder", folder=private))
    assert is_private(built.thumbnail(private, "secret.png", "training/sample"))
    links = str(built.open.parent / "links" / "file")
    assert is_private(built.post("dataset", folder=links))


def test_no_trick_gets_anything_of_a_folder_that_is_not_allowed(house: House):
    asked, wrong = 0, []
    requests: list[tuple[str, Callable[[str], tuple[int, str, bytes]]]] = [
        ("list", lambda folder: house.post("dataset", folder=folder)),
        ("list below", lambda folder: house.post("dataset", folder=folder, recursive=True)),
        ("caption", lambda folder: house.post("caption", folder=folder, name="secret.png")),
        ("thumbnail", lambda folder: house.thumbnail(folder, "secret.png")),
        ("regions", lambda folder: house.thumbnail(folder, "secret.png", layer="regions")),
        ("run", lambda folder: house.post("training/folder", folder=folder)),
        ("sample", lambda folder: house.thumbnail(folder, "secret.png", "training/sample")),
    ]
    for folder, (kind, ask) in itertools.product(tricks(house), requests):
        in_address = kind in ("thumbnail", "regions", "sample")
        if in_address and ("\ud800" in folder or len(folder) > MOST_IN_ADDRESS):
            continue  # no address can have it
        asked += 1
        status, _, content = answer = ask(folder)
        said = json.loads(content).get("error", "")
        if status >= 500 or not said or is_private(answer):
            wrong.append((kind, folder[:80], status, content[:200]))
        if len(said) > 1000 or "[Errno" in said or "embedded null" in said:
            wrong.append((kind, folder[:80], "words", said[:200]))
    assert not wrong and asked >= 150


def test_no_name_leads_out_of_an_open_folder(house: House):
    assert is_private(house.post("caption", folder=str(house.open), name="one.png"))
    assert house.post("dataset", folder=str(house.open))[0] == 200
    assert house.thumbnail(str(house.open), "one.png")[:2] == (200, "image/jpeg")
    assert house.thumbnail(str(house.open), "sub/two.png")[:2] == (200, "image/jpeg")
    wrong = []
    for name in names(house):
        answers = [house.post("caption", folder=str(house.open), name=name)]
        if "\ud800" not in name and len(name) <= MOST_IN_ADDRESS:
            answers.append(house.thumbnail(str(house.open), name))
        for answer in answers:
            status, _, content = answer
            if status not in (400, 404) or is_private(answer) or b"[Errno" in content:
                wrong.append((name[:80], status, content[:200]))
    assert not wrong


def test_links_that_lead_out_are_left_out_below_a_folder_and_said(house: House):
    status, _, content = house.post(
        "dataset", folder=str(house.open.parent / "links" / "below"), recursive=True
    )
    found = json.loads(content)
    assert status == 200 and [picture["name"] for picture in found["pictures"]] == ["d.png"]
    (reason,) = found["left_out"]
    assert "deep: way in it is a link that leads out" in reason and str(house.private) not in reason


BODIES = {
    "no JSON": b"{",
    "a list": b"[]",
    "a number": b"3",
    "nothing": b"",
    "brackets on end": b"[" * 100_000,
    "objects on end": b'{"a":' * 5000,
    "no UTF-8": b'{"folder": "\xff"}',
    "a long number": b'{"folder": ' + b"9" * 10_000 + b"}",
    "a folder that is a list": b'{"folder": ["/"]}',
    "a folder that is null": b'{"folder": null}',
    "settings of other kinds": b'{"folder": "/", "backend": [], "refine": 3, "keywords": {}}',
    "no number": b'{"folder": NaN, "recursive": Infinity}',
}


@pytest.mark.parametrize("route", ["dataset", "caption"])
def test_a_body_that_is_no_question_is_refused_in_words(house: House, route: str):
    for name, body in BODIES.items():
        status, _, content = house.ask("POST", f"{OWN}/{route}", body)
        assert status == 400 and json.loads(content)["error"], name
    body = json.dumps({"folder": str(house.open), "name": "one.png"}).encode()
    for kind in (
        "application/json; charset=none-such",
        "text/plain",
        "application/x-www-form-urlencoded",
        "x",
    ):
        status, _, content = house.ask("POST", f"{OWN}/{route}", body, Content_Type=kind)
        assert status == 400 and WORDS.encode() not in content, kind


def test_other_sites_and_other_methods_get_nothing(house: House):
    body = json.dumps({"folder": str(house.open), "name": "one.png"}).encode()
    house.ask("POST", f"{OWN}/dataset", body)
    query = urllib.parse.urlencode({"folder": str(house.open), "name": "one.png"})
    routes = [("POST", f"{OWN}/{route}") for route in ("dataset", "caption", "training/folder")]
    routes.append(("GET", f"{OWN}/thumbnail?{query}"))
    for method, route in routes:
        sent = body if method == "POST" else None
        assert house.ask(method, route, sent, Sec_Fetch_Site="same-origin")[0] == 200
        for site in ("cross-site", "same-site", "", "anything"):
            answer = house.ask(method, route, sent, Sec_Fetch_Site=site)
            assert answer[0] == 403 and not is_private(answer), (route, site)
        for origin in ("http://evil.example", "null", "http://127.0.0.1:1"):
            status, _, content = house.ask(method, route, sent, Origin=origin)
            assert status == 403, (route, origin)
        for other in ({"GET", "PUT", "DELETE", "PATCH", "POST"} - {method}) | {"OPTIONS"}:
            status, kind, content = house.ask(other, route, body)
            assert 200 < status < 500 or other == "OPTIONS", (route, other, status)
            assert WORDS.encode() not in content and not kind.startswith("image/")


PATHS = {"folder", "image_folder", "mask_folder", "mask_file", "path"}
"""Inputs of nodes that are paths."""
ENCODERS = ("MODEL", "CLIP", "VAE")
"""As Load Checkpoint gives them."""


def reading_nodes(house: House) -> list[tuple[str, str, dict[str, Any]]]:
    """Our nodes, each of their inputs that is a path, and values for all inputs."""
    found = []
    for name, info in house.server.object_info().items():
        if not name.startswith("SemanticFocus"):
            continue
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        for asked in PATHS & inputs.keys():
            found.append(
                (name, asked, {other: default_of(house, other, kind) for other, kind in inputs.items()})
            )
    return found


def default_of(house: House, name: str, kind: list[Any]) -> Any:
    options = kind[1] if len(kind) > 1 else {}
    if name in PATHS:
        return str(house.open / "one_zi_masks.safetensors" if name == "mask_file" else house.open)
    if isinstance(kind[0], list) or kind[0] == "COMBO":
        choices = kind[0] if isinstance(kind[0], list) else options["options"]
        return "folder" if "folder" in choices else options.get("default", choices[0])
    if kind[0] in ("IMAGE", "SEMANTIC_MASKS"):
        return [kind[0], 0]
    if kind[0] in ENCODERS:
        return ["model", ENCODERS.index(kind[0])]
    return options.get("default", "")


def test_no_node_reads_what_is_not_allowed(house: House, comfy: ModuleType, stand_in_model: Path):
    """The nodes and their paths are found by their inputs: a new one is asked, too."""
    found = reading_nodes(house)
    assert {name for name, _, _ in found} == {
        *("SemanticFocusLoadDataset", "SemanticFocusCacheDataset", "SemanticFocusLoadMaskPictures"),
        *("SemanticFocusLoadTrainingCache", "SemanticFocusLoadTrainState", "SemanticFocusLoadMasks"),
        *("SemanticFocusSaveMasks", "SemanticFocusSegment", "SemanticFocusExportMasks"),
        *("SemanticFocusPrepare", "SemanticFocusWatch"),
    }
    masks = str(house.open / "one_zi_masks.safetensors")
    helpers = {
        "IMAGE": node("EmptyImage", width=64, height=48, batch_size=1, color=0),
        "SEMANTIC_MASKS": node("SemanticFocusLoadMasks", mask_file=masks),
        "model": node("SemanticFocusStandInCheckpoint", model_file=stand_in_model.name),
        "show": node("PreviewAny", source=["asked", 0]),
    }
    before = sorted(house.private.iterdir())
    for name, asked, inputs in found:
        secret = house.private / "secret_zi_masks.safetensors" if asked == "mask_file" else house.private
        for value in (str(secret), r"\\host\share\x_zi_masks.safetensors"):
            graph = {**helpers, "asked": node(name, **{**inputs, asked: value})}
            with pytest.raises((comfy.PromptFailed, comfy.PromptRejected)) as failure:
                house.server.run(graph)
            assert FILE in str(failure.value) and VARIABLE in str(failure.value), (name, asked)
    assert sorted(house.private.iterdir()) == before


def test_what_the_operator_lists_is_read_without_a_new_start(house: House):
    asked = {"folder": str(house.private)}
    assert FILE in json.loads(house.post("dataset", **asked)[2])["error"]
    house.rules(f"[read]\nstrict = true\nfolders = ['{house.private.parent}']\n")
    assert json.loads(house.post("dataset", **asked)[2])["pictures"][0]["name"] == "secret.png"
    assert is_private(house.thumbnail(str(house.private), "secret.png"))
    house.rules("[read]\nstrict = maybe\n")
    refused = json.loads(house.post("dataset", **asked)[2])["error"]
    assert f"{FILE} in ComfyUI's user folder: not valid TOML" in refused
    assert str(house.server.user_directory) not in refused
    assert house.thumbnail(str(house.private), "secret.png")[0] == 400
    assert json.loads(house.post("dataset", folder=str(house.open))[2])["pictures"]


def test_other_routes_are_answered_while_whole_disks_are_listed(built: House):
    """Lists take as long as they may; whoever asks for something else meanwhile has it before they end."""
    lists = [socket.create_connection(("127.0.0.1", built.server.port), PATIENCE) for _ in range(6)]
    for number, connection in enumerate(lists):
        body = json.dumps({"folder": "/" + "./" * number, "recursive": True})
        head = f"POST {OWN}/dataset HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    for _ in range(20):
        assert built.ask("GET", "/system_stats")[0] == 200
    ended = select.select(lists, [], [], 0)[0]
    for connection in lists:
        connection.close()
    assert len(ended) < len(lists)
    assert json.loads(built.post("dataset", folder=str(built.open))[2])["pictures"]


def test_a_server_that_the_network_reaches_reads_its_own_folders_only(
    start_server: "Callable[..., ComfyServer]", built: House
):
    """Really started with --listen, and without rules of an operator."""
    with start_server(arguments=["--listen", "0.0.0.0"]) as server:
        opened = dataset(server.base_directory / "input" / "open", "one")
        made = dataset(server.base_directory / "output" / "made", "two")
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        house = House(server, opened, built.private, connection)
        links = server.base_directory / "input" / "links"
        links.mkdir()
        (links / "folder").symlink_to(house.private)
        outside = [
            str(house.private),
            str(links / "folder"),
            f"{opened}/../../../{house.private}",
            "/etc",
            "~",
        ]
        for folder in outside:
            for answer in (
                house.post("dataset", folder=folder),
                house.post("caption", folder=folder, name="secret.png"),
                house.thumbnail(folder, "secret.png"),
            ):
                assert answer[0] in (200, 400, 403) and "error" in json.loads(answer[2]), (folder, answer)
                assert not is_private(answer), folder
            load = node("SemanticFocusLoadDataset", folder=folder, default_caption="x")
            with pytest.raises(RuntimeError) as failure:
                server.run({"1": load, "2": node("PreviewImage", images=["1", 0])})
            assert "its operator allows" in str(failure.value), folder
        assert FILE in json.loads(house.post("dataset", folder=str(house.private))[2])["error"]
        for folder, name in ((opened, "one.png"), (made, "two.png")):
            shown = json.loads(house.post("dataset", folder=str(folder))[2])["pictures"]
            assert [picture["name"] for picture in shown] == [name]
            caption = house.post("caption", folder=str(folder), name=name)[2]
            assert json.loads(caption)["caption"] == WORDS
            assert house.thumbnail(str(folder), name)[:2] == (200, "image/jpeg")
        load = node("SemanticFocusLoadDataset", folder=str(opened), default_caption="x")
        server.run({"1": load, "2": node("PreviewImage", images=["1", 0])})
        connection.close()
