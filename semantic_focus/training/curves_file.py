"""The curves of a run on disk: a line of JSON for each step. Damaged lines are left out."""

import dataclasses
import json
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .step_record import SampleRecord, StepRecord, ValidationRecord

LONGEST_LINE = 1 << 20
"""Bytes of a step that are read; usual are some hundreds for each picture of a batch."""


def curve_values(record: StepRecord) -> dict[str, Any]:
    """A step as JSON has it, which knows no NaN: None stands for it."""
    values = dataclasses.asdict(record)
    if record.validation is None:
        del values["validation"]
    return _without_nan(values)


def curve_line(record: StepRecord) -> str:
    """A step as one line."""
    return json.dumps(curve_values(record))


def read_curves(path: Path) -> list[StepRecord]:
    """The steps of a file, in ascending order.

    Lines that are cut, damaged, of other regions than most, or out of order are left out; the log says how
    many, unless it is only the last one, which a kill cuts short.

    Raises:
        OSError: it cannot be read.
    """
    records: list[StepRecord] = []
    bad = 0
    for line in _lines(path):
        try:
            record = record_of(json.loads(line))
        except (ValueError, RecursionError):
            bad += line.endswith(b"\n")
            continue
        if records and record.step <= records[-1].step:
            bad += 1
        else:
            records.append(record)
    usual = Counter(tuple(record.regions) for record in records).most_common(1)
    whole = [record for record in records if tuple(record.regions) == usual[0][0]]
    if bad := bad + len(records) - len(whole):
        logging.warning(f"LoRA training: {path}: {bad} of its lines are damaged and left out of the curves")
    return whole


def _lines(path: Path) -> Iterator[bytes]:
    """Its lines; one that is too long comes in pieces."""
    with path.open("rb") as file:
        while line := file.readline(LONGEST_LINE):
            yield line


def record_of(values: Mapping[str, Any]) -> StepRecord:
    """The step whose `curve_values` these are.

    Raises:
        ValueError: they are damaged.
    """
    try:
        return _record(values)
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"no step: {error}") from error


def record_of_any_version(values: Mapping[str, Any]) -> StepRecord:
    """The same, without what another version tells besides."""
    return record_of({name: value for name, value in values.items() if name in _FIELDS})


_FIELDS = frozenset(StepRecord.__dataclass_fields__)


def _record(line: Mapping[str, Any]) -> StepRecord:
    values = _with_nan(dict(line))
    values["samples"] = tuple(SampleRecord(**sample) for sample in values["samples"])
    if "validation" in values:
        values["validation"] = ValidationRecord(**values["validation"])
        _check(values["validation"], (), ("regions", "regions_before", "drift"))
    record = StepRecord(**values)
    _check(record, ("step",), ("regions", "gradient_share"))
    if any(math.isnan(number) for number in (record.total, record.learning_rate, record.gradient_norm)):
        raise ValueError("a step was done, and these were numbers")
    for sample in record.samples:
        _check(sample, ("picture",), ("cosine", "error", "coverage"))
    return record


def _check(
    record: StepRecord | SampleRecord | ValidationRecord, counts: tuple[str, ...], tables: tuple[str, ...]
) -> None:
    """Raise ValueError unless counts are whole numbers, tables are of numbers, and all else is a number."""
    for name, value in vars(record).items():
        if name in tables:
            if not isinstance(value, dict):
                raise ValueError(name)
            for number in value.values():
                _check_number(number)
        elif name in counts:
            if type(value) is not int or not 0 <= value < 1 << 62:
                raise ValueError(name)
        elif name not in ("samples", "validation"):
            _check_number(value)


def _check_number(value: Any) -> None:
    """NaN is one: a region that no picture had."""
    if type(value) not in (int, float) or math.isinf(value):
        raise ValueError(value)


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value


def _with_nan(value: Any) -> Any:
    """The opposite of `_without_nan`."""
    if value is None:
        return float("nan")
    if isinstance(value, dict):
        return {key: _with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nan(item) for item in value]
    return value
