"""Copies from RAM to the device of computation, beside the computation where the device can do that."""

from typing import Any

import comfy.model_management
import torch
from torch import Tensor, nn


class Transfers:
    """Copies that run on a stream of their own.

    Args:
        device: where they go.
    """

    def __init__(self, device: torch.device):
        self._device = device
        self._stream: Any = torch.cuda.Stream(device) if device.type == "cuda" else None

    def copy(self, pairs: list[tuple[Tensor, Tensor]]) -> Any:
        """Begin to copy the second of each pair into the first, once the work asked for so far is done with
        it.

        Returns:
            What `wait` takes.
        """
        if self._stream is None:
            for to, source in pairs:
                to.copy_(source)
            return None
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            for to, source in pairs:
                to.copy_(source, non_blocking=True)
            return self._stream.record_event()

    def wait(self, copied: Any) -> None:
        """Let work that is asked for from now on begin after a copy has ended; the program goes on at
        once.
        """
        if copied is not None:
            torch.cuda.current_stream(self._device).wait_event(copied)

    def close(self) -> None:
        """Until all copies have ended."""
        if self._stream is not None:
            self._stream.synchronize()


def pinned(weights: list[Tensor]) -> list[Tensor]:
    """Pin memory in its place by ComfyUI's own means, so that copies of it run beside the computation.

    Returns:
        Those that could be pinned: on the CPU alone, and beyond the host's limit, none.
    """
    pin = getattr(comfy.model_management, "pin_memory", None)
    if pin is None:
        return []
    return [weight for weight in weights if pin(_as_weight(weight))]


def unpin(weights: list[Tensor]) -> None:
    """Undo `pinned`."""
    for weight in weights:
        comfy.model_management.unpin_memory(weight)


def _as_weight(tensor: Tensor) -> Tensor:
    """The same memory as a parameter: ComfyUI 0.3.75 pins no plain tensor."""
    return nn.Parameter(tensor, requires_grad=False) if type(tensor) is Tensor else tensor
