"""What a training tells those who watch it: curves, pace, samples, notes, and how it ended."""

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.text import printable
from .curves import TrainingCurves
from .kept import Kept
from .memory import GIB
from .step_record import StepRecord

SECONDS_BETWEEN = 0.25
"""Watchers hear of new steps no more often than this."""
PACE_OVER = 40
"""The pace is a mean over so many moments, `SECONDS_BETWEEN` or a step apart."""
MOST_TRAININGS = 8
MOST_NOTES = 20
MOST_SAMPLES = 48


@dataclass(frozen=True)
class Watched:
    """Which node of which workflow a training belongs to.

    Attributes:
        workflow: its id; None when the prompt did not come from a graph editor.
        node: its id in the prompt, "3:1" for node 1 in subgraph node 3.
        prompt: id of the prompt that runs it, None when it cannot be told.
    """

    workflow: str | None
    node: str
    prompt: str | None = None


def thinned(samples: list[Any]) -> list[Any]:
    """At most `MOST_SAMPLES` of them, evenly over time; the first and the last stay."""
    return samples if len(samples) <= MOST_SAMPLES else [*samples[:-1:2], samples[-1]]


class TrainingStatus:
    """One training as it is shown. Its methods may be called from any thread.

    Args:
        steps: how many there will be.
        send: called with a report when there is something new; an error of its ends the reports, never the
            training.
        clock: seconds.
    """

    def __init__(
        self,
        watched: Watched,
        steps: int,
        send: Callable[[dict[str, Any]], None] = lambda report: None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.watched, self.steps = watched, steps
        self._send, self._clock = send, clock
        self._lock = threading.RLock()
        self._curves = TrainingCurves()
        self._told, self._told_at, self._revision = 0, -SECONDS_BETWEEN, 0
        self._moments: deque[tuple[float, int]] = deque(maxlen=PACE_OVER)
        self._notes: list[dict[str, Any]] = []
        self._about: dict[str, Any] = {
            "run": uuid.uuid4().hex,
            "workflow": watched.workflow,
            "node": watched.node,
            "prompt": watched.prompt,
            "state": "starting",
            "steps": steps,
            "folder": None,
            "samples": [],
            "kept": None,
            "error": None,
            "rows": None,
            "worse": False,
            "memory": None,
        }

    def note(self, kind: str, message: str, **values: str) -> None:
        """Say something beside the curves.

        Args:
            kind: by which a watcher knows it, and may say it in another language with `values`.
            message: in English.
        """
        with self._lock:
            said = {name: printable(value) for name, value in values.items()}
            note = {"kind": kind, "text": printable(message), "values": said}
            self._notes = [*self._notes, note][-MOST_NOTES:]
        self._tell()

    def needs(self, needed: int, free: int, swap: float, inputs: bool) -> None:
        """How much of the device's memory the training will take was estimated.

        Args:
            needed, free: bytes.
            swap: share in 0..1 of the model's blocks that waits in RAM.
            inputs: those of the blocks wait there too.
        """
        memory = {"needed": needed / GIB, "free": free / GIB, "swap": round(100 * swap), "inputs": inputs}
        with self._lock:
            self._about["memory"] = memory
        self._tell()

    def started(self, folder: Path, history: Iterable[StepRecord] = (), steps: int | None = None) -> None:
        """The model is there, and the first step begins.

        Args:
            folder: of the run.
            history: its steps before this training.
            steps: how many there will be, where that is known only now.
        """
        with self._lock:
            self.steps = self.steps if steps is None else steps
            self._about.update(state="running", folder=str(folder), steps=self.steps)
            for record in history:
                self._curves.add(record)
            done = self._curves.last_step
        if done:
            self.note("resumed", f"Resumed at step {done}.", step=str(done))
        else:
            self._tell()

    def stepped(self, record: StepRecord) -> None:
        """A step was done."""
        now = self._clock()
        with self._lock:
            self._curves.add(record)
            if not self._moments or now - self._moments[-1][0] >= SECONDS_BETWEEN:
                self._moments.append((now, record.step))
        if now - self._told_at >= SECONDS_BETWEEN:
            self._tell()

    def sampled(self, step: int, file: Mapping[str, str]) -> None:
        """Samples were made.

        Args:
            file: as the server's route for pictures takes it.
        """
        with self._lock:
            self._about["samples"] = thinned([*self._about["samples"], {**file, "step": step}])
        self._tell()

    def kept(self, kept: Kept) -> None:
        """The training ends early, and this is left."""
        with self._lock:
            self._about["kept"] = {
                "step": kept.step,
                "state": None if kept.state is None else str(kept.state),
                "lora": None if kept.lora is None else str(kept.lora),
                "again": kept.again,
            }

    def stopped(self, error: str | None = None) -> None:
        """The training ended early: it was asked to, or failed with an error."""
        with self._lock:
            self._about.update(
                state="stopped" if error is None else "failed",
                error=None if error is None else printable(error),
            )
        self._tell()

    def finished(self, rows: list[dict[str, Any]], worse: bool = False) -> None:
        """The training came to its end.

        Args:
            rows: one per region, for the table.
            worse: it made worse what it trained on.
        """
        with self._lock:
            self._about.update(state="finished", rows=rows, worse=worse)
        self._tell()

    def report(self, after: int = 0, most: int | None = None) -> dict[str, Any]:
        """All that there is to show, ready for JSON; see `TrainingCurves.points` for the arguments."""
        with self._lock:
            return {
                **self._about,
                "revision": self._revision,
                "step": self._curves.last_step,
                "loss": self._curves.last_loss,
                "rate": self._rate(),
                "notes": list(self._notes),
                "gradient_share": self._curves.shares(),
                "coverage": self._curves.coverage(),
                "after": after,
                "points": self._curves.points(after, most),
            }

    def _rate(self) -> float | None:
        """Steps per second of late."""
        if len(self._moments) < 2:
            return None
        (begin, first), (end, last) = self._moments[0], self._moments[-1]
        return (last - first) / (end - begin)

    def _tell(self) -> None:
        with self._lock:
            self._revision += 1
            report = self.report(self._told)
            self._told, self._told_at = report["step"], self._clock()
            try:
                self._send(report)
            except Exception as error:
                logging.warning(f"LoRA training: its progress cannot be shown any more: {error}")
                self._send = lambda report: None


class TrainingBoard:
    """The last training of each of the nodes that trained of late."""

    def __init__(self, most: int = MOST_TRAININGS):
        self._most = most
        self._lock = threading.Lock()
        self._trainings: dict[tuple[str | None, str], TrainingStatus] = {}

    def add(self, status: TrainingStatus) -> None:
        """Show a training instead of the one that its node had before."""
        key = status.watched.workflow, status.watched.node
        with self._lock:
            self._trainings.pop(key, None)
            self._trainings[key] = status
            while len(self._trainings) > self._most:
                del self._trainings[next(iter(self._trainings))]

    def of(self, workflow: str | None) -> list[TrainingStatus]:
        """The trainings of a workflow's nodes; None: of all workflows."""
        with self._lock:
            found = list(self._trainings.values())
        return [status for status in found if workflow is None or status.watched.workflow == workflow]
