"""Blocks whose weights wait in RAM and come to the device when they are needed: "block swap".

Two places on the device take turns: while one block computes, the next one's weights are on their way into
the other place. The order is that of the network in a forward pass and the reverse in a backward pass.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .frozen import FrozenLayer
from .transfers import Transfers, pinned, unpin

ALIGNMENT = 512
"""Bytes between two weights' beginnings in a place, as CUDA's allocator has them."""

ROUNDING = 1e-9


class SwappedBlock:
    """The frozen layers of one block, whose weights stay in RAM.

    Args:
        layers: of the block.
    """

    def __init__(self, layers: Sequence[FrozenLayer]):
        self.layers = [frozen.layer for frozen in layers]
        self.in_ram: list[nn.Parameter] = [layer._parameters["weight"] for layer in self.layers]

    @property
    def size(self) -> int:
        """Bytes that a place must have for it."""
        return sum(map(stored_bytes, self.in_ram))

    def point_to(self, weights: Sequence[nn.Parameter]) -> None:
        """Let the layers compute with these."""
        for layer, weight in zip(self.layers, weights, strict=True):
            layer._parameters["weight"] = weight


class _Place:
    """Room for one block on the device."""

    def __init__(self, size: int, device: torch.device):
        self._bytes = torch.empty(size, dtype=torch.uint8, device=device)
        self.block: SwappedBlock | None = None
        self.copied: Any = None
        self._known: dict[SwappedBlock, list[nn.Parameter]] = {}

    def weights_of(self, block: SwappedBlock) -> list[nn.Parameter]:
        """The block's weights as they will lie here."""
        if block not in self._known:
            sizes = [aligned(part.nbytes) for weight in block.in_ram for part in _parts(weight)]
            rooms = iter(self._bytes.split([*sizes, len(self._bytes) - sum(sizes)]))
            self._known[block] = [
                nn.Parameter(_like(weight, rooms), requires_grad=False) for weight in block.in_ram
            ]
        return self._known[block]


class BlockSwap:
    """Blocks in RAM and the two places on the device.

    Args:
        blocks: the frozen layers of each, in the order of the network's forward pass.
        device: where they compute.
    """

    def __init__(self, blocks: Sequence[Sequence[FrozenLayer]], device: torch.device):
        self.blocks = [SwappedBlock(layers) for layers in blocks]
        self._frozen = [list(layers) for layers in blocks]
        self.transfers = Transfers(device)
        size = max(block.size for block in self.blocks)
        self._places = [_Place(size, device) for _ in self.blocks[:2]]
        self._pinned = pinned(
            [
                weight if _is_wrapper(weight) else _stored(weight)
                for block in self.blocks
                for weight in block.in_ram
            ]
        )
        self._current: int | None = None
        for number, layers in enumerate(self._frozen):
            for frozen in layers:
                frozen.bring = _Bringer(self, number)

    @property
    def ring_bytes(self) -> int:
        """What the two places take of the device's memory."""
        return sum(len(place._bytes) for place in self._places)

    def bring(self, number: int) -> None:
        """Have a block on the device, and the one that comes after it on its way."""
        if number == self._current:
            return
        place = self._place_of(number) or self._send(number)
        self.transfers.wait(place.copied)
        before, self._current = self._current, number
        following = self._following(before, number)
        if following is not None and self._place_of(following) is None:
            self._send(following)

    def _place_of(self, number: int) -> _Place | None:
        return next((place for place in self._places if place.block is self.blocks[number]), None)

    def _send(self, number: int) -> _Place:
        """Begin to copy a block into the place that is not in use."""
        current = None if self._current is None else self.blocks[self._current]
        place = next(
            place for place in reversed(self._places) if place.block is not current or current is None
        )
        if place.block is not None:
            place.block.point_to(place.block.in_ram)
        block = self.blocks[number]
        place.block = None
        weights = place.weights_of(block)
        place.copied = self.transfers.copy(
            [
                pair
                for there, here in zip(weights, block.in_ram, strict=True)
                for pair in zip(_parts(there), _parts(here), strict=True)
            ]
        )
        place.block = block
        block.point_to(weights)
        return place

    def _following(self, before: int | None, number: int) -> int | None:
        """The block that will be needed after this one."""
        last = len(self.blocks) - 1
        forward = before is None or number > before or (number == 0 and before == last and last > 1)
        if forward and number < last:
            return number + 1
        if forward:  # a pass without gradient is followed by another from the beginning
            return None if torch.is_grad_enabled() else 0
        return number - 1 if number else None

    def close(self) -> None:
        """Everything as it was; this needs no memory on the device."""
        for block, layers in zip(self.blocks, self._frozen, strict=True):
            block.point_to(block.in_ram)
            for frozen in layers:
                frozen.bring = None
        try:
            self.transfers.close()
        finally:
            unpin(self._pinned)
            self._pinned, self._places, self._current = [], [], None


class _Bringer:
    """Brings one block; a layer that asks twice in one pass is answered at once."""

    def __init__(self, swap: BlockSwap, number: int):
        self._swap, self._number = swap, number

    def __call__(self) -> None:
        if self._swap._current != self._number:
            self._swap.bring(self._number)


def chosen_blocks(blocks: Sequence[Sequence[FrozenLayer]], share: float) -> list[int]:
    """Which blocks wait in RAM: as many as make up a share of all bytes, spread evenly over the network, so
    that one computes on the device while another is on its way.

    Args:
        blocks: the frozen layers of each.
        share: in 0..1.
    """
    sizes = [sum(stored_bytes(frozen.layer.weight) for frozen in layers) for layers in blocks]
    wanted, chosen, owed = share * sum(sizes), [], 0.0
    so_far = 0
    for number, size in enumerate(sizes):
        owed += share * size
        if size and so_far < wanted and owed >= size * (1 - ROUNDING):
            chosen.append(number)
            so_far += size
            owed -= size
    for number in reversed(range(len(sizes))):
        if so_far >= wanted * (1 - ROUNDING):
            break
        if number not in chosen and sizes[number]:
            chosen.append(number)
            so_far += sizes[number]
    return sorted(chosen)


def _is_wrapper(tensor: Tensor) -> bool:
    """Whether a tensor has no bytes of its own but others inside (ComfyUI's quantised tensors)."""
    kind: Any = type(tensor)
    plain: Any = Tensor
    return kind.__torch_dispatch__ is not plain.__torch_dispatch__


def _parts(tensor: Any) -> list[Tensor]:
    """The tensors with bytes of their own that a tensor consists of: several where it is quantised."""
    if not _is_wrapper(tensor):
        return [_stored(tensor)]
    names, _ = tensor.__tensor_flatten__()
    return [part for name in names for part in _parts(getattr(tensor, name))]


def _stored(tensor: Tensor) -> Tensor:
    """The bytes of a tensor, whatever they stand for, in the shape in which they lie."""
    return tensor.data.as_subclass(Tensor)


def stored_bytes(tensor: Tensor) -> int:
    """What a tensor takes of a device, each of its parts from a multiple of `ALIGNMENT` on."""
    return sum(aligned(part.nbytes) for part in _parts(tensor))


def _like(weight: Any, rooms: Iterator[Tensor]) -> Tensor:
    """A weight of the same kind as another, each of its parts in the next one of the rooms, uint8[bytes]."""
    if _is_wrapper(weight):
        names, context = weight.__tensor_flatten__()
        parts = {name: _like(getattr(weight, name), rooms) for name in names}
        return type(weight).__tensor_unflatten__(parts, context, weight.shape, weight.stride())
    stored = _stored(weight)
    view: Any = next(rooms)[: stored.nbytes].view(stored.dtype).view(stored.size())
    if type(weight) not in (nn.Parameter, Tensor):
        view = view.as_subclass(type(weight))
        vars(view).update(vars(weight))
    return view


def aligned(size: int) -> int:
    """Bytes that so many take of CUDA's memory."""
    return -(-size // ALIGNMENT) * ALIGNMENT
