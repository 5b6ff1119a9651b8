"""Several processes on one machine, each with a segmenter, one thread and, where there are some, a GPU.

Two pictures at a time are with each: one is read while the other is segmented. A process that is killed costs
those two; they are made by another, each alone, so that one that kills is known.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType

from ...segmenters.protocol import MissingWeightsError
from ..freshness import Due, PictureResult
from .capacity import environment_of, gpus_of
from .child import Busy, End, Full, Ready, Said, Stop, live
from .order import SegmenterLoadError
from .plan import Plan

SECONDS_BETWEEN_LOOKS = 0.1
"""How often a signal to stop is looked for."""
SECONDS_TO_END = 10.0
"""What a process that has nothing left to do may take to end."""
MOST_KILLED_STARTING = 3
"""How many processes in a row may be killed before they are ready."""
LEAST_AHEAD = 2


@dataclass(eq=False)
class _Child:
    """A process, and the pictures that are with it."""

    process: BaseProcess
    connection: Connection
    position: int
    is_ready: bool = False
    dealt: dict[Path, Due] = field(default_factory=dict)

    def tell(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it is gone: that is noticed where it is heard
            self.connection.send(message)


class Processes:
    """The engine, for any number of plans of one order; to be used in a `with`."""

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"processes must be 1 or more, got {count}")
        self.count = count
        self._children: list[_Child] = []
        self._killed_starting = 0
        self._is_full = False
        self._said: set[Said] = set()

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        to_end = [child for child in self._children if child.is_ready and error is None]
        for child in to_end:
            child.tell(End())
        for child in to_end:
            child.process.join(SECONDS_TO_END)
        for child in self._children:
            child.process.kill()
            child.process.join()
            child.connection.close()
        self._children.clear()

    def __call__(self, plan: Plan) -> None:
        """Have all pictures of a plan segmented.

        Raises:
            MissingWeightsError, SegmenterLoadError: a process cannot start.
        """
        waiting = deque[Due]()
        is_stopped = False
        while True:
            if not is_stopped and (self._is_full or plan.should_stop()):
                is_stopped = True
                plan.leave(waiting)
                waiting.clear()
                for child in self._children:
                    child.tell(Stop())
            if not is_stopped:
                while len(waiting) < self.count and (due := plan.next()) is not None:
                    waiting.append(due)
                self._deal(plan, waiting)
                self._start_some(plan, len(waiting))
            if plan.is_over and not waiting and not any(child.dealt for child in self._children):
                return
            has_to_look = not is_stopped and plan.has_unseen and len(waiting) < self.count
            self._hear(plan, 0.0 if has_to_look else SECONDS_BETWEEN_LOOKS)
            if is_stopped:
                plan.leave()  # what was with a process that was killed meanwhile

    def _deal(self, plan: Plan, waiting: deque[Due]) -> None:
        while waiting:
            is_suspect = plan.is_suspect(waiting[0])
            ahead = 1 if is_suspect else max(LEAST_AHEAD, plan.order.settings.workers)
            able = [child for child in self._children if child.is_ready and len(child.dealt) < ahead]
            able = [child for child in able if not any(map(plan.is_suspect, child.dealt.values()))]
            if not able:
                return
            child, due = min(able, key=lambda child: len(child.dealt)), waiting.popleft()
            child.dealt[due.picture] = due
            child.tell(due)

    def _start_some(self, plan: Plan, pictures: int) -> None:
        """Start as many processes as have something to do."""
        starting = sum(not child.is_ready for child in self._children)
        for _ in range(min(self.count - len(self._children), pictures - starting)):
            taken = {child.position for child in self._children}
            position = next(number for number in range(self.count) if number not in taken)
            here, there = multiprocessing.Pipe()
            process = multiprocessing.get_context("spawn").Process(
                target=live,
                args=(there, plan.order, logging.getLogger().getEffectiveLevel()),
                name=f"masks {position}",
                daemon=True,
            )
            with _environment(environment_of(position, gpus_of(plan.order.segmenter.device))):
                process.start()
            there.close()
            self._children.append(_Child(process, here, position))

    def _hear(self, plan: Plan, seconds: float) -> None:
        connections = {child.connection: child for child in self._children}
        for connection in wait(list(connections), seconds):
            child = connections[connection]  # type: ignore[index]
            try:
                self._take(plan, child, child.connection.recv())
            except (EOFError, OSError):
                self._bury(plan, child)

    def _take(self, plan: Plan, child: _Child, message: object) -> None:
        match message:
            case PictureResult():
                del child.dealt[message.picture]
                plan.settle(message)
            case Busy(due):
                del child.dealt[due.picture]
                plan.busy(due)
            case Ready(wanted):
                plan.order.check_same(wanted, "a process of this machine")
                child.is_ready, self._killed_starting = True, 0
            case Said(logger, level, text):
                if message not in self._said:
                    self._said.add(message)
                    logging.getLogger(logger).log(level, "%s", text)
            case Full():
                self._is_full = True
            case MissingWeightsError() | SegmenterLoadError():
                raise message

    def _bury(self, plan: Plan, child: _Child) -> None:
        """Take back what was with a process that has ended.

        Raises:
            SegmenterLoadError: it did not come to be ready, and another would not either.
        """
        child.process.join()
        child.connection.close()
        self._children.remove(child)
        code = child.process.exitcode or 0
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        if not child.is_ready:
            self._killed_starting += 1
            if code >= 0 or self._killed_starting == MOST_KILLED_STARTING:
                raise SegmenterLoadError(
                    f"a process could not start ({how}). Look at what it wrote above; where memory is short, "
                    f"give fewer than {self.count} with --processes"
                )
        plan.lost(child.dealt.values(), how)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for what is started within: libraries read them as they are loaded."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
