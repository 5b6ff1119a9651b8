"""What the command "masks" tells of a run: a bar meanwhile, a summary at its end, one object for machines."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tqdm import tqdm

from ..datasets.freshness import STATUSES, PictureResult
from ..segmenters.table import LazySegmenter
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


@contextmanager
def followed(
    outcome: Outcome, total: int | None
) -> Iterator[tuple[Callable[[PictureResult], None], Callable[[], bool]]]:
    """Show how a run goes on, and note signals meanwhile.

    Args:
        outcome: gets each result, and in the end seconds and exit code.
        total: how many pictures there are; None where that is not known.

    Yields:
        what is to be told of each result, and what says whether to stop.
    """
    started = time.monotonic()
    screen: Any = Screen()
    seconds = 0.1 if sys.stderr.isatty() else 30.0
    with tqdm(total=total, unit=" pictures", file=screen, mininterval=seconds) as bar:

        def settled(result: PictureResult) -> None:
            outcome.results.append(result)
            if result.status == "fresh":  # costs next to nothing: it would spoil rate and time left
                bar.initial += 1
                bar.n += 1
            else:
                bar.update()
            if result.status in ("failed", "kept"):
                with bar.external_write_mode(file=screen):
                    say(f"{result.status}: {_with_name(result)}")
            if result.said:
                with bar.external_write_mode(file=screen):
                    say(f"{result.picture}: {result.said}")

        with StopSignals() as signals:
            yield settled, lambda: signals.received is not None
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
