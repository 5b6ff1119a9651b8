"""How each region did over a training, in a table of a few rows."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .step_record import StepRecord


@dataclass(frozen=True)
class SummaryRow:
    """One region's training: its mean loss over the first and the last tenth of the steps, its share of the
    gradient, and how much of the pictures it covers.
    """

    region: str
    first: float
    last: float
    share: float | None
    cover: float


def summary_rows(history: Sequence[StepRecord]) -> list[SummaryRow]:
    """The regions that the first and the last tenth of the steps have."""
    tenth, rows = max(1, len(history) // 10), []
    for name in history[0].regions if history else ():
        first = _mean([record.regions[name] for record in history[:tenth]])
        last = _mean([record.regions[name] for record in history[-tenth:]])
        if first == first and last == last:
            share = _mean([record.gradient_share.get(name, math.nan) for record in history])
            cover = _mean([s.coverage.get(name, 0.0) for record in history for s in record.samples])
            rows.append(SummaryRow(name, first, last, share if share == share else None, cover))
    return rows


def summary(history: Sequence[StepRecord], rows: Sequence[SummaryRow]) -> str:
    """The rows as text, below the loss over the last tenth of the steps."""
    if not history:
        return "nothing was left to train"
    tenth = max(1, len(history) // 10)
    lines = [f"{len(history)} steps, loss {_mean([r.total for r in history[-tenth:]]):.4f}"]
    for row in rows:
        share = math.nan if row.share is None else row.share
        lines.append(
            f"{row.region}: {row.first:.4f} → {row.last:.4f}, gradient {share:.0%}, cover {row.cover:.0%}"
        )
    return "\n".join(lines)


def _mean(values: list[float]) -> float:
    """Mean of the numbers that are not NaN; NaN if there is none."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else math.nan
