"""Blocks that are run a second time in the backward pass, and where their inputs wait until then."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from .forwards import replaced_forwards

SMALLEST_IN_RAM = 2**20
"""Bytes of an input that is worth the way to RAM; smaller ones are shared by many blocks anyway."""


@contextmanager
def recomputed(blocks: list[nn.Module], in_ram: Callable[[], bool]) -> Iterator[None]:
    """Run each block again in the backward pass instead of keeping its activations.

    Args:
        in_ram: whether large inputs of a block wait in RAM; asked in each forward pass.
    """
    with replaced_forwards(blocks, lambda block: _recomputed(block.forward, in_ram)):
        yield


def _recomputed(forward: Callable[..., Any], in_ram: Callable[[], bool]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        inputs = _Inputs(args, kwargs)

        def on_copies() -> Any:
            """Flux's blocks write into their inputs, from which the second run must start again."""
            args, kwargs = inputs.copies()
            return forward(*args, **kwargs)

        output = torch.utils.checkpoint.checkpoint(on_copies, use_reentrant=False)
        if in_ram():
            inputs.wait_in_ram()
        return output

    return run


class _Inputs:
    """What a block was given."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]):
        self._args, self._kwargs = list(args), dict(kwargs)

    def copies(self) -> tuple[list[Any], dict[str, Any]]:
        """Fresh ones, on the device of computation."""
        return [_copy(value) for value in self._args], {
            name: _copy(value) for name, value in self._kwargs.items()
        }

    def wait_in_ram(self) -> None:
        """Let go of what is large on the device. What needs no gradient is the same for many blocks, and
        stays.
        """
        self._args = [_put_away(value) for value in self._args]
        self._kwargs = {name: _put_away(value) for name, value in self._kwargs.items()}


class _InRam:
    """A tensor that waits in RAM."""

    def __init__(self, tensor: Tensor):
        self._device = tensor.device
        self._waiting = to_ram(tensor.detach()).requires_grad_()

    def back(self) -> Tensor:
        """On its device again, no leaf of the graph: the block may write into it."""
        return self._waiting.to(self._device, non_blocking=True, copy=True)


def to_ram(tensor: Tensor) -> Tensor:
    """A copy in RAM, from which the way back does not hold up the program."""
    on_cuda = tensor.device.type == "cuda"
    copy = torch.empty_like(tensor, device="cpu", pin_memory=on_cuda)
    return copy.copy_(tensor, non_blocking=on_cuda)


def _put_away(value: Any) -> Any:
    large = torch.is_tensor(value) and value.numel() * value.element_size() >= SMALLEST_IN_RAM
    return _InRam(value) if large and value.requires_grad else value


def _copy(value: Any) -> Any:
    if isinstance(value, _InRam):
        return value.back()
    return value.clone() if torch.is_tensor(value) else value
