"""Does jobs in this process, one after the other. torch is imported when there is one to do."""

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...datasets.tars.store import StoreError
from ...jobs.inputs import Inputs
from ...jobs.job import Job, JobError, load_job
from ...jobs.places import OnDisk
from ...jobs.ready import Ready, ready
from ...settings.toml import ConfigError
from ...training.events import EventWriter
from ..config import Programs
from ..events import this_process
from ..outcome import CANNOT_START, SUCCESS, TRY_AGAIN, CannotStartError, say
from .codes import code_of

if TYPE_CHECKING:
    from ..train import Stops


class JobRunner:
    """Does jobs.

    Args:
        programs: as the command line says.
        events: tell how they go.
        processes: that make a LoRA together.
        load: gives the MODEL of a file; None: it is loaded anew.
        stops: may ask the job to end; None: signals.

    Attributes:
        result: of the last job: the path or URL of the LoRA, or what "masks" says to programs.
    """

    def __init__(
        self,
        programs: Programs,
        events: EventWriter,
        inputs: Inputs,
        processes: int = 1,
        load: Callable[[Any], Any] | None = None,
        stops: "Stops | None" = None,
    ):
        self._programs, self._events, self._inputs = programs, events, inputs
        self._processes, self._load, self._stops = processes, load, stops
        self.result: str | None = None

    def do(self, path: Path, called: Path | None = None) -> int:
        """Do a job, unless it is done; the exit code.

        Args:
            called: what messages call the file.

        Raises:
            DatasetError, MissingWeightsError, SegmenterLoadError, StoreError, OSError: as `masks.make`.
        """
        self.result = None
        try:
            job = load_job(path, called)
            if job.kind == "train":
                return self._lora(ready(job, self._inputs))
        except (ConfigError, StoreError, CannotStartError, OSError) as error:
            return self._refuse(called or path, error)
        return self._masks(job)

    def _lora(self, found: Ready) -> int:
        if found.is_done:
            return self._was_done(found)
        return self._train_together(found) if self._processes > 1 else self._train(found)

    def _refuse(self, path: Path, error: Exception) -> int:
        """Say why nothing was begun."""
        code = code_of(error, CANNOT_START)
        said = str(error) if str(path) in str(error) else f"{path}: {error}"
        say(said)
        self._events.opened(config=str(path), **this_process())
        self._events.stopped(said, code)
        return code

    def _was_done(self, found: Ready) -> int:
        self.result = found.output.place.name
        say(f"{self.result}: is there already, by this job with these inputs: nothing to do")
        self._events.opened(config=str(found.job.path), **this_process())
        self._events.finished([], lora=self.result)
        return SUCCESS

    def _train(self, found: Ready) -> int:
        from ..joining import place_of
        from ..stop_signals import StopSignals
        from ..train import TrainRun
        from .training import OfJob

        logging.getLogger().setLevel(logging.INFO)
        if self._stops is not None:
            return self._run_of(TrainRun, OfJob(found, self._inputs), self._stops)
        if (place := place_of(os.environ)) is not None:
            raise CannotStartError(
                f"run was started as one of {place.size} processes, and all would do the same job: start it "
                'once, with --processes, or start "work", of which each takes jobs of its own'
            )
        with StopSignals() as signals:
            return self._run_of(TrainRun, OfJob(found, self._inputs), signals)

    def _run_of(self, make: Any, task: Any, stops: Any) -> int:
        run = make(task, self._programs, stops, self._events, load=self._load)
        code = run.exit_code()
        self.result = run.lora
        return code

    def _train_together(self, found: Ready) -> int:
        """Let several processes train; this one sees to inputs and output."""
        from ..starting import run_processes
        from .training import OfJob

        if not isinstance(found.output.place, OnDisk):
            raise JobError(
                f"{found.job.path}: output is {found.output.place.name}: with --processes give a path, which "
                "all processes see"
            )
        task = OfJob(found, self._inputs)
        task.config()
        config = self._inputs.scratch() / "config.json"
        OnDisk(config).write(json.dumps(found.tables(self._inputs)).encode())
        arguments = ["train", str(config), *self._programs.arguments()]
        ends: list[str] = []

        def heard(line: str) -> None:
            if '"event": "done"' in line:
                ends.append(line)
            else:
                self._events.hand_on(line)

        def killed(message: str) -> None:
            self._events.stopped(message, TRY_AGAIN)

        code = run_processes(self._processes, [*arguments, "--events", "-"], killed, heard)
        if code == SUCCESS:
            self.result = task.put(found.target(self._inputs))
            self._events.hand_on(*ends)
        return code

    def _masks(self, job: Job) -> int:
        from .masks import make

        try:
            code, self.result = make(job, self._events)
        except JobError as error:
            return self._refuse(job.path, error)
        except (ValueError, OSError) as error:  # an event has told of it
            if code_of(error, CANNOT_START) != TRY_AGAIN:
                raise
            say(str(error))
            return TRY_AGAIN
        return code
