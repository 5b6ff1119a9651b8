"""The ablation benchmark measures what it says."""

import importlib
import itertools
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.training.trainer import TrainingPictures


@pytest.fixture(scope="module")
def load():
    """Import a module of the folder benchmarks by its name."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    try:
        yield lambda name: importlib.import_module(f"benchmarks.{name}")
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def measure(load) -> ModuleType:
    return load("ablation_measure")


@pytest.fixture
def flow(load) -> Any:
    torch.manual_seed(0)
    small_flow = load("small_flow")
    model = small_flow.SmallTransformer(small_flow.Pretraining(width=32, depth=1, heads=1), ["man", "sks"])
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return small_flow.CaptionedFlow(model.requires_grad_(False), ["sks man"] * 2)


@pytest.fixture
def adapters(flow) -> LoraAdapters:
    return LoraAdapters(linear_layers(flow.model), AdapterSettings(rank=2, alpha=2), seed=0)


@pytest.fixture
def pictures() -> TrainingPictures:
    face = torch.zeros(1, 16, 16)
    face[:, :8] = 1
    latents = torch.randn(2, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    return TrainingPictures(tuple(latents), (face, face), ("face",))


def make_different(adapters: LoraAdapters) -> None:
    for parameter in adapters.parameters():
        parameter.data += 0.1


def test_a_lora_that_has_not_learnt_drifts_by_nothing(measure, flow, adapters, pictures):
    errors = measure.measure_errors(flow, adapters, pictures)
    assert errors.drift == errors.face_change == (0.0,) * len(measure.SIGMAS)


def test_face_and_rest_together_are_the_error_of_the_whole(measure, flow, adapters, pictures):
    make_different(adapters)
    errors = measure.measure_errors(flow, adapters, pictures)
    whole = TrainingPictures(pictures.latents, tuple(torch.ones_like(m) for m in pictures.masks), ("face",))
    everywhere = measure.measure_errors(flow, adapters, whole)
    for face, rest, together in zip(errors.face, errors.rest, everywhere.face, strict=True):
        assert (face + rest) / 2 == pytest.approx(together, rel=1e-5)
    assert min(errors.drift) > 0


def test_diversity_is_the_mean_squared_distance_of_pairs_outside_the_face(measure, flow, adapters, pictures):
    make_different(adapters)
    measured, samples = measure.measure_samples(flow, adapters, pictures)
    free = samples[:, :, 8:]
    pairs = [(a - b).square().mean().item() for a, b in itertools.combinations(free, 2)]
    assert len(pairs) == measure.SAMPLES * (measure.SAMPLES - 1) / 2
    assert measured.diversity == pytest.approx(sum(pairs) / len(pairs), rel=1e-4)
    assert measured.change > 0


def test_only_the_prior_tells_the_points_of_a_front_apart(load):
    objectives = load("ablation_objectives")
    fronts: dict[str, set] = {}
    for variant in (*objectives.CORE, *objectives.MORE):
        if variant.front:
            assert variant.objective is not None
            same = replace(variant.objective, prior_weight=0.0)
            fronts.setdefault(variant.front, set()).add(repr(same))
    assert {front: len(kinds) for front, kinds in fronts.items()} == dict.fromkeys(fronts, 1)
    assert len(fronts) == 2


def test_every_ratio_is_to_the_baseline_of_the_same_person_and_seed(load, measure):
    variants = {variant.name: variant for variant in load("ablation_objectives").CORE}

    def result(seed: int, name: str, face: float) -> Any:
        errors = measure.Errors((face,), (1.0,), (0.0,), (0.0,))
        return measure.Result("biden", seed, name, 1, 0.0, errors, errors, measure.Samples(1.0, 1.0, 0.0))

    found = load("ablation_report").ratios(
        [
            result(1, "MSE", 1.0),
            result(1, "MSE + global cosine", 2.0),
            result(2, "MSE", 3.0),
            result(2, "MSE + global cosine", 4.0),
            result(3, "MSE", 5.0),
        ],
        variants,
        lambda errors: errors.face,
    )
    assert found["MSE"] == [0.5, 0.75]
