"""A rough outline is drawn along the edges of the picture, and nothing else changes."""

import numpy as np
import pytest

from semantic_focus.regions.snap import snapped

SIDE = 256


def disc(radius: float, x: float = SIDE / 2, y: float = SIDE / 2) -> np.ndarray:
    """Bool[SIDE, SIDE]."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return (rows - y) ** 2 + (columns - x) ** 2 < radius**2


@pytest.fixture(scope="module")
def light() -> np.ndarray:
    """A bright disc of radius 60 on a dark ground, with a little noise."""
    noise = np.random.default_rng(0).normal(0, 0.01, (SIDE, SIDE))
    return (np.where(disc(60), 0.8, 0.2) + noise).clip(0, 1).astype(np.float32)


def likeness(mask: np.ndarray, region: np.ndarray) -> float:
    """Intersection over union."""
    inside = mask >= 128
    return float((inside & region).sum() / (inside | region).sum())


@pytest.mark.parametrize(
    "drawn",
    [disc(64), disc(56), disc(60, x=SIDE / 2 + 3), disc(60, y=SIDE / 2 - 3)],
    ids=["large", "small", "right", "up"],
)
def test_a_rough_outline_comes_nearer_to_the_edge(light: np.ndarray, drawn: np.ndarray):
    mask = drawn.astype(np.uint8) * 255
    found = snapped(mask, light, SIDE)
    missed = 1 - likeness(found, disc(60))
    assert missed < 0.4 * (1 - likeness(mask, disc(60)))
    # 0.02 of 256 pixels four times: farther away nothing changes
    assert np.array_equal(found[:20], mask[:20]) and found[128, 128] == 255


def test_a_window_is_a_part_of_its_picture(light: np.ndarray):
    """The window of a stroke reaches as far as the whole picture says."""
    mask = disc(64).astype(np.uint8) * 255
    window = (slice(30, 226), slice(100, 226))
    found = snapped(mask[window], light[window], SIDE)
    assert 1 - likeness(found, disc(60)[window]) < 0.4 * (1 - likeness(mask[window], disc(60)[window]))


@pytest.mark.parametrize("value", [0, 128, 255])
def test_without_a_border_nothing_is_drawn(light: np.ndarray, value: int):
    mask = np.full((SIDE, SIDE), value, np.uint8)
    assert np.array_equal(snapped(mask, light, SIDE), mask)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 2), (40, 3)])
def test_the_smallest_windows_are_taken(shape: tuple[int, int]):
    mask = np.zeros(shape, np.uint8)
    mask[:, : (shape[1] + 1) // 2] = 255
    assert snapped(mask, np.zeros(shape, np.float32), SIDE).shape == shape


LARGE = 320
EDGES = slice(100, 220)


def square(off: int = 0) -> np.ndarray:
    """uint8[LARGE, LARGE]: 255 in a square that lies `off` pixels away from the picture's own."""
    mask = np.zeros((LARGE, LARGE), np.uint8)
    mask[EDGES.start + off : EDGES.stop + off, EDGES.start - off : EDGES.stop - off] = 255
    return mask


@pytest.fixture
def square_picture() -> np.ndarray:
    """Float[LARGE, LARGE]: a bright square on a dark ground, with the grain of a photograph."""
    bright = np.where(square() > 0, 0.9, 0.1)
    return (bright + np.random.default_rng(1).normal(0, 0.02, bright.shape)).astype(np.float32)


@pytest.mark.parametrize("off", [0, 2, 4, 6])
def test_a_border_that_is_a_little_off_comes_to_the_edge(square_picture: np.ndarray, off: int):
    wrong = np.abs(snapped(square(off), square_picture, LARGE).astype(int) - square()).mean()
    assert wrong < 1 and wrong <= np.abs(square(off).astype(int) - square()).mean() + 0.1


def test_a_border_far_from_any_edge_stays_but_for_its_corners(square_picture: np.ndarray):
    drawn = np.zeros((LARGE, LARGE), np.uint8)
    drawn[20:80, 20:80] = 255  # on the plain ground
    found = snapped(drawn, square_picture, LARGE)
    assert (found[32:68, 32:68] == 255).all()
    assert not found[:14].any() and not found[:, :14].any() and not found[86:, :90].any()
    assert abs(np.count_nonzero(found[50] > 127) - 60) <= 4
