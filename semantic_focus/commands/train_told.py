"""What the command "train" tells of a training: lines on the screen, events for other programs."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from ..training.events import EventWriter
from ..training.kept import Kept
from ..training.progress import ProgressLines
from ..training.run import RunOptions
from ..training.step_record import StepRecord
from ..training.verdict import Verdict
from .outcome import say


class TrainingTold:
    """Tells of one training.

    Args:
        on_begin: told of the run's folder before the first step.
        check: called before each pass through the model; what it raises ends the training.

    Attributes:
        is_worse: whether the training made worse what it trained on.
    """

    def __init__(self, events: EventWriter, on_begin: Callable[[Path], None], check: Callable[[], None]):
        self._events, self._begin, self._check = events, on_begin, check
        self.is_worse = False

    def options(self, steps: int, save_every: int) -> RunOptions:
        """What the training calls."""
        lines = ProgressLines(steps)

        def begin(folder: Path, history: Sequence[StepRecord]) -> None:
            self._begin(folder)
            self._events.started(folder, history, steps)

        def stepped(record: StepRecord) -> None:
            say(*lines.after(record))
            self._events.stepped(record)

        return RunOptions(
            save_every=save_every,
            on_begin=begin,
            on_step=stepped,
            check=self._check,
            on_kept=self._kept,
            on_verdict=self._judged,
            tell=lambda message: self.say("not_kept", message, error=message),
        )

    def say(self, kind: str, message: str, **values: str) -> None:
        """Warn; see `TrainingStatus.note`."""
        logging.warning(f"LoRA training: {message}")
        self._events.note(kind, message, **values)

    def inform(self, kind: str, message: str, **values: str) -> None:
        """The same of what is as it should be."""
        logging.info(f"LoRA training: {message}")
        self._events.note(kind, message, **values)

    def needs(self, needed: int, free: int, swap: float, inputs: bool) -> None:
        """See `TrainingStatus.needs`."""
        self._events.needs(needed, free, swap, inputs)

    def _kept(self, kept: Kept) -> None:
        say(str(kept))
        self._events.kept(kept)

    def _judged(self, verdict: Verdict) -> None:
        self.is_worse = verdict.is_worse
        say(*(remark.text for remark in verdict.remarks))
        for remark in verdict.remarks:
            self._events.note(remark.kind, remark.text, **remark.values)


class NothingTold(TrainingTold):
    """Of a process that is not the first one: that one speaks for all."""

    def options(self, steps: int, save_every: int) -> RunOptions:
        return RunOptions(on_begin=lambda folder, history: self._begin(folder), check=self._check)
