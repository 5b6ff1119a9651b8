"""A training with its folder: it can end at any moment and nothing is lost."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ..lora.file import save_lora
from ..lora.metadata import Provenance
from .kept import Kept
from .processes import ProcessFailed, ProcessLost, StopTraining
from .run_folder import HELD_OUT_LOSS, RunFolder
from .shortage import TrainingOutOfMemory
from .state import TrainState
from .step_record import StepRecord, ValidationRecord
from .trainer import Trainer, TrainingDiverged
from .validation import ValidationSettings
from .verdict import Verdict, verdict

T = TypeVar("T")


@dataclass(frozen=True)
class RunOptions:
    """What happens around the steps; nothing of it changes the result.

    Attributes:
        save_every: steps between two states on disk; 0: only at the end, or when it ends early.
        preview_every: steps between two calls of `preview`; 0: never.
        on_begin: called before the first step with the run's folder and the steps that it has already.
        on_step: called after each step; what it raises ends the training.
        check: called before each pass through the model; what it raises ends the training.
        preview: called with the path for its picture, while the adapters hold the result so far and are
            attached.
        on_kept: told what is left when the training ends early.
        on_verdict: told how the training went, when it comes to its end.
        tell: told in a sentence what cannot be kept on disk while the training goes on.
    """

    save_every: int = 100
    preview_every: int = 0
    on_begin: Callable[[Path, Sequence[StepRecord]], None] = lambda folder, history: None
    on_step: Callable[[StepRecord], None] = lambda record: None
    check: Callable[[], None] = lambda: None
    preview: Callable[[Path], None] = lambda path: None
    on_kept: Callable[[Kept], None] = lambda kept: None
    on_verdict: Callable[[Verdict], None] = lambda verdict: None
    tell: Callable[[str], None] = lambda message: logging.warning(f"LoRA training: {message}")


def run_training(
    trainer: Trainer,
    run: RunFolder,
    state: TrainState | None = None,
    options: RunOptions | None = None,
    metadata: Mapping[str, str] | None = None,
) -> list[StepRecord]:
    """Train to the end, keeping states, curves and LoRAs in the run's folder, as far as it takes files.

    Args:
        trainer: new, not yet stepped.
        run: its folder, claimed.
        state: to go on from, of this run or of an earlier one.
        metadata: for the headers of the LoRA files.

    Returns:
        The records of all steps of the run, also of those before the state.
    """
    options = options or RunOptions()
    try:
        if state is not None:
            trainer.load(state)
        history = run.curves(until=trainer.steps_done)
        attempt = _Attempts(options.tell)
        _run_steps(trainer, run, history, options, _Keeper(trainer, run, metadata or {}, attempt))
    finally:
        run.release()
    return history


class _Attempts:
    """Files that a training can do without: one that cannot be written is said once, until it could be."""

    def __init__(self, tell: Callable[[str], None]):
        self._tell = tell
        self._failing: set[str] = set()

    def __call__(self, kind: str, write: Callable[[], T]) -> T | None:
        """What `write` gives; None where there is no room for it."""
        try:
            done = write()
        except OSError as error:
            if kind not in self._failing:
                self._tell(
                    f"{error}. The training goes on; what comes later is kept once there is room again"
                )
            self._failing.add(kind)
            return None
        self._failing.discard(kind)
        return done


class _Keeper:
    """Writes LoRA and state of a training, each step at most once."""

    def __init__(self, trainer: Trainer, run: RunFolder, metadata: Mapping[str, str], attempt: _Attempts):
        self._trainer, self._run, self._metadata = trainer, run, metadata
        self.attempt = attempt
        self._kept: tuple[int, Path | None, Path | None] = (-1, None, None)
        self._best_loss = run.best_loss(until=trainer.steps_done)

    def keep(self) -> tuple[Path | None, Path | None]:
        """State and LoRA of the step that was done last, None for what could not be written; the LoRA first,
        so that a state has one.
        """
        done = self._trainer.steps_done
        if self._kept[0] != done or None in self._kept:
            lora = self.attempt("LoRA", lambda: self._save_lora(done))
            state = self.attempt("state", lambda: self._run.save_state(self._trainer.state()))
            self._kept = done, state, lora
        return self._kept[1:]

    def keep_best(self, validation: ValidationRecord) -> None:
        """Keep the present step beside the others, if no validation so far had as low a loss."""
        if not validation.loss < self._best_loss:
            return
        self._best_loss = validation.loss
        header = {**self._header(self._trainer.steps_done), HELD_OUT_LOSS: repr(validation.loss)}
        trainer, run = self._trainer, self._run
        self.attempt("best LoRA", lambda: run.save_best(trainer.state(), trainer.lora(), header))

    def _header(self, done: int) -> dict[str, str]:
        step = str(done)
        return {**self._metadata, "semantic_focus.steps": step, "ss_steps": step}

    def _save_lora(self, done: int) -> Path:
        path = self._run.lora_path(done)
        save_lora(path, self._trainer.lora(), self._header(done))
        return path

    def keep_what_there_is(self, error: BaseException) -> Kept:
        """After an error: what can be gone on from."""
        done = self._trainer.steps_done
        said = isinstance(error, StopTraining | ProcessLost | ProcessFailed)
        reason = str(error) if said else type(error).__name__
        again = not isinstance(error, TrainingDiverged | TrainingOutOfMemory)
        if not self._trainer.is_whole:
            return Kept(done, None, None, reason, again)
        return Kept(done, *self.keep(), reason, again)


def _run_steps(
    trainer: Trainer, run: RunFolder, history: list[StepRecord], options: RunOptions, keeper: _Keeper
) -> None:
    try:
        with trainer.processes.ending():
            _steps_and_verdict(trainer, run, history, options, keeper)
        if any(keeper.keep()):  # else the same training goes on from the last state, once there is room
            keeper.attempt("description", run.finish)
    except BaseException as error:
        if trainer.steps_done:
            options.on_kept(keeper.keep_what_there_is(error))
        raise


def _steps_and_verdict(
    trainer: Trainer, run: RunFolder, history: list[StepRecord], options: RunOptions, keeper: _Keeper
) -> None:
    processes = trainer.processes
    with trainer.adapters.attached():
        lacks = _lacks_validation(trainer, history)
        if processes.in_step:
            processes.told({}, lacks)
        if lacks:
            history[-1] = _validated(trainer, history[-1], options, keeper)
        keeper.attempt("curves", lambda: run.write_curves(history))
        options.on_begin(run.path, history)
        while trainer.steps_done < trainer.settings.steps:
            record = trainer.step(options.check)
            try:
                record = _validated(trainer, record, options, keeper)
            finally:  # the step is done, whatever becomes of its validation
                keeper.attempt("curves", partial(run.add_curve, record))
                history.append(record)
            if _due(record.step, options.save_every):
                keeper.keep()
            if _due(record.step, options.preview_every):
                with trainer.result():
                    options.preview(run.preview_path(record.step))
            options.on_step(record)
        if not processes.in_step:  # else the verdict needs all of them
            processes.finish()
        with trainer.result():
            options.on_verdict(verdict(trainer, history, processes.in_company(options.check)))
        processes.finish()


def _lacks_validation(trainer: Trainer, history: Sequence[StepRecord]) -> bool:
    """Whether the training ended in the midst of the validation of its last step."""
    return bool(history) and history[-1].step == trainer.steps_done and history[-1].validation is None


def _validated(trainer: Trainer, record: StepRecord, options: RunOptions, keeper: _Keeper) -> StepRecord:
    """The last step's record with its validation, if one is due; the best LoRA is kept."""
    found = trainer.measured(options.check)
    if found is None:
        return record
    keeper.keep_best(found)
    return dataclasses.replace(record, validation=found)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


def provenance_of(identity: Mapping[str, Any], steps: int, model_name: str = "") -> Provenance:
    """What a LoRA's file says about the training of this identity."""
    return Provenance(
        base_model=identity["model"],
        base_model_name=model_name,
        settings={
            key: identity[key]
            for key in ("training", "adapters", "objective", "validation")
            if key in identity
        },
        region_weights=identity["objective"]["weights"],
        dataset=identity["data"],
        steps=steps,
    )


def run_identity(
    *,
    model: str,
    data: str,
    conditioning: str,
    adapters: Mapping[str, Any],
    objective: Any,
    settings: Any,
    validation: ValidationSettings | None = None,
) -> dict[str, Any]:
    """What is trained how, as plain values: the key by which an unfinished run is found again.

    Args:
        model, data, conditioning: digests.
        adapters: their settings and layers.
        objective, settings: dataclasses.
        validation: only where something is held out: trainings of before it could be are known again.
    """
    held_out = {} if validation is None or validation.hold_out == "off" else dataclasses.asdict(validation)
    return {
        "model": model,
        "data": data,
        "conditioning": conditioning,
        "adapters": dict(adapters),
        "objective": dataclasses.asdict(objective),
        "training": dataclasses.asdict(settings),
        **({"validation": held_out} if held_out else {}),
    }
