"""The region cosine loss against hand-computed numbers and a slow oracle in plain Python."""

import math

import pytest
import torch

from semantic_focus.objective.loss import semantic_cosine_loss
from semantic_focus.objective.sums import RESIDUAL

from .oracle import GRID, cells, noise, oracle, oracle_regions, picture, row, soft


class TestByHand:
    def test_parallel_is_0_orthogonal_is_1_opposite_is_2(self):
        target = picture((3.0, 0.0))
        for pred, expected in (((1.0, 0.0), 0.0), ((0.0, 5.0), 1.0), ((-2.0, 0.0), 2.0)):
            loss = semantic_cosine_loss(picture(pred), target, {"face": cells(1)}, {"face": 1.0})
            assert loss.item() == pytest.approx(expected, abs=1e-6)

    def test_angle_of_a_3_4_5_triangle(self):
        loss = semantic_cosine_loss(
            picture((3.0, 4.0)), picture((1.0, 0.0)), {"face": cells(1)}, {"face": 1.0}
        )
        assert loss.item() == pytest.approx(1 - 3 / 5)

    def test_regions_are_averaged_by_weight(self):
        """face is orthogonal (1), hair opposite (2): (1·1 + 0.5·2) / 1.5."""
        pred, target = picture((0.0, 1.0), (-1.0, 0.0)), picture((1.0, 0.0), (1.0, 0.0))
        loss = semantic_cosine_loss(
            pred, target, {"face": cells(1, 0), "hair": cells(0, 1)}, {"face": 1.0, "hair": 0.5}
        )
        assert loss.item() == pytest.approx(4 / 3)

    def test_only_the_ratio_of_weights_matters(self):
        pred, target = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1)
        masks = {"face": row(0, 2), "hair": row(1, 2)}
        one = semantic_cosine_loss(pred, target, masks, {"face": 0.2, "hair": 0.1}, 0.05)
        other = semantic_cosine_loss(pred, target, masks, {"face": 40.0, "hair": 20.0}, 10.0)
        assert one.item() == pytest.approx(other.item(), rel=1e-6)

    def test_a_soft_edge_counts_once(self):
        """Cells (1,0)·(1,0) at m=1 and (0,1)·(1,0) at m=0.5: D=1, P=T=1.5. Squaring m would give 1/1.25."""
        loss = semantic_cosine_loss(
            picture((1.0, 0.0), (0.0, 1.0)),
            picture((1.0, 0.0), (1.0, 0.0)),
            {"face": cells(1, 0.5)},
            {"face": 1.0},
        )
        assert loss.item() == pytest.approx(1 - 1 / 1.5)

    def test_the_cosine_spans_the_region_rather_than_each_cell(self):
        """One long right cell and one short wrong cell: D = 100, P = T = 101, not the mean of 0 and 1."""
        loss = semantic_cosine_loss(
            picture((10.0, 0.0), (0.0, 1.0)),
            picture((10.0, 0.0), (1.0, 0.0)),
            {"face": cells(1, 1)},
            {"face": 1.0},
        )
        assert loss.item() == pytest.approx(1 / 101, rel=1e-4)

    def test_global_fallback_weighs_what_no_mask_covers(self):
        """face right (0), the rest opposite (2): 0.25·2 / 1.25."""
        pred, target = picture((1.0, 0.0), (-1.0, 0.0)), picture((1.0, 0.0), (1.0, 0.0))
        loss = semantic_cosine_loss(pred, target, {"face": cells(1, 0)}, {"face": 1.0}, global_fallback=0.25)
        assert loss.item() == pytest.approx(0.4)

    @pytest.mark.parametrize("scale", [0.5, 2.0])
    def test_length_is_free_without_the_magnitude_term(self, scale: float):
        target = noise(2, 3, *GRID)
        masks, weights = {"face": row(0, 2)}, {"face": 1.0}
        assert semantic_cosine_loss(scale * target, target, masks, weights).item() == pytest.approx(
            0, abs=1e-6
        )

    @pytest.mark.parametrize(("scale", "share"), [(0.5, 0.25), (2.0, 1.0)])
    def test_the_magnitude_term_sees_the_length(self, scale: float, share: float):
        """(s·v − v)² = (s − 1)²·v²; v² is 4 everywhere."""
        target = torch.full((1, 3, *GRID), 2.0)
        loss = semantic_cosine_loss(
            scale * target, target, {"face": row(0)}, {"face": 1.0}, magnitude_weight=0.5
        )
        assert loss.item() == pytest.approx(0.5 * share * 4, rel=1e-5)

    def test_better_predictions_cost_less(self):
        target, error = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1)
        masks, weights = {"face": row(0, 2)}, {"face": 1.0}
        costs = [
            semantic_cosine_loss(target + share * error, target, masks, weights).item()
            for share in (0.0, 0.1, 0.5, 2.0)
        ]
        assert costs == sorted(costs) and costs[0] < 1e-6 < costs[1]


class TestAgainstTheOracle:
    @pytest.mark.parametrize("fallback", [0.0, 0.3])
    @pytest.mark.parametrize("magnitude", [0.0, 0.7])
    @pytest.mark.parametrize("shrinkage", [0.0, 2.0])
    def test_overlapping_soft_masks(self, fallback: float, magnitude: float, shrinkage: float):
        pred, target = noise(3, 2, *GRID), noise(3, 2, *GRID, seed=1)
        masks = {"face": soft(3, *GRID), "hair": soft(3, *GRID, seed=1) * 0.5, "free": row(2, 3)}
        weights = {"face": 1.0, "hair": 0.6, "free": 0.0}
        loss = semantic_cosine_loss(
            pred, target, masks, weights, fallback, magnitude_weight=magnitude, area_shrinkage=shrinkage
        )
        expected = oracle(pred, target, masks, weights, fallback, magnitude, shrinkage)
        assert loss.item() == pytest.approx(expected, rel=1e-5)

    @pytest.mark.parametrize("kind", ["full", "one cell", "half"])
    def test_shapes_of_a_single_mask(self, kind: str):
        mask = torch.zeros(2, *GRID)
        mask[{"full": ..., "one cell": (..., 1, 2), "half": (..., slice(2))}[kind]] = 1
        pred, target = noise(2, 5, *GRID), noise(2, 5, *GRID, seed=1)
        loss = semantic_cosine_loss(pred, target, {"face": mask}, {"face": 1.0}, 0.2)
        assert loss.item() == pytest.approx(
            oracle(pred, target, {"face": mask}, {"face": 1.0}, 0.2), rel=1e-5
        )

    def test_return_regions_gives_each_sample_its_unweighted_value_and_nan_where_absent(self):
        pred, target = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1)
        face = row(0, 2)
        face[1] = 0
        masks = {"face": face, "all": torch.ones(2, *GRID)}
        loss, regions = semantic_cosine_loss(
            pred, target, masks, {"face": 0.3, "all": 0.1}, magnitude_weight=0.5, return_regions=True
        )
        assert list(regions) == ["face", "all", RESIDUAL]
        for b, expected in enumerate(oracle_regions(pred, target, masks, magnitude=0.5)):
            for name, values in regions.items():
                if name in expected:
                    assert values[b].item() == pytest.approx(expected[name][0], rel=1e-5)
                else:
                    assert math.isnan(values[b].item())
        assert torch.isnan(regions["face"][1]) and torch.isnan(regions[RESIDUAL]).all()
        assert torch.equal(
            loss, semantic_cosine_loss(pred, target, masks, {"face": 0.3, "all": 0.1}, magnitude_weight=0.5)
        )


class TestAbsentRegions:
    def test_an_empty_mask_changes_nothing(self):
        pred, target = noise(2, 3, *GRID), noise(2, 3, *GRID, seed=1)
        alone = semantic_cosine_loss(pred, target, {"face": row(0, 2)}, {"face": 1.0})
        masks = {"face": row(0, 2), "hair": torch.zeros(2, *GRID)}
        assert torch.equal(
            semantic_cosine_loss(pred, target, masks, {"face": 1.0, "hair": 5.0, "sword": 9.0}), alone
        )

    def test_a_region_missing_in_one_sample_leaves_that_samples_denominator(self):
        pred, target = noise(3, 3, *GRID), noise(3, 3, *GRID, seed=1)
        hair = row(1, 3)
        hair[1] = 0
        masks, weights = {"face": row(0, 3), "hair": hair}, {"face": 1.0, "hair": 2.0}
        together = semantic_cosine_loss(pred, target, masks, weights, 0.1)
        alone = [
            semantic_cosine_loss(
                pred[b : b + 1], target[b : b + 1], {k: m[b : b + 1] for k, m in masks.items()}, weights, 0.1
            ).item()
            for b in range(3)
        ]
        assert together.item() == pytest.approx(sum(alone) / 3, rel=1e-6)

    def test_a_sample_without_any_weighted_region_contributes_0_and_has_no_gradient(self):
        pred, target = noise(2, 3, *GRID).requires_grad_(), noise(2, 3, *GRID, seed=1)
        face = row(0, 2)
        face[1] = 0
        loss = semantic_cosine_loss(pred, target, {"face": face}, {"face": 1.0})
        first = semantic_cosine_loss(pred[:1], target[:1], {"face": face[:1]}, {"face": 1.0})
        (gradient,) = torch.autograd.grad(loss, pred)
        assert loss.item() == pytest.approx(first.item() / 2, rel=1e-6)
        assert gradient[0].any() and not gradient[1].any()

    def test_masks_rounded_to_8_bits_leave_no_residual_behind(self):
        """30 % + 70 % are 76/255 + 178/255: the missing 1/255 is rounding, not a region of its own."""
        thirty = torch.full((1, *GRID), 76 / 255)
        seventy = torch.full((1, *GRID), 178 / 255)
        assert 0 < 1 - (thirty + seventy).max() < 0.01
        pred, target = noise(1, 3, *GRID), noise(1, 3, *GRID, seed=1)
        _, regions = semantic_cosine_loss(
            pred, target, {"face": thirty, "rest": seventy}, {"face": 1.0}, 0.1, return_regions=True
        )
        assert torch.isnan(regions[RESIDUAL]).all()

    def test_a_thin_but_real_gap_stays_a_residual(self):
        cover = torch.ones(1, *GRID)
        cover[..., 0, 0] = 0.9
        pred, target = noise(1, 3, *GRID), noise(1, 3, *GRID, seed=1)
        loss = semantic_cosine_loss(pred, target, {"face": cover}, {"face": 0.0}, 1.0)
        only = torch.nn.functional.cosine_similarity(pred[0, :, 0, 0], target[0, :, 0, 0], dim=0)
        assert loss.item() == pytest.approx(1 - only.item(), rel=1e-5)


class TestVariants:
    def test_per_pixel_every_cell_counts_alike_however_long_its_vector(self):
        """One long right cell (0) and one short wrong cell (1) at a mask of 1 and 0.5: 0.5 / 1.5."""
        loss = semantic_cosine_loss(
            picture((10.0, 0.0), (0.0, 1.0)),
            picture((10.0, 0.0), (1.0, 0.0)),
            {"face": cells(1, 0.5)},
            {"face": 1.0},
            cosine="pixel",
        )
        assert loss.item() == pytest.approx(1 / 3, rel=1e-6)

    def test_fixed_normalisation_counts_absent_and_unseen_regions(self):
        """face is orthogonal (1), hair not in the picture, sword has no mask: 1 / (1 + 0.5 + 0.3 + 0.2)."""
        loss = semantic_cosine_loss(
            picture((0.0, 1.0)),
            picture((1.0, 0.0)),
            {"face": cells(1), "hair": cells(0)},
            {"face": 1.0, "hair": 0.5, "sword": 0.3},
            0.2,
            normalise="fixed",
        )
        assert loss.item() == pytest.approx(0.5)

    def test_a_weight_per_sample_is_that_samples_weight(self):
        pred, target = noise(3, 3, *GRID), noise(3, 3, *GRID, seed=1)
        masks = {"face": row(0, 3), "hair": row(1, 3)}
        face, rest = [1.0, 0.5, 0.0], [0.2, 0.0, 0.7]
        together = semantic_cosine_loss(
            pred, target, masks, {"face": torch.tensor(face), "hair": 0.3}, torch.tensor(rest)
        )
        alone = [
            semantic_cosine_loss(
                pred[b : b + 1],
                target[b : b + 1],
                {name: mask[b : b + 1] for name, mask in masks.items()},
                {"face": face[b], "hair": 0.3},
                rest[b],
            ).item()
            for b in range(3)
        ]
        assert together.item() == pytest.approx(sum(alone) / 3, rel=1e-6)
