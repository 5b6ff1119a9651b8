"""Edges that a person drew roughly, drawn along those of the picture."""

import numpy as np

from .refine import EdgeSettings, refine_edges

REACH = 0.02
"""How far from the drawn edge one in the picture is looked for at a time, as a share of the shorter picture
side; all rounds together come about as far.
"""
FINE = 0.006
"""The same for the last time, which gives the edge its softness."""
FLAT = 1e-3
"""Variance of the luminance below which the picture counts as flat there, see `EdgeSettings`."""
ROUNDS = 4
"""How often a filtered edge is made clear and filtered again: once leaves a halo and hardly moves it."""
COARSE = 4
"""Step, in pixels, of the rounds before the last."""
CLEAR, LAST_CLEAR = 3.0, 1.5
"""How much steeper an edge is made around its middle, after each round and after the last."""


def snapped(mask: np.ndarray, guide: np.ndarray, shorter_side: int) -> np.ndarray:
    """A region in a window of a picture, its border drawn along the picture's edges.

    Args:
        mask: uint8[h, w], 0..255.
        guide: Float[h, w], luminance 0..1 of the picture there.
        shorter_side: of the whole picture, in pixels.

    Returns:
        uint8[h, w].
    """
    around = _border(mask, round(4 * REACH * shorter_side) + 2)
    if around is None:
        return mask
    layer, light = mask[around].astype(np.float32) / 255, np.ascontiguousarray(guide[around])
    scale = shorter_side / min(light.shape)
    for _ in range(ROUNDS):
        layer = _clear(refine_edges([layer], light, EdgeSettings(REACH * scale, FLAT, COARSE))[0], CLEAR)
    layer = _clear(refine_edges([layer], light, EdgeSettings(FINE * scale, FLAT, 1))[0], LAST_CLEAR)
    result = mask.copy()
    result[around] = (layer * 255).round().clip(0, 255).astype(np.uint8)
    return result


def _clear(layer: np.ndarray, steepness: float) -> np.ndarray:
    return ((layer - 0.5) * steepness + 0.5).clip(0, 1)


def _border(mask: np.ndarray, margin: int) -> tuple[slice, slice] | None:
    """The rows and columns in which values change, and so many around them; None where none does."""
    down, across = (mask[1:] != mask[:-1]), (mask[:, 1:] != mask[:, :-1])
    rows = np.flatnonzero(np.append(down.any(1), False) | across.any(1))
    columns = np.flatnonzero(np.append(across.any(0), False) | down.any(0))
    if not len(rows) or not len(columns):
        return None
    return (
        slice(max(0, rows[0] - margin), rows[-1] + 2 + margin),
        slice(max(0, columns[0] - margin), columns[-1] + 2 + margin),
    )
