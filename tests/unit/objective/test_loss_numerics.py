"""The region cosine loss in every precision, at every scale, and where a gradient might be no number."""

import pytest
import torch

from semantic_focus.objective.loss import semantic_cosine_loss
from semantic_focus.objective.sums import region_sums

from .oracle import GRID, noise, row, soft


class TestNumerics:
    def test_gradcheck(self):
        pred = noise(2, 2, *GRID, dtype=torch.float64).requires_grad_()
        target = noise(2, 2, *GRID, seed=1, dtype=torch.float64)
        hair = soft(2, *GRID, seed=2)
        hair[1] = 0
        masks, weights = {"face": soft(2, *GRID), "hair": hair}, {"face": 1.0, "hair": 0.6}
        assert torch.autograd.gradcheck(
            lambda v: semantic_cosine_loss(
                v, target, masks, weights, 0.1, magnitude_weight=0.5, area_shrinkage=2.0
            ),
            pred,
        )

    def test_float64_stays_float64(self):
        v = noise(1, 2, *GRID, dtype=torch.float64)
        assert semantic_cosine_loss(v, v, {"face": row(0)}, {"face": 1.0}).dtype == torch.float64

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_summed_in_float32(self, dtype: torch.dtype):
        """In bf16 a cosine of .999 rounds to 1; here only the inputs are rounded, not the sums."""
        target = noise(1, 4, 16, 16)
        pred = (target + 0.045 * noise(1, 4, 16, 16, seed=1)).to(dtype)
        target = target.to(dtype)
        loss = semantic_cosine_loss(pred, target, {"all": torch.ones(1, 16, 16)}, {"all": 1.0})
        p, t = pred.double(), target.double()
        expected = 1 - (p * t).sum() / (p.square().sum() * t.square().sum()).sqrt()
        assert loss.dtype == torch.float32
        assert 5e-4 < expected.item() < 2e-3
        assert loss.item() == pytest.approx(expected.item(), rel=1e-2)

    def test_autocast_changes_nothing(self):
        pred, target = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1)
        masks, weights = {"face": soft(2, *GRID)}, {"face": 1.0}
        plain = semantic_cosine_loss(pred, target, masks, weights, 0.1, magnitude_weight=0.5)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            under = semantic_cosine_loss(pred, target, masks, weights, 0.1, magnitude_weight=0.5)
        assert torch.equal(plain, under)

    @pytest.mark.parametrize("scale", [1e-20, 1e-3, 0.5])
    def test_the_level_of_a_mask_does_not_matter_within_a_region(self, scale: float):
        pred, target, mask = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1), soft(2, *GRID)
        full = semantic_cosine_loss(pred, target, {"face": mask}, {"face": 1.0}, magnitude_weight=1.0)
        low = semantic_cosine_loss(pred, target, {"face": mask * scale}, {"face": 1.0}, magnitude_weight=1.0)
        assert low.item() == pytest.approx(full.item(), rel=1e-5)

    @pytest.mark.parametrize("level", [1e-12, 1e12])
    def test_the_length_of_both_velocities_does_not_matter(self, level: float):
        pred, target, masks = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1), {"face": row(0, 2)}
        plain = semantic_cosine_loss(pred, target, masks, {"face": 1.0})
        scaled = semantic_cosine_loss(pred * level, target * level, masks, {"face": 1.0})
        assert scaled.item() == pytest.approx(plain.item(), rel=1e-5)

    @pytest.mark.parametrize("mask_level", [0.0, 1e-20, 1.0])
    @pytest.mark.parametrize(("pred_level", "target_level"), [(0, 1), (1, 0), (0, 0), (1, 1)])
    def test_zeros_never_give_a_gradient_that_is_no_number(
        self, pred_level: float, target_level: float, mask_level: float
    ):
        pred = (pred_level * noise(1, 3, *GRID)).requires_grad_()
        target = target_level * noise(1, 3, *GRID, seed=1)
        loss = semantic_cosine_loss(
            pred, target, {"face": row(0) * mask_level}, {"face": 1.0}, 0.1, magnitude_weight=0.5
        )
        (gradient,) = torch.autograd.grad(loss, pred)
        assert torch.isfinite(loss) and torch.isfinite(gradient).all()

    def test_a_prediction_of_zero_costs_as_much_as_an_orthogonal_one_and_is_pulled_to_the_target(self):
        pred, target = torch.zeros(1, 3, *GRID, requires_grad=True), noise(1, 3, *GRID)
        loss = semantic_cosine_loss(pred, target, {"all": torch.ones(1, *GRID)}, {"all": 1.0})
        (gradient,) = torch.autograd.grad(loss, pred)
        assert loss.item() == pytest.approx(1)
        along = torch.nn.functional.cosine_similarity(-gradient.flatten(), target.flatten(), dim=0)
        assert along.item() == pytest.approx(1, abs=1e-5)

    def test_squared_error_of_a_good_prediction_is_never_negative(self):
        target = noise(1, 4, 32, 32) * 100
        sums = region_sums(target * (1 + 1e-7), target, torch.ones(1, 1, 32, 32))
        assert 0 <= sums.squared_error().item() < 1e-2
