"""The processes that make one LoRA together, as a training sees them; here the form of a single one.

Every process draws the whole step, works on its share of it, and holds the same adapters and the same
optimizer after it. `process_group.ProcessGroup` is the form of several.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
    in_step = False
    """Whether all go through the model together: each pass of one is a pass of all, in the same order."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes, prints and judges for all."""
        return self.rank == 0

    def share_out(self, device: str) -> Any:
        """Go through the model in step from now on, since each process holds a part of it.

        Args:
            device: kind of device on which it computes.

        Returns:
            all processes as a group of torch.distributed, in which they bring it together; None: there are no
            others. Raises as `settle`.
        """
        return None

    def share(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """What this process does of the batches of a step."""
        return batches

    def check(self) -> None:
        """Called before each pass through the model.

        Raises:
            CalledAway: the step cannot be finished.
            And as `settle`, where all go in step.
        """

    def others_go_on(self, check: Callable[[], None]) -> bool:
        """Whether another one has a pass of this step left, once this one has none: in step it goes along.

        Args:
            check: called before they are asked, in step.
        """
        return False

    def in_company(self, check: Callable[[], None]) -> Callable[[], None]:
        """A check to be called before each pass that all make alike, in step; it raises as `settle`."""
        return check

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

    def ended(self, error: BaseException) -> BaseException:
        """Tell the others that this process has ended by an error, if they do not know it.

        Returns:
            what it has ended by: the error, or the end of another process that the error comes from.
        """
        return error

    @contextmanager
    def ending(self) -> Iterator[None]:
        """What is raised within ends all, and is told of all: see `ended`."""
        try:
            yield
        except BaseException as error:
            cause = self.ended(error)
            if cause is error:
                raise
            raise cause from error

    def finish(self) -> None:
        """No step follows: from here on each process is on its own."""

    def close(self) -> None:
        """Leave the others."""
