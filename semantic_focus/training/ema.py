"""An exponential moving average of the adapters: less noise of the last steps, for one more copy of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class MovingAverage:
    """Average of parameters over the steps, w ← d·w + (1 − d)·p (Polyak & Juditsky 1992, exponential form).

    The first steps count less than `decay` says, d = min(decay, (1 + n) / (10 + n)) for the n-th update, so
    that the starting values do not stay in the average.

    Args:
        parameters: what is averaged, from their present values on.
        decay: share that the average keeps per step, 0 < decay < 1.
    """

    def __init__(self, parameters: Sequence[Tensor], decay: float):
        self._parameters = list(parameters)
        self._decay = decay
        self._updates = 0
        self._averages = [parameter.detach().clone() for parameter in parameters]

    @torch.no_grad()
    def update(self) -> None:
        """Take the present values in."""
        keep = min(self._decay, (1 + self._updates) / (10 + self._updates))
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.lerp_(parameter, 1 - keep)
        self._updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the parameters be the averages for a while."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for average, parameter in zip(self._averages, self._parameters, strict=True):
            average.data, parameter.data = parameter.data, average.data

    def tensors(self) -> list[Tensor]:
        """Copies of the averages on the CPU, in the parameters' order."""
        return [average.to("cpu", copy=True) for average in self._averages]

    def load(self, tensors: Sequence[Tensor], updates: int) -> None:
        """Take over what `tensors` and `updates` gave."""
        for average, tensor in zip(self._averages, tensors, strict=True):
            average.copy_(tensor)
        self._updates = updates

    @property
    def updates(self) -> int:
        """How often `update` was called."""
        return self._updates
