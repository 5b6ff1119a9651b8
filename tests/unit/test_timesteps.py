"""Noise positions: their distributions, and that a batch never bunches up."""

import math

import pytest
import torch

from semantic_focus.timesteps import TimestepSampling


def sample(count: int = 4000, seed: int = 0, **settings) -> torch.Tensor:
    return TimestepSampling(**settings).sample(count, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["uniform", "logit_normal", "shifted"])
def test_positions_stay_off_the_ends(kind: str):
    """Also for a spread and a shift that would reach them."""
    for u in (sample(kind=kind), sample(kind=kind, std=50.0, shift=1e6), sample(kind=kind, shift=1e-6)):
        assert u.shape == (4000,) and u.dtype == torch.float32
        assert u.min() >= 0.001 and u.max() <= 0.999


@pytest.mark.parametrize(
    ("settings", "quantiles"),
    [
        ({"kind": "uniform"}, (0.25, 0.5, 0.75)),
        # sigmoid of the quartiles of N(0, 1), ∓0.6745
        ({"kind": "logit_normal"}, (0.3375, 0.5, 0.6625)),
        # sigmoid of 1 ∓ 0.33725 and of 1
        ({"kind": "logit_normal", "mean": 1.0, "std": 0.5}, (0.6599, 0.7311, 0.7920)),
        # 3u / (1 + 2u)
        ({"kind": "shifted", "shift": 3.0}, (0.5, 0.75, 0.9)),
        ({"kind": "shifted", "shift": 1.0}, (0.25, 0.5, 0.75)),
    ],
    ids=str,
)
def test_the_quartiles_are_those_of_the_distribution(settings: dict, quantiles: tuple[float, ...]):
    found = torch.quantile(sample(**settings), torch.tensor((0.25, 0.5, 0.75))).tolist()
    assert found == pytest.approx(quantiles, abs=2e-3)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_a_batch_has_one_position_in_each_equal_share_of_the_distribution(count: int):
    for seed in range(50):
        slices = (sample(count, seed, kind="uniform") * count).long()
        assert sorted(slices.tolist()) == list(range(count))


def test_the_order_within_a_batch_is_random():
    """Otherwise the first picture of a batch would always get the least noise."""
    first = torch.tensor([sample(4, seed, kind="uniform")[0] for seed in range(400)])
    assert first.mean().item() == pytest.approx(0.5, abs=0.05)
    assert torch.histc(first, 4, 0, 1).min() > 60


def test_the_same_generator_gives_the_same_positions():
    assert torch.equal(sample(8, seed=3), sample(8, seed=3))
    assert not torch.equal(sample(8, seed=3), sample(8, seed=4))


def test_an_unknown_kind_is_answered_with_the_choices():
    with pytest.raises(ValueError, match="'sigmoid': choose uniform, logit_normal or shifted"):
        TimestepSampling("sigmoid")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["std", "shift"])
def test_a_spread_or_shift_that_is_not_above_0_is_refused(name: str, bad: float):
    with pytest.raises(ValueError, match=f"{name} is {bad}.*above 0"):
        TimestepSampling(**{name: bad})  # type: ignore[arg-type]
