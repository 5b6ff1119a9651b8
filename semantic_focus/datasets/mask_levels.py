"""The levels that a png mask file has for regions, soft layers and persons, and their bytes."""

import io
import zlib
from collections.abc import Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from ..categories import SEMANTIC_CATEGORIES, is_soft_layer
from ..regions.masks import SemanticMasks

REGION_STEPS, SOFT_STEPS, PERSON_STEPS = 51, 31, 15
"""Steps between 0 and 1 of a region, a soft layer and a person in a png file."""
ROWS = 32
"""Rows that are rounded at a time; even, for blocks of 2x2."""


def as_stored(masks: SemanticMasks, encoding: str = "png", own: bool = False) -> SemanticMasks:
    """Round masks to what a file holds, so that a training does not depend on where they came from.

    In png files, partitioned regions are rounded together (as differences of their rounded running sum): what
    summed to 1 at a pixel still does, and none moves by more than one step of REGION_STEPS. Soft layers and
    persons get one level for each 2x2 block. Rounding twice changes nothing.

    Args:
        own: the masks are the caller's own, and are rounded in place.
    """
    if encoding == "float":
        persons = tuple(person.half().to(person.dtype) for person in masks.persons)
        return replace(masks, masks=masks.masks.half().to(masks.masks.dtype), persons=persons)
    rounded = masks if own else replace(masks, masks=torch.empty_like(masks.masks))
    for top in range(0, masks.size[0], ROWS):
        band = slice(top, top + ROWS)
        rounded.masks[:, :, band] = _region_steps(masks.masks[:, :, band], masks.labels) / 255
    if not own:
        rounded = replace(rounded, persons=tuple(map(torch.empty_like, masks.persons)))
    for into, persons in zip(rounded.persons, masks.persons, strict=True):
        for top in range(0, masks.size[0], ROWS):
            into[:, top : top + ROWS] = _person_steps(persons[:, top : top + ROWS]) / 255
    return rounded


def region_steps(masks: SemanticMasks) -> Tensor:
    """uint8[K, H, W]: the regions of one picture in 0..255, rounded as by `as_stored`."""
    steps = torch.empty(masks.masks.shape[1:], dtype=torch.uint8)
    for top in range(0, masks.size[0], ROWS):
        band = slice(top, top + ROWS)
        steps[:, band] = _region_steps(masks.masks[:1, :, band], masks.labels)[0].to(torch.uint8)
    return steps


def person_steps(persons: Tensor) -> Tensor:
    """uint8[P, ceil(H/2), ceil(W/2)]: the blocks of Float[P, H, W] in 0..255, rounded as by `as_stored`."""
    bands = [persons[:, top : top + ROWS] for top in range(0, persons.shape[1], ROWS)]
    return torch.cat([_person_steps(band)[:, ::2, ::2].to(torch.uint8) for band in bands], 1).cpu()


def _region_steps(stack: Tensor, labels: Sequence[str]) -> Tensor:
    """Float[B, K, h, W] in whole steps of 1/255, of Float[B, K, h, W] in 0..1."""
    stack = stack.float()
    rounded = (stack * REGION_STEPS).round() / REGION_STEPS
    among = partitioned(labels)
    running = (stack[:, among].cumsum(1) * REGION_STEPS).round()
    shares = running.diff(dim=1, prepend=torch.zeros_like(running[:, :1]))
    rounded[:, among] = shares.clamp(0, REGION_STEPS) / REGION_STEPS  # overlaps may sum to more than 1
    for index, label in enumerate(labels):
        if is_soft_layer(label):
            levels = (blocks(stack[:, index]) * SOFT_STEPS).round() / SOFT_STEPS
            rounded[:, index] = from_blocks(levels, (stack.shape[2], stack.shape[3]))
    return (rounded * 255).round()


def _person_steps(persons: Tensor) -> Tensor:
    """Float[P, h, W] in whole steps of 1/255, rounded together: what summed to 1 or less still does."""
    if not len(persons):
        return persons.float()
    running = (blocks(persons).cumsum(0) * PERSON_STEPS).round()
    steps = running.diff(dim=0, prepend=torch.zeros_like(running[:1])).clamp(0, PERSON_STEPS)
    return from_blocks((steps * (255 / PERSON_STEPS)).round(), (persons.shape[1], persons.shape[2]))


def partitioned(labels: Sequence[str]) -> list[int]:
    """The places of the labels that exclude each other."""
    return [
        index
        for index, label in enumerate(labels)
        if label in SEMANTIC_CATEGORIES and SEMANTIC_CATEGORIES[label].partitioned
    ]


def is_the_rest(steps: Tensor, labels: Sequence[str], index: int) -> bool:
    """Whether a label is the background and exactly what the other regions leave of each pixel.

    Args:
        steps: uint8[K, H, W].
    """
    if labels[index] != "background" or len(labels) == 1:
        return False
    among = partitioned(labels)
    bands = (steps[among, top : top + ROWS] for top in range(0, steps.shape[1], ROWS))
    return all(bool((band.sum(0) == 255).all()) for band in bands)


def blocks(layers: Tensor) -> Tensor:
    """Float[B, ceil(H/2), ceil(W/2)]: the mean of each 2x2 block of Float[B, H, W]."""
    return torch.nn.functional.avg_pool2d(layers[:, None].float(), 2, ceil_mode=True)[:, 0]


def from_blocks(levels: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, H, W] of one value for each 2x2 block."""
    return levels.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]


def put(into: Tensor, levels: Tensor, in_blocks: bool) -> None:
    """Put uint8[H, W], or the levels of its 2x2 blocks, into Float[H, W] as 0..1; by rows, to take little."""
    for top in range(0, len(into), ROWS):
        band = into[top : top + ROWS]
        steps = levels[top // 2 : (top + ROWS) // 2] if in_blocks else levels[top : top + ROWS]
        steps = from_blocks(steps[None], (band.shape[0], band.shape[1]))[0] if in_blocks else steps
        band.copy_(steps.float() / 255)


def to_png(steps: Tensor) -> Tensor:
    """uint8[N]: the bytes of a PNG of uint8[..., W]; what has no pixel has no byte."""
    if not steps.numel():
        return torch.zeros(0, dtype=torch.uint8)
    buffer = io.BytesIO()
    # run lengths suit masks: smaller than the usual search for repetitions, and three times as fast
    picture = Image.fromarray(steps.reshape(-1, steps.shape[-1]).numpy())
    picture.save(buffer, "PNG", compress_level=6, compress_type=zlib.Z_RLE)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)
