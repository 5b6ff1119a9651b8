"""The region cosine loss against hand-computed numbers and a slow oracle in plain Python."""

import math

import pytest
import torch
from torch import Tensor

from semantic_focus.objective.loss import RESIDUAL, region_sums, semantic_cosine_loss

GRID = (3, 4)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def soft(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def row(index: int, batch: int = 1) -> Tensor:
    """A mask of 1 in one row of GRID."""
    mask = torch.zeros(batch, *GRID)
    mask[:, index] = 1
    return mask


def picture(*vectors: tuple[float, ...]) -> Tensor:
    """Float[1, C, 1, n] whose n cells hold these channel vectors."""
    return torch.tensor(vectors).T[None, :, None]


def cells(*values: float) -> Tensor:
    """A mask Float[1, 1, n]."""
    return torch.tensor([[list(values)]])


def oracle_regions(pred: Tensor, target: Tensor, masks: dict[str, Tensor], magnitude: float = 0.0):
    """Per sample: name -> (value, area), number by number in Python floats; absent regions are left out."""
    batch, channels, height, width = pred.shape
    result = []
    for b in range(batch):
        planes = {name: mask[b].tolist() for name, mask in masks.items()}
        planes[RESIDUAL] = [
            [1 - min(1.0, sum(mask[b, y, x].item() for mask in masks.values())) for x in range(width)]
            for y in range(height)
        ]
        values = {}
        for name, plane in planes.items():
            dot = pred_sq = target_sq = error = area = 0.0
            for y in range(height):
                for x in range(width):
                    area += plane[y][x]
                    for c in range(channels):
                        p, t = pred[b, c, y, x].item(), target[b, c, y, x].item()
                        dot += plane[y][x] * p * t
                        pred_sq += plane[y][x] * p * p
                        target_sq += plane[y][x] * t * t
                        error += plane[y][x] * (p - t) ** 2
            if area > 0:
                cosine = dot / math.sqrt(pred_sq * target_sq)
                values[name] = (1 - cosine + magnitude * error / (area * channels), area)
        result.append(values)
    return result


def oracle(
    pred: Tensor,
    target: Tensor,
    masks: dict[str, Tensor],
    weights: dict[str, float],
    fallback: float = 0.0,
    magnitude: float = 0.0,
    shrinkage: float = 0.0,
) -> float:
    losses = []
    for regions in oracle_regions(pred, target, masks, magnitude):
        above = below = 0.0
        for name, (value, area) in regions.items():
            weight = fallback if name == RESIDUAL else weights.get(name, 0.0)
            weight *= area / (area + shrinkage)
            above += weight * value
            below += weight
        losses.append(above / below if below else 0.0)
    return sum(losses) / len(losses)


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
