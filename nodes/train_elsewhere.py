"""A training of LoRA Train Step in several processes of their own, followed by the node."""

import logging
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.model_management
import folder_paths

from ..semantic_focus.comfy.fingerprint import model_fingerprint
from ..semantic_focus.comfy.job import write_job
from ..semantic_focus.comfy.model_source import model_settings, train_command
from ..semantic_focus.comfy.training import RunPlace, TrainingResult
from ..semantic_focus.commands.followed import followed
from ..semantic_focus.files.writing import make_folder
from ..semantic_focus.lora.file import load_lora
from ..semantic_focus.settings.training import RunPlan
from ..semantic_focus.training.events import EventReader
from ..semantic_focus.training.run import Kept, StopTraining
from ..semantic_focus.training.run_folder import RunFolder
from .termination import termination_noted
from .train_progress import TrainingProgress
from .train_request import Asked

NO_PREVIEWS = (
    "no samples are made while {processes} processes train: set processes of Training Options to 1 to have "
    "them"
)
NOT_ON_WINDOWS = (
    "processes is {}: on Windows LoRA Train Step trains in one. Set processes of Training Options to 1"
)


def train_elsewhere(
    asked: Asked,
    place: RunPlace,
    progress: TrainingProgress,
    prompt: Mapping[str, Any] | None,
    node_id: str | None,
) -> TrainingResult:
    """Train in `asked.processes` processes, which load the model anew; the same run as in this one.

    ComfyUI's models leave the device meanwhile. What ends the training ends all processes, and keeps its
    state as ever.

    Args:
        prompt, node_id: the graph in ComfyUI's API form, and the node in it whose input `model` is trained.

    Raises:
        ValueError: the model cannot be had in another process, or a conditioning cannot be kept in a file.
        RuntimeError: the processes failed; the message is theirs.
    """
    if sys.platform == "win32":
        raise ValueError(NOT_ON_WINDOWS.format(asked.processes))
    if progress.makes_samples:
        progress.say(
            "no_previews", NO_PREVIEWS.format(processes=asked.processes), processes=str(asked.processes)
        )
    temporary = Path(folder_paths.get_temp_directory())
    make_folder(temporary)
    with tempfile.TemporaryDirectory(prefix="semantic_focus_", dir=temporary) as folder:
        job = Path(folder).resolve()
        model = model_settings(prompt, node_id, job, asked.model_file)
        run = RunPlan(
            name=place.name,
            save_every=asked.save_every,
            resume=place.resume,
            runs=place.root.resolve(),
        )
        model = replace(model, fingerprint=model_fingerprint(asked.request.patcher))
        config = write_job(job, asked.request, model, run)
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()
        command = train_command(config, "--processes", asked.processes, "--events", "-")
        with termination_noted() as check_termination:
            following = _Following(progress, check_termination)
            code = followed(command, following)
        return following.result(code)


class _Following:
    """Takes the events of the processes into the panel of the node."""

    def __init__(self, progress: TrainingProgress, check_termination: Any):
        self._progress, self._check = progress, check_termination
        self._reader = EventReader(lambda clock: progress.status)
        self._folder: Path | None = None
        self._step = self._shown = 0
        self._asked_by = ""
        self._end: Mapping[str, Any] = {}

    def take(self, line: bytes) -> None:
        event = self._reader.read(line) or {}
        kind = event.get("event")
        if kind == "begun":
            self._folder, self._step = Path(event["folder"]), event["step"]
        elif kind == "step":
            self._step = event["step"]
            self._progress.remarks.clear()
        elif kind == "note":
            self._progress.remarks.append(event["text"])  # what comes after the last step is the verdict
        elif kind == "kept":
            self._log_kept(event)
        elif kind in ("done", "failed", "stopped"):
            self._end = event

    def _log_kept(self, event: Mapping[str, Any]) -> None:
        state, lora = (None if event[name] is None else Path(event[name]) for name in ("state", "lora"))
        kept = Kept(event["step"], state, lora, self._asked_by or event["reason"], event["again"])
        logging.warning(f"LoRA training: {kept}")

    def check(self) -> None:
        try:
            self._check_all()
        except comfy.model_management.InterruptProcessingException:
            self._asked_by = "cancelled"
            raise
        except StopTraining as stop:
            self._asked_by = str(stop)
            raise

    def _check_all(self) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        self._check()
        if self._step != self._shown:
            self._shown = self._step
            self._progress.show(self._step)

    def has_begun(self) -> bool:
        return self._folder is not None

    def is_impatient(self) -> bool:
        return comfy.model_management.processing_interrupted()

    def result(self, code: int) -> TrainingResult:
        """What the processes have left in the run's folder.

        Raises:
            RuntimeError: they failed.
        """
        if self._folder is None or self._end.get("event") != "done":
            ended = f"the processes ended with exit code {code}: the log says more"
            raise RuntimeError(self._end.get("error") or self._end.get("reason") or ended)
        self._progress.is_worse = self._end["worse"]
        run = RunFolder(self._folder)
        state = run.newest_state()
        if state is None:
            raise RuntimeError(f"{self._folder}: the training is done, but its last state cannot be read")
        return TrainingResult(load_lora(run.lora_path(state.step)), run.curves(), state, self._folder)
