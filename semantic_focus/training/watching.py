"""A run folder that another program writes, as the training panel shows it.

What is told is what the files say: nothing is written, and the run is not claimed.
"""

import contextlib
import itertools
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..datasets.claims import LOCK_FILE
from ..files.text import printable, some
from .growing import GrowingCurves
from .preview_grid import rounds_in
from .run_folder import CURVES_FILE, PREVIEWS, RUN_FILE, RunFolder
from .status import MOST_SAMPLES, PACE_OVER, thinned

SECONDS = 0.4
"""How long a look at the curves takes at most; the next one goes on."""
SILENT, STEPS_SILENT = 300.0, 10
"""Seconds without a new step, and how many times as long as one usually takes, after which it is said."""
RESTS = 20.0
"""Seconds without a new step after which a state of the last step is the end and not on the way."""
MOST_BYTES = 1 << 20
"""Of run.json."""
MOST_LOOKED_AT = 500
"""Entries of a folder that is no run."""
MOST_WATCHED = 16

NOTES = {
    "left": "State and LoRA of step {step} are in {folder}: the same command or graph goes on from there.",
    "lora": "The LoRA of the last step is {lora}.",
    "silent": "Neither finished nor growing: it validates or makes samples for long, or it was killed. Then "
    "the same command or graph goes on from its last state.",
    "damaged_lines": "Lines of curves.jsonl that are damaged, and left out: {count}.",
    "no_steps": "None of the {count} lines of curves.jsonl is a step as this version writes it: they are "
    "damaged, or of another version.",
    "run_missing": "run.json is not there: how many steps there will be is not known.",
    "run_damaged": "run.json is damaged: how many steps there will be is not known.",
    "run_version": "run.json is of another version: how many steps there will be is not known.",
}
"""What is said beside the curves, by kind; panels have them in other languages."""


class WatchError(ValueError):
    """A folder that shows no run; the message says what is expected."""


class _Described(NamedTuple):
    """What run.json says; `fault` is a kind of note, empty where it can be read."""

    steps: int = 0
    finished: bool = False
    fault: str = ""


class RunWatch:
    """One run folder, looked at again and again. Its methods may be called from any thread.

    Args:
        folder: it need not exist.
        clock: seconds since the epoch, as the times of files are.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time):
        self.folder = folder
        self._clock, self._lock = clock, threading.Lock()
        self._curves = GrowingCurves(folder / CURVES_FILE)
        self._key, self._revision = self._curves.key, 0
        self._described: _Described = _Described()
        self._described_at: tuple[int, int] | None = None
        self._samples: list[dict[str, Any]] = []
        self._sampled_at = -1
        self._moments: deque[tuple[float, int]] = deque(maxlen=PACE_OVER)
        self._written = self._looked = self._since = 0.0

    def report(self, run: str = "", after: int = 0, seconds: float = SECONDS) -> dict[str, Any]:
        """All that there is to show, as `TrainingStatus.report` has it, ready for JSON.

        Beside that "read" is the share of the curves that was read, and "silent" the seconds since something
        was written.

        Args:
            run: of the report that whoever asks has; of another run all is told.
            after: only steps beyond this one.
            seconds: how long to read on at most.

        Raises:
            WatchError: there is no run to be seen.
        """
        with self._lock:
            self._look(seconds)
            self._revision += 1
            curves = self._curves
            after = after if run == curves.key else 0
            silent = self._looked - self._since
            state = self._state(silent)
            return {
                "run": curves.key,
                "revision": self._revision,
                "workflow": None,
                "node": "",
                "prompt": None,
                "state": state,
                "steps": self._described.steps,
                "step": curves.curves.last_step,
                "loss": curves.curves.last_loss,
                "rate": self._rate(),
                "folder": None,
                "samples": list(self._samples),
                "kept": None,
                "error": None,
                "rows": None,
                "worse": False,
                "memory": None,
                "notes": self._notes(state),
                "read": curves.share,
                "silent": silent,
                "gradient_share": curves.curves.shares(),
                "coverage": curves.curves.coverage(),
                "after": after,
                "points": curves.curves.points(after),
            }

    def _look(self, seconds: float) -> None:
        try:
            self._look_at_times()
            self._described = self._description()
            before = self._curves.curves.last_step
            self._curves.look(seconds)
            self._look_at_samples()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise WatchError(f"{self.folder}: cannot be opened ({reason})") from error
        step = self._curves.curves.last_step
        if step and self._curves.share == 1 and (step != before or not self._moments):
            self._note_pace(step)

    def _note_pace(self, step: int) -> None:
        """A training that paused or began anew has another pace."""
        paused = self._moments and self._written - self._moments[-1][0] > self._patience()
        if paused or self._curves.key != self._key:
            self._moments.clear()
        self._key = self._curves.key
        self._moments.append((self._written, step))

    def _look_at_times(self) -> None:
        """When a step or the description was written last. The clock of the machine that writes may go wrong:
        what was written since the last look was written after it. (A copy may bring older files.)
        """
        times = []
        for name in (CURVES_FILE, RUN_FILE):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                times.append((self.folder / name).stat().st_mtime)
        if not times:
            raise self._absence()
        now, written = self._clock(), max(times)
        if written != self._written:
            since = max(written, self._looked) if written > self._written else written
            self._written, self._since = written, min(since, now)
        self._looked = now

    def _absence(self) -> WatchError:
        """Why there is no run to be seen."""
        if self.folder.is_file():
            return WatchError(f"{self.folder}: this is a file: give the folder of a run")
        if not self.folder.is_dir():
            return WatchError(
                f"{self.folder}: not there yet, or no more. A training makes its folder when it begins"
            )
        first = itertools.islice(self.folder.iterdir(), MOST_LOOKED_AT)
        if names := sorted(path.name for path in first if (path / RUN_FILE).is_file()):
            return WatchError(f"{self.folder}: runs are below it, not in it: give one of {some(names)}")
        return WatchError(
            f"{self.folder}: no run in it. A run folder holds {RUN_FILE} and {CURVES_FILE}: LoRA Train Step "
            "makes it in output/semantic_focus, the command train in output/runs"
        )

    def _description(self) -> _Described:
        """run.json, read again when it was written again."""
        try:
            found = (self.folder / RUN_FILE).stat()
        except FileNotFoundError:
            self._described_at = None
            return _Described(fault="run_missing")
        state = found.st_size, found.st_mtime_ns
        if state == self._described_at:
            return self._described
        self._described_at = state
        content = RunFolder(self.folder).description() if found.st_size <= MOST_BYTES else None
        if content is None:
            return _Described(fault="run_damaged")
        training = content["identity"].get("training")
        steps = training.get("steps") if isinstance(training, dict) else None
        if type(steps) is not int or steps < 1:
            return _Described(finished=content["finished"], fault="run_version")
        return _Described(steps, content["finished"])

    def _look_at_samples(self) -> None:
        previews = self.folder / PREVIEWS
        try:
            changed = previews.stat().st_mtime_ns
        except FileNotFoundError:
            self._samples, self._sampled_at = [], -1
            return
        if changed != self._sampled_at:
            found = rounds_in(previews)
            while len(found) > MOST_SAMPLES:
                found = thinned(found)
            self._samples = [{"step": step, "name": f"{PREVIEWS}/{file.name}"} for step, file in found]
            self._sampled_at = changed

    def _rate(self) -> float | None:
        """Steps per second of late."""
        if len(self._moments) < 2:
            return None
        (begin, first), (end, last) = self._moments[0], self._moments[-1]
        return (last - first) / (end - begin) if end > begin else None

    def _patience(self) -> float:
        """Seconds without a new step that are nothing to speak of."""
        return max(SILENT, STEPS_SILENT * self._usual())

    def _usual(self) -> float:
        """Seconds that a step takes, 0 where that is not known."""
        return 1 / rate if (rate := self._rate()) else 0.0

    def _state(self, silent: float) -> str:
        step, steps = self._curves.curves.last_step, self._described.steps
        if self._curves.share < 1:
            return "reading"
        if self._described.finished or 0 < steps <= step and self._lora.exists():
            return "finished"
        if step and silent > max(RESTS, 3 * self._usual()) and self._was_left(step):
            return "interrupted"
        if silent > self._patience():
            return "silent"
        return "running" if step else "begun"

    @property
    def _lora(self) -> Path:
        """Of the last step; it need not be there."""
        return RunFolder(self.folder).lora_path(self._curves.curves.last_step)

    def _was_left(self, step: int) -> bool:
        """Whether a training has kept this step and given the folder up."""
        state = self.folder / f"state_{step:06}.safetensors"
        return state.exists() and not (self.folder / LOCK_FILE).exists()

    def _notes(self, state: str) -> list[dict[str, Any]]:
        step, damaged = self._curves.curves.last_step, self._curves.damaged
        notes = []
        if state == "interrupted":
            notes.append(_note("left", step=str(step), folder=str(self.folder)))
        elif state == "finished" and self._lora.exists():
            notes.append(_note("lora", lora=str(self._lora)))
        elif state == "silent":
            notes.append(_note("silent"))
        if self._described.fault:
            notes.append(_note(self._described.fault))
        if damaged:
            notes.append(_note("damaged_lines" if step else "no_steps", count=str(damaged)))
        return notes


def _note(kind: str, **values: str) -> dict[str, Any]:
    said = {name: printable(value) for name, value in values.items()}
    return {"kind": kind, "text": NOTES[kind].format(**said), "values": said}


class RunWatches:
    """The run folders that were looked at of late: what was read of them is not read again."""

    def __init__(self, most: int = MOST_WATCHED):
        self._most = most
        self._lock = threading.Lock()
        self._watches: OrderedDict[Path, RunWatch] = OrderedDict()

    def of(self, folder: Path) -> RunWatch:
        """The one of this folder."""
        with self._lock:
            watch = self._watches.setdefault(folder, RunWatch(folder))
            self._watches.move_to_end(folder)
            while len(self._watches) > self._most:
                self._watches.popitem(last=False)
            return watch
