"""Several processes that make one LoRA, over torch.distributed.

What they say goes by the first process, one message of each for all in each exchange: so it is known which
process is gone, and all end together. Gradients are added from process to process in the order of the
batches, as a single one adds them: where batches are dealt out whole, the sum is the same to the bit.
"""

import contextlib
import os
import socket
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..files.text import in_short, printable
from .data import Batch
from .messages import Message, packed, unpacked
from .processes import Attempt, CalledAway, Processes, ProcessFailed, ProcessLost, StopTraining
from .shortage import TrainingOutOfMemory, out_of_memory, short_in_step
from .step_report import JudgedPass

WAIT = timedelta(minutes=30)
"""For what another process may be at meanwhile: loading, validating, writing a state."""
SUM_WAIT = timedelta(seconds=20)
"""For a part of a sum, which all begin together."""
SHARE_WAIT = timedelta(seconds=60)
"""For the weights of a block, which all ask for while they go through the model in step."""
PART = 1 << 22
"""Numbers of a gradient that are on their way at a time."""


class ProcessGroup(Processes):
    """One of several processes. All make it, and call each of its methods, in the same order.

    Args:
        rank, size: this process's number from 0, and how many there are.
        store: in which they meet.
        sums: the backend of torch.distributed that carries gradients; None: the fastest for their device.
    """

    def __init__(self, rank: int, size: int, store: Any, sums: str | None = None):
        self.rank, self.size = rank, size
        self.in_step = False
        self._store, self._backend = store, sums
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=WAIT)
        self._sums: Any = None
        self._round, self._over = 0, False
        self._parameters: list[nn.Parameter] = []
        self._parts: list[Tensor] = []
        self._with_gradient: list[bool] = []
        self._to_do = 0
        self._names = [f"process {number}" for number in range(size)]
        own = f"process {rank} (pid {os.getpid()} on {socket.gethostname()})"
        self._names = [message.value for message in self._exchange(own)]

    def share(self, batches: Sequence[Batch]) -> Sequence[Batch]:
        """Whole batches where there is one for each process, else the pictures one after the other."""
        mine: Sequence[Batch]
        if len(batches) >= self.size:
            begin, end = self._range(len(batches))
            mine = batches[begin:end]
        else:
            begin, end = self._range(sum(len(batch.pictures) for batch in batches))
            mine = [
                batch.cut(max(begin, batch.first) - batch.first, min(end, batch.places.stop) - batch.first)
                for batch in batches
                if begin < batch.places.stop and batch.first < end
            ]
        self._to_do = len(mine)
        return mine

    def _range(self, count: int) -> tuple[int, int]:
        """This process's part of so many things, one after the other."""
        return self.rank * count // self.size, (self.rank + 1) * count // self.size

    def share_out(self, device: str) -> Any:
        self.agree(True)  # none has ended before
        self.in_step = True
        return self._new_group(_backend_for(device), SHARE_WAIT)

    def check(self) -> None:
        if self.in_step:
            self._exchange(True)
            return
        with _with_the_first(self._names[0]):
            if self._store.check([self._away]):
                raise CalledAway

    def others_go_on(self, check: Callable[[], None]) -> bool:
        if not self.in_step:
            return False
        check()
        return any(message.value for message in self._exchange(False))

    def in_company(self, check: Callable[[], None]) -> Callable[[], None]:
        def checked() -> None:
            check()
            self._exchange(True)

        return checked if self.in_step else check

    @property
    def _away(self) -> str:
        """What a process sets that cannot do its part of the present round."""
        return f"away/{self._round}"

    def begin(self, parameters: Sequence[nn.Parameter]) -> None:
        self._parameters, self._parts = list(parameters), []
        self._with_gradient = [False] * len(self._parameters)

    def done_with(self, batch: Batch) -> None:
        self._to_do -= 1
        if self.rank > 0 or self._to_do == 0:  # others than the first wait for the sum of those before them
            self._take_gradients()

    def _take_gradients(self) -> None:
        """Move the gradients into a part of the sum."""
        flat = [
            (torch.zeros_like(parameter) if parameter.grad is None else parameter.grad).reshape(-1).float()
            for parameter in self._parameters
        ]
        self._parts.append(torch.cat(flat))
        for number, parameter in enumerate(self._parameters):
            self._with_gradient[number] |= parameter.grad is not None
            parameter.grad = None

    def settle(self, attempt: Attempt) -> list[Attempt]:
        if attempt.shortage:
            self._call_away()
        value = {
            "shortage": attempt.shortage,
            "passes": [_values_of(judged) for judged in attempt.passes],
            "with_gradient": self._with_gradient,
        }
        said = self._exchange(value, _tensors_of(attempt.passes))
        given = [message.value["with_gradient"] for message in said]
        self._with_gradient = [any(column) for column in zip(*given, strict=True)]
        return [Attempt(_passes_of(message), message.value["shortage"]) for message in said]

    def agree(self, value: bool) -> bool:
        return all(message.value for message in self._exchange(value))

    def told(self, tensors: Mapping[str, Tensor], values: Any) -> tuple[Mapping[str, Tensor], Any]:
        mine = (values, tensors) if self.is_first else (None, {})
        first = self._exchange(*mine)[0]
        return first.tensors, first.value

    def sum_gradients(self) -> None:
        device = self._parts[0].device
        self._backend = self._backend or _backend_for(device.type)
        parts = self._parts if self._backend == "nccl" else [part.cpu() for part in self._parts]
        self._parts = []
        try:
            total = self._added(parts).to(device)
        except RuntimeError as error:
            self._exchange(None)  # which tells who is gone
            raise ProcessFailed(f"the gradients could not be added up: {in_short(error)}") from error
        sizes = [parameter.numel() for parameter in self._parameters]
        for parameter, part, there in zip(
            self._parameters, total.split(sizes), self._with_gradient, strict=True
        ):
            parameter.grad = part.view_as(parameter).to(parameter.dtype, copy=True) if there else None

    def _added(self, parts: Sequence[Tensor]) -> Tensor:
        """The sum of the parts of all processes, from the first to the last, piece by piece."""
        if self._sums is None:
            self._sums = self._new_group(self._backend, SUM_WAIT)
        last = self.size - 1
        total = parts[0] if self.rank == 0 else torch.empty_like(parts[0])
        sent = []
        pieces = [part.split(PART) for part in parts]
        for number, piece in enumerate(total.split(PART)):
            if self.rank > 0:
                dist.recv(piece, self.rank - 1, group=self._sums)
                for part in pieces:
                    piece += part[number]
            if self.rank < last:
                sent.append(dist.isend(piece, self.rank + 1, group=self._sums))
        for work in sent:
            work.wait()
        dist.broadcast(total, last, group=self._sums)
        return total

    def _new_group(self, backend: str | None, wait: timedelta) -> Any:
        """All processes as a group of their own in torch.distributed, for which all ask at once."""
        os.environ.setdefault("TORCH_NCCL_BLOCKING_WAIT", "1")  # so that what hangs is an error
        return dist.new_group(timeout=wait, backend=backend)

    def ended(self, error: BaseException) -> BaseException:
        if self._over:
            return error
        if self.in_step:
            error = self._cause_in_step(error)
            if self._over:
                return error
        self._over = True
        how = "stopped" if isinstance(error, StopTraining) else "failed"
        text = printable(str(error)) or type(error).__name__
        with contextlib.suppress(ProcessLost):
            self._call_away()
            self._exchange({"ended": how, "text": text})
        return error

    def _cause_in_step(self, error: BaseException) -> BaseException:
        """What an error comes from that has ended a pass through the model."""
        if isinstance(error, RuntimeError) and out_of_memory(error) and not isinstance(error, KNOWN):
            return short_in_step(error)
        if not _without_others(error):
            return error
        try:
            self._exchange(None)  # which tells what has become of them
        except (StopTraining, ProcessFailed, ProcessLost) as cause:
            return cause
        return ProcessLost(f"the processes could not bring the model together: {in_short(error)}")

    def finish(self) -> None:
        self._over = True

    def close(self) -> None:
        dist.destroy_process_group()

    def _call_away(self) -> None:
        with _with_the_first(self._names[0]):
            self._store.set(self._away, "")

    def _exchange(self, value: Any, tensors: Mapping[str, Tensor] | None = None) -> list[Message]:
        """What every process says in this round, by rank.

        Raises:
            ProcessLost: one is gone.
            StopTraining, ProcessFailed: another one has ended.
        """
        own = packed(Message(value, tensors or {}))
        said = self._by_the_first(own) if self.rank == 0 else self._to_the_first(own)
        self._round += 1
        if lost := [self._names[rank] for rank, message in enumerate(said) if message is None]:
            self._over = True
            raise ProcessLost(f"{' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} gone")
        messages = [unpacked(message) for message in said if message is not None]
        if not _is_ending(messages[self.rank]):
            for name, message in zip(self._names, messages, strict=True):
                if _is_ending(message):
                    self._over = True
                    raise _error_of(name, message)
        return messages

    def _by_the_first(self, own: Tensor) -> list[Tensor | None]:
        """Hear all others, and tell each what all have said; None: one that is gone."""
        said: list[Tensor | None] = [own, *(_received(rank) for rank in range(1, self.size))]
        sizes = torch.tensor([-1 if message is None else len(message) for message in said])
        content = torch.cat([message for message in said if message is not None])
        for rank in range(1, self.size):
            if said[rank] is not None:
                with contextlib.suppress(RuntimeError):  # it will be missed in the next round
                    dist.send(sizes, rank)
                    dist.send(content, rank)
        return said

    def _to_the_first(self, own: Tensor) -> list[Tensor | None]:
        sizes = torch.zeros(self.size, dtype=torch.int64)
        with _with_the_first(self._names[0]):
            dist.send(torch.tensor([len(own)]), 0)
            dist.send(own, 0)
            dist.recv(sizes, 0)
            content = torch.empty(int(sizes.clamp_min(0).sum()), dtype=torch.uint8)
            dist.recv(content, 0)
        parts = iter(content.split(sizes[sizes >= 0].tolist()))
        return [next(parts) if size >= 0 else None for size in sizes.tolist()]


def _backend_for(device: str) -> str:
    return "nccl" if device == "cuda" and dist.is_nccl_available() else "gloo"


def _without_others(error: BaseException | None) -> bool:
    """Whether an error comes from torch.distributed: it waited for others in vain."""
    while error is not None and not isinstance(error, KNOWN):
        if isinstance(error, RuntimeError) and _raised_in(error).startswith("torch.distributed"):
            return not out_of_memory(error)
        error = error.__cause__
    return False


def _raised_in(error: BaseException) -> str:
    """The module whose code has raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")) if frames else ""


def _received(rank: int) -> Tensor | None:
    """The message of a process; None: it is gone."""
    size = torch.zeros(1, dtype=torch.int64)
    try:
        dist.recv(size, rank)
        message = torch.empty(int(size), dtype=torch.uint8)
        dist.recv(message, rank)
    except RuntimeError:
        return None
    return message


@contextlib.contextmanager
def _with_the_first(name: str) -> Iterator[None]:
    """What torch raises where the first process, so called, does not answer."""
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(f"{name} is gone", is_first=True) from error


def _is_ending(message: Message) -> bool:
    return isinstance(message.value, dict) and "ended" in message.value


def _error_of(name: str, ending: Message) -> Exception:
    """What another process's ending is for this one."""
    text = ending.value["text"]
    return (
        StopTraining(text) if ending.value["ended"] == "stopped" else ProcessFailed(f"{name} failed: {text}")
    )


KNOWN = (StopTraining, ProcessFailed, ProcessLost, TrainingOutOfMemory)
"""Errors that say what has happened."""
TENSORS = ("positions", "total", "table", "energy", "energy_everywhere")
"""Of a `JudgedPass`; the rest of it is plain values."""


def _values_of(judged: JudgedPass) -> dict[str, Any]:
    return {name: value for name, value in vars(judged).items() if name not in TENSORS}


def _tensors_of(passes: Sequence[JudgedPass]) -> dict[str, Tensor]:
    return {
        f"{number}.{name}": getattr(judged, name) for number, judged in enumerate(passes) for name in TENSORS
    }


def _passes_of(message: Message) -> list[JudgedPass]:
    """What `_values_of` and `_tensors_of` were given."""
    passes = []
    for number, values in enumerate(message.value["passes"]):
        tensors = {name: message.tensors[f"{number}.{name}"] for name in TENSORS}
        given: dict[str, Any] = {**values, **tensors, "names": tuple(values["names"])}
        passes.append(JudgedPass(**given))
    return passes
