"""Refinement: what it fills, drops, moves and redraws, and what it leaves alone."""

import math

import numpy as np
import pytest
import torch

from semantic_focus.regions.refine import MODES, RefineSettings, clean, grow, guided_filter, pieces, refine


def disc(radius: float, size: int = 101) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size] - size // 2
    return (np.hypot(rows, columns) <= radius).astype(np.float32)


def grey(height: int, width: int, value: float = 0.5) -> torch.Tensor:
    return torch.full((height, width, 3), value)


def test_off_returns_the_masks_untouched():
    masks = torch.rand(2, 8, 8)
    assert refine(masks, torch.rand(8, 8, 3), RefineSettings("off", max_hole=99, grow=3)) is masks


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_even_mask_stays_as_it_is(mode, value):
    masks = torch.full((1, 40, 50), value)
    refined = refine(masks, torch.rand(40, 50, 3), RefineSettings(mode, max_hole=10, min_area=10, grow=2))
    assert torch.equal(refined, masks)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 60), (60, 1), (2, 2), (3, 500)])
def test_any_size_keeps_shape_and_range(mode, size):
    masks = (torch.rand(2, *size) > 0.5).float()
    refined = refine(masks, torch.rand(*size, 3), RefineSettings(mode, max_hole=2, min_area=2, grow=1))
    assert refined.shape == masks.shape
    assert refined.min() >= 0 and refined.max() <= 1


def test_no_masks_in_no_masks_out():
    assert refine(torch.zeros(0, 5, 6), grey(5, 6)).shape == (0, 5, 6)


def test_hole_of_nine_pixels_needs_a_limit_of_nine():
    mask = np.ones((20, 20), np.float32)
    mask[5:8, 5:8] = 0
    assert clean(mask, 9, 0).min() == 1
    np.testing.assert_array_equal(clean(mask, 8, 0), mask)


def test_gap_at_the_border_is_not_a_hole():
    mask = np.ones((20, 20), np.float32)
    mask[0:3, 5:8] = 0
    np.testing.assert_array_equal(clean(mask, 100, 0), mask)


def test_speck_of_four_pixels_goes_below_a_minimum_of_five():
    mask = np.zeros((30, 30), np.float32)
    mask[10:20, 10:20] = 1
    large = mask.copy()
    mask[2:4, 2:4] = 0.8
    np.testing.assert_array_equal(clean(mask, 0, 5), large)
    np.testing.assert_array_equal(clean(mask, 0, 4), mask)


def test_faint_haze_is_no_speck():
    haze = np.full((10, 10), 0.3, np.float32)
    np.testing.assert_array_equal(clean(haze, 0, 50), haze)


def test_pieces_that_touch_at_a_corner_are_one_only_with_eight_neighbours():
    inside = np.eye(2, dtype=bool)
    assert pieces(inside, connectivity=8)[1].tolist() == [2, 2]
    assert pieces(inside, connectivity=4)[1].tolist() == [2, 1, 1]


@pytest.mark.parametrize("pixels", [8.0, -8.0, 3.5])
def test_a_disc_grows_into_a_disc(pixels):
    assert disc(30.4).sum() == pytest.approx(math.pi * 30.4**2, rel=0.01)
    radius = math.sqrt(grow(disc(30.4), pixels).sum() / math.pi)
    assert radius == pytest.approx(30.4 + pixels, abs=0.4)


def test_half_plane_moves_by_half_pixels_too():
    mask = np.zeros((5, 20), np.float32)
    mask[:, :10] = 1
    moved = grow(mask, 2.5)
    # the outline was at x = 10; a pixel from 12 to 13 is now half inside
    np.testing.assert_allclose(moved[2], [1.0] * 12 + [0.5] + [0.0] * 7)


def test_edge_moves_to_the_edge_of_the_picture_and_nothing_else_changes():
    height, width, masked, seen = 200, 200, 97, 100
    picture = grey(height, width, 0.1)
    picture[:, seen:] = 0.9
    mask = torch.zeros(1, height, width)
    mask[:, :, :masked] = 1
    for mode, settings in MODES.items():
        refined = refine(mask, picture, RefineSettings(mode))[0, 100]
        radius = max(2, round(settings.radius_share * 200))
        before, after = (abs(float(line.sum()) - seen) for line in (mask[0, 100], refined))
        assert after < before, f"{mode}: edge {after} pixels off, was {before}"
        band = slice(masked - 2 * radius - 2, masked + 2 * radius + 2)
        outside = torch.ones(width, dtype=torch.bool)
        outside[band] = False
        assert torch.equal(refined[outside], mask[0, 100][outside])


def test_guided_filter_is_the_textbook_formula():
    rng = np.random.default_rng(0)
    guide, mask = rng.random((2, 15, 15), dtype=np.float32)
    radius, epsilon = 2, 0.01

    def window(layer, y, x):
        return layer[y - radius : y + radius + 1, x - radius : x + radius + 1].astype(np.float64)

    def line(y, x):
        g, m = window(guide, y, x), window(mask, y, x)
        a = ((g * m).mean() - g.mean() * m.mean()) / (g.var() + epsilon)
        return a, m.mean() - a * g.mean()

    around = [line(y, x) for y in range(5, 10) for x in range(5, 10)]
    expected = np.mean([a for a, _ in around]) * guide[7, 7] + np.mean([b for _, b in around])
    filtered = guided_filter(guide, mask[None], radius, epsilon)
    assert filtered[0, 7, 7] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("subsample", [1, 2, 4])
def test_guided_filter_keeps_a_partition_a_partition(subsample):
    rng = np.random.default_rng(1)
    masks = rng.random((3, 33, 47), dtype=np.float32)
    masks /= masks.sum(0)
    filtered = guided_filter(rng.random((33, 47), dtype=np.float32), masks, 4, 1e-3, subsample)
    np.testing.assert_allclose(filtered.sum(0), 1, atol=1e-4)


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match="one of off, fast, fine, matting; got 'best'"):
        RefineSettings("best")
    with pytest.raises(ValueError, match="min_area is a number of pixels, 0 or more; got -1"):
        RefineSettings(min_area=-1)
    with pytest.raises(ValueError, match=r"got \[1, 4, 4\] and \[4, 5, 3\]"):
        refine(torch.zeros(1, 4, 4), torch.zeros(4, 5, 3))
