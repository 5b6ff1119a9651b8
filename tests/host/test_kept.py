"""What ComfyUI keeps of a dataset between the nodes: little, and nothing of it is another number.

The numbers come from measure_kept.py, run once: six pictures of 1600x1200 with two regions and one person.
"""

import math
from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by

PICTURES, PIXELS = 6, 1600 * 1200
FITTED = (1, 192, 320, 3)
"""256² pixels in the aspect 4:3, both sides whole multiples of 64: 221.7 x 295.6."""


@pytest.fixture(scope="module")
def found(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_kept.py", comfy)


def test_pictures_that_are_not_cut_yet_keep_no_more_than_one_of_them(found: dict[str, Any]):
    assert found["kept"]["load"] <= PIXELS * 3 * 4


def test_masks_keep_less_than_a_fiftieth_of_a_byte_a_pixel(found: dict[str, Any]):
    layers = PICTURES * 3
    for node in ("segment", "fit"):
        assert 0 < found["kept"][node] - fitted_bytes(node) < layers * PIXELS / 50


def fitted_bytes(node: str) -> int:
    """Of the pictures that a node gives."""
    return PICTURES * math.prod(FITTED) * 4 if node == "fit" else 0


def test_what_is_cut_is_what_it_is_without_waiting_anywhere(found: dict[str, Any]):
    assert found["sizes"] == [list(FITTED)] * PICTURES
    for what, same in found["same"].items():
        assert same == [True] * PICTURES, what
