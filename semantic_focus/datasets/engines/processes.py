"""Several processes on one machine, each with a segmenter, one thread and, where there are some, a GPU.

Two pictures at a time are with each: one is read while the other is segmented.
"""

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from ..freshness import Due
from .capacity import environment_of, gpus_of
from .child import End, Stop, live
from .crew import Crew, Worker
from .messages import Gone, Message
from .plan import Plan

SECONDS_TO_END = 10.0
"""What a process that has nothing left to do may take to end."""


class _Child(Worker):
    """A process. It takes one picture at a time, and reads the next meanwhile."""

    def __init__(self, position: int, process: BaseProcess, connection: Connection):
        super().__init__(position)
        self.process, self.connection = process, connection

    @property
    def load(self) -> int:
        return len(self.dealt)

    @property
    def under_way(self) -> Sequence[Due]:
        return list(self.dealt.values())

    def give(self, batch: Sequence[Due]) -> None:
        for due in batch:
            self.tell(due)

    def stop(self) -> None:
        self.tell(Stop())

    def tell(self, message: Due | Stop | End) -> None:
        with contextlib.suppress(OSError):  # it is gone: that is noticed where it is heard
            self.connection.send(message)

    def end(self) -> Gone:
        """Wait for a process whose connection has ended."""
        self.process.join(SECONDS_TO_END)
        self.process.kill()
        self.process.join()
        self.connection.close()
        code = self.process.exitcode or 0
        return Gone(signal.Signals(-code).name if code < 0 else f"exit code {code}", code < 0)


class Processes(Crew):
    """The engine; to be used in a `with`."""

    def __init__(self, count: int):
        super().__init__(count)
        self._children: dict[Any, _Child] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        children = list(self._children.values())
        to_end = [child for child in children if child.is_ready and error is None]
        for child in to_end:
            child.tell(End())
        for child in to_end:
            child.process.join(SECONDS_TO_END)
        for child in children:
            child.process.kill()
            child.end()
        self._children.clear()

    def _ahead(self, plan: Plan) -> int:
        return max(super()._ahead(plan), plan.order.settings.workers)

    def _started(self, plan: Plan, position: int) -> Worker:
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
        child = self._children[here] = _Child(position, process, here)
        return child

    def _heard(self, seconds: float) -> Iterable[tuple[Worker, Message]]:
        if not self._children:
            time.sleep(seconds)
            return
        for connection in wait(list(self._children), seconds):
            child = self._children[connection]
            try:
                message: Message = child.connection.recv()
            except (EOFError, OSError):
                message = child.end()
                del self._children[connection]
            yield child, message


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
