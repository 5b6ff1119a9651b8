"""The training of a job, as `TrainRun` takes it."""

import copy
import logging
from pathlib import Path

from ...comfy.headless import RUNS, LoraNotWrittenError
from ...files.writing import make_folder, write_bytes
from ...jobs import carried
from ...jobs.inputs import Inputs
from ...jobs.ready import Ready
from ...lora.file import is_ours
from ...settings.training import TrainConfig, config_of
from ...training.run_folder import RunFolder
from ..outcome import say
from .codes import code_of


class OfJob:
    """A training job that is not done yet."""

    def __init__(self, ready: Ready, inputs: Inputs):
        self._ready, self._inputs = ready, inputs
        self._target = ready.target(inputs)
        self.name = str(ready.job.path)

    def config(self) -> TrainConfig:
        """With the inputs brought here, and the record begun.

        Raises:
            ConfigError, DatasetError, StoreError, NotWrittenError: it cannot be done.
        """
        tables = copy.copy(self._ready.job.config)
        tables.tables = self._ready.tables(self._inputs)
        config = config_of(tables)
        make_folder(self._target.parent)
        run = (config.run.runs or config.run.output / RUNS) / config.run.name
        if self._ready.output.is_local:
            self._check_target()
        else:
            self._bring(run)
        if self._ready.is_begun:
            RunFolder(run).reopen()  # where it is finished, its LoRA did not come to where it belongs
        self._ready.begin()
        return config

    def _check_target(self) -> None:
        """The LoRA of an earlier process that could not finish its record may be there, or of one that is
        about to: it stays until this one has its own.
        """
        if self._target.is_file() and not is_ours(self._target):
            raise FileExistsError(
                f"{self._target}: something else came there since the job was begun. Move it away, or "
                "give the job another output"
            )

    def _bring(self, run: Path) -> None:
        """Bring a run here that was stopped on another machine."""
        place = self._ready.output.run
        if run.exists() or place.stamp() is None:
            return
        run.mkdir(parents=True)
        try:
            carried.unpack(place.read(), run)
        except ValueError as error:
            logging.warning(f"{place.name}: {error}, the training begins anew")

    def put(self, lora: Path) -> str:
        """The path or URL where the job has its LoRA."""
        name = self._ready.output.place.name
        if lora.absolute() == self._target.absolute():
            self._ready.finish(lora)
        elif self._ready.came_meanwhile():
            lora.unlink()
        elif self._ready.output.is_local and is_ours(self._target):  # of this job, but without its record
            write_bytes(self._target, [lora.read_bytes()])
            self._ready.finish(self._target)
            lora.unlink()
        else:
            raise LoraNotWrittenError(
                f"{name}: something came there meanwhile, and is not replaced. The LoRA is {lora}"
            )
        return name

    def left(self, run: Path) -> None:
        """Put a run that ended early where another machine finds it; one with a path lies there already."""
        output = self._ready.output
        if output.is_local:
            return
        try:
            output.run.write(carried.packed(run))
            say(f"{output.run.name}: the same job goes on from there on any machine")
        except (OSError, ValueError) as error:
            say(f"{output.run.name}: the run could not be put there, the job begins anew ({error})")

    def code_of(self, error: BaseException, code: int) -> int:
        """`TRY_AGAIN` where it may be another on another machine."""
        return code_of(error, code)
