"""What a training tells other programs: one JSON object a line; its writer and its reader.

docs/headless.md lists the events. From them a process of its own has the `TrainingStatus` of the training.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..files.text import parsed_json, printable
from .curves_file import curve_values, record_of_any_version
from .kept import Kept
from .status import TrainingStatus
from .step_record import StepRecord

SCHEMA = 1
"""Of the events; it rises when something means what it did not mean before, not with what is new."""
LONGEST_LINE = 1 << 20
"""Bytes of an event that are read."""

Clock = Callable[[], float]


def utc_now() -> datetime:
    """The time of an event."""
    return datetime.now(timezone.utc)


class EventWriter:
    """Tells of one training, by the methods of `TrainingStatus`.

    Args:
        put: takes the lines, without line ends; None: nothing is told.
        about: fields that all events have.
        lost: how many lines could not be written so far; all events say so where there are any.
    """

    def __init__(
        self,
        put: Callable[[str], None] | None = None,
        about: Mapping[str, str] | None = None,
        lost: Callable[[], int] = lambda: 0,
        now: Callable[[], datetime] = utc_now,
    ):
        self._put, self._about, self._lost, self._now = put, dict(about or {}), lost, now
        self._best = math.inf
        self.is_over = False
        """Whether its end was told."""

    def tell(self, event: str, **values: Any) -> None:
        """Write an event; of the values what is no finite number becomes null."""
        if self._put is None:
            return
        time = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        lost = {"lost": self._lost()} if self._lost() else {}
        content = {"event": event, "time": time, **self._about, **lost, **values}
        self._put(json.dumps(_finite(content), ensure_ascii=False, allow_nan=False))

    def hand_on(self, line: str) -> None:
        """Write an event of another writer, with the fields that all events of this one have."""
        if self._put is not None and self._about:
            line = json.dumps({**json.loads(line), **self._about}, ensure_ascii=False)
        if self._put is not None:
            self._put(line)

    def opened(self, **about: Any) -> None:
        """A process begins on the training; what was told before is of an earlier one."""
        self.tell("opened", schema=SCHEMA, **about)

    def note(self, kind: str, message: str, **values: str) -> None:
        """As `TrainingStatus.note`."""
        self.tell("note", kind=kind, text=message, values=values)

    def needs(self, needed: int, free: int, swap: float, inputs: bool) -> None:
        """As `TrainingStatus.needs`."""
        self.tell("memory", needed=needed, free=free, swap=swap, inputs=inputs)

    def started(self, folder: Path, history: Iterable[StepRecord] = (), steps: int | None = None) -> None:
        """As `TrainingStatus.started`; the earlier steps go first."""
        done = 0
        for record in history:
            self.tell("earlier", **curve_values(record))
            self._is_best(record)
            done = record.step
        self.tell("begun", folder=str(folder), steps=steps, step=done)

    def stepped(self, record: StepRecord) -> None:
        """As `TrainingStatus.stepped`; a validation is told once more by itself."""
        self.tell("step", **curve_values(record))
        if (found := record.validation) is not None:
            self.tell(
                "validated",
                step=record.step,
                loss=found.loss,
                loss_before=found.loss_before,
                best=self._is_best(record),
            )

    def sampled(self, step: int, file: Mapping[str, str]) -> None:
        """As `TrainingStatus.sampled`."""
        self.tell("sampled", step=step, file=dict(file))

    def kept(self, kept: Kept) -> None:
        """As `TrainingStatus.kept`."""
        paths = {name: None if path is None else str(path) for name, path in _paths(kept)}
        self.tell("kept", step=kept.step, **paths, reason=kept.reason, again=kept.again)

    def stopped(self, error: str | None = None, exit_code: int | None = None, reason: str = "") -> None:
        """As `TrainingStatus.stopped`, with why it was asked to stop, and the exit code of the process."""
        if error is None:
            self._end("stopped", reason=reason, exit_code=exit_code)
        else:
            self._end("failed", error=error, exit_code=exit_code)

    def finished(
        self, rows: Sequence[Mapping[str, Any]], worse: bool = False, lora: str | None = None
    ) -> None:
        """As `TrainingStatus.finished`, with the path or URL of the LoRA."""
        self._end("done", lora=lora, rows=list(rows), worse=worse, exit_code=0)

    def _end(self, event: str, **values: Any) -> None:
        self.is_over = True
        self.tell(event, **values)

    def _is_best(self, record: StepRecord) -> bool:
        """Whether no validation before had as low a loss, so that LoRA and state are kept as the best."""
        loss = record.validation.loss if record.validation else math.nan
        best = loss < self._best
        self._best = loss if best else self._best
        return best


class EventReader:
    """The status of a training by its events.

    Args:
        make: gives a new status with this clock, which shows the time of the events; called in the beginning
            and once more for each later process of the same training, whose events follow in the same file.

    Attributes:
        status: of the last process.
        damaged: lines so far that could not be read.
    """

    def __init__(self, make: Callable[[Clock], TrainingStatus]):
        self._make, self._seconds = make, 0.0
        self.status = make(self._clock)
        self.damaged = 0
        self._is_new = True
        self._earlier: list[StepRecord] = []

    def _clock(self) -> float:
        return self._seconds

    def read(self, line: bytes) -> dict[str, Any] | None:
        """Take in an event; its content, None where it cannot be read.

        What another version tells besides is left out.
        """
        try:
            event = _parsed(line)
            self._seconds = datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()
            if event["event"] == "opened":
                self._open()
            self._take(event["event"], event)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            self.damaged += 1
            return None
        self._is_new = False
        return event

    def _open(self) -> None:
        if not self._is_new:
            self.status, self._earlier = self._make(self._clock), []

    def _take(self, kind: str, event: dict[str, Any]) -> None:
        status = self.status
        if kind == "note":
            status.note(event["kind"], event["text"], **event["values"])
        elif kind == "memory":
            status.needs(event["needed"], event["free"], event["swap"], event["inputs"])
        elif kind == "earlier":
            self._earlier.append(record_of_any_version(event))
        elif kind == "begun":
            earlier, self._earlier = self._earlier, []
            status.started(Path(event["folder"]), earlier, event["steps"])
        elif kind == "step":
            status.stepped(record_of_any_version(event))
        elif kind == "sampled":
            status.sampled(event["step"], event["file"])
        elif kind == "kept":
            state, lora = (None if event[name] is None else Path(event[name]) for name in ("state", "lora"))
            status.kept(Kept(event["step"], state, lora, event["reason"], event["again"]))
        elif kind == "stopped":
            status.stopped()
        elif kind == "failed":
            status.stopped(event["error"])
        elif kind == "done":
            status.finished(event["rows"], event["worse"])


def _parsed(line: bytes) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise ValueError(f"{len(line)} bytes are no event")
    event = parsed_json(line.decode("utf-8"))
    if not isinstance(event, dict):
        raise ValueError("no object")
    return event


def _paths(kept: Kept) -> tuple[tuple[str, Path | None], ...]:
    return ("state", kept.state), ("lora", kept.lora)


def _finite(value: Any) -> Any:
    """As JSON has it; texts can be printed."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
