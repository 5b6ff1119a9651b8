"""Large pictures: they are worked on at a smaller size, their masks enlarged and kept in half precision.

Trainings see fewer pixels than `LARGE`, where edges that were drawn at that size are sharp. What is worked on
takes some 150 bytes a pixel, what is kept 2 bytes for each region.
"""

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from .memory import give_back

LARGE = 1 << 22
"""Pixels from which on a picture is large."""
VERY_LARGE = 4
"""Times `LARGE` from which on a picture is worked on at half of it: its masks take the memory."""
LONGEST_SIDE = 32768
"""Of a picture, in pixels: longer ones come from nowhere but a hostile file, and take a codec long."""
ROWS = 256
"""Rows that are enlarged at a time."""
MOST_PIXELS = 100_000_000
"""Pixels of a picture that masks are made of; benchmarks/segment_memory.py measures what they take."""


def is_large(size: tuple[int, int]) -> bool:
    """Whether a picture of (height, width) is worked on at a smaller size."""
    return size[0] * size[1] > LARGE


def kept_as(size: tuple[int, int]) -> torch.dtype:
    """The type of masks of a picture of (height, width): 1/255 is more than a step of either."""
    return torch.float16 if is_large(size) else torch.float32


def too_large(height: int, width: int) -> str | None:
    """Why no masks are made of a picture of this size, and what to do; None when they are."""
    if max(height, width) > LONGEST_SIDE:
        return f"it is {width}x{height}, sides may be up to {LONGEST_SIDE} pixels long. Cut it into pieces"
    if height * width <= MOST_PIXELS:
        return None
    return (
        f"it is {width}x{height}, {height * width / 1e6:.0f} megapixels; masks are made of pictures of up to "
        f"{MOST_PIXELS // 1_000_000}. Make the picture smaller: trainings use less than 5 of them"
    )


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which a picture of that size is worked on."""
    if not is_large(size):
        return size
    pixels = size[0] * size[1]
    scale = ((LARGE if pixels <= VERY_LARGE * LARGE else LARGE // 2) / pixels) ** 0.5
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def worked_on(picture: Tensor) -> Tensor:
    """Float[h, w, ...] of Float[H, W, ...] in 0..1, at the size that it is worked on; fp32, on the CPU."""
    size = (picture.shape[0], picture.shape[1])
    if not is_large(size):
        return picture.detach().float().clamp(0, 1).cpu()
    pixels = np.ascontiguousarray(picture.detach().float().cpu().numpy())
    return torch.from_numpy(_resized(pixels, working_size(size), smaller=True)).clamp_(0, 1)


def trim(size: tuple[int, int]) -> None:
    """Give the memory that a picture of (height, width) was worked on in back, if it is large."""
    if is_large(size):
        give_back()


def enlarge_into(large: Tensor, layers: Iterable[Tensor]) -> None:
    """Put Float[h, w] layers into Float[K, H, W], one after the other; what summed to 1 still does."""
    size = (large.shape[1], large.shape[2])
    for into, layer in zip(large, layers, strict=True):
        if tuple(layer.shape) == size:
            into.copy_(layer)
            continue
        pixels = layer.float().cpu().numpy()
        if layer.shape[0] > size[0]:
            into.copy_(torch.from_numpy(_resized(pixels, size, smaller=True)))
            continue
        for top in range(0, size[0], ROWS):  # not all at once: as fp32 a layer is twice as large
            band = into[top : top + ROWS]
            band.copy_(torch.from_numpy(_enlarged_rows(pixels, size, range(top, top + len(band)))))


def enlarged(layers: Tensor, size: tuple[int, int], dtype: torch.dtype | None = None) -> Tensor:
    """[K, H, W] of Float[K, h, w], of this type or the one that masks of this size have; the same where it
    fits.
    """
    if tuple(layers.shape[1:]) == size:
        return layers
    large = torch.empty((len(layers), *size), dtype=dtype or kept_as(size), device=layers.device)
    enlarge_into(large, layers)
    return large


def _enlarged_rows(pixels: np.ndarray, size: tuple[int, int], rows: range) -> np.ndarray:
    """Float[len(rows), W]: some rows of Float[h, w] enlarged to [H, W], bilinear."""
    place = (np.arange(rows.start, rows.stop) + 0.5) * (len(pixels) / size[0]) - 0.5
    place = place.clip(0, len(pixels) - 1)
    above = np.floor(place).astype(np.intp)
    below = np.minimum(above + 1, len(pixels) - 1)
    share = (place - above).astype(np.float32)[:, None]
    return _resized(pixels[above] * (1 - share) + pixels[below] * share, (len(rows), size[1]))


def _resized(pixels: np.ndarray, size: tuple[int, int], smaller: bool = False) -> np.ndarray:
    import cv2

    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(pixels, (size[1], size[0]), interpolation=way)
