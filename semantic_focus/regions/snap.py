"""Edges that a person drew roughly, drawn along those of the picture."""

import numpy as np

from .refine import EdgeSettings, refine_edges

REACHES = (0.02, 0.01)
"""How far from the drawn edge one in the picture is looked for, as shares of the shorter picture side: first
far and coarsely, then near."""
FLAT = 1e-4
"""Variance of the luminance below which the picture counts as flat there, see `EdgeSettings`."""
STEPS = (4, 2)
"""Of the filter, for each of these."""


def snapped(mask: np.ndarray, guide: np.ndarray, shorter_side: int) -> np.ndarray:
    """A region in a window of a picture, its border drawn along the picture's edges.

    Args:
        mask: uint8[h, w], 0..255.
        guide: Float[h, w], luminance 0..1 of the picture there.
        shorter_side: of the whole picture, in pixels.

    Returns:
        uint8[h, w].
    """
    around = _border(mask, round(2 * sum(REACHES) * shorter_side) + 2)
    if around is None:
        return mask
    layer, light = mask[around].astype(np.float32) / 255, np.ascontiguousarray(guide[around])
    for reach, step in zip(REACHES, STEPS, strict=True):
        share = reach * shorter_side / min(light.shape)
        layer = refine_edges([layer], light, EdgeSettings(share, FLAT, step))[0]
    result = mask.copy()
    result[around] = (layer * 255).round().clip(0, 255).astype(np.uint8)
    return result


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
