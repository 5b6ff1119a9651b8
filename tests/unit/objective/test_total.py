"""The objective against a slow formula of its own; what counts as free; what is refused."""

import math

import pytest
import torch
from torch import Tensor

from semantic_focus.objective.sums import RESIDUAL
from semantic_focus.objective.total import GLOBAL, Objective

GRID = (3, 4)
SHAPE = (2, 3, *GRID)


def noise(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*(shape or SHAPE), generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.fixture
def masks() -> dict[str, Tensor]:
    """Soft and overlapping; hair is absent in the second picture, background is free."""
    generator = torch.Generator().manual_seed(7)
    face, hair, background = (torch.rand(2, *GRID, generator=generator) * 0.6 for _ in range(3))
    hair[1] = 0
    background[:, 0] = 0
    return {"face": face, "hair": hair, "background": background}


def naive(objective: Objective, pred: Tensor, target: Tensor, masks: dict[str, Tensor], base: Tensor):
    """(total, base, prior, regions) in float64, one sample and one region at a time, from the definition."""
    pred, target, base = pred.double(), target.double(), base.double()
    samples, priors = [], []
    values: dict[str, list[float]] = {name: [] for name in (*masks, RESIDUAL)}
    for b in range(len(pred)):
        planes = {name: mask[b].double() for name, mask in masks.items()}
        planes[RESIDUAL] = 1 - sum(planes.values(), torch.zeros(*GRID)).clamp(max=1)
        above = below = 0.0
        free = torch.ones(*GRID, dtype=torch.float64)
        for name, plane in planes.items():
            weight = objective.global_fallback if name == RESIDUAL else objective.weights.get(name, 0.0)
            if weight > 0:
                free = free - plane
            if plane.sum() == 0:
                continue
            p, t = pred[b] * plane.sqrt(), target[b] * plane.sqrt()
            cosine = (p * t).sum() / (p.norm() * t.norm())
            error = (p - t).square().sum() / (plane.sum() * len(p))
            value = objective.cosine_weight * (1 - cosine) + objective.magnitude_weight * error
            values[name].append(value.item())
            area = plane.sum().item()
            weight *= area / (area + objective.area_shrinkage)
            above, below = above + weight * value.item(), below + weight
        samples.append(above / below if below else 0.0)
        free = free.clamp(min=0)
        difference = ((pred[b] - base[b]).square() * free).sum() / (free.sum() * len(pred[b]))
        priors.append(difference.item() if free.sum() > 1e-9 else 0.0)
    error = (pred - target).square().mean().item()
    prior = sum(priors) / len(priors)
    total = sum(samples) / len(samples) + objective.base_weight * error + objective.prior_weight * prior
    means = {name: sum(v) / len(v) if v else math.nan for name, v in values.items()}
    return total, error, prior, means


@pytest.mark.parametrize(
    "terms",
    [
        {},
        {"cosine_weight": 0.0},
        {"magnitude_weight": 0.0},
        {"cosine_weight": 2.0, "magnitude_weight": 0.3},
        {"base_weight": 0.7},
        {"prior_weight": 0.0},
        {"global_fallback": 0.0},
        {"area_shrinkage": 3.0},
        {"cosine_weight": 0.4, "base_weight": 0.2, "prior_weight": 5.0, "area_shrinkage": 1.0},
    ],
    ids=str,
)
def test_total_is_the_formula_with_every_term(masks: dict[str, Tensor], terms: dict[str, float]):
    objective = Objective(weights={"face": 1.0, "hair": 0.5, "background": 0.0}, **terms)  # type: ignore[arg-type]
    pred, target, base = noise(0), noise(1), noise(2)
    value = objective(pred, target, masks, base)
    total, error, prior, regions = naive(objective, pred, target, masks, base)
    assert value.total.item() == pytest.approx(total, rel=1e-5)
    assert value.base == pytest.approx(error, rel=1e-5)
    if objective.needs_base_prediction:
        assert value.prior == pytest.approx(prior, rel=1e-5)
    assert dict(value.regions) == pytest.approx(regions, rel=1e-5)


def test_the_prior_looks_only_at_what_has_weight_0():
    """The prediction leaves the base in one cell of the face (weighted) and one of the background (free)."""
    face = torch.zeros(1, *GRID)
    face[:, :, :2] = 1
    masks = {"face": face, "background": 1 - face}
    objective = Objective(weights={"face": 1.0, "background": 0.0}, global_fallback=0.0, prior_weight=1.0)
    base, target = noise(1, 1, 3, *GRID), noise(2, 1, 3, *GRID)
    in_face, in_background = base.clone(), base.clone()
    in_face[:, :, 1, 0] += 5
    in_background[:, :, 1, 3] += 6
    assert objective(in_face, target, masks, base).prior == 0
    # 3 channels differ by 6 in one of the 6 free cells: 36·3 / (6·3)
    assert objective(in_background, target, masks, base).prior == pytest.approx(6)


def test_the_prior_is_as_strong_for_a_small_free_area_as_for_a_large_one():
    objective = Objective(weights={"face": 1.0}, global_fallback=0.0)
    base, target = noise(1, 1, 3, *GRID), noise(2, 1, 3, *GRID)
    for covered in (0, 5, 11):
        face = torch.zeros(12)
        face[:covered] = 1
        prior = objective(base + 0.5, target, {"face": face.view(1, *GRID)}, base).prior
        assert prior == pytest.approx(0.25, rel=1e-5)


def test_rounded_masks_that_cover_everything_leave_nothing_to_the_prior():
    """76/255 + 178/255: the missing 1/255 must not pull those cells back with the full prior."""
    masks = {"face": torch.full((1, *GRID), 76 / 255), "rest": torch.full((1, *GRID), 178 / 255)}
    objective = Objective(weights={"face": 1.0, "rest": 0.5}, global_fallback=0.0)
    base = noise(1, 1, 3, *GRID)
    assert objective(base + 1, noise(2, 1, 3, *GRID), masks, base).prior == 0


def test_the_gradient_in_a_free_region_comes_from_the_prior_alone(masks: dict[str, Tensor]):
    face = torch.zeros(2, *GRID)
    face[:, :, :2] = 1
    pred, target, base = noise(0).requires_grad_(), noise(1), noise(2)
    without = Objective(weights={"face": 1.0}, global_fallback=0.0, prior_weight=0.0)
    (gradient,) = torch.autograd.grad(without(pred, target, {"face": face}).total, pred)
    assert gradient[..., :2].all() and not gradient[..., 2:].any()
    with_prior = Objective(weights={"face": 1.0}, global_fallback=0.0, prior_weight=2.0)
    (pulled,) = torch.autograd.grad(with_prior(pred, target, {"face": face}, base).total, pred)
    # d/dp of 2 · mean over 2 samples of Σ(p − b)² / (6 cells · 3 channels)
    expected = 2 * 2 * (pred - base) / 2 / 18
    torch.testing.assert_close(pulled[..., 2:], expected[..., 2:])
    torch.testing.assert_close(pulled[..., :2], gradient[..., :2])


def test_nothing_present_leaves_the_base_loss_only():
    objective = Objective(weights={"face": 1.0}, global_fallback=0.0, base_weight=0.5, prior_weight=0.0)
    value = objective(noise(0), noise(1), {"face": torch.zeros(2, *GRID)})
    assert value.total.item() == pytest.approx(0.5 * value.base, rel=1e-6)
    assert math.isnan(value.regions["face"])


def test_disabled_is_squared_error_plus_global_cosine_whatever_the_masks(masks: dict[str, Tensor]):
    objective = Objective(weights={"face": 9.0}, enabled=False, cosine_weight=0.3, magnitude_weight=2.0)
    pred, target = noise(0), noise(1)
    value = objective(pred, target, masks)
    cosine = torch.nn.functional.cosine_similarity(pred.flatten(1), target.flatten(1))
    expected = (0.3 * (1 - cosine)).mean() + 2.0 * torch.nn.functional.mse_loss(pred, target)
    assert value.total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert value.regions[GLOBAL] == pytest.approx(expected.item(), rel=1e-5)
    assert not objective.needs_base_prediction and value.prior == 0


def test_disabled_still_reports_every_region(masks: dict[str, Tensor]):
    pred, target = noise(0), noise(1)
    on = Objective(weights={"face": 1.0}, prior_weight=0.0)(pred, target, masks).regions
    off = Objective(weights={"face": 1.0}, enabled=False)(pred, target, masks).regions
    assert set(off) == {*masks, RESIDUAL, GLOBAL}
    assert {name: off[name] for name in on} == pytest.approx(dict(on), rel=1e-6)


def test_region_reports_average_only_the_samples_that_have_the_region(masks: dict[str, Tensor]):
    """hair is absent in the second picture, so the batch reports the first one's value."""
    objective = Objective(prior_weight=0.0)
    pred, target = noise(0), noise(1)
    both = objective(pred, target, masks).regions["hair"]
    first = objective(pred[:1], target[:1], {k: m[:1] for k, m in masks.items()}).regions["hair"]
    assert both == pytest.approx(first, rel=1e-6)


def test_total_is_a_differentiable_scalar_and_the_reports_are_plain_numbers(masks: dict[str, Tensor]):
    value = Objective()(noise(0).requires_grad_(), noise(1), masks, noise(2))
    assert value.total.shape == () and value.total.requires_grad and value.total.dtype == torch.float32
    assert all(isinstance(v, float) for v in (value.base, value.prior, *value.regions.values()))


def test_gradcheck_of_the_whole_objective(masks: dict[str, Tensor]):
    target, base = noise(1, dtype=torch.float64), noise(2, dtype=torch.float64)
    objective = Objective(weights={"face": 1.0, "hair": 0.5}, base_weight=0.3, area_shrinkage=2.0)
    assert torch.autograd.gradcheck(
        lambda pred: objective(pred, target, masks, base).total,
        noise(0, dtype=torch.float64).requires_grad_(),
    )


def test_half_precision_and_autocast_do_not_lower_the_precision(masks: dict[str, Tensor]):
    objective = Objective(base_weight=0.5)
    pred, target, base = (noise(seed).bfloat16() for seed in range(3))
    plain = objective(pred.float(), target.float(), masks, base.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = objective(pred, target, masks, base)
    assert under.total.dtype == torch.float32
    assert under.total.item() == pytest.approx(plain.total.item(), rel=1e-6)


def test_the_prior_without_a_base_prediction_is_an_error(masks: dict[str, Tensor]):
    with pytest.raises(ValueError, match="prior_weight.*v_base"):
        Objective()(noise(0), noise(1), masks)


class TestTrains:
    """Whether a picture gives the objective anything to learn from."""

    FACE = {"face": torch.ones(1, *GRID), "hair": torch.zeros(1, *GRID)}

    @pytest.mark.parametrize(
        ("terms", "expected"),
        [
            ({"weights": {"face": 1.0}, "global_fallback": 0.0}, True),
            ({"weights": {"hair": 1.0}, "global_fallback": 0.0}, False),
            ({"weights": {"hair": 1.0}, "global_fallback": 0.1}, False),
            ({"weights": {"hair": 1.0, "face": 0.0}, "global_fallback": 0.0, "base_weight": 0.1}, True),
            ({"weights": {"sword": 1.0}, "global_fallback": 0.0}, False),
            ({"weights": {"hair": 1.0}, "global_fallback": 0.0, "enabled": False}, True),
        ],
        ids=str,
    )
    def test_a_picture_that_is_all_face(self, terms: dict, expected: bool):
        assert Objective(**terms).trains(self.FACE) is expected

    def test_what_no_mask_covers_can_be_learnt_when_it_has_a_weight(self):
        half = torch.zeros(1, *GRID)
        half[:, 0] = 1
        assert Objective(weights={"hair": 1.0}, global_fallback=0.1).trains({"face": half})
        assert Objective(weights={"hair": 1.0}, global_fallback=0.1).trains({})
        assert not Objective(weights={"hair": 1.0}, global_fallback=0.0).trains({"face": half})


class TestSettings:
    def test_all_region_weights_0_are_refused_with_the_way_out(self):
        with pytest.raises(
            ValueError, match="nothing would be learnt.*Raise the weight.*switch the regions off"
        ):
            Objective(weights={"face": 0.0}, global_fallback=0.0)

    def test_all_region_weights_0_are_fine_when_something_else_trains(self):
        assert Objective(weights={"face": 0.0}, global_fallback=0.0, base_weight=1.0).enabled
        assert not Objective(weights={"face": 0.0}, global_fallback=0.0, enabled=False).enabled

    def test_no_term_at_all_is_refused(self):
        with pytest.raises(ValueError, match="cosine_weight, magnitude_weight and base_weight are all 0"):
            Objective(cosine_weight=0.0, magnitude_weight=0.0, prior_weight=1.0)

    @pytest.mark.parametrize("bad", [-1, -0.5, math.nan, math.inf])
    @pytest.mark.parametrize(
        "term",
        [
            "cosine_weight",
            "magnitude_weight",
            "base_weight",
            "prior_weight",
            "area_shrinkage",
            "global_fallback",
        ],
    )
    def test_a_bad_number_is_named(self, term: str, bad: float):
        with pytest.raises(ValueError, match=f"{term}.* is {bad}.*0 or more"):
            Objective(**{term: bad})  # type: ignore[arg-type]

    def test_a_bad_region_weight_is_named(self):
        with pytest.raises(ValueError, match="'hair' is -1"):
            Objective(weights={"face": 1.0, "hair": -1.0})

    @pytest.mark.parametrize(
        "given", [{"weights": {"face": torch.ones(2)}}, {"global_fallback": torch.ones(2)}]
    )
    def test_weights_per_sample_are_refused_with_where_they_go(self, given: dict):
        with pytest.raises(ValueError, match=r"is a tensor: .*one number for each.* semantic_cosine_loss"):
            Objective(**{"weights": {"face": 1.0}, **given})

    def test_it_is_a_value(self):
        """Equal by content, unchanged when the mapping it was made from changes."""
        weights = {"face": 1.0}
        objective = Objective(weights=weights)
        assert objective == Objective(weights={"face": 1.0}) != Objective(weights={"face": 0.5})
        weights["face"] = 0.0
        assert objective.weights == {"face": 1.0}
        with pytest.raises(AttributeError):
            objective.prior_weight = 0.0  # type: ignore[misc]
