"""Ctrl+C, SIGTERM and a closed terminal ask to stop: the first one is noted, the second one kills."""

import contextlib
import os
import signal
from types import FrameType
from typing import Any

from ..training.processes import StopTraining
from .outcome import TRY_AGAIN

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""SIGHUP is what a program gets whose terminal is closed; Windows has none."""
NOTED = b"\nstopping as soon as what is under way is done; once more ends it at once\n"


class StopSignals:
    """Watches for stop signals while entered; of the main thread only.

    Args:
        answer: what is said to the first one; None: nothing.

    Attributes:
        received: the signal that asked to stop; None so far.
    """

    def __init__(self, answer: bytes | None = NOTED):
        self._answer = answer
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        for number in SIGNALS:
            before = signal.getsignal(number)
            if number not in (signal.SIGINT, signal.SIGTERM) and before == signal.SIG_IGN:
                continue  # started by nohup, to go on without a terminal
            self._before[number] = before
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for again in self._before:
            signal.signal(again, signal.SIG_DFL)
        if self._answer is not None:
            with contextlib.suppress(OSError):  # not by sys.stderr, which may be in the midst of a line
                os.write(2, self._answer)

    def check(self) -> None:
        """Raise StopTraining once a signal was received."""
        if self.received is not None:
            raise StopTraining(self.received.name)

    @property
    def exit_code(self) -> int:
        """As shells give it for a process that ended by the signal."""
        return 128 + self.received if self.received is not None else 0


def exit_code_of(stop: StopTraining) -> int:
    """As `StopSignals.exit_code`, of a training that another process has stopped; `TRY_AGAIN` where it was no
    signal.
    """
    known = signal.Signals.__members__.get(str(stop))
    return TRY_AGAIN if known is None else 128 + known
