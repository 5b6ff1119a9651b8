"""Export Masks: which files it writes for which trainer, and what it leaves alone."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.datasets.mask_file import mask_path, save_masks
from semantic_focus.regions.masks import SemanticMasks

from .graphs import Graph, failure, node

if TYPE_CHECKING:
    from host.serve import ComfyServer

TURNED = 3
"""EXIF orientation of a photograph that is stored upside down."""


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """a.jpg, stored upside down, and b.png, both 20x10 as they are shown; the face is their upper 4 rows."""
    folder = tmp_path / "album"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = TURNED
    Image.new("RGB", (20, 10), "navy").save(folder / "a.jpg", exif=exif)
    Image.new("RGB", (20, 10), "teal").save(folder / "b.png")
    masks = torch.zeros(1, 2, 10, 20)
    masks[0, 0, :4], masks[0, 1, 4:] = 1, 1
    for name in ("a.jpg", "b.png"):
        save_masks(mask_path(folder / name), SemanticMasks(masks, ("face", "hair")))
    return folder


def export(album: Path, **inputs: Any) -> Graph:
    """Export Masks for an album."""
    values = {"form": "masklabel", "mask_folder": "", "weights": "face: 1", "global_fallback": 0.0}
    return {
        "album": node("SemanticFocusLoadDataset", folder=str(album), default_caption="somebody"),
        "export": node("SemanticFocusExportMasks", **{"mask_file": ["album", 2], **values, **inputs}),
    }


def white_rows(file: Path) -> list[int]:
    """The rows that are white, of a mask picture that has no others but black ones."""
    with Image.open(file) as picture:
        grey = np.asarray(picture.getchannel("A") if picture.mode == "RGBA" else picture)
    assert np.unique(grey).tolist() == [0, 255]
    return np.flatnonzero(grey.min(1) == 255).tolist()


UPPER, LOWER = [0, 1, 2, 3], [6, 7, 8, 9]


@pytest.mark.parametrize(
    ("form", "orientation", "names", "turned"),
    [
        ("masklabel", "by form", ["a-masklabel.png", "b-masklabel.png"], UPPER),
        ("folder", "by form", ["a.png", "b.png"], LOWER),
        ("folder", "upright", ["a.png", "b.png"], UPPER),
        ("folder", "as stored", ["a.png", "b.png"], LOWER),
        ("alpha", "by form", ["a.png", "b.png"], UPPER),
    ],
)
def test_each_trainer_gets_masks_named_and_turned_as_it_reads_them(
    server: "ComfyServer",
    album: Path,
    tmp_path: Path,
    form: str,
    orientation: str,
    names: list[str],
    turned: list[int],
):
    to = album if form == "masklabel" else tmp_path / "masks"
    chosen = "" if form == "masklabel" else str(to)
    shown = server.run(export(album, form=form, mask_folder=chosen, orientation=orientation))["outputs"]
    assert [white_rows(to / name) for name in names] == [turned, UPPER]
    assert shown["export"]["text"] == [f"2 mask pictures in {to}"]
    assert len(shown["export"]["images"]) == 2


def test_masks_of_the_graph_are_written_instead_of_those_of_the_files(server: "ComfyServer", album: Path):
    graph = export(album, form="masklabel", weights="hair: 1\nhat: 1", masks=["hat", 0])
    graph["masks"] = node("SemanticFocusLoadMasks", mask_file=["album", 2])
    graph["solid"] = node("SolidMask", value=0.0, width=20, height=10)
    graph["hat"] = node(
        "SemanticFocusFromMask",
        mask=["solid", 0],
        name="hat",
        merge="one mask per picture",
        masks=["masks", 0],
    )
    server.run(graph)
    assert white_rows(album / "b-masklabel.png") == [4, 5, 6, 7, 8, 9]
    graph["export"]["inputs"]["weights"] = "hat: 1"
    shown = server.run(graph)["outputs"]["export"]["text"][0]
    assert "2 of 2 masks are black all over, and train nothing: a-masklabel.png, b-masklabel.png" in shown


def test_an_export_is_made_anew_when_a_mask_changes_or_a_file_is_gone(server: "ComfyServer", album: Path):
    graph = export(album)
    server.run(graph)
    before = (album / "b-masklabel.png").stat().st_mtime_ns
    server.run(graph)
    assert (album / "b-masklabel.png").stat().st_mtime_ns == before
    mask_path(album / "b.png").unlink()
    save_masks(mask_path(album / "b.png"), SemanticMasks(torch.ones(1, 1, 10, 20), ("face",)))
    (album / "a-masklabel.png").unlink()
    server.run(graph)
    assert white_rows(album / "a-masklabel.png") == UPPER
    with Image.open(album / "b-masklabel.png") as picture:
        assert picture.getextrema() == (255, 255)


def test_a_name_is_a_folder_below_the_output_folder(server: "ComfyServer", album: Path):
    server.run(export(album, form="folder", mask_folder="for_sd/my album"))
    assert white_rows(server.base_directory / "output" / "for_sd" / "my album" / "b.png") == UPPER


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"form": "folder", "mask_folder": "../masks"}, "it leads out of ComfyUI's output folder"),
        ({"form": "folder", "mask_folder": "/proc/masks"}, "give a path outside /dev, /proc, /sys"),
        ({"form": "folder", "mask_folder": "{album}"}, "would be taken for one of them"),
        ({"form": "folder", "mask_folder": "{album.parent}/no/such"}, "there is no folder"),
        ({"form": "masklabel", "orientation": "as stored"}, "masks of the form 'masklabel' are upright"),
        ({"weights": "face 1"}, "line 1: 'face 1'"),
        ({"weights": "nose: 1"}, "no category 'nose' in these masks"),
        ({"mask_file": "{album}/c_zi_masks.safetensors"}, "there is no picture beside it"),
        ({"masks": ["one", 0]}, "1 came in for 2 pictures"),
    ],
)
def test_what_cannot_be_exported_is_said_and_nothing_is_written(
    server: "ComfyServer", comfy: ModuleType, album: Path, inputs: dict[str, Any], said: str
):
    inputs = {key: value.format(album=album) if key != "masks" else value for key, value in inputs.items()}
    graph = export(album, **inputs)
    graph["one"] = node("SemanticFocusLoadMasks", mask_file=str(mask_path(album / "a.jpg")))
    before = sorted(album.rglob("*"))
    assert said in failure(server, comfy, graph)
    assert sorted(album.rglob("*")) == before


def test_mask_pictures_that_somebody_made_stay_and_so_does_everything_else(
    server: "ComfyServer", comfy: ModuleType, album: Path
):
    Image.new("L", (20, 10), 77).save(album / "b-masklabel.png")
    before = (album / "b-masklabel.png").read_bytes()
    said = failure(server, comfy, export(album))
    assert "b-masklabel.png: it was made by hand or by another program, and is never replaced" in said
    assert (album / "b-masklabel.png").read_bytes() == before
    assert not (album / "a-masklabel.png").exists()
