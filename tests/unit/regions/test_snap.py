"""A region that was painted roughly gets the border that the picture has there."""

import numpy as np
import pytest

from semantic_focus.regions.snap import snapped

SIDE = 320
EDGES = slice(100, 220)


def square(off: int = 0) -> np.ndarray:
    """uint8[SIDE, SIDE]: 255 in a square that lies `off` pixels away from the picture's own."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[EDGES.start + off : EDGES.stop + off, EDGES.start - off : EDGES.stop - off] = 255
    return mask


@pytest.fixture
def picture() -> np.ndarray:
    """Float[SIDE, SIDE]: a bright square on a dark ground, with the grain of a photograph."""
    bright = np.where(square() > 0, 0.9, 0.1)
    return (bright + np.random.default_rng(1).normal(0, 0.02, bright.shape)).astype(np.float32)


@pytest.mark.parametrize("off", [0, 2, 4, 6])
def test_a_border_that_is_a_little_off_comes_to_the_edge(picture: np.ndarray, off: int):
    wrong = np.abs(snapped(square(off), picture, SIDE).astype(int) - square()).mean()
    assert wrong < 1 and wrong <= np.abs(square(off).astype(int) - square()).mean() + 0.1


def test_a_border_far_from_any_edge_stays_but_for_its_corners(picture: np.ndarray):
    drawn = np.zeros((SIDE, SIDE), np.uint8)
    drawn[20:80, 20:80] = 255  # on the plain ground
    found = snapped(drawn, picture, SIDE)
    assert (found[32:68, 32:68] == 255).all()
    assert not found[:14].any() and not found[:, :14].any() and not found[86:, :90].any()
    assert abs(np.count_nonzero(found[50] > 127) - 60) <= 4


@pytest.mark.parametrize("value", [0, 255])
def test_a_window_without_a_border_stays_as_it_is(picture: np.ndarray, value: int):
    plain = np.full((SIDE, SIDE), value, np.uint8)
    assert np.array_equal(snapped(plain, picture, SIDE), plain)
