"""Shapes that the region cosine loss takes, and what it refuses with which words."""

import math

import pytest
import torch

from semantic_focus.objective.loss import semantic_cosine_loss
from semantic_focus.objective.sums import RESIDUAL

from .oracle import GRID, noise, oracle, row, soft


class TestShapes:
    VIDEO = (2, 3, 5, *GRID)

    def test_a_video_with_one_mask_for_all_frames_is_a_wide_picture(self):
        pred, target, mask = noise(*self.VIDEO), noise(*self.VIDEO, seed=1), soft(2, *GRID)
        loss = semantic_cosine_loss(pred, target, {"face": mask}, {"face": 1.0}, 0.1)
        side_by_side = torch.cat([mask] * 5, -1)
        flat_pred = torch.cat(pred.unbind(2), -1)
        flat_target = torch.cat(target.unbind(2), -1)
        expected = oracle(flat_pred, flat_target, {"face": side_by_side}, {"face": 1.0}, 0.1)
        assert loss.item() == pytest.approx(expected, rel=1e-5)

    def test_a_video_may_have_a_mask_per_frame(self):
        pred, target, mask = noise(*self.VIDEO), noise(*self.VIDEO, seed=1), soft(2, 5, *GRID)
        loss = semantic_cosine_loss(pred, target, {"face": mask}, {"face": 1.0}, 0.1)
        expected = oracle(
            torch.cat(pred.unbind(2), -1),
            torch.cat(target.unbind(2), -1),
            {"face": torch.cat(mask.unbind(1), -1)},
            {"face": 1.0},
            0.1,
        )
        assert loss.item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("shape", [(2, 3, *GRID), VIDEO])
    def test_one_mask_may_serve_the_whole_batch(self, shape: tuple[int, ...]):
        pred, target, mask = noise(*shape), noise(*shape, seed=1), soft(*GRID)
        losses = [
            semantic_cosine_loss(pred, target, {"face": form}, {"face": 1.0}, 0.1)
            for form in (mask, mask[None], mask.expand(2, *GRID))
        ]
        assert torch.equal(losses[0], losses[1]) and torch.equal(losses[0], losses[2])

    def test_bool_masks_are_0_and_1(self):
        pred, target = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1)
        assert torch.equal(
            semantic_cosine_loss(pred, target, {"face": row(0, 2).bool()}, {"face": 1.0}, 0.1),
            semantic_cosine_loss(pred, target, {"face": row(0, 2)}, {"face": 1.0}, 0.1),
        )

    def test_without_masks_the_residual_is_everything(self):
        pred, target = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1)
        loss = semantic_cosine_loss(pred, target, {}, {}, global_fallback=0.1)
        assert loss.item() == pytest.approx(
            oracle(pred, target, {"all": torch.ones(2, *GRID)}, {"all": 1.0}), rel=1e-5
        )


class TestErrors:
    V = torch.ones(2, 3, *GRID)

    @pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, -math.inf])
    def test_bad_weights_are_named(self, bad: float):
        with pytest.raises(ValueError, match="'face'.*0 or more"):
            semantic_cosine_loss(self.V, self.V, {"face": row(0, 2)}, {"face": bad})
        with pytest.raises(ValueError, match="global_fallback"):
            semantic_cosine_loss(self.V, self.V, {}, {}, bad)
        with pytest.raises(ValueError, match="magnitude_weight"):
            semantic_cosine_loss(self.V, self.V, {}, {}, 1.0, magnitude_weight=bad)
        with pytest.raises(ValueError, match="area_shrinkage"):
            semantic_cosine_loss(self.V, self.V, {}, {}, 1.0, area_shrinkage=bad)

    def test_different_velocities_are_refused_with_both_shapes(self):
        with pytest.raises(ValueError, match=r"v_pred is \[2, 3, 3, 4\] but v_target \[2, 3, 3, 3\]"):
            semantic_cosine_loss(self.V, self.V[..., :3], {}, {})

    def test_a_velocity_that_is_neither_picture_nor_video_is_refused(self):
        with pytest.raises(ValueError, match=r"v_pred must be .*got shape \[3, 3, 4\]"):
            semantic_cosine_loss(self.V[0], self.V[0], {}, {})

    def test_a_mask_on_another_grid_is_named_with_the_way_out(self):
        with pytest.raises(ValueError, match=r"'hair' is \[2, 24, 32\].*\[3, 4\].*downsample_mask_to_latent"):
            semantic_cosine_loss(self.V, self.V, {"hair": torch.ones(2, 24, 32)}, {"hair": 1.0})

    @pytest.mark.parametrize("shape", [(3, *GRID), (2, 1, *GRID)])
    def test_a_mask_of_another_batch_is_named(self, shape: tuple[int, ...]):
        with pytest.raises(ValueError, match="'hair'.*batch of 2"):
            semantic_cosine_loss(self.V, self.V, {"hair": torch.ones(shape)}, {"hair": 1.0})

    def test_a_mask_must_not_take_the_name_of_the_residual(self):
        with pytest.raises(ValueError, match="'residual'.*rename"):
            semantic_cosine_loss(self.V, self.V, {RESIDUAL: row(0, 2)}, {RESIDUAL: 1.0})

    def test_an_unknown_choice_is_answered_with_the_known_ones(self):
        with pytest.raises(ValueError, match="cosine is 'cell': choose region or pixel"):
            semantic_cosine_loss(self.V, self.V, {}, {}, 1.0, cosine="cell")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="normalise is 'all': choose present or fixed"):
            semantic_cosine_loss(self.V, self.V, {}, {}, 1.0, normalise="all")  # type: ignore[arg-type]

    def test_weights_per_sample_are_checked_too(self):
        with pytest.raises(ValueError, match="'face'.*0 or more"):
            semantic_cosine_loss(self.V, self.V, {"face": row(0, 2)}, {"face": torch.tensor([1.0, -1.0])})
        with pytest.raises(ValueError, match=r"weight per sample has shape \[3\].*batch has 2"):
            semantic_cosine_loss(self.V, self.V, {"face": row(0, 2)}, {"face": torch.ones(3)})
