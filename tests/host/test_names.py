"""File names that are not UTF-8: what is said of them can be printed, and the server goes on."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch

from semantic_focus.datasets.mask_file import save_masks

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
    with pytest.raises(comfy.PromptFailed) as failure:
        server.run(segmented(folder))
    message = failure.value.exception
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
