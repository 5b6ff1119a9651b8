"""Edges that a person drew roughly, drawn along those of the picture."""

import numpy as np

from .refine import EdgeSettings, refine_edges

REACH = 0.012
"""How far from the drawn edge one in the picture is looked for, as a share of the shorter picture side."""
FLAT = 1e-4
"""Variance of the luminance below which the picture counts as flat there, see `EdgeSettings`."""


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
    share = REACH * shorter_side / min(guide.shape)
    layer = mask.astype(np.float32) / 255
    edges = refine_edges([layer], guide, EdgeSettings(share, FLAT, 1))[0]
    return (edges * 255).round().clip(0, 255).astype(np.uint8)
