"""The routes of the dataset browser, asked as a browser asks, and as somebody who should not."""

import http.client
import io
import json
import os
import socket
import sys
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from semantic_focus.categories import SEMANTIC_CATEGORIES

from .graphs import PATIENCE, node

if TYPE_CHECKING:
    from host.serve import ComfyServer


@pytest.fixture(scope="module")
def dataset(make_dataset: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """one.png and two.png of `make_dataset`, "drei 好.JPG" (left half red when upright), torn.png."""
    folder = make_dataset(tmp_path_factory.mktemp("data sets") / "a 好")
    pixels = np.zeros((300, 600, 3), np.uint8)
    pixels[150:] = (255, 0, 0)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # its bottom belongs to the left
    Image.fromarray(pixels).save(folder / "drei 好.JPG", "JPEG", exif=exif)
    (folder / "torn.png").write_bytes((folder / "one.png").read_bytes()[:5000])
    return folder


def ask(
    server: "ComfyServer",
    method: str,
    path: str,
    body: bytes | None = None,
    kind: str = "application/json",
    site: str | None = None,
) -> tuple[int, Any, bytes]:
    """Status, headers and body of an answer."""
    headers = {"Content-Type": kind} if body is not None else {}
    if site is not None:
        headers["Sec-Fetch-Site"] = site
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, answer.headers, content


def post(server: "ComfyServer", route: str, body: dict[str, Any]) -> tuple[int, Any]:
    status, _, content = ask(server, "POST", f"/api/semantic_focus/{route}", json.dumps(body).encode())
    return status, json.loads(content)


def thumbnail(server: "ComfyServer", **query: str) -> tuple[int, Any, bytes]:
    post(server, "dataset", {"folder": query["folder"]})  # thumbnails are of listed folders only
    return ask(server, "GET", f"/api/semantic_focus/thumbnail?{urllib.parse.urlencode(query)}")


def test_a_folder_is_listed_before_and_after_its_masks_are_made(server: "ComfyServer", dataset: Path):
    settings = {
        "folder": str(dataset),
        "backend": "auto",
        "refine": "off",
        "keywords": "face: face\nhair: hair",
    }
    status, listed = post(server, "dataset", settings)
    assert status == 200 and listed["folder"] == str(dataset) and listed["complete"]
    assert [(one["name"], one["status"], one["captioned"]) for one in listed["pictures"]] == [
        ("drei 好.JPG", "missing", False),
        ("one.png", "missing", True),
        ("torn.png", "missing", False),
        ("two.png", "missing", True),
    ]
    history = server.run(
        {"1": {"class_type": "SemanticFocusCacheDataset", "inputs": {**settings, "report": True}}}
    )
    told = history["outputs"]["1"]
    assert told["semantic_focus_folder"] == [str(dataset)]
    (masks,) = told["semantic_focus_masks"]
    assert masks["counts"] == {"segmented": 3, "failed": 1}
    assert masks["segmenter"] == "mediapipe" and masks["to_look_at"] >= 1
    (failure,) = masks["failures"]
    assert "torn.png" in failure and f"failed: {failure}" in told["text"][0]
    report = masks["report"]
    assert Path(report["path"]).read_bytes() == server.view(
        {name: report[name] for name in report if name != "path"}
    )

    found = {one["name"]: one for one in post(server, "dataset", settings)[1]["pictures"]}
    assert found["one.png"]["status"] == found["drei 好.JPG"]["status"] == "ok"
    assert found["one.png"]["persons"] == 1 and 0.02 < found["one.png"]["coverage"]["face"] < 0.3
    other = {
        one["name"]: one for one in post(server, "dataset", {**settings, "refine": "fine"})[1]["pictures"]
    }
    assert other["one.png"]["status"] == "stale" and "refinement" in other["one.png"]["reason"]

    colour = SEMANTIC_CATEGORIES["hair"].colour
    status, headers, content = thumbnail(
        server, folder=str(dataset), name="one.png", stamp="x", layer="regions", colours="face:010203"
    )
    assert status == 200 and headers["Content-Type"] == "image/png"
    layer = Image.open(io.BytesIO(content))
    assert layer.size == (192, 192)
    # 320 pixels became 192: a place in the face and one in the hair
    assert layer.getpixel((96, 66)) == (1, 2, 3, 255) and layer.getpixel((96, 24)) == (*colour, 255)


def test_a_load_tells_its_folder(server: "ComfyServer", dataset: Path, tmp_path: Path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    graph = {
        "1": {
            "class_type": "SemanticFocusLoadDataset",
            "inputs": {"folder": str(tmp_path), "default_caption": "a"},
        },
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    assert server.run(graph)["outputs"]["1"]["semantic_focus_folder"] == [str(tmp_path)]


def test_what_lies_in_a_folder_and_is_not_taken_is_named_by_the_list_and_by_both_nodes(
    server: "ComfyServer", tmp_path: Path, logged: Callable[[], str]
):
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "a.Caption").write_text("a (hat)", encoding="utf-16")
    (tmp_path / "b.heic").write_bytes(b"x")
    (tmp_path / "10_anna").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "10_anna" / "a.png")
    lines = [
        "b.heic (a kind of picture that is not read: save it as PNG or JPEG)",
        "10_anna/ (a folder with pictures of its own: give that folder, or include subfolders (recursive))",
    ]
    _, listed = post(server, "dataset", {"folder": str(tmp_path)})
    assert listed["left_out"] == lines
    assert [(one["name"], one["captioned"]) for one in listed["pictures"]] == [("a.gif", True)]
    asked = {"folder": str(tmp_path), "name": "a.gif"}
    assert post(server, "caption", asked)[1]["caption"] == "a (hat)"
    (tmp_path / "a.Caption").unlink()
    assert post(server, "caption", asked) == (200, {"caption": "", "stamp": ""})
    (tmp_path / "a.caption").write_text("a (hat)")
    settings = {"folder": str(tmp_path), "backend": "mediapipe", "refine": "off"}

    def outputs(literal_brackets: bool) -> dict[str, Any]:
        return server.run(
            {
                "load": node(
                    "SemanticFocusLoadDataset",
                    folder=str(tmp_path),
                    default_caption="",
                    literal_brackets=literal_brackets,
                ),
                "words": node("PreviewAny", source=["load", 1]),
                "make": node("SemanticFocusCacheDataset", keywords="face: face\ntattoo: x", **settings),
            }
        )["outputs"]

    found = outputs(False)
    (remarks,) = found["load"]["semantic_focus_remarks"]
    assert remarks[:2] == [f"left out: {line}" for line in lines]
    assert "a.gif" in remarks[2] and "literal_brackets" in remarks[2] and "of several frames" in remarks[3]
    assert found["words"]["text"] == ["a (hat)"]
    (told,) = found["make"]["semantic_focus_masks"]
    assert told["remarks"][0].startswith("tattoo: mediapipe reads no words and cannot find that")
    assert set(remarks) - set(told["remarks"]) == {remarks[2]}
    assert all(f"{tmp_path}: {line}" in logged() for line in (*remarks, *told["remarks"]))
    found = outputs(True)
    assert found["words"]["text"] == [r"a \(hat\)"]
    assert len(found["load"]["semantic_focus_remarks"][0]) == 3


def test_thumbnails_are_small_upright_and_kept(server: "ComfyServer", dataset: Path):
    status, headers, content = thumbnail(server, folder=str(dataset), name="drei 好.JPG", stamp="1-2")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert "immutable" in headers["Cache-Control"]
    picture = Image.open(io.BytesIO(content))
    assert picture.size == (96, 192)
    red = np.asarray(picture)[96, [20, 76], 0]
    assert red[0] > 200 and red[1] < 50
    status, headers, _ = thumbnail(server, folder=str(dataset), name="one.png")
    assert headers["Cache-Control"] == "no-store"
    large = thumbnail(server, folder=str(dataset), name="drei 好.JPG", stamp="1", side="1024")[2]
    assert Image.open(io.BytesIO(large)).size == (300, 600)


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("../{folder}/one.png", 400),
        ("..\\{folder}\\one.png", 404),
        ("{absolute}/one.png", 400),
        ("one.txt", 400),
        ("", 400),
        ("one.png\0", 400),
        ("gone.png", 404),
    ],
)
def test_no_other_file_is_sent(server: "ComfyServer", dataset: Path, name: str, status: int):
    filled = name.format(folder=dataset.name, absolute=dataset)
    found, headers, content = thumbnail(server, folder=str(dataset), name=filled, stamp="1")
    assert (found, headers["Content-Type"].split(";")[0]) == (status, "application/json")
    assert headers["Cache-Control"] == "no-store"
    assert json.loads(content)["error"]
    assert post(server, "caption", {"folder": str(dataset), "name": filled})[0] == status


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="only there is it known what a program reads"
)
def test_pictures_that_nobody_waits_for_are_not_decoded(server: "ComfyServer", tmp_path: Path):
    """A browser that scrolls past asks for pictures and goes: the others do not wait for those."""
    noise = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png", compress_level=0)
    Image.new("RGB", (64, 48)).save(tmp_path / "small.png")

    def has_read() -> int:
        """How many bytes the server has read so far."""
        counts = Path(f"/proc/{server._process.pid}/io").read_text()
        return int(dict(line.split(": ") for line in counts.splitlines())["rchar"])

    size = (tmp_path / "large.png").stat().st_size
    before = has_read()
    assert thumbnail(server, folder=str(tmp_path), name="large.png")[0] == 200
    assert size <= has_read() - before < 2 * size
    query = urllib.parse.urlencode({"folder": str(tmp_path), "name": "large.png"})
    before = has_read()
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(f"GET /semantic_focus/thumbnail?{query} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert thumbnail(server, folder=str(tmp_path), name="small.png")[0] == 200
    assert has_read() - before < 20 * size  # one or the other had its turn before it was left


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are Unicode elsewhere")
def test_a_name_that_is_not_utf8_is_a_name(server: "ComfyServer", tmp_path: Path):
    folder = tmp_path / os.fsdecode(b"\xcd\xbc \xc6\xac")
    folder.mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(folder / os.fsdecode(b"\xc8\xcb + \xe5\xa5\xbd.png"))
    listed = post(server, "dataset", {"folder": str(folder)})[1]
    (one,) = listed["pictures"]
    query = "&".join(
        f"{key}={urllib.parse.quote_from_bytes(os.fsencode(value))}"
        for key, value in {"folder": listed["folder"], "name": one["name"]}.items()
    )
    status, headers, _ = ask(server, "GET", f"/api/semantic_focus/thumbnail?{query}")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")


def test_a_torn_picture_is_named_without_an_error_in_the_console(server: "ComfyServer", dataset: Path):
    status, headers, content = thumbnail(server, folder=str(dataset), name="torn.png", stamp="1")
    assert (status, headers["Cache-Control"]) == (200, "no-store")
    assert "torn.png: cannot be read as a picture" in json.loads(content)["error"]


def test_captions_are_read_and_written_where_nobody_else_wrote(server: "ComfyServer", tmp_path: Path):
    Image.new("RGB", (64, 64)).save(tmp_path / "one.png")
    (tmp_path / "one.txt").write_text("a woman")
    asked = {"folder": str(tmp_path), "name": "one.png"}
    status, found = post(server, "caption", asked)
    assert (status, found["caption"]) == (200, "a woman")
    change = {**asked, "caption": "a woman in a suit", "stamp": found["stamp"]}
    assert post(server, "caption/save", change)[0] == 403
    post(server, "dataset", {"folder": str(tmp_path)})
    status, saved = post(server, "caption/save", change)
    assert (status, saved["caption"], "conflict" in saved) == (200, "a woman in a suit", False)
    assert (tmp_path / "one.txt").read_text() == "a woman in a suit\n"
    (tmp_path / "one.txt").write_text("theirs")
    _, other = post(server, "caption/save", {**change, "caption": "mine", "stamp": saved["stamp"]})
    assert (other["caption"], other["conflict"]) == ("theirs", True)
    assert (tmp_path / "one.txt").read_text() == "theirs"
    assert post(server, "caption/save", {**change, "name": "../one.png"})[0] == 400
    assert post(server, "caption/trigger", {**asked, "trigger": "ohwx"}) == (200, {"changed": True})
    assert (tmp_path / "one.txt").read_text() == "ohwx, theirs\n"
    for wrong in ({"folder": str(tmp_path.parent)}, {"name": "../one.png"}):
        assert post(server, "caption/trigger", {**asked, **wrong, "trigger": "ohwx"})[0] in (400, 403)


def test_a_form_of_another_site_gets_no_list(server: "ComfyServer", dataset: Path):
    body = json.dumps({"folder": str(dataset)}).encode()
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        for route in ("dataset", "caption", "caption/save", "caption/trigger", "folders"):
            status, _, content = ask(server, "POST", f"/semantic_focus/{route}", body, kind)
            assert status == 400 and "application/json" in json.loads(content)["error"]
    assert ask(server, "GET", "/api/semantic_focus/dataset?folder=x")[0] in (404, 405)


def test_a_thumbnail_is_not_for_other_sites(server: "ComfyServer", dataset: Path):
    query = {"folder": str(dataset), "name": "one.png"}
    assert thumbnail(server, **query)[0] == 200
    address = f"/semantic_focus/thumbnail?{urllib.parse.urlencode(query)}"
    assert ask(server, "GET", address, site="same-origin")[0] == 200
    assert ask(server, "GET", address, site="cross-site")[0] == 403


def test_thumbnails_come_from_listed_folders_only(
    server: "ComfyServer", make_dataset: Callable[[Path], Path], tmp_path: Path
):
    """Otherwise any page in the browser could find out which pictures are on this computer, and where."""
    folder = make_dataset(tmp_path / "private")
    found = {}
    for place in (str(folder), "", ".", "//host/share", "\\\\host\\share", "~"):
        for name in ("one.png", "gone.png"):
            query = urllib.parse.urlencode({"folder": place, "name": name})
            status, _, content = ask(server, "GET", f"/semantic_focus/thumbnail?{query}")
            found[place, name] = status
            assert "refresh the list of pictures" in json.loads(content)["error"]
    assert set(found.values()) == {403}
    assert post(server, "dataset", {"folder": str(folder)})[1]["folder"] == str(folder)
    query = urllib.parse.urlencode({"folder": str(folder), "name": "one.png"})
    assert ask(server, "GET", f"/semantic_focus/thumbnail?{query}")[0] == 200


def test_many_looks_at_once_find_the_same(server: "ComfyServer", dataset: Path):
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: post(server, "dataset", {"folder": str(dataset)}), range(12)))
    assert all(answer == answers[0] for answer in answers) and answers[0][0] == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"folder": "/nowhere/at all"}, "no such folder"),
        ({"folder": " "}, "no folder given"),
        ({"folder": "~2024/photos"}, "no such home folder"),
        ({}, "no folder given"),
        ({"folder": "{empty}"}, "no picture in it"),
        ({"folder": "{full}", "refine": "very"}, "off, fast, fine"),
        ({"folder": "{full}", "backend": "sam9"}, "no segmentation backend"),
        ({"folder": "{full}", "keywords": "face face"}, "face"),
    ],
)
def test_what_is_wrong_is_said(
    server: "ComfyServer", dataset: Path, tmp_path: Path, body: dict[str, Any], words: str
):
    places = {"{empty}": str(tmp_path), "{full}": str(dataset)}
    filled = {name: places.get(value, value) for name, value in body.items()}
    status, answer = post(server, "dataset", filled)
    assert status == 200 and words in answer["error"] and "pictures" not in answer


def test_a_folder_must_be_a_text(server: "ComfyServer"):
    status, answer = post(server, "dataset", {"folder": 3})
    assert status == 400 and "must be a text" in answer["error"]


@pytest.mark.parametrize("query", [{"side": "100000"}, {"layer": "regions", "colours": "face:red"}])
def test_thumbnails_of_other_kinds_are_refused(server: "ComfyServer", dataset: Path, query: dict[str, str]):
    status, _, content = thumbnail(server, folder=str(dataset), name="one.png", stamp="1", **query)
    assert status == 400 and json.loads(content)["error"]
