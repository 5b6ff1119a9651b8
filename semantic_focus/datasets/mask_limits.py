"""How much a mask file may hold: one of a few kilobytes can claim any number of pixels."""

from collections.abc import Sequence

from ..regions.large import LONGEST_SIDE, kept_as

MAX_SIDE = LONGEST_SIDE
"""Longest picture side that a mask file may claim, in pixels."""
MAX_PIXELS = 1 << 28
"""Most pixels that a stored PNG may have."""
MAX_PERSONS = 256
MAX_HEADER = 1 << 20
"""Most bytes of a header."""
MAX_BYTES = 1 << 31
"""Most memory that all masks and persons of one picture may take together."""


def size_problem(height: int, width: int) -> str | None:
    """Why a mask file cannot hold a picture of this size, and what to do; None when it can."""
    if max(height, width) <= MAX_SIDE and height * width <= MAX_PIXELS:
        return None
    return (
        f"it is {width}x{height}, a mask file holds sides up to {MAX_SIDE} and {MAX_PIXELS} pixels. "
        "Make the picture smaller"
    )


def sum_problem(
    labels: int, persons: int, size: Sequence[int], machine: int = 0, by_hand: int = 0
) -> str | None:
    """Why masks and persons of this many pixels are not held in memory; None when they are.

    Args:
        machine, by_hand: how many masks lie below those that a person changed, and how many hand layers.
    """
    height, width = size
    layer = height * width * kept_as((height, width)).itemsize
    takes = (labels + machine + persons) * layer + by_hand * (layer + height * width)
    if takes <= MAX_BYTES:
        return None
    more = f", with {by_hand} made by hand," if by_hand else ""
    return (
        f"{labels} masks and {persons} persons of {width}x{height}{more} take {takes / 2**30:.1f} GiB of "
        f"memory, all of one picture may take {MAX_BYTES / 2**30:g}"
    )
