"""Masks that a node shows are mended, and what a person made reaches the nodes after it."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.datasets.mask_file import mask_path, read_header, read_masks
from semantic_focus.datasets.mask_header import by_hand_of

from .graphs import Graph, lora_of, node, on, only, picture, pixels, same, train, up_to
from .test_dataset_routes import post
from .test_mend_routes import layers, mend, save

if TYPE_CHECKING:
    from host.serve import ComfyServer

KEYWORDS = "face: face\nhair: hair\nclothing: shirt\nbody: skin\nbackground: wall"
SIDE = 320


@pytest.fixture
def woman(server: "ComfyServer", one_woman: Path, tmp_path: Path) -> Path:
    """A folder of its own with one picture of `one_woman`, which ComfyUI also has as an input."""
    shutil.copy(one_woman / "one.png", tmp_path / "one.png")
    (tmp_path / "one.txt").write_text("a woman")
    shutil.copy(one_woman / "one.png", server.base_directory / "input" / "one woman.png")
    return tmp_path / "one.png"


def segmented(mask_file: Path | None = None, keywords: str = KEYWORDS) -> Graph:
    given = {} if mask_file is None else {"mask_file": ["file", 0]}
    named = {} if mask_file is None else {"file": node("PrimitiveString", value=str(mask_file))}
    return {
        "picture": node("LoadImage", image="one woman.png"),
        **named,
        "segment": node(
            "SemanticFocusSegment",
            images=["picture", 0],
            backend="mediapipe",
            refine="off",
            keywords=keywords,
            **given,
        ),
    }


def shown(server: "ComfyServer", graph: Graph, name: str = "segment") -> dict[str, Any]:
    return server.run(graph)["outputs"][name]["semantic_focus"][0]


def a_square(value: int = 255) -> tuple[np.ndarray, np.ndarray]:
    """Values and where they are decided: a square in the corner."""
    values, said = np.zeros((2, SIDE, SIDE), np.uint8)
    values[:40, :40], said[:40, :40] = value, 255
    return values, said


@pytest.mark.parametrize("with_file", [True, False])
def test_what_a_node_shows_is_mended_and_the_node_runs_again(
    server: "ComfyServer", woman: Path, with_file: bool
):
    graph = segmented(mask_path(woman) if with_file else None)
    preview = node("SemanticFocusPreview", images=["picture", 0], masks=["segment", 0], opacity=0.5)
    before = shown(server, {**graph, "preview": preview}, "preview")
    assert before["why_not"] == "" and before["by_hand"] == [] and set(before["place"]) == {"shown"}
    opened = mend(server, "open", place=before["place"])
    assert (opened["width"], opened["height"]) == (SIDE, SIDE)
    saved = save(server, before["place"], opened["stamp"], clothing=a_square())
    assert saved["by_hand"] == ["clothing"]
    after = shown(server, graph)
    assert after["by_hand"] == ["clothing"] and after["cache"] == "1/1"
    corner = pixels(picture(server, after["map"]))[:40, :40, 0]
    number = [one["name"] for one in after["regions"]].index("clothing") + 1
    assert (corner == number * (255 // 5)).all()
    # other words: segmented again around it
    fewer = shown(server, segmented(mask_path(woman) if with_file else None, "face: face\nclothing: shirt"))
    assert fewer["by_hand"] == ["clothing"]
    again = mend(server, "open", place=after["place"])
    assert again["by_hand"] == ["clothing"]
    taken = mend(server, "take_back", place=after["place"], stamp=again["stamp"], regions=["clothing"])
    assert taken["by_hand"] == []
    last = shown(server, graph)
    assert last["by_hand"] == [] and last["regions"] == before["regions"]
    assert last["place"] == before["place"]


def test_a_mask_of_comfyui_becomes_one_region_by_hand_and_the_file_a_hit(server: "ComfyServer", woman: Path):
    """Segment -> Mask To Category -> Save Mask Cache, twice, with another region."""
    file, whole = mask_path(woman), Image.new("L", (SIDE, SIDE))
    whole.paste(255, (0, 0, 100, 100))
    whole.save(server.base_directory / "input" / "corner.png")

    def corrected(name: str) -> Graph:
        return {
            **segmented(file),
            "drawn": node("LoadImageMask", image="corner.png", channel="red"),
            "correct": node(
                "SemanticFocusFromMask",
                mask=["drawn", 0],
                name=name,
                merge="one mask per picture",
                masks=["segment", 0],
            ),
            "save": node("SemanticFocusSaveMasks", masks=["correct", 0], mask_file=str(file)),
            "show": node("SemanticFocusPreview", images=["picture", 0], masks=["correct", 0], opacity=0.5),
        }

    first = server.run(corrected("hair"))["outputs"]["show"]["semantic_focus"][0]
    assert first["place"] is None and "not saved" in first["why_not"]
    header, masks = read_header(file), read_masks(file)
    assert by_hand_of(header) == ("hair",) and "image_digest" in header
    hair = masks.region("hair")[0]
    assert hair.sum() == hair[:100, :100].sum() == 100 * 100
    hit = shown(server, segmented(file))
    assert hit["cache"] == "1/1" and hit["by_hand"] == ["hair"] and hit["backend"] == "mediapipe"
    server.run(corrected("clothing"))
    assert by_hand_of(read_header(file)) == ("hair", "clothing")
    masks = read_masks(file)
    assert masks.region("clothing")[0, :100, :100].min() == 1 and masks.region("hair").max() == 0
    told = server.run(
        {
            "cache": node(
                "SemanticFocusCacheDataset",
                folder=str(woman.parent),
                backend="mediapipe",
                refine="off",
                keywords=KEYWORDS,
                force=True,
                report=False,
            )
        }
    )["outputs"]["cache"]["semantic_focus_masks"][0]
    assert told["counts"] == {"segmented": 1}
    made = read_masks(file)
    assert all(torch.equal(made.region(label), masks.region(label)) for label in masks.labels)
    assert by_hand_of(read_header(file)) == ("hair", "clothing")


@pytest.mark.parametrize("change", ["SemanticFocusSelectPersons", "SemanticFocusRefine"])
def test_masks_that_are_no_segmenters_any_more_say_where_to_mend(
    server: "ComfyServer", woman: Path, change: str
):
    refine = {"mode": "fast", "max_hole": 0, "min_area": 0, "grow": 1.0, "lighting_strength": 1.0}
    inputs = {"which": "1"} if "Persons" in change else refine
    graph = {
        **segmented(mask_path(woman)),
        "change": node(change, masks=["segment", 0], images=["picture", 0], **inputs),
        "same": node("SemanticFocusPreview", images=["picture", 0], masks=["segment", 0], opacity=0.5),
    }
    outputs = server.run(graph)["outputs"]
    found = {name: outputs[name]["semantic_focus"][0] for name in ("segment", "change", "same")}
    assert found["change"]["place"] is None and "SAM Semantic Segment" in found["change"]["why_not"]
    assert found["same"]["place"] == found["segment"]["place"] != None  # noqa: E711


def test_training_takes_what_a_person_mended_as_if_a_node_had_made_it(
    server: "ComfyServer", training: Graph, woman: Path, run_name: str
):
    """The LoRA is the same, bit for bit."""
    graph = on(training, woman.parent)
    names = {it["class_type"]: name for name, it in graph.items()}
    segment = names["SemanticFocusSegment"]
    server.run(only(graph, segment))
    where = {"folder": str(woman.parent), "name": "one.png"}
    post(server, "dataset", {"folder": str(woman.parent)})
    opened = mend(server, "open", place=where)
    value = layers(server, where, opened)["value"][[one["name"] for one in opened["labels"]].index("hair")]
    corner = value.copy()
    corner[:100, :100] = 255
    Image.fromarray(corner).save(server.base_directory / "input" / "mended hair.png")
    by_node = {
        **up_to(graph, len(graph)),
        "drawn": node("LoadImageMask", image="mended hair.png", channel="red"),
        "correct": node(
            "SemanticFocusFromMask",
            mask=["drawn", 0],
            name="hair",
            merge="one mask per picture",
            masks=[segment, 0],
        ),
    }
    for name, it in by_node.items():
        if name != "correct":
            for key, link in it["inputs"].items():
                if link == [segment, 0]:
                    it["inputs"][key] = ["correct", 0]
    plain, _ = train(server, up_to(graph, len(graph)), f"{run_name}_plain")
    made, _ = train(server, by_node, f"{run_name}_node")
    save(server, where, opened["stamp"], hair=(corner, np.full_like(corner, 255)))
    mended, _ = train(server, up_to(graph, len(graph)), f"{run_name}_mended")
    assert same(lora_of(made), lora_of(mended)) and not same(lora_of(made), lora_of(plain))
