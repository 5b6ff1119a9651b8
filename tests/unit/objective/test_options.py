"""The rarer settings of an objective, each against its definition."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from semantic_focus.objective.noise_weighting import NoiseLevel, SigmaWindow
from semantic_focus.objective.sums import RESIDUAL
from semantic_focus.objective.total import GLOBAL, Objective

GRID = (3, 4)
SHAPE = (2, 3, *GRID)
WEIGHTS = {"face": 1.0, "hair": 0.5, "background": 0.0}


def noise(seed: int) -> Tensor:
    return torch.randn(*SHAPE, generator=torch.Generator().manual_seed(seed))


def columns(*numbers: int) -> Tensor:
    mask = torch.zeros(2, *GRID)
    mask[..., list(numbers)] = 1
    return mask


@pytest.fixture
def masks() -> dict[str, Tensor]:
    """face two columns, hair one (not in the second picture), background the last."""
    hair = columns(2)
    hair[1] = 0
    return {"face": columns(0, 1), "hair": hair, "background": columns(3)}


def goal(**terms) -> Objective:
    return Objective(
        **{"weights": WEIGHTS, "global_fallback": 0.0, "prior_weight": 0.0, "area_shrinkage": 0.0, **terms}
    )


class TestBaseLoss:
    @pytest.mark.parametrize(
        ("terms", "expected"),
        [
            ({"base_loss": "mse"}, lambda p, t: F.mse_loss(p, t)),
            ({"base_loss": "l1"}, lambda p, t: F.l1_loss(p, t)),
            ({"base_loss": "huber", "huber_delta": 0.3}, lambda p, t: F.huber_loss(p, t, delta=0.3)),
        ],
        ids=lambda value: str(value) if isinstance(value, dict) else "",
    )
    def test_over_the_whole_picture_in_value_and_gradient(self, masks, terms, expected):
        pred, target = noise(0).requires_grad_(), noise(1)
        value = goal(base_weight=2.0, cosine_weight=0.0, magnitude_weight=0.0, **terms)(pred, target, masks)
        wanted = 2 * expected(pred, target)
        torch.testing.assert_close(value.total, wanted)
        assert value.base == pytest.approx(wanted.item() / 2, rel=1e-5)
        torch.testing.assert_close(
            torch.autograd.grad(value.total, pred)[0], torch.autograd.grad(wanted, pred)[0]
        )

    @pytest.mark.parametrize("kind", ["mse", "l1", "huber"])
    def test_the_mask_floor_counts_free_cells_less(self, masks, kind):
        """Free cells count 0.2, weighted ones 1, divided by the mean of that in each picture."""
        pred, target = noise(0), noise(1)
        value = goal(base_weight=1.0, base_loss=kind, base_mask_floor=0.2)(pred, target, masks)
        element = {"mse": F.mse_loss, "l1": F.l1_loss, "huber": F.huber_loss}[kind](
            pred, target, reduction="none"
        )
        cells = torch.full((2, 1, *GRID), 0.2)
        cells[..., :2] = 1
        cells[0, ..., 2] = 1
        samples = [(cells[b] * element[b]).mean() / cells[b].mean() for b in range(2)]
        assert value.base == pytest.approx(torch.stack(samples).mean().item(), rel=1e-5)

    def test_a_floor_of_1_or_none_is_the_whole_picture(self, masks):
        bases = [
            goal(base_weight=1.0, base_mask_floor=floor)(noise(0), noise(1), masks).base
            for floor in (None, 1.0)
        ]
        assert bases[0] == pytest.approx(bases[1], rel=1e-6)

    def test_a_floor_of_0_looks_at_weighted_regions_alone(self, masks):
        objective = goal(base_weight=1.0, cosine_weight=0.0, magnitude_weight=0.0, base_mask_floor=0.0)
        pred = noise(0).requires_grad_()
        (gradient,) = torch.autograd.grad(objective(pred, noise(1), masks).total, pred)
        assert gradient[..., :2].all() and not gradient[..., 3].any() and not gradient[1, ..., 2].any()


class TestWindows:
    WINDOWS = {"face": SigmaWindow(0.0, 0.5), RESIDUAL: SigmaWindow(0.5, 1.0)}

    def test_outside_its_window_a_region_is_as_absent(self, masks):
        pred, target, u = noise(0), noise(1), torch.tensor([0.8, 0.3])
        found = goal(windows=self.WINDOWS)(pred, target, masks, None, u)
        without = {**masks, "face": torch.stack((torch.zeros(GRID), masks["face"][1]))}
        expected = goal()(pred, target, without)
        assert found.total.item() == pytest.approx(expected.total.item(), rel=1e-6)
        assert not math.isnan(found.regions["face"]) and found.present[0, 0] and found.weight[0, 0] == 0

    def test_outside_its_window_a_region_is_not_held_to_the_base_model(self, masks):
        objective = goal(windows={"face": SigmaWindow(0.0, 0.5)}, prior_weight=1.0)
        pred, u = noise(0).requires_grad_(), torch.tensor([0.8, 0.9])
        value = objective(pred, noise(1), masks, noise(2), u)
        (gradient,) = torch.autograd.grad(value.total, pred)
        assert not gradient[..., :2].any() and gradient[..., 3].all()

    def test_a_ramp_gives_part_of_the_weight(self, masks):
        objective = goal(windows={"face": SigmaWindow(0.0, 0.5, ramp=0.2)})
        weight = objective(noise(0), noise(1), masks, None, torch.tensor([0.55, 0.4])).weight
        torch.testing.assert_close(weight[:, 0], torch.tensor([0.75, 1.0]))

    def test_a_window_of_a_region_without_a_weight_is_refused(self):
        with pytest.raises(ValueError, match="'fcae', which has no weight.*face, hair"):
            goal(windows={"fcae": SigmaWindow()})

    def test_without_noise_position_it_is_an_error_that_says_so(self, masks):
        for objective in (goal(windows=self.WINDOWS), goal(snr_gamma=5.0)):
            assert objective.needs_noise_position
            with pytest.raises(ValueError, match="noise_position"):
                objective(noise(0), noise(1), masks)
        assert not goal().needs_noise_position


def test_min_snr_multiplies_each_sample_rather_than_their_mean(masks: dict[str, Tensor]):
    """Flow, γ = 5: 0.25 at σ = 0.5 and 0.05 at σ = 0.1."""
    pred, target, u = noise(0), noise(1), torch.tensor([0.5, 0.1])
    each = [
        goal(base_weight=0.3)(
            pred[b : b + 1], target[b : b + 1], {k: m[b : b + 1] for k, m in masks.items()}
        ).total.item()
        for b in range(2)
    ]
    total = goal(base_weight=0.3, snr_gamma=5.0)(pred, target, masks, None, u).total
    assert total.item() == pytest.approx((0.25 * each[0] + 0.05 * each[1]) / 2, rel=1e-5)
    level = NoiseLevel(u, torch.tensor([10.0, 1.0]), "eps")
    total = goal(base_weight=0.3, snr_gamma=5.0)(pred, target, masks, None, level).total
    assert total.item() == pytest.approx((0.5 * each[0] + 1.0 * each[1]) / 2, rel=1e-5)


class TestPriorEvery:
    def test_every_third_step_it_counts_three_times(self, masks):
        base = noise(2)
        each, third = goal(prior_weight=2.0), goal(prior_weight=2.0, prior_every=3)
        assert [third.needs_base_prediction_at(step) for step in range(5)] == [
            True,
            False,
            False,
            True,
            False,
        ]
        plain = goal()(noise(0), noise(1), masks).total
        once = each(noise(0), noise(1), masks, base).total - plain
        thrice = third(noise(0), noise(1), masks, base).total - plain
        assert thrice.item() == pytest.approx(3 * once.item(), rel=1e-5)

    def test_a_step_without_a_base_prediction_has_no_prior(self, masks):
        value = goal(prior_weight=2.0, prior_every=3)(noise(0), noise(1), masks)
        torch.testing.assert_close(value.total, goal()(noise(0), noise(1), masks).total)
        assert math.isnan(value.prior)


def test_fixed_normalisation_also_divides_by_what_is_absent(masks: dict[str, Tensor]):
    """The second picture has no hair: it divides by the same 2 as the first: 1 + 0.5 + sword's 0.5."""
    pred, target = noise(0), noise(1)
    values = goal()(pred, target, masks)
    region = values.cosine + values.squared_error
    expected = ((region[0, 0] + 0.5 * region[0, 1]) / 2 + region[1, 0] / 2) / 2
    objective = goal(weights={**WEIGHTS, "sword": 0.5}, normalise="fixed")
    assert objective(pred, target, masks).total.item() == pytest.approx(expected.item(), rel=1e-5)


def test_per_pixel_cosine_is_the_mean_over_the_cells_of_a_region(masks: dict[str, Tensor]):
    pred, target = noise(0), noise(1)
    value = goal(cosine="pixel")(pred, target, masks)
    per_cell = 1 - F.cosine_similarity(pred, target, dim=1)
    torch.testing.assert_close(value.cosine[:, 0], per_cell[..., :2].flatten(1).mean(1))


def test_the_detail_has_every_region_of_every_sample(masks: dict[str, Tensor]):
    pred, target = noise(0).requires_grad_(), noise(1)
    value = goal(area_shrinkage=2.0)(pred, target, masks)
    assert value.names == ("face", "hair", "background", RESIDUAL)
    assert value.present.tolist() == [[True, True, True, False], [True, False, True, True]]
    # 6, 3 and 3 of 12 cells; shrinkage makes that 1·6/8 and 0.5·3/5
    torch.testing.assert_close(value.coverage[0], torch.tensor([0.5, 0.25, 0.25, 0.0]))
    torch.testing.assert_close(value.weight[0], torch.tensor([0.75, 0.3, 0.0, 0.0]))
    error = (pred - target).square()[1, ..., :2].mean()
    assert value.squared_error[1, 0].item() == pytest.approx(error.item(), rel=1e-5)
    cosine = F.cosine_similarity(pred[1, ..., :2].flatten(), target[1, ..., :2].flatten(), dim=0)
    assert value.cosine[1, 0].item() == pytest.approx(1 - cosine.item(), rel=1e-5)
    assert not any(
        tensor.requires_grad
        for tensor in (value.cosine, value.squared_error, value.coverage, value.present, value.weight)
    )
    assert Objective(enabled=False)(pred, target, masks).names[-1] == GLOBAL


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ({"base_loss": "l2"}, "base_loss is 'l2': choose mse or l1 or huber"),
        ({"cosine": "cell"}, "cosine is 'cell': choose region or pixel"),
        ({"normalise": "all"}, "normalise is 'all': choose present or fixed"),
        ({"base_mask_floor": 1.5}, "base_mask_floor is 1.5"),
        ({"base_mask_floor": -0.5}, "base_mask_floor is -0.5"),
        ({"huber_delta": 0.0}, "huber_delta is 0"),
        ({"snr_gamma": -1.0}, "snr_gamma is -1"),
        ({"prior_every": 0}, "prior_every is 0"),
        ({"prior_every": 1.5}, "prior_every is 1.5"),
    ],
    ids=str,
)
def test_a_bad_setting_is_named(terms: dict, message: str):
    with pytest.raises(ValueError, match=message):
        goal(**terms)


def test_a_noise_position_per_batch_is_refused(masks: dict[str, Tensor]):
    with pytest.raises(ValueError, match=r"noise position has shape \[1\]: it must be \[2\]"):
        goal(snr_gamma=5.0)(noise(0), noise(1), masks, None, torch.tensor([0.5]))
