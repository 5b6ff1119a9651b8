"""The demo's graphs and its drawn person are what they promise."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from semantic_focus.datasets.mask_file import mask_path, read_masks
from semantic_focus.datasets.ownership import ForeignMaskFileError, header_of_ours

REPO = Path(__file__).resolve().parents[3]
WORKFLOW = REPO / "workflows" / "api" / "train_person_lora.json"


@pytest.fixture(scope="module")
def load() -> Iterator[Callable[[str], Any]]:
    """Import a module of the checkout by its name."""
    sys.path.insert(0, str(REPO))
    try:
        yield importlib.import_module
    finally:
        sys.path.pop(0)


@pytest.fixture
def workflow(load: Callable[[str], Any]) -> dict[str, Any]:
    return load("demo.graphs").load_workflow(WORKFLOW)


def test_every_prompt_gets_noise_of_its_own_and_the_training_stays(
    load: Callable[[str], Any], workflow: dict[str, Any]
):
    graphs = load("demo.graphs")
    asked = graphs.with_prompts(workflow, Path("asked"), 24)
    assert asked[graphs.PROMPT]["inputs"]["text"] == [graphs.ASKED, 1]
    assert asked[graphs.ASKED]["inputs"]["folder"] == "asked"
    assert asked[graphs.EMPTY]["inputs"]["batch_size"] == 24
    assert asked[graphs.SAMPLE]["inputs"]["latent_image"] == [graphs.NOISES, 0]
    assert asked[graphs.TRAIN] == workflow[graphs.TRAIN]


def test_samples_of_the_base_model_need_nothing_of_the_training(
    load: Callable[[str], Any], workflow: dict[str, Any]
):
    graphs = load("demo.graphs")
    kept = graphs.without_lora(graphs.with_prompts(workflow, Path("asked"), 2))
    sources = {value[0] for node in kept.values() for value in node["inputs"].values() if type(value) is list}
    assert sources <= set(kept)
    assert not {graphs.TRAIN, graphs.SEGMENT, graphs.APPLY_LORA} & set(kept)


def test_a_mask_with_a_floor_is_a_base_loss_of_the_shared_objective(
    load: Callable[[str], Any], workflow: dict[str, Any]
):
    graphs, trainings = load("demo.graphs"), load("demo.trainings")
    floor = load("benchmarks.world.recipes").FLOOR.name
    graph = trainings.with_objective(workflow, floor)
    assert graph[graphs.TRAIN]["inputs"]["objective"] == [graphs.OPTIONS, 0]
    assert graph[graphs.OPTIONS]["inputs"]["base_mask_floor"] == 0.1
    assert graph[graphs.OPTIONS]["inputs"]["objective"] == [graphs.OBJECTIVE, 0]
    weights = {k: v for k, v in graph[graphs.OBJECTIVE]["inputs"].items() if k.endswith("_weight")}
    assert weights["face_weight"] == 1 and weights["prior_weight"] == weights["cosine_weight"] == 0


def test_a_value_that_no_node_takes_is_named(load: Callable[[str], Any], workflow: dict[str, Any]):
    with pytest.raises(KeyError, match="SemanticFocusTrain.*'stepz'"):
        load("demo.graphs").with_inputs(workflow, {"9": {"stepz": 3}})


def test_the_masks_of_the_drawn_person_are_exact_and_count_as_made_by_hand(
    load: Callable[[str], Any], tmp_path: Path
):
    person, persons = load("demo.person"), load("benchmarks.world.persons")
    drawing = load("benchmarks.world.drawing")
    for _ in range(2):  # a second run makes the folder anew
        person.write_training(person.PERSON, 3, tmp_path / "training")
    _, masks = drawing.draw(persons.training_figures(person.PERSON, 3), seed=9)
    pictures = sorted((tmp_path / "training").glob("*.png"))
    assert [path.with_suffix(".txt").read_text() for path in pictures] == ["person sks"] * 3
    for path, expected in zip(pictures, masks, strict=True):
        kept = read_masks(mask_path(path))
        assert kept.labels == drawing.REGIONS
        assert torch.allclose(kept.masks[0], expected, atol=1e-3), "as fp16 holds them"
        with pytest.raises(ForeignMaskFileError):
            header_of_ours(mask_path(path))


def test_the_captions_ask_for_scenes_that_share_nothing_with_the_training_pictures(
    load: Callable[[str], Any], tmp_path: Path
):
    person = load("demo.person")
    scenes = load("benchmarks.world.persons").other_scenes(person.PERSON, 4)
    pixels = person.write_asked(person.PERSON, scenes, tmp_path / "asked")
    captions = [path.read_text() for path in sorted((tmp_path / "asked").glob("*.txt"))]
    for text, scene in zip(captions, scenes, strict=True):
        assert text.startswith("person sks, ") and f"{scene.hair_colour} {scene.hair} hair" in text
    assert Image.open(tmp_path / "asked" / "01.png").size == (pixels.shape[2], pixels.shape[1])
