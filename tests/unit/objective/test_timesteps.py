"""Noise positions: their distributions, and that a batch never bunches up."""

import math

import pytest
import torch

from semantic_focus.objective.timesteps import TimestepSampling


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
    with pytest.raises(ValueError, match="'sigmoid': choose uniform, logit_normal, shifted, acrf or anchors"):
        TimestepSampling("sigmoid")  # type: ignore[arg-type]


def test_acrf_trains_near_its_ten_anchors_equally_often():
    """An anchor is the point x/9 of the way from 0.003 to 1, moved towards noise by shift 3."""
    plain = [1 - k / 9 * (1 - 0.003) for k in range(10)]
    expected = [3 * u / (1 + 2 * u) for u in plain]
    found, _ = sample(count=1000, kind="acrf", jitter=0.0).sort(descending=True)
    for anchor, draws in zip(expected, found.view(10, 100), strict=True):
        assert draws.tolist() == pytest.approx([min(anchor, 0.999)] * 100, abs=1e-3)


def test_jitter_is_the_spread_around_an_anchor():
    found = sample(count=20_000, kind="anchors", anchors=(0.5,), jitter=0.02)
    assert found.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert found.std().item() == pytest.approx(0.02, rel=0.03)


def test_fewer_draws_than_anchors_are_all_at_different_ones():
    anchors = (0.1, 0.3, 0.5, 0.7, 0.9)
    seen = set()
    for seed in range(60):
        found = sample(3, seed, kind="anchors", anchors=anchors, jitter=0.0).tolist()
        assert len(set(found)) == 3
        seen.update(found)
    assert sorted(seen) == pytest.approx(anchors)


def test_anchors_come_in_random_order():
    first = [sample(10, seed, kind="acrf", jitter=0.0)[0].item() for seed in range(300)]
    counts = torch.histc(torch.tensor(first), 2, 0, 1)
    assert counts.tolist() == pytest.approx([90, 210], abs=30)  # 3 of the 10 anchors are below 0.5


@pytest.mark.parametrize("kind", ["uniform", "logit_normal", "shifted"])
def test_limits_cut_the_distribution_and_keep_its_shape(kind: str):
    """The quartiles within the limits are those of the unlimited draws that fall between them."""
    limited = sample(count=4000, kind=kind, low=0.2, high=0.6)
    assert limited.min() >= 0.2 and limited.max() <= 0.6
    every = sample(count=40_000, kind=kind)
    inside = every[(every >= 0.2) & (every <= 0.6)]
    quarters = torch.tensor((0.25, 0.5, 0.75))
    expected = torch.quantile(inside, quarters).tolist()
    assert torch.quantile(limited, quarters).tolist() == pytest.approx(expected, abs=3e-3)


def test_limits_leave_out_anchors_and_hold_the_jitter_back():
    found = sample(count=700, kind="acrf", low=0.3, high=0.8, jitter=0.2)
    assert found.min() >= 0.3 and found.max() <= 0.8
    still = sample(count=8, kind="acrf", low=0.3, high=0.8, jitter=0.0).tolist()
    assert sorted(still) == pytest.approx([0.465, 0.465, 0.602, 0.602, 0.707, 0.707, 0.79, 0.79])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 0.6, "high": 0.6}, "0 <= low < high <= 1"),
        ({"low": -0.1}, "0 <= low < high <= 1"),
        ({"high": 1.5}, "0 <= low < high <= 1"),
        ({"low": math.nan}, "0 <= low < high <= 1"),
        ({"mean": -20.0, "low": 0.9}, "practically no position between 0.9 and 1.0"),
        ({"kind": "anchors"}, "needs anchors"),
        ({"kind": "anchors", "anchors": (0.9, 1.0), "high": 0.5}, "no anchor lies between 0.0 and 0.5"),
        ({"kind": "acrf", "jitter": -0.1}, "jitter is -0.1"),
        ({"kind": "acrf", "jitter": math.inf}, "jitter is inf"),
    ],
    ids=str,
)
def test_settings_that_leave_nothing_to_train_are_refused(settings: dict, message: str):
    with pytest.raises(ValueError, match=message):
        TimestepSampling(**settings)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["std", "shift"])
def test_a_spread_or_shift_that_is_not_above_0_is_refused(name: str, bad: float):
    with pytest.raises(ValueError, match=f"{name} is {bad}.*above 0"):
        TimestepSampling(**{name: bad})  # type: ignore[arg-type]
