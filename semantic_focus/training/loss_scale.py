"""The factor on the loss of a network that computes in fp16, without which its gradients vanish.

fp16 has nothing between 0 and 6e-8. The mean over a picture of 1024² gives each element of the prediction a
gradient of about 1e-5, a sixteenth of that where 16 pictures share an update, and what the layers before it
get is smaller still. A power of two on the loss brings all of it into range, and is divided out of the fp32
gradients of the adapters without changing a bit (Micikevicius et al. 2018).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..files.text import short

START = 2**16
LARGEST = 2**24
GOOD_STEPS = 2000
"""Updates without an overflow after which the factor doubles."""


@dataclass(frozen=True)
class LossScale:
    """A factor, and what it goes by.

    Attributes:
        factor: on the loss, a power of two.
        most: the factor never exceeds it; 1: the loss is not scaled.
        good_steps: updates since it changed.
    """

    factor: int
    most: int
    good_steps: int = 0

    @classmethod
    def of(cls, compute_dtype: torch.dtype) -> "LossScale":
        """What a training starts with whose network computes in `compute_dtype`.

        bf16 has the exponents of fp32: nothing vanishes in it.
        """
        return cls(START, LARGEST) if compute_dtype == torch.float16 else cls(1, 1)

    def divide_out(self, parameters: Iterable[Tensor]) -> None:
        """Make the gradients of the scaled loss those of the loss itself."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.factor > 1 and gradients:
            torch._foreach_mul_(gradients, 1 / self.factor)  # pyright: ignore[reportPrivateImportUsage]

    def after_overflow(self) -> "LossScale":
        """Half the factor, 1 at least."""
        return replace(self, factor=max(1, self.factor // 2), good_steps=0)

    def after_step(self) -> "LossScale":
        """One update more was made; after `GOOD_STEPS` of them the factor is doubled."""
        if self.good_steps + 1 < GOOD_STEPS:
            return replace(self, good_steps=self.good_steps + 1)
        return replace(self, factor=min(self.most, 2 * self.factor), good_steps=0)

    def change_since(self, before: "LossScale") -> str:
        """In words; empty where the factor is the same."""
        if self.factor == before.factor:
            return ""
        why = "its gradients overflowed" if self.factor < before.factor else f"{GOOD_STEPS} steps went well"
        return f"the loss of this fp16 model is scaled by {self.factor} instead of {before.factor}: {why}"

    def values(self) -> dict[str, Any]:
        """What a training state keeps of it: nothing where the loss is not scaled."""
        if self.most == 1:
            return {}
        return {"loss_scale": {"factor": self.factor, "good_steps": self.good_steps}}

    def loaded(self, values: Mapping[str, Any]) -> "LossScale":
        """As a training state has it, whose `values` are given; as at the start where it has none.

        Raises:
            ValueError: what it has is no such factor.
        """
        kept = values.get("loss_scale")
        if self.most == 1:
            return self
        if kept is None:
            return replace(self, factor=START, good_steps=0)
        factor, good_steps = kept["factor"], kept["good_steps"]
        if type(factor) is not int or not 1 <= factor <= self.most or factor & (factor - 1):
            raise ValueError(f"its loss scale is {short(factor)}, no power of two from 1 to {self.most}")
        if type(good_steps) is not int or not 0 <= good_steps < GOOD_STEPS:
            raise ValueError(
                f"its loss scale has {short(good_steps)} good steps, 0 to {GOOD_STEPS - 1} there can be"
            )
        return replace(self, factor=factor, good_steps=good_steps)
