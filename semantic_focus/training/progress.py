"""The lines of text that a training writes on its way, to a log or to a screen."""

import time
from collections.abc import Callable

from .step_record import StepRecord

LINES = 20
"""About how many steps get a line, besides the first and the last."""


class ProgressLines:
    """Tells what to write after each step: mostly nothing.

    Args:
        steps: how many there will be, counted from the beginning of a training that is gone on with.
        clock: seconds.
    """

    def __init__(self, steps: int, clock: Callable[[], float] = time.monotonic):
        self._steps, self._clock = steps, clock
        self._every = max(1, steps // LINES)
        self._first: tuple[int, float] | None = None

    def after(self, record: StepRecord) -> list[str]:
        """The lines to write after a step; pace and time left are of the steps since the first one."""
        now, lines = self._clock(), []
        if self._first is None and record.step > 1:
            lines.append(f"going on from step {record.step - 1}")
        first_step, started = self._first = self._first or (record.step, now)
        if record.step in (first_step, self._steps) or record.step % self._every == 0:
            line = f"step {record.step}/{self._steps}, loss {record.total:.4f}"
            if record.step > first_step:
                seconds = (now - started) / (record.step - first_step)
                minutes, rest = divmod(round(seconds * (self._steps - record.step)), 60)
                line += f", {seconds:.2f} s a step, {minutes}:{rest:02d} left"
            lines.append(line)
        return lines
