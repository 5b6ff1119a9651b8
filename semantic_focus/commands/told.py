"""What the command "masks" tells of a run: a bar meanwhile, a summary at its end, one object for machines."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from ..datasets.freshness import STATUSES, PictureResult
from ..segmenters.table import LazySegmenter
from ..training.events import EventWriter
from .outcome import SUCCESS, Screen, say
from .stop_signals import StopSignals


@dataclass
class Outcome:
    """What came of a run so far, how long it took, and its exit code if a signal stopped it."""

    results: list[PictureResult] = field(default_factory=list)
    seconds: float = 0.0
    exit_code: int = SUCCESS

    @property
    def interrupted(self) -> bool:
        return self.exit_code != SUCCESS

    def of(self, status: str) -> list[PictureResult]:
        return [result for result in self.results if result.status == status]


class Follower:
    """Is told how a run goes on, and shows it."""

    def __init__(self, outcome: Outcome, bar: Any, screen: Any, signals: StopSignals, events: EventWriter):
        self._outcome, self._bar, self._screen, self._signals = outcome, bar, screen, signals
        self._events = events

    def should_stop(self) -> bool:
        """Whether a signal has come."""
        return self._signals.received is not None

    def settled(self, result: PictureResult) -> None:
        """Of a picture with which all is done."""
        self.noted(result)
        if result.status == "fresh":  # costs next to nothing: it would spoil rate and time left
            self._bar.initial += 1
            self._bar.n += 1
        else:
            self.moved()

    def moved(self) -> None:
        """The bar, by one picture."""
        self._bar.update()

    def noted(self, result: PictureResult) -> None:
        """A result, without the bar."""
        self._outcome.results.append(result)
        self._events.tell("picture", picture=str(result.picture), status=result.status, reason=result.reason)
        if result.status in ("failed", "kept"):
            with self._bar.external_write_mode(file=self._screen):
                say(f"{result.status}: {_with_name(result)}")
        if result.said:
            with self._bar.external_write_mode(file=self._screen):
                say(f"{result.picture}: {result.said}")


@contextmanager
def followed(outcome: Outcome, total: int | None, events: EventWriter) -> Iterator[Follower]:
    """Show how a run goes on, and note signals meanwhile.

    Args:
        outcome: gets each result, and in the end seconds and exit code.
        total: how many pictures there are; None where that is not known.
        events: tell of each picture.
    """
    events.tell("begun", pictures=total)
    started = time.monotonic()
    screen: Any = Screen()
    seconds = 0.1 if sys.stderr.isatty() else 30.0
    with (
        tqdm(total=total, unit=" pictures", file=screen, mininterval=seconds) as bar,
        StopSignals() as signals,
    ):
        yield Follower(outcome, bar, screen, signals, events)
        outcome.exit_code = signals.exit_code
        outcome.seconds = time.monotonic() - started


def _with_name(result: PictureResult) -> str:
    """The reason, with the picture's name unless it says it already."""
    if result.picture.name in result.reason:
        return result.reason
    return f"{result.picture}: {result.reason}"


def summary(outcome: Outcome, dataset: object) -> str:
    """What became of the pictures, in lines for a person."""
    counts = Counter(result.status for result in outcome.results)
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    lines = [f"{dataset}: {', '.join(parts) or 'nothing done'} in {outcome.seconds:.1f} s"]
    reasons = Counter(result.reason for result in outcome.of("due"))
    lines += [f"  due, {count}: {reason}" for reason, count in reasons.most_common(10)]
    if failed := outcome.of("failed"):
        lines.append("failed:")
        lines += [f"  {_with_name(result)}" for result in failed]
    if outcome.interrupted:
        lines.append("interrupted: what is done stays; run the same command again for the rest")
    return "\n".join(lines)


def for_machines(
    outcome: Outcome, dataset: object, pictures: int, segmenter: LazySegmenter, dry_run: bool
) -> dict[str, object]:
    """The same for a program."""

    def listed(status: str) -> list[dict[str, str]]:
        return [{"picture": str(result.picture), "reason": result.reason} for result in outcome.of(status)]

    rate = len(outcome.results) / outcome.seconds if outcome.seconds else 0.0
    return {
        "dataset": str(dataset),
        "pictures": pictures,
        "counts": {status: len(outcome.of(status)) for status in STATUSES},
        **{status: listed(status) for status in ("failed", "kept", "due")},
        "backend": segmenter.name,
        "weights": segmenter.weights_id,
        "seconds": round(outcome.seconds, 3),
        "pictures_per_second": round(rate, 2),
        "dry_run": dry_run,
        "interrupted": outcome.interrupted,
    }
