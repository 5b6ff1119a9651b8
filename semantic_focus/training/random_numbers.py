"""Torch's global generators, lent for a while."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

SEEDS = 2**31 - 1
"""How many seeds there are for what draws from torch's own generators."""


@contextmanager
def own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Let what draws from torch's own generators, of the CPU and of a device, start from `seed`, and leave
    them as they were: dropout, and samplers that add noise.

    Where torch has no generator for the device (DirectML), what is drawn there is left to its driver.
    """
    on_cpu = torch.get_rng_state()
    of_device = None if device.type == "cpu" else _DeviceGenerator.of(device)
    on_device = of_device.state() if of_device else None
    try:
        torch.default_generator.manual_seed(seed)
        if of_device:
            of_device.seed(seed)
        yield
    finally:
        torch.set_rng_state(on_cpu)
        if of_device and on_device is not None:
            of_device.restore(on_device)


class _DeviceGenerator:
    """The generator of a device, by the functions that the device's module in torch has for it."""

    def __init__(self, module: Any, device: torch.device):
        self._module, self._device = module, device

    @classmethod
    def of(cls, device: torch.device) -> "_DeviceGenerator | None":
        module = getattr(torch, device.type, None)
        functions = ("get_rng_state", "set_rng_state", "manual_seed")
        return cls(module, device) if all(hasattr(module, name) for name in functions) else None

    def state(self) -> Tensor:
        return self._with_device(self._module.get_rng_state)

    def restore(self, state: Tensor) -> None:
        self._with_device(self._module.set_rng_state, state)

    def seed(self, seed: int) -> None:
        with self._current():
            self._module.manual_seed(seed)

    def _with_device(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Only of one device does a module know that takes no device (torch.mps, in older torch)."""
        try:
            return function(*arguments, self._device)
        except TypeError:
            return function(*arguments)

    def _current(self) -> AbstractContextManager[Any]:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()
