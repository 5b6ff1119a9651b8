"""The levels that a png mask file has for regions, soft layers and persons, and their bytes."""

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from ..categories import SEMANTIC_CATEGORIES, is_soft_layer
from ..regions.blocks import from_blocks, to_blocks
from ..regions.large import is_large
from ..regions.masks import SemanticMasks

REGION_STEPS, SOFT_STEPS, PERSON_STEPS = 51, 31, 15
"""Steps between 0 and 1 of a region, a soft layer and a person in a png file."""
ROWS = 128
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
        whole = tuple(persons.shape[1:]) == masks.size
        for top in range(0, persons.shape[1], ROWS):
            band = persons[:, top : top + ROWS]
            steps = _person_steps(to_blocks(band) if whole else band.float())
            steps = from_blocks(steps, (band.shape[1], band.shape[2])) if whole else steps
            into[:, top : top + ROWS] = steps / 255
    return rounded


def region_steps(masks: SemanticMasks, order: Sequence[int]) -> Iterator[Tensor]:
    """uint8[H, W] of each region of one picture in this order, in 0..255, rounded as by `as_stored`.

    Of a large picture one after the other: all of them take half as much memory again as the masks do.
    """
    if not is_large(masks.size):
        steps = _steps(masks, range(len(masks.labels)), _region_steps)
        yield from (steps[index] for index in order)
        return
    among = partitioned(masks.labels)
    for index in order:
        if index in among:  # what it gets depends on those before it
            yield _steps(masks, among[: among.index(index) + 1], _last_steps)[0]
        else:
            yield _steps(masks, [index], _region_steps)[0]


def _steps(
    masks: SemanticMasks, indices: Sequence[int], rounded: Callable[[Tensor, Sequence[str]], Tensor]
) -> Tensor:
    """uint8[K, H, W]: what `rounded` makes of some regions of one picture, band by band."""
    labels = [masks.labels[index] for index in indices]
    bands = masks.masks[:1].split(ROWS, 2)
    return torch.cat([rounded(band[:, indices], labels)[0].to(torch.uint8) for band in bands], 1).cpu()


def person_steps(masks: SemanticMasks) -> Tensor:
    """uint8[P, ceil(H/2), ceil(W/2)]: the persons of one picture in 0..255, rounded as by `as_stored`."""
    persons = masks.persons[0]
    whole = tuple(persons.shape[1:]) == masks.size
    bands = [persons[:, top : top + ROWS] for top in range(0, persons.shape[1], ROWS)]
    steps = [_person_steps(to_blocks(band) if whole else band.float()).to(torch.uint8) for band in bands]
    return torch.cat(steps, 1).cpu()


def _region_steps(stack: Tensor, labels: Sequence[str]) -> Tensor:
    """Float[B, K, h, W] in whole steps of 1/255, of Float[B, K, h, W] in 0..1."""
    stack = stack.float()
    rounded = (stack * REGION_STEPS).round() / REGION_STEPS
    among = partitioned(labels)
    rounded[:, among] = _shares(stack[:, among].cumsum(1))
    for index, label in enumerate(labels):
        if is_soft_layer(label):
            levels = (to_blocks(stack[:, index]) * SOFT_STEPS).round() / SOFT_STEPS
            rounded[:, index] = from_blocks(levels, (stack.shape[2], stack.shape[3]))
    return (rounded * 255).round()


def _last_steps(stack: Tensor, labels: Sequence[str]) -> Tensor:
    """The last of the `_region_steps` of labels that exclude each other, Float[B, 1, h, W]."""
    return (_shares(stack.float().cumsum(1)[:, -2:])[:, -1:] * 255).round()


def _shares(sums: Tensor) -> Tensor:
    """Float[B, K, h, W] of running sums: the differences of the rounded ones."""
    running = (sums * REGION_STEPS).round()
    shares = running.diff(dim=1, prepend=torch.zeros_like(running[:, :1]))
    return shares.clamp(0, REGION_STEPS) / REGION_STEPS  # overlaps may sum to more than 1


def _person_steps(blocks: Tensor) -> Tensor:
    """Float[P, h, w] in whole steps of 1/255, rounded together: what summed to 1 or less still does."""
    if not len(blocks):
        return blocks
    running = (blocks.cumsum(0) * PERSON_STEPS).round()
    steps = running.diff(dim=0, prepend=torch.zeros_like(running[:1])).clamp(0, PERSON_STEPS)
    return (steps * (255 / PERSON_STEPS)).round()


def partitioned(labels: Sequence[str]) -> list[int]:
    """The places of the labels that exclude each other."""
    return [
        index
        for index, label in enumerate(labels)
        if label in SEMANTIC_CATEGORIES and SEMANTIC_CATEGORIES[label].partitioned
    ]


class Rest:
    """What regions that exclude each other leave of a picture's pixels: `left`, uint8[H, W], 255 at first."""

    def __init__(self, size: tuple[int, int]):
        self.left = torch.full(size, 255, dtype=torch.uint8)
        self._too_much = False

    def take(self, steps: Tensor) -> None:
        """One more region, uint8[H, W]; where there is not enough, nothing is left."""
        for left, wanted in zip(self.left.split(ROWS), steps.split(ROWS), strict=True):
            self._too_much = self._too_much or bool((wanted > left).any())
            left -= torch.minimum(wanted, left)

    def is_just(self, steps: Tensor) -> bool:
        """Whether a region is exactly this, and the others took nothing twice."""
        return not self._too_much and torch.equal(self.left, steps)


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
