"""Masks as they wait between two uses: compressed, and the same to the bit when they are unpacked.

Masks as segmenters and mask files give them are whole steps of 1/255, and even but for their edges: of a
photograph of 12 megapixels, 150 MB become 3.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .layers import ByHand, HandLayer
from .masks import SemanticMasks

ROWS = 128
"""Rows that are looked at a time, to take little."""
LEVEL = 1
"""Of zlib: the next ones are three times as slow for a third less."""


@dataclass(frozen=True)
class _PackedLayer:
    """One [H, W], compressed: its whole steps of 1/255 as bytes, or the bytes of its own type."""

    content: bytes
    in_steps: bool


@dataclass(frozen=True)
class _PackedStack:
    """Float[N, H, W]."""

    layers: tuple[_PackedLayer, ...]
    size: tuple[int, int]
    dtype: torch.dtype
    device: torch.device

    @staticmethod
    def of(stack: Tensor) -> "_PackedStack":
        layers = tuple(_packed_layer(layer.detach()) for layer in stack)
        return _PackedStack(layers, (stack.shape[1], stack.shape[2]), stack.dtype, stack.device)

    def unpacked(self) -> Tensor:
        stack = torch.empty(len(self.layers), *self.size, dtype=self.dtype)
        for into, layer in zip(stack, self.layers, strict=True):
            _unpack(layer, into)
        return stack.to(self.device)

    @property
    def bytes_kept(self) -> int:
        return sum(len(layer.content) for layer in self.layers)


@dataclass(frozen=True)
class _PackedHand:
    """A `ByHand`."""

    machine: _PackedStack
    machine_labels: tuple[str, ...]
    layers: Mapping[str, tuple[_PackedStack, _PackedStack]]
    new: frozenset[str]

    @staticmethod
    def of(hand: ByHand) -> "_PackedHand":
        layers = {
            name: (_PackedStack.of(layer.value[None]), _PackedStack.of(layer.said[None]))
            for name, layer in hand.layers.items()
        }
        return _PackedHand(_PackedStack.of(hand.machine), hand.machine_labels, layers, hand.new)

    def unpacked(self) -> ByHand:
        layers = {
            name: HandLayer(value.unpacked()[0], said.unpacked()[0])
            for name, (value, said) in self.layers.items()
        }
        return ByHand(self.machine.unpacked(), self.machine_labels, layers, self.new)

    @property
    def stacks(self) -> list[_PackedStack]:
        return [self.machine, *(stack for pair in self.layers.values() for stack in pair)]


@dataclass(frozen=True)
class PackedMasks:
    """A `SemanticMasks`, compressed; `unpacked` gives it back."""

    masks: _PackedStack
    pictures: int
    labels: tuple[str, ...]
    persons: tuple[_PackedStack, ...]
    provenance: Mapping[str, str]
    hand: _PackedHand | None = None

    @staticmethod
    def of(masks: SemanticMasks) -> "PackedMasks":
        """The masks, compressed; what shares their memory is not needed any more."""
        return PackedMasks(
            _PackedStack.of(masks.masks.flatten(0, 1)),
            len(masks.masks),
            masks.labels,
            tuple(map(_PackedStack.of, masks.persons)),
            masks.provenance,
            None if masks.hand is None else _PackedHand.of(masks.hand),
        )

    def unpacked(self) -> SemanticMasks:
        """What was packed: the same numbers of the same type, in memory of their own."""
        return SemanticMasks(
            self.masks.unpacked().unflatten(0, (self.pictures, len(self.labels))),
            self.labels,
            tuple(stack.unpacked() for stack in self.persons),
            self.provenance,
            None if self.hand is None else self.hand.unpacked(),
        )

    @property
    def bytes_kept(self) -> int:
        """How much memory they take."""
        of_hand = [] if self.hand is None else self.hand.stacks
        return sum(stack.bytes_kept for stack in (self.masks, *self.persons, *of_hand))


def _packed_layer(layer: Tensor) -> _PackedLayer:
    layer = layer.cpu().contiguous()
    steps = _steps(layer.numpy()) if layer.dtype in (torch.float16, torch.float32) else None
    content = layer.view(torch.uint8).numpy() if steps is None else steps
    return _PackedLayer(zlib.compress(content.data, LEVEL), steps is not None)


# numpy here, one thread: of a loop over bands, threads mostly wait for each other


def _steps(layer: np.ndarray) -> np.ndarray | None:
    """uint8[H, W] in 0..255 that gives exactly this layer; None where it has other values."""
    steps, shares = np.empty(layer.shape, np.uint8), _shares(layer.dtype)
    for top in range(0, len(layer), ROWS):
        band, into = layer[top : top + ROWS], steps[top : top + ROWS]
        rounded = np.multiply(band, 255, dtype=np.float32)
        np.rint(rounded, out=rounded)
        # what is not in 0..1, NaN among it, becomes some step, which gives another value
        with np.errstate(invalid="ignore"):
            np.copyto(into, np.clip(rounded, 0, 255, out=rounded), casting="unsafe")
        if not np.array_equal(shares[into], band):
            return None
    return steps


def _shares(dtype: np.dtype) -> np.ndarray:
    """Float[256]: what each step stands for."""
    return (torch.arange(256).float() / 255).numpy().astype(dtype)


def _unpack(layer: _PackedLayer, into: Tensor) -> None:
    if not into.numel():
        return
    content = torch.frombuffer(bytearray(zlib.decompress(layer.content)), dtype=torch.uint8)
    if not layer.in_steps:
        into.copy_(content.view(into.dtype).view(into.shape))
        return
    levels = into.numpy()
    np.take(_shares(levels.dtype), content.view(into.shape).numpy(), out=levels, mode="clip")
