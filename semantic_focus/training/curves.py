"""The curves of a training, few enough numbers to be shown while it runs."""

import math
from collections.abc import Sequence
from typing import Any

from .step_record import StepRecord, ValidationRecord

MOST_POINTS = 10_000
"""Points that are kept of each curve, however long the training."""
MOST_VALIDATIONS = 500
"""That are kept of a training; of more, every second one, and the last."""


class TrainingCurves:
    """The losses of a training by step: all of them while they are few, then every 2nd, 4th, ...; the first
    and the last one always.

    Args:
        most: points that are kept of each curve, 2 or more.
    """

    def __init__(self, most: int = MOST_POINTS):
        if most < 2:
            raise ValueError(f"most is {most}: a curve needs 2 points or more")
        self._most, self._stride = most, 1
        self._regions: tuple[str, ...] = ()
        self._rows: list[tuple[float, ...]] = []
        self._steps = 0
        self._share: dict[str, float] = {}
        self._coverage: dict[str, float] = {}
        self._pictures = 0
        self._validations: list[tuple[int, ValidationRecord]] = []

    @property
    def last_step(self) -> int:
        """The step that was added last; 0 before the first."""
        return int(self._rows[-1][0]) if self._rows else 0

    @property
    def last_loss(self) -> float | None:
        """The total of that step; None before the first, and where it is no number."""
        return _number(self._rows[-1][1]) if self._rows else None

    def add(self, record: StepRecord) -> None:
        """Add the next step."""
        if not self._rows:
            self._regions = tuple(record.regions)
        elif not self._stays(self._rows[-1]):
            self._rows.pop()  # it was there as the last one only
        values = (record.regions.get(name, math.nan) for name in self._regions)
        self._rows.append((record.step, record.total, record.prior, record.learning_rate, *values))
        self._count(record)
        if record.validation is not None:
            self._validations.append((record.step, record.validation))
            if len(self._validations) > MOST_VALIDATIONS:
                self._validations = [*self._validations[:-1:2], self._validations[-1]]
        if len(self._rows) > self._most:
            self._stride *= 2
            last = self._rows[-1]
            self._rows = [row for row in self._rows[:-1] if self._stays(row)] + [last]

    def _stays(self, row: tuple[float, ...]) -> bool:
        return (row[0] - 1) % self._stride == 0

    def _count(self, record: StepRecord) -> None:
        self._steps += 1
        self._pictures += len(record.samples)
        for name, share in record.gradient_share.items():
            self._share[name] = self._share.get(name, 0.0) + share
        for sample in record.samples:
            for name, coverage in sample.coverage.items():
                self._coverage[name] = self._coverage.get(name, 0.0) + coverage

    def shares(self) -> dict[str, float | None]:
        """Region -> mean share of the gradient over all steps."""
        return {
            name: _number(self._share[name] / self._steps) for name in self._regions if name in self._share
        }

    def coverage(self) -> dict[str, float | None]:
        """Region -> mean share of the pictures that it covers."""
        known = (name for name in self._regions if name in self._coverage)
        return {name: _number(self._coverage[name] / self._pictures) for name in known}

    def points(self, after: int = 0, most: int | None = None) -> dict[str, Any]:
        """The curves as lists of one length, ready for JSON: NaN is None, and six digits are left.

        Args:
            after: only steps beyond this one.
            most: about how many points at most; None: all that are kept.

        Returns:
            "step", "total", "prior", "learning_rate", and "regions": name -> list. Where something is held
            out, "validation": "step", "loss", and "regions" and "drift": name -> list.
        """
        rows = [row for row in self._rows if row[0] > after] if after else self._rows
        if most is not None and len(rows) > most:
            rows = [*rows[: -1 : math.ceil(len(rows) / (most - 1))], rows[-1]]
        columns = [[_number(value) for value in column] for column in zip(*rows, strict=True)]
        if not columns:
            columns = [[] for _ in range(4 + len(self._regions))]
        steps, total, prior, rate, *regions = columns
        return {
            "step": [int(step or 0) for step in steps],
            "total": total,
            "prior": prior,
            "learning_rate": rate,
            "regions": dict(zip(self._regions, regions, strict=True)),
            **({"validation": self._validation_points(after)} if self._validations else {}),
        }

    def _validation_points(self, after: int) -> dict[str, Any]:
        columns = validation_columns(self._validations, after)
        tables = {
            table: {name: [_number(value) for value in column] for name, column in columns[table].items()}
            for table in ("regions", "drift")
        }
        return {"step": columns["step"], "loss": [_number(value) for value in columns["loss"]], **tables}


def validation_columns(found: Sequence[tuple[int, ValidationRecord]], after: int = 0) -> dict[str, Any]:
    """Validations by step as lists of one length: "step", "loss", and "regions" and "drift": name -> list,
    NaN where a region was absent.

    Args:
        after: only steps beyond this one; the names are those of all.
    """
    names = dict.fromkeys(name for _, record in found for name in record.regions)
    later = [(step, record) for step, record in found if step > after]
    return {
        "step": [step for step, _ in later],
        "loss": [record.loss for _, record in later],
        "regions": {name: [record.regions.get(name, math.nan) for _, record in later] for name in names},
        "drift": {name: [record.drift.get(name, math.nan) for _, record in later] for name in names},
    }


def _number(value: float) -> float | None:
    """As JSON can hold it."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
