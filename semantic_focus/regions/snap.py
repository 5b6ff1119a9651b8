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
    if not mask.any() or mask.all():
        return mask
    layer = mask.astype(np.float32) / 255
    scale = shorter_side / min(guide.shape)
    for _ in range(ROUNDS):
        layer = _clear(refine_edges([layer], guide, EdgeSettings(REACH * scale, FLAT, COARSE))[0], CLEAR)
    layer = _clear(refine_edges([layer], guide, EdgeSettings(FINE * scale, FLAT, 1))[0], LAST_CLEAR)
    return (layer * 255).round().clip(0, 255).astype(np.uint8)


def _clear(layer: np.ndarray, steepness: float) -> np.ndarray:
    return ((layer - 0.5) * steepness + 0.5).clip(0, 1)
