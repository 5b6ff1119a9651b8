"""The lighting layer: where light and shadow are in a picture, from luminance alone."""

import math

import numpy as np
import torch
from torch import Tensor

from .by_hand import edited
from .large import enlarged, worked_on
from .masks import SemanticMasks
from .refine import luminance

LIGHT, SHADOW = (0.4, 2.0), (1.0, 4.0)
"""Stops (factors of two) above and below the reference at which a highlight or shadow begins, and is full.

A picture has less room above its middle grey than below.
"""
EDGE_FAINT, EDGE_STRONG = 0.15, 0.9
"""Change in stops per pixel at which a luminance edge begins, and is full."""
EDGE_WEIGHT = 0.5
NOISE_SHARE, NOISE_LEAST = 0.08, 0.002
"""Linear luminance added before the logarithm, so that noise in black does not count as light: this share of
the picture's mean, which follows the exposure, and never less than the second.
"""
TABLE = 1 << 14
"""Steps of the table from sRGB to linear light."""
LOCAL_SHARE = 0.25
"""Side of the neighbourhood a pixel is compared with, as a share of the shorter picture side."""
MAX_STRENGTH = 2.0


def lighting(images: Tensor, strength: float = 1.0) -> Tensor:
    """Highlights, shadows and the edges between them.

    Luminance is compared in stops with a reference: the mean of the picture's median and the local average.
    Exposure therefore moves pixel and reference alike, and leaves the layer as it was but for what it clips.

    Args:
        images: Float[B, H, W, 3] in 0..1, sRGB.
        strength: 0..`MAX_STRENGTH`. Every difference in stops is taken times its square root, by which the
            layer's mean follows it about in proportion. 0 gives zeros; more takes nothing away anywhere.

    Returns:
        Float[B, H, W] in 0..1 on the device of `images`; zeros for a flat picture.

    Raises:
        ValueError: images of another shape, or a strength outside 0..`MAX_STRENGTH`.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be [B, H, W, 3], got shape {list(images.shape)}")
    if not 0 <= strength <= MAX_STRENGTH:
        raise ValueError(f"lighting strength is 0 to {MAX_STRENGTH:g}, 1 is the usual; got {strength}")
    layers = [_lighting(luminance(_linear(worked_on(image))), strength) for image in images]
    if not layers:
        return images.new_zeros(images.shape[:3])
    size = (images.shape[1], images.shape[2])
    return enlarged(torch.from_numpy(np.stack(layers)), size).to(images)


def relight(masks: SemanticMasks, images: Tensor, strength: float) -> SemanticMasks:
    """Masks whose lighting layer is measured again, with another strength; all else stays.

    Args:
        masks: of the pictures; without a lighting layer they are given back as they are.
        images: Float[B, H, W, 3] in 0..1, sRGB.
    """
    if "lighting" not in masks.labels:
        return masks
    channels = masks.masks.clone()
    channels[:, masks.labels.index("lighting")] = lighting(images, strength).to(channels)
    return edited(masks, channels, f"lighting strength {strength:g}")


def _linear(image: Tensor) -> Tensor:
    """sRGB to linear light (IEC 61966-2-1), in steps of a table: finer than 16 bits is not needed here."""
    steps = torch.arange(TABLE, dtype=torch.float32) / (TABLE - 1)
    table = torch.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4).numpy()
    index = (image * (TABLE - 1)).round_().numpy().astype(np.uint16)
    return torch.from_numpy(table.take(index))


def _lighting(linear: np.ndarray, strength: float) -> np.ndarray:
    """Float[H, W] linear luminance to the layer."""
    import cv2

    floor = max(NOISE_SHARE * float(linear.mean()), NOISE_LEAST)
    stops = cv2.log(linear + np.float32(floor))
    stops *= np.float32(1 / math.log(2))
    side = 2 * max(1, round(LOCAL_SHARE / 2 * min(stops.shape))) + 1
    around = cv2.blur(stops, (side, side), borderType=cv2.BORDER_REPLICATE)
    around += float(np.median(stops))
    contrast = math.sqrt(strength)
    above = contrast * (stops - 0.5 * around)
    layer = np.maximum(_smoothstep(above, *LIGHT), _smoothstep(-above, *SHADOW))
    smooth = cv2.GaussianBlur(stops, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    # a 3x3 Sobel kernel sums to 8 times the slope per pixel
    slope = [
        cv2.Sobel(smooth, cv2.CV_32F, *order, ksize=3, scale=1 / 8, borderType=cv2.BORDER_REPLICATE)
        for order in ((1, 0), (0, 1))
    ]
    # not cv2.magnitude: its last bits depend on where in memory a picture lies
    edge = _smoothstep(contrast * np.sqrt(slope[0] ** 2 + slope[1] ** 2), EDGE_FAINT, EDGE_STRONG)
    edge *= EDGE_WEIGHT
    return np.maximum(layer, edge, out=layer)


def _smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    t = (x - np.float32(low)) * np.float32(1 / (high - low))
    np.clip(t, 0, 1, out=t)
    result = 3 - 2 * t
    result *= t
    result *= t
    return result
