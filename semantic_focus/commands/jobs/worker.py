"""Takes jobs of a spool, does them, and says what became of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...comfy.headless import VARIABLE, LastModel, tidy
from ...files.lines import Lines, opened
from ...jobs.inputs import Inputs
from ...jobs.job import Job, load_job
from ...jobs.spool import JOB_FILE, Heartbeat, Spool, Taken
from ...settings.toml import ConfigError
from ...training.events import EventWriter
from ...training.processes import StopTraining
from ..config import Programs
from ..outcome import FAILED, SUCCESS, TRY_AGAIN, say
from ..starting import PACKAGE, listening
from ..stop_signals import StopSignals
from .runner import JobRunner

if TYPE_CHECKING:
    from ...settings.model import ModelSettings

LOOK_EVERY = 1.0
"""Seconds between two looks into a folder where nothing waits."""
LATER = 60.0
"""Seconds for which a worker leaves a job to others that asks for another machine."""


class Worker:
    """Does the jobs of a spool.

    A training is done in this process, where the model of the one before is still loaded; what needs another
    ComfyUI or another kind of device than the first one, and masks, in a process of its own.

    Args:
        programs: as the command line says.
        events: of all jobs.
        signals: after which the present job is given back.
    """

    def __init__(
        self, programs: Programs, spool: Spool, events: EventWriter, inputs: Inputs, signals: StopSignals
    ):
        self._programs, self._spool, self._events = programs, spool, events
        self._inputs, self._signals = inputs, signals
        self._models = LastModel()
        self._here: tuple[object, ...] | None = None
        self._later: dict[str, float] = {}
        self._has_failed = False

    def work(self, most: int | None, idle: float) -> int:
        """Do jobs until there were so many, or nothing has waited for so many seconds; the exit code."""
        done, last = 0, time.monotonic()
        while self._signals.received is None and done != most:
            now = time.monotonic()
            taken = self._spool.take(frozenset(job for job, end in self._later.items() if now < end))
            if taken is not None:
                self._do(taken)
                done, last = done + 1, time.monotonic()
            elif now - last >= idle:
                break
            else:
                time.sleep(min(LOOK_EVERY, max(0.01, idle)))
        return self._signals.exit_code or (FAILED if self._has_failed else SUCCESS)

    def _do(self, taken: Taken) -> None:
        say(f"{taken.job}: begun")
        with self._spool.held(taken) as beat, self._told(taken) as events:
            try:
                code = self._code_of(taken, beat, events)
            except BaseException:
                self._spool.give_back(taken, tried=True)
                raise
        if beat.is_lost:
            say(f"{taken.job}: another worker has it")
            return
        say(f"{taken.job}: ended with {code}")
        if code == SUCCESS:
            self._spool.done(taken)
        elif code == TRY_AGAIN:
            self._later[str(taken.job)] = time.monotonic() + LATER
            self._spool.give_back(taken, tried=True)
        elif self._signals.received is not None and code == self._signals.exit_code:
            self._spool.give_back(taken, tried=False)
        else:
            self._has_failed = True
            self._spool.failed(taken)

    @contextmanager
    def _told(self, taken: Taken) -> Iterator[EventWriter]:
        """Events go to the file beside the job, and to where those of all jobs go."""
        name = taken.name if taken.name != JOB_FILE else f"{taken.path.parent.name}/{taken.name}"
        try:
            lines = Lines(opened(taken.events), str(taken.events), say)
        except OSError as error:
            say(f"{taken.events}: cannot be written ({error.strerror}). The job is done without")
            yield EventWriter(self._events.hand_on, {"job": name})
            return

        def put(line: str) -> None:
            lines.put(line)
            self._events.hand_on(line)

        try:
            yield EventWriter(put, {"job": name}, lambda: lines.lost)
        finally:
            lines.close()

    def _code_of(self, taken: Taken, beat: Heartbeat, events: EventWriter) -> int:
        try:
            job = load_job(taken.path, taken.job)
        except (ConfigError, OSError):  # which the runner says
            job = None
        if job is not None and not self._is_for_here(job):
            return self._in_a_process(taken, beat, events)
        stops = _Stops(self._signals, beat)
        runner = JobRunner(self._programs, events, self._inputs, load=self._loaded, stops=stops)
        code = runner.do(taken.path, taken.job)
        if job is not None:
            self._inputs.done_with(job)
        if self._models.loads:
            tidy()
        return code

    def _is_for_here(self, job: Job) -> bool:
        """Whether a job is a training on the kind of device, and with the ComfyUI and its arguments, of the
        first one.
        """
        if job.kind != "train":
            return False
        model, comfyui = (job.config.tables.get(name) for name in ("model", "comfyui"))
        device = model.get("device") if isinstance(model, dict) else None
        path = comfyui.get("path") if isinstance(comfyui, dict) else None
        if self._programs.comfyui is not None or os.environ.get(VARIABLE):
            path = None
        words = comfyui.get("arguments") if isinstance(comfyui, dict) else None
        here = device == "cpu", path and str(job.base / str(path)), repr(words or [])
        self._here = self._here or here
        return here == self._here

    def _loaded(self, settings: "ModelSettings") -> Any:
        """The model of a file, loaded unless it is still there."""
        loads = self._models.loads
        model = self._models.load(settings)
        say(f"{settings.path}: {'loaded' if self._models.loads > loads else 'is still loaded'}")
        return model

    def _in_a_process(self, taken: Taken, beat: Heartbeat, events: EventWriter) -> int:
        """Do a job as the command "run" does."""
        python = [sys.executable, *(["-I"] if sys.flags.isolated else [])]
        command = [*python, str(PACKAGE), "run", str(taken.path), "--events", "-"]
        command += self._programs.arguments()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        told = False
        with listening(process, events.hand_on):
            while process.poll() is None:
                if not told and (self._signals.received is not None or beat.is_lost):
                    process.send_signal(self._signals.received or signal.SIGTERM)
                    told = True
                time.sleep(0.1)
        return process.returncode if process.returncode >= 0 else TRY_AGAIN


class _Stops:
    """What may end a job: a signal, or that another worker has it."""

    def __init__(self, signals: StopSignals, beat: Heartbeat):
        self._signals, self._beat = signals, beat

    def check(self) -> None:
        """Raise StopTraining once there is a reason."""
        self._signals.check()
        if self._beat.is_lost:
            raise StopTraining("another worker, which has its job")

    @property
    def exit_code(self) -> int:
        """As of the signals."""
        return self._signals.exit_code
