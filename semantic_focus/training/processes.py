"""The processes that make one LoRA together, as a training sees them; here the form of a single one.

Every process draws the whole step, works on its share of it, and holds the same adapters and the same
optimizer after it. `process_group.ProcessGroup` is the form of several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .data import Batch
from .step_report import JudgedPass


class StopTraining(Exception):
    """Raised by a `RunOptions.check` to end a training that shall be resumed later."""


class ProcessFailed(RuntimeError):
    """Another process of the training has failed; the message says which and why."""


class ProcessLost(RuntimeError):
    """Another process of the training is gone, without a word. The same training may be run again.

    Attributes:
        is_first: it is the first process, which speaks for all.
    """

    def __init__(self, message: str, is_first: bool = False):
        super().__init__(message)
        self.is_first = is_first


class CalledAway(Exception):
    """Another process cannot finish the step: what this one does for it is in vain."""


@dataclass(frozen=True)
class Attempt:
    """What came of a process's share of a step.

    Attributes:
        passes: what its pictures showed; its gradients are in the parameters.
        shortage: what was said when memory ran out; empty: it was enough.
    """

    passes: Sequence[JudgedPass] = field(default_factory=list)
    shortage: str = ""


class Processes:
    """A single process: the whole training is its own. It costs nothing."""

    rank = 0
    size = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes, prints and judges for all."""
        return self.rank == 0

    def share(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """What this process does of the batches of a step."""
        return batches

    def check(self) -> None:
        """Called before each pass through the model.

        Raises:
            CalledAway: the step cannot be finished.
        """

    def begin(self, parameters: Sequence[nn.Parameter]) -> None:
        """A step, or another attempt at it, begins: the parameters have no gradient."""

    def done_with(self, batch: Batch) -> None:
        """All passes of a batch of the share are done."""

    def settle(self, attempt: Attempt) -> list[Attempt]:
        """The attempts of all processes, by rank, once all have theirs.

        Raises:
            StopTraining, ProcessFailed, ProcessLost: another process has ended.
        """
        return [attempt]

    def agree(self, value: bool) -> bool:
        """Whether all processes say so. Raises as `settle`."""
        return value

    def sum_gradients(self) -> None:
        """Let the parameters have the gradient of the whole step. Raises as `settle`."""

    def told(self, tensors: Mapping[str, Tensor], values: Any) -> tuple[Mapping[str, Tensor], Any]:
        """What the first process gives, on the CPU; `values` are such as JSON has. Raises as `settle`."""
        return tensors, values

    def ended(self, error: BaseException) -> None:
        """Tell the others that this process has ended by an error, if they do not know it."""

    def finish(self) -> None:
        """No step follows: from here on each process is on its own."""

    def close(self) -> None:
        """Leave the others."""
