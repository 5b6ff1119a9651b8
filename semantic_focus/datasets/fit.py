"""The training size that picture and masks are brought to together."""

import math

import torch
from torch import Tensor

from ..regions.masks import SemanticMasks

LEAST_RESOLUTION, MOST_RESOLUTION = 64, 8192
"""Side of a square with the number of pixels of one training size."""
MOST_RESOLUTIONS = 8
"""Training sizes of each picture besides the first."""
MOST_PIXELS = 1 << 28
"""Pixels of a batch at one training size."""


def training_size(height: int, width: int, resolution: int, multiple: int) -> tuple[int, int]:
    """Height and width to train a picture at: about resolution² pixels, its own aspect, sides in whole
    multiples.

    Args:
        resolution: side of the square with the wanted number of pixels.
        multiple: what both sides must be divisible by (latent cell × patch of the model).
    """
    scale = resolution / math.sqrt(height * width)
    return tuple(max(multiple, round(side * scale / multiple) * multiple) for side in (height, width))  # type: ignore[return-value]


def centre_window(height: int, width: int, target: tuple[int, int]) -> tuple[int, int, int, int]:
    """(top, left, height, width) of the largest centred window with the aspect of `target` (height,
    width).
    """
    scale = min(height / target[0], width / target[1])
    rows, columns = max(1, round(target[0] * scale)), max(1, round(target[1] * scale))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def parse_resolutions(text: str) -> list[int]:
    """The whole numbers of ``768, 512``; none for an empty text.

    Raises:
        ValueError: something that is no number, one outside the limits, or too many.
    """
    resolutions = []
    for word in text.replace(",", " ").split():
        number = int(word) if word.isdecimal() and len(word) < 10 else 0
        if not LEAST_RESOLUTION <= number <= MOST_RESOLUTION:
            raise ValueError(
                f"resolution {word[:40]!r}: write whole numbers from {LEAST_RESOLUTION} to "
                f"{MOST_RESOLUTION}, as in 768, 512"
            )
        resolutions.append(number)
    if len(resolutions) > MOST_RESOLUTIONS:
        raise ValueError(
            f"{len(resolutions)} more resolutions: give {MOST_RESOLUTIONS} at most, every picture is kept "
            "at each"
        )
    return resolutions


def fit(
    images: Tensor, masks: SemanticMasks | None, resolution: int, multiple: int
) -> tuple[Tensor, SemanticMasks | None]:
    """Cut pictures and masks to the aspect of the training size, and resize the pictures to it.

    The masks keep their resolution: they are only cut, so that area pooling to the latent grid stays exact.

    Args:
        images: Float[B, H, W, 3] in 0..1.
        masks: of the same pictures, or None.

    Returns:
        Float[B, h, w, 3] in 0..1 and the cut masks.

    Raises:
        ValueError: the masks are of another size than the pictures, or more than MOST_PIXELS would come out.
    """
    height, width = images.shape[1:3]
    if masks is not None and (masks.size != (height, width) or len(masks.masks) != len(images)):
        raise ValueError(
            f"{len(images)} pictures of {width}x{height} but masks of {len(masks.masks)} pictures of "
            f"{masks.size[1]}x{masks.size[0]}: segment the pictures that are connected here"
        )
    target = training_size(height, width, resolution, multiple)
    if len(images) * math.prod(target) > MOST_PIXELS:
        raise ValueError(
            f"{len(images)} pictures of {target[1]}x{target[0]} have {len(images) * math.prod(target)} "
            f"pixels, {MOST_PIXELS} at most are fitted at once: lower the resolution ({resolution}), or give "
            "a list of pictures (Load Semantic Dataset) in place of a batch"
        )
    top, left, rows, columns = centre_window(height, width, target)
    window = images[:, top : top + rows, left : left + columns].movedim(-1, 1)
    resized = torch.nn.functional.interpolate(window, target, mode="bicubic", antialias=True).clamp(0, 1)
    return resized.movedim(1, -1), None if masks is None else fit_masks(masks, resolution, multiple)


def fit_masks(masks: SemanticMasks, resolution: int, multiple: int) -> SemanticMasks:
    """The masks of pictures cut as `fit` cuts the pictures."""
    target = training_size(*masks.size, resolution, multiple)
    return masks.crop(*centre_window(*masks.size, target))
