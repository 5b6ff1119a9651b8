"""Ctrl+C and SIGTERM as a request to stop: the first one is noted, the second one kills."""

import signal
from types import FrameType
from typing import Any

from ..training.run import StopTraining

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """Watches for stop signals while entered; of the main thread only.

    Attributes:
        received: the signal that asked to stop; None so far.
    """

    def __init__(self):
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        for again in SIGNALS:
            signal.signal(again, signal.SIG_DFL)

    def check(self) -> None:
        """Raise StopTraining once a signal was received."""
        if self.received is not None:
            raise StopTraining(self.received.name)

    @property
    def exit_code(self) -> int:
        """As shells give it for a process that ended by the signal."""
        return 128 + self.received if self.received is not None else 0
