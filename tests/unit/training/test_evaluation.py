"""The before-and-after comparison against a loop over every picture, position, region and cell."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.training.evaluation import RegionChange, compare, format_table, predictions
from semantic_focus.training.trainer import TrainingPictures

POSITIONS = (0.3, 0.8)


def adapters_of(model: nn.Module, size: float) -> LoraAdapters:
    """Random contents of this size; 0 is an untrained adapter."""
    adapters = LoraAdapters(linear_layers(model, "all linear layers"), AdapterSettings(rank=2, alpha=2.0), 0)
    generator = torch.Generator().manual_seed(3)
    if size:
        with torch.no_grad():
            for parameter in adapters.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * size)
    return adapters


@pytest.fixture
def uneven(data: TrainingPictures) -> TrainingPictures:
    """Soft masks that leave a residual; the second picture has no hair, nobody has a sword."""
    generator = torch.Generator().manual_seed(9)
    masks = []
    for index in range(2):
        mask = torch.rand(3, 8, 8, generator=generator) * 0.5
        mask[2] = 0
        if index == 1:
            mask[1] = 0
        masks.append(mask)
    return TrainingPictures(data.latents[:2], tuple(masks), ("face", "hair", "sword"))


def naive(model, adapters: LoraAdapters, data: TrainingPictures, seed: int) -> dict[str, RegionChange]:
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in (*data.labels, "residual")}
    cover: dict[str, list[float]] = {name: [] for name in found}
    for index, (clean, masks) in enumerate(zip(data.latents, data.masks, strict=True)):
        planes = dict(zip(data.labels, masks, strict=True))
        planes["residual"] = 1 - masks.sum(0).clamp(max=1)
        for name, plane in planes.items():
            cover[name].append(plane.mean().item())
        for position in POSITIONS:
            noise = torch.randn(1, *clean.shape, generator=generator)[0]
            noisy = (position * noise + (1 - position) * clean)[None]
            target = noise - clean
            before = model.predict(noisy, torch.tensor([position]), [index])[0]
            with adapters.attached():
                after = model.predict(noisy, torch.tensor([position]), [index])[0]
            for name, plane in planes.items():
                if not plane.any():
                    continue
                size = plane.sum() * len(clean)
                flat = [(v * plane.sqrt()).flatten() for v in (before, after, target)]
                found[name].append(
                    (
                        ((before - target).square() * plane).sum().item() / size.item(),
                        ((after - target).square() * plane).sum().item() / size.item(),
                        1 - nn.functional.cosine_similarity(flat[0], flat[2], dim=0).item(),
                        1 - nn.functional.cosine_similarity(flat[1], flat[2], dim=0).item(),
                        ((before - after).square() * plane).sum().item() / size.item(),
                    )
                )
    return {
        name: RegionChange(
            name,
            sum(cover[name]) / len(cover[name]),
            *(sum(column) / len(column) for column in zip(*rows, strict=True)) if rows else [math.nan] * 5,
        )
        for name, rows in found.items()
    }


def changes(model, adapters: LoraAdapters, data: TrainingPictures, seed: int = 3) -> list[RegionChange]:
    before = predictions(model, data, seed, POSITIONS)
    with adapters.attached():
        return compare(before, model, data)


def test_every_number_is_that_of_the_slow_loop(model, uneven: TrainingPictures):
    adapters = adapters_of(model, 0.2)
    with torch.no_grad():
        expected = naive(model, adapters, uneven, seed=5)
    rows = changes(model, adapters, uneven, 5)
    assert [row.region for row in rows] == ["face", "hair", "sword", "residual"]
    for row in rows:
        numbers = dataclasses.astuple(row)[1:]
        assert numbers == pytest.approx(
            dataclasses.astuple(expected[row.region])[1:], rel=1e-4, abs=1e-6, nan_ok=True
        )
    assert math.isnan(rows[2].error_before) and rows[2].coverage == 0


def test_an_untrained_adapter_changes_nothing(model, data: TrainingPictures):
    for row in changes(model, adapters_of(model, 0.0), data):
        if row.coverage > 0:
            assert row.drift == 0 and row.error_after == row.error_before
            assert row.cosine_after == row.cosine_before


def test_the_same_seed_gives_every_lora_the_same_noise(model, data: TrainingPictures):
    one = changes(model, adapters_of(model, 0.1), data, 7)
    other = changes(model, adapters_of(model, 0.3), data, 7)
    for a, b in zip(one[:3], other[:3], strict=True):
        assert a.error_before == b.error_before and a.error_after != b.error_after
    assert changes(model, adapters_of(model, 0.1), data, 8)[0].error_before != one[0].error_before


def test_nothing_is_left_behind(model, data: TrainingPictures):
    adapters = adapters_of(model, 0.1)
    state, predict, recorded = torch.get_rng_state(), model.predict, []

    def watched(*arguments):
        prediction = predict(*arguments)
        recorded.append(prediction.requires_grad)
        return prediction

    model.predict = watched
    changes(model, adapters, data)
    assert len(recorded) == 16 and not any(recorded)
    assert sum(len(module._forward_hooks) for module in model.modules()) == 0
    assert all(parameter.grad is None for parameter in adapters.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_table_has_a_line_for_each_region_that_occurs():
    rows = [
        RegionChange("face", 0.25, 1.0, 0.5, 0.4, 0.2, 0.125),
        RegionChange("sword", 0.0, *[math.nan] * 5),
        RegionChange("hair", 0.5, 0.8, 1.0, 0.4, 0.5, 0.0),
    ]
    header, face, hair = format_table(rows).splitlines()
    assert header.split() == ["region", "cover", "error", "before", "after", "change", "drift"]
    assert face.split() == ["face", "25.0%", "1.0000", "0.5000", "-50.0%", "0.1250"]
    assert hair.split() == ["hair", "50.0%", "0.8000", "1.0000", "25.0%", "0.0000"]
