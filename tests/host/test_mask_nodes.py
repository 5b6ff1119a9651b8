"""Masks between nodes: chosen persons, refinement, ComfyUI's own MASK, mask pictures of other trainers."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.categories import SEMANTIC_CATEGORIES
from semantic_focus.comfy.segmenters import BACKENDS
from semantic_focus.datasets.mask_file import read_masks, save_masks
from semantic_focus.regions.masks import SemanticMasks

from .graphs import Graph, node

if TYPE_CHECKING:
    from host.serve import ComfyServer


def saved(source: str, output: int = 0) -> Graph:
    """Core's nodes that save a MASK; its picture comes out of node "save"."""
    return {
        "as_image": node("MaskToImage", mask=[source, output]),
        "save": node("SaveImage", images=["as_image", 0], filename_prefix="mask"),
    }


def pixels(server: "ComfyServer", outputs: dict[str, Any]) -> np.ndarray:
    """uint8[B, H, W] of the saved mask pictures."""
    files = [server.view(image) for image in outputs["save"]["images"]]
    return np.stack([np.asarray(Image.open(io.BytesIO(file)).convert("L")) for file in files])


@pytest.fixture
def two_men(server: "ComfyServer", photographs: Path) -> Graph:
    """Two men side by side, segmented."""
    photograph = Image.open(photographs / "zidane.jpg")
    photograph.reduce(2).save(server.base_directory / "input" / "two_men.jpg", quality=95)
    return {
        "picture": node("LoadImage", image="two_men.jpg"),
        "segment": node(
            "SemanticFocusSegment",
            images=["picture", 0],
            backend="mediapipe",
            refine="fast",
            keywords="\n".join(f"{name}:" for name in SEMANTIC_CATEGORIES),
        ),
    }


def test_persons_are_chosen_refined_and_handed_to_cores_nodes(server: "ComfyServer", two_men: Graph):
    def faces(which: str) -> tuple[np.ndarray, dict[str, Any]]:
        graph = {
            **two_men,
            "select": node(
                "SemanticFocusSelectPersons", masks=["segment", 0], which=which, images=["picture", 0]
            ),
            "refine": node(
                "SemanticFocusRefine",
                images=["picture", 0],
                masks=["select", 0],
                mode="fine",
                max_hole=50,
                min_area=50,
                grow=2.0,
                lighting_strength=0.0,
            ),
            "mask": node(
                "SemanticFocusToMask", masks=["refine", 0], weights="face: 1\nhair: 0.5", global_fallback=0.0
            ),
            "preview": node("MaskPreview", mask=["mask", 0]),
            **saved("mask"),
        }
        outputs = server.run(graph)["outputs"]
        assert server.view(outputs["preview"]["images"][0]).startswith(b"\x89PNG")
        return pixels(server, outputs)[0], outputs

    (left, outputs), (right, _), (both, _) = faces("1"), faces("2"), faces("all")
    height, width = left.shape
    assert (width, height) == Image.open(server.base_directory / "input" / "two_men.jpg").size
    columns = [np.average(np.arange(width), weights=mask.sum(0)) for mask in (left, right)]
    assert columns[0] + 0.1 * width < columns[1]
    # each man has pixels of his own, and together they are both
    np.testing.assert_allclose(np.maximum(left, right).sum() / both.sum(), 1, atol=0.02)
    assert [preview["persons"] for preview in outputs["segment"]["semantic_focus"]] == [2]
    assert [preview["persons"] for preview in outputs["select"]["semantic_focus"]] == [1]
    shown = {region["name"]: region for region in outputs["refine"]["semantic_focus"][0]["regions"]}
    assert shown["lighting"]["coverage"] == 0
    assert 0 < shown["face"]["coverage"] < 0.3
    assert outputs["refine"]["semantic_focus"][0]["backend"] == "mediapipe"


def test_a_person_who_is_not_there_gives_empty_masks_and_a_note(server: "ComfyServer", two_men: Graph):
    graph = {
        **two_men,
        "number": node("PrimitiveString", value="5"),
        "weights": node("PrimitiveString", value="background: 1"),
        "select": node("SemanticFocusSelectPersons", masks=["segment", 0], which=["number", 0]),
        "mask": node("SemanticFocusToMask", masks=["select", 0], weights=["weights", 0], global_fallback=0.0),
        **saved("mask"),
    }
    outputs = server.run(graph)["outputs"]
    assert pixels(server, outputs).min() == 255
    assert outputs["select"]["text"] == ["picture 1 has 2 persons: number 5 from the left is not in it"]


def test_bad_choices_are_rejected_before_anything_runs(server, comfy, two_men):
    graph = {
        **two_men,
        "select": node("SemanticFocusSelectPersons", masks=["segment", 0], which="the tall one"),
    }
    with pytest.raises(comfy.PromptRejected, match="(?s)1 is the leftmost.*the tall one"):
        server.queue(graph)
    graph = {
        **two_men,
        "mask": node("SemanticFocusToMask", masks=["segment", 0], weights="face 1", global_fallback=0.0),
        **saved("mask"),
    }
    with pytest.raises(comfy.PromptRejected, match="line 1: 'face 1'"):
        server.queue(graph)


def test_any_mask_becomes_a_category(server: "ComfyServer"):
    graph = {
        "solid": node("SolidMask", value=1.0, width=40, height=24),
        "category": node(
            "SemanticFocusFromMask", mask=["solid", 0], name="tattoo", merge="one mask per picture"
        ),
        "mask": node(
            "SemanticFocusToMask", masks=["category", 0], weights="tattoo: 0.4", global_fallback=0.0
        ),
        **saved("mask"),
    }
    mask = pixels(server, server.run(graph)["outputs"])
    assert mask.shape == (1, 24, 40)
    assert np.unique(mask).tolist() == [102]  # 0.4 of 255


def test_several_masks_of_one_picture_are_joined(server: "ComfyServer", comfy: ModuleType):
    graph = {
        "black": node("EmptyImage", width=16, height=8, batch_size=1, color=0),
        "white": node("EmptyImage", width=16, height=8, batch_size=1, color=0xFFFFFF),
        "both": node("ImageBatch", image1=["black", 0], image2=["white", 0]),
        "masks": node("ImageToMask", image=["both", 0], channel="red"),
        "one": node("SolidMask", value=0.0, width=16, height=8),
        "hair": node("SemanticFocusFromMask", mask=["one", 0], name="hair", merge="one mask per picture"),
        "face": node(
            "SemanticFocusFromMask",
            mask=["masks", 0],
            name="face",
            merge="all masks are of one picture",
            masks=["hair", 0],
        ),
        "mask": node("SemanticFocusToMask", masks=["face", 0], weights="face: 1", global_fallback=0.0),
        **saved("mask"),
    }
    mask = pixels(server, server.run(graph)["outputs"])
    assert mask.shape == (1, 8, 16) and mask.min() == 255
    graph["face"]["inputs"]["merge"] = "one mask per picture"
    with pytest.raises(comfy.PromptFailed, match="face: 2 masks for 1 pictures.*merge"):
        server.run(graph)


def test_a_face_drawn_by_hand_takes_its_pixels_from_the_others(server, comfy, two_men):
    width, height = Image.open(server.base_directory / "input" / "two_men.jpg").size
    graph = {
        **two_men,
        "solid": node("SolidMask", value=1.0, width=width, height=height),
        "face": node(
            "SemanticFocusFromMask",
            mask=["solid", 0],
            name="face",
            merge="one mask per picture",
            masks=["segment", 0],
        ),
        "mask": node(
            "SemanticFocusToMask",
            masks=["face", 0],
            weights="hair: 1\nclothing: 1\nbody: 1\nbackground: 1\nface: 0.2",
            global_fallback=0.0,
        ),
        **saved("mask"),
    }
    assert np.unique(pixels(server, server.run(graph)["outputs"])).tolist() == [51]  # 0.2 of 255
    graph["solid"]["inputs"]["width"] = 64
    with pytest.raises(
        comfy.PromptFailed, match=f"the mask is 64x{height} but the pictures are {width}x{height}"
    ):
        server.run(graph)


def test_masks_of_another_trainer_come_in_the_order_of_the_pictures(
    server: "ComfyServer", comfy: ModuleType, tmp_path: Path, logged: Callable[[], str]
):
    for name, value in (("b", 51), ("a", 204)):
        Image.new("RGB", (20, 10)).save(tmp_path / f"{name}.jpg")
        Image.new("L", (20, 10), value).save(tmp_path / f"{name}-masklabel.png")
    graph = {
        "masks": node(
            "SemanticFocusLoadMaskPictures", folder=str(tmp_path), form="masklabel", mask_folder=""
        ),
        "category": node(
            "SemanticFocusFromMask", mask=["masks", 0], name="sword", merge="one mask per picture"
        ),
        "mask": node("SemanticFocusToMask", masks=["category", 0], weights="sword: 1", global_fallback=0.0),
        **saved("mask"),
    }
    masks = pixels(server, server.run(graph)["outputs"])
    assert [np.unique(mask).tolist() for mask in masks] == [[204], [51]]
    Image.new("L", (20, 10), 1).save(tmp_path / "b-masklabel.png")
    Image.new("L", (20, 10), 0).save(tmp_path / "a-masklabel.png")
    outputs = server.run(graph)["outputs"]
    assert [np.unique(mask).tolist() for mask in pixels(server, outputs)] == [[0], [255]]
    for said in (
        "b.jpg",
        "its values go up to 1",
        "1 of 2 masks are black all over, and train nothing: a.jpg",
    ):
        assert said in outputs["masks"]["text"][0] and said in logged()
    (tmp_path / "b-masklabel.png").unlink()
    with pytest.raises(comfy.PromptFailed, match=r"b-masklabel\.png: no mask of b\.jpg there"):
        server.run(graph)


def test_masks_of_photographs_that_are_stored_turned_are_taken_as_they_are_said_to_be(
    server: "ComfyServer", comfy: ModuleType, tmp_path: Path
):
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    (tmp_path / "masks").mkdir()
    mask = Image.new("L", (20, 10))
    mask.paste(255, (0, 0, 20, 4))
    for name in ("a", "b"):
        Image.new("RGB", (20, 10)).save(tmp_path / f"{name}.jpg", exif=exif)
        mask.save(tmp_path / "masks" / f"{name}.png")
    inputs = {"folder": str(tmp_path), "form": "folder", "mask_folder": str(tmp_path / "masks")}
    graph = {"masks": node("SemanticFocusLoadMaskPictures", **inputs), **saved("masks")}
    with pytest.raises(comfy.PromptFailed, match=r"a\.jpg, b\.jpg: stored turned.*'as stored'"):
        server.run(graph)
    for said, white in (("upright", slice(0, 4)), ("as stored", slice(6, 10))):
        graph["masks"]["inputs"]["orientation"] = said
        found = pixels(server, server.run(graph)["outputs"])
        assert found[:, white].min() == 255 and found.sum() == 2 * 4 * 20 * 255


def test_every_backend_can_be_chosen_and_its_weights_have_a_folder(server: "ComfyServer"):
    inputs = server.object_info("SemanticFocusSegment")["SemanticFocusSegment"]["input"]
    backend = inputs["required"]["backend"]
    options = backend[1].get("options") or backend[0]
    assert options == ["auto", *BACKENDS]
    for name, entry in BACKENDS.items():
        assert entry.description in backend[1]["tooltip"], name
    assert "keep_overlaps" in inputs["optional"]


def test_a_folder_is_cached_with_a_report_and_the_second_run_finds_nothing_to_do(
    server: "ComfyServer", photographs: Path, tmp_path: Path
):
    folder = tmp_path / "my pictures"
    folder.mkdir()
    with Image.open(photographs / "astronaut.png") as picture:
        for side in (96, 160):
            picture.resize((side, side)).save(folder / f"astronaut {side}.png")
    (folder / "broken.png").write_bytes(b"not a picture")
    graph = {
        "cache": node(
            "SemanticFocusCacheDataset",
            folder=str(folder),
            backend="mediapipe",
            refine="fast",
            keywords="face: face\nhair: hair\nbackground: background",
            recursive=False,
            force=False,
        ),
        "sheet": node("PreviewImage", images=["cache", 0]),
    }
    outputs = server.run(graph)["outputs"]
    (text,) = outputs["cache"]["text"]
    assert "2 segmented, 1 failed (mediapipe)" in text and "broken.png" in text
    page = Path(text.splitlines()[-1])
    assert page.suffix == ".html" and "astronaut 96.png" in page.read_text(encoding="utf-8")
    sheet = Image.open(io.BytesIO(server.view(outputs["sheet"]["images"][0])))
    assert sheet.width > 300 and sheet.height > 200
    for side in (96, 160):
        masks = read_masks(folder / f"astronaut {side}_zi_masks.safetensors")
        assert masks.labels == ("face", "hair", "background") and masks.size == (side, side)

    (again,) = server.run(graph)["outputs"]["cache"]["text"]
    assert "2 fresh, 1 failed (mediapipe)" in again


def test_cancel_ends_the_writing_of_the_report_and_leaves_no_half_of_it(
    server: "ComfyServer",
    comfy: ModuleType,
    photographs: Path,
    tmp_path: Path,
    eventually: Callable,
    logged: Callable,
):
    folder = tmp_path / "made by hand"
    folder.mkdir()
    with Image.open(photographs / "astronaut.png") as picture:
        picture.convert("RGB").resize((1600, 1600)).save(folder / "0.jpg")
    by_hand = SemanticMasks(torch.ones(1, 1, 1600, 1600), ("face",))
    save_masks(folder / "0_zi_masks.safetensors", by_hand)
    for number in range(1, 16):
        for ending in (".jpg", "_zi_masks.safetensors"):
            shutil.copy(folder / f"0{ending}", folder / f"{number}{ending}")
    reports = server.base_directory / "output" / "semantic_focus"
    settings = {"backend": "mediapipe", "refine": "off", "keywords": "face: face", "report": True}
    queued = server.queue({"cache": node("SemanticFocusCacheDataset", folder=str(folder), **settings)})
    eventually(lambda: "writing the report of 16 pictures" in logged())
    server.interrupt()
    with pytest.raises(comfy.PromptInterrupted, match="SemanticFocusCacheDataset"):
        server.wait(queued)
    (sheet,) = (path for path in reports.iterdir() if "made by hand" in path.name)
    with Image.open(sheet) as picture:
        assert sheet.suffix == ".png" and picture.width > 1000
    assert not [*reports.glob(".*.part")]
