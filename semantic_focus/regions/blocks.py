"""Layers that have one value for each block of 2x2 pixels: a quarter of the memory."""

import torch
from torch import Tensor

from .large import enlarged, is_large, kept_as


def size_in_blocks(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of blocks of a picture of (height, width)."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def persons_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which the persons of a picture of that size are kept."""
    return size_in_blocks(size) if is_large(size) else size


def persons_kept(persons: Tensor, size: tuple[int, int]) -> Tensor:
    """[P, *persons_size(size)] of persons Float[P, h, w] that were found at another size."""
    return enlarged(persons, persons_size(size), kept_as(size))


def to_blocks(layers: Tensor) -> Tensor:
    """Float[B, ceil(H/2), ceil(W/2)]: the mean of each block of Float[B, H, W]; fp32."""
    return torch.nn.functional.avg_pool2d(layers[:, None].float(), 2, ceil_mode=True)[:, 0]


def from_blocks(levels: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, H, W] of one value for each block."""
    return levels.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]


def at_full_size(persons: Tensor, size: tuple[int, int]) -> Tensor:
    """[P, H, W] of persons that are kept at that size, or in blocks of it."""
    return persons if tuple(persons.shape[-2:]) == size else from_blocks(persons, size)
