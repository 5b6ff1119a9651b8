"""Closed-form matting of mask edges, by the optional library pymatting."""

from collections.abc import Callable
from importlib import import_module
from types import ModuleType

import numpy as np

from ..files.command_lines import to_install

BAND_SHARE = 0.012
"""Half width of the band that is solved, as a share of the shorter picture side."""
LONGEST = 512
"""Longer side, in pixels, at which a band is solved: the equations are one per pixel, and slow above this."""
INSIDE, OUTSIDE = 0.95, 0.05
"""Mask values from which on, and up to which, a pixel counts as certain."""


def matte(masks: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Solve for the opacity of the band around each mask's edge; everything else stays as it is.

    Every mask is cut out around its band and solved at a longer side of at most `LONGEST` pixels.

    Args:
        masks: Float[K, H, W] in 0..1.
        image: Float[H, W, 3] in 0..1, sRGB.

    Returns:
        Float[K, H, W] in 0..1.

    Raises:
        ImportError: pymatting is not installed.
    """
    estimate = _pymatting().estimate_alpha_cf
    return np.stack([_matte(mask, image, estimate) for mask in masks]).astype(np.float32)


def _pymatting() -> ModuleType:
    try:
        return import_module("pymatting")
    except ImportError as error:
        raise ImportError(
            "the refine mode 'matting' needs the library pymatting, which is not installed: "
            f"take the mode 'fine', or install it:{to_install('pymatting')}"
        ) from error


def _matte(mask: np.ndarray, image: np.ndarray, estimate: Callable[..., np.ndarray]) -> np.ndarray:
    import cv2

    radius = max(2, round(BAND_SHARE * min(mask.shape)))
    trimap = trimap_of(mask, radius)
    unknown = trimap == 0.5
    if not (unknown.any() and (trimap == 1).any() and (trimap == 0).any()):
        return mask
    window = _window(unknown, 4 * radius)
    height, width = trimap[window].shape
    scale = min(1.0, LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = cv2.resize(image[window], size, interpolation=cv2.INTER_AREA).astype(np.float64)
    small = cv2.resize(trimap[window], size, interpolation=cv2.INTER_NEAREST).astype(np.float64)
    if not ((small == 1).any() and (small == 0).any()):
        return mask
    opacity = np.clip(estimate(picture, small), 0, 1).astype(np.float32)
    full = np.zeros_like(mask)
    full[window] = cv2.resize(opacity, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.where(unknown, full, mask)


def trimap_of(mask: np.ndarray, radius: int) -> np.ndarray:
    """Float[H, W]: 1 and 0 where a mask is certain, 0.5 within `radius` pixels of anything between."""
    import cv2

    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    inside = cv2.erode((mask >= INSIDE).astype(np.uint8), kernel) > 0
    outside = cv2.erode((mask <= OUTSIDE).astype(np.uint8), kernel) > 0
    return np.where(inside, 1, np.where(outside, 0, 0.5)).astype(np.float32)


def _window(where: np.ndarray, margin: int) -> tuple[slice, slice]:
    """The smallest window around what is true, and `margin` pixels more."""
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    return (
        slice(max(0, rows[0] - margin), rows[-1] + margin + 1),
        slice(max(0, columns[0] - margin), columns[-1] + margin + 1),
    )
