"""The routes of the chooser of folders: what may be chosen, and what becomes of dropped pictures."""

import io
import json
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from semantic_focus.settings.access import FILE

from .test_dataset_routes import ask, post

if TYPE_CHECKING:
    from host.serve import ComfyServer

BYTES = "application/octet-stream"


def png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(buffer, "PNG")
    return buffer.getvalue()


def add(
    server: "ComfyServer",
    folder: str,
    name: str,
    content: bytes,
    kind: str = BYTES,
    site: str = "same-origin",
) -> tuple[int, Any]:
    query = urllib.parse.urlencode({"folder": folder, "name": name})
    address = f"/api/semantic_focus/folders/add?{query}"
    status, _, answer = ask(server, "POST", address, content, kind, site)
    return status, json.loads(answer)


def test_dropped_pictures_are_kept_below_input_and_can_be_chosen(server: "ComfyServer"):
    place = server.base_directory / "input" / "people" / "anna 好"
    for content, name, outcome in (
        (png("red"), "a.png", "new"),
        (png("red"), "a.png", "same"),
        (png("blue"), "a_2.png", "renamed"),
    ):
        status, answer = add(server, "people/anna 好", "a.png", content)
        assert (status, answer) == (200, {"folder": str(place), "name": name, "outcome": outcome})
    assert add(server, "people/anna 好", "a.txt", b"a woman")[1]["outcome"] == "new"
    status, found = post(server, "folders", {})
    assert (status, found["input"]) == (200, str(place.parents[1]))
    assert {"path": str(place), "name": "people/anna 好", "pictures": 2} in found["folders"]
    status, listed = post(server, "dataset", {"folder": str(place)})
    assert [(one["name"], one["captioned"]) for one in listed["pictures"]] == [
        ("a.png", True),
        ("a_2.png", False),
    ]


@pytest.mark.parametrize(
    "folder", ["", "..", "../x", "/tmp/x", "a/../../x", "C:\\x", "a//b", "\\\\host\\share"]
)
def test_nothing_is_kept_elsewhere(server: "ComfyServer", folder: str):
    before = sorted((server.base_directory / "input").rglob("*"))
    status, answer = add(server, folder, "x.png", png("red"))
    assert status == 200 and "is no name for a folder" in answer["error"]
    assert add(server, "x", "../x.png", png("red"))[1]["error"].startswith("'../x.png': / may not be in it")
    (server.base_directory / "input" / "x").rmdir()
    assert sorted((server.base_directory / "input").rglob("*")) == before


def test_other_sites_add_nothing(server: "ComfyServer"):
    assert add(server, "theirs", "x.png", png("red"), site="cross-site")[0] == 403
    for kind in ("text/plain", "multipart/form-data; boundary=x", "image/png"):
        assert add(server, "theirs", "x.png", png("red"), kind)[0] == 400
    assert not (server.base_directory / "input" / "theirs").exists()


def test_only_what_may_be_read_is_offered_and_written_to(server: "ComfyServer", tmp_path: Path):
    (tmp_path / "a.png").write_bytes(png("red"))
    link = server.base_directory / "input" / "private"
    link.symlink_to(tmp_path)
    rules = server.user_directory / FILE
    try:
        rules.write_text("[read]\nstrict = true\n")
        assert not [one for one in post(server, "folders", {})[1]["folders"] if one["name"] == "private"]
        answer = add(server, "private", "b.png", png("red"))[1]
        assert "does not read that place" in answer["error"]
        rules.write_text(f"[read]\nfolders = ['{tmp_path}']\n")
        offered = {one["name"] for one in post(server, "folders", {})[1]["folders"]}
        assert str(tmp_path) in offered
    finally:
        rules.unlink()
        link.unlink()
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
