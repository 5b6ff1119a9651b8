"""File names that are not UTF-8: what is said of them can be printed, and the server goes on."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from PIL import Image

from semantic_focus.datasets.mask_file import mask_path, save_masks

from .graphs import node

if TYPE_CHECKING:
    from host.serve import ComfyServer

Graph = dict[str, Any]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are always Unicode")

LATIN = os.fsdecode(b"caf\xe9")


def segmented(folder: Path) -> Graph:
    return {
        "1": {
            "class_type": "SemanticFocusLoadDataset",
            "inputs": {"folder": str(folder), "default_caption": "x"},
        },
        "2": {
            "class_type": "SemanticFocusSegment",
            "inputs": {
                "images": ["1", 0],
                "backend": "auto",
                "refine": "fast",
                "keywords": "face: face",
                "mask_file": ["1", 2],
            },
        },
        "3": {
            "class_type": "SemanticFocusPreview",
            "inputs": {"images": ["1", 0], "masks": ["2", 0], "opacity": 0.5},
        },
    }


def damaged_picture(folder: Path) -> Path:
    (folder / "one.png").write_bytes(b"no picture")
    (folder / "one.png").rename(folder / f"{LATIN}.png")
    return folder


def broken_caption(folder: Path) -> Path:
    (folder / "one.png").rename(folder / f"{LATIN}.png")
    (folder / f"{LATIN}.txt").write_bytes(b"\xff\xfe\x00")
    return folder


def masks_made_by_hand(folder: Path) -> Path:
    (folder / "one.png").rename(folder / f"{LATIN}.png")
    save_masks(folder / f"{LATIN}_zi_masks.safetensors", {"face": torch.ones(32, 32)})
    return folder


def absent_folder(folder: Path) -> Path:
    return folder / LATIN


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damaged_picture, r"caf\xe9.png: cannot be read as a picture"),
        (broken_caption, r"caf\xe9.txt: not UTF-8 text"),
        (masks_made_by_hand, r"caf\xe9_zi_masks.safetensors: it was made by hand"),
        (absent_folder, r"caf\xe9: no such folder"),
    ],
)
def test_an_error_about_a_name_that_is_not_utf8_is_readable_and_the_server_goes_on(
    server: "ComfyServer",
    comfy: ModuleType,
    make_dataset: Callable[[Path], Path],
    tmp_path: Path,
    spoil: Callable[[Path], Path],
    said: str,
):
    folder = spoil(make_dataset(tmp_path / "dataset"))
    with pytest.raises((comfy.PromptFailed, comfy.PromptRejected)) as failure:
        server.run(segmented(folder))
    message = getattr(failure.value, "exception", str(failure.value))
    assert said in message and message.count(said.split(": ")[1]) == 1
    server.run(segmented(make_dataset(tmp_path / "good")))


def test_what_is_said_of_masks_made_by_hand_and_of_damaged_ones_can_be_printed(
    server: "ComfyServer", make_dataset: Callable[[Path], Path], tmp_path: Path
):
    folder = make_dataset(tmp_path / "dataset")
    for name, other in (("one", LATIN), ("two", f"{LATIN} 2")):
        (folder / f"{name}.png").rename(folder / f"{other}.png")
    save_masks(folder / f"{LATIN}_zi_masks.safetensors", {"face": torch.ones(320, 320)})
    (folder / f"{LATIN} 2_zi_masks.safetensors").write_bytes(b"damaged")
    shown = server.run(segmented(folder))["outputs"]["2"]["semantic_focus"]
    assert [one["backend"] for one in shown] == ["mediapipe", "by hand"]
    assert shown[0]["aside"].endswith(r"caf\xe9 2_zi_masks.safetensors.damaged")
    assert (folder / f"{LATIN} 2_zi_masks.safetensors.damaged").read_bytes() == b"damaged"


BROKEN = {
    "Latin-1": LATIN,
    "lone surrogates": os.fsdecode(b"\xed\xa0\x80\xed\xb0\x80 \xff\xfe"),
    "255 bytes": "ü" * 125 + "x",
    "emoji": "👩‍🦰 portrait",
    "a new line": "two\nlines",
    "right to left": "abc\u202egpj",
    "an escape sequence": "\x1b[31mred\x1b[0m",
}
"""Stems of file names that a disk holds; with .png, the third is 255 bytes long."""

UNPRINTABLE = re.compile("[\ud800-\udfff\x1b\u202e]")


@pytest.fixture
def broken_names(tmp_path: Path) -> Path:
    """A dataset with pictures, a damaged picture and a caption that is none under each of the names."""
    folder = tmp_path / f"data {LATIN}"
    for number, name in enumerate((*BROKEN.values(), "plain")):
        below = folder / str(number)
        below.mkdir(parents=True)
        Image.new("RGB", (32, 24)).save(below / "one.png")
        (below / "one.png").rename(below / f"{name}.png")
        damaged = name[:100]
        (below / f"{damaged}_.png").write_bytes(b"no picture")
        (below / f"{damaged}_.txt").write_bytes(b"\xff\xfe\x00")
    return folder


def cached(folder: Path) -> Graph:
    return {
        "1": node(
            "SemanticFocusCacheDataset",
            folder=str(folder),
            backend="mediapipe",
            refine="fast",
            keywords="face: face",
            recursive=True,
            report=True,
        )
    }


def test_a_dataset_of_broken_names_is_cached_listed_and_reported_in_words_that_can_be_read(
    server: "ComfyServer", broken_names: Path, logged: Callable[[], str]
):
    told = server.run(cached(broken_names))["outputs"]["1"]
    masks = told["semantic_focus_masks"][0]
    pictures = len(BROKEN) + 1
    # a name of 255 bytes leaves no room for that of a mask file
    assert masks["counts"] == {"segmented": pictures - 1, "failed": pictures + 1}
    said = [*masks["failures"], *told["text"]]
    assert len(said) == 10 and not [line for line in said if UNPRINTABLE.search(line)]
    assert any("its name is 255 bytes long" in line for line in said)
    page = Path(masks["report"]["path"]).read_text(encoding="utf-8")
    assert page.count("cannot be read as a picture") == pictures and not UNPRINTABLE.search(page)
    listed = server._json("/semantic_focus/dataset", {"folder": str(broken_names), "recursive": True})
    assert len(listed["pictures"]) == 2 * pictures
    for picture in listed["pictures"]:
        for line in (picture["reason"], *picture["problems"]):
            assert not UNPRINTABLE.search(line), line
    log = logged()
    assert r"caf\xe9_.png: cannot be read" in log and "Logging error" not in log
    # from 0.28 on ComfyUI writes in colours of its own
    assert not re.search("[\ud800-\udfff\u202e]", log) and BROKEN["an escape sequence"] not in log


@pytest.mark.parametrize("name", [name for name in BROKEN if name != "255 bytes"])
def test_a_picture_of_a_broken_name_goes_the_whole_way(server: "ComfyServer", tmp_path: Path, name: str):
    folder = tmp_path / f"data {BROKEN[name]}"
    folder.mkdir()
    Image.new("RGB", (64, 64)).save(folder / "one.png")
    (folder / "one.png").rename(folder / f"{BROKEN[name]}.png")
    server.run(segmented(folder))
    assert mask_path(folder / f"{BROKEN[name]}.png").is_file()
