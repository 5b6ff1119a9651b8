"""What a running training tells: progress bar, log, samples, and where its state is when it ends early."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import comfy.model_management
import comfy.utils
import folder_paths

from ..semantic_focus.comfy.memory.advice import Verdict as MemoryVerdict
from ..semantic_focus.comfy.memory.beforehand import needs_in_log
from ..semantic_focus.comfy.model import ComfyVelocityModel
from ..semantic_focus.comfy.preview import preview
from ..semantic_focus.training.data import TrainingPictures
from ..semantic_focus.training.kept import Kept
from ..semantic_focus.training.preview_grid import rounds_in, save_previews
from ..semantic_focus.training.progress import ProgressLines
from ..semantic_focus.training.run import RunOptions, StopTraining
from ..semantic_focus.training.run_folder import PREVIEWS
from ..semantic_focus.training.status import TrainingStatus, thinned
from ..semantic_focus.training.step_record import StepRecord
from ..semantic_focus.training.verdict import Verdict
from .training_options import PreviewPlan

STOPS = (comfy.model_management.InterruptProcessingException, StopTraining)
"""What ends a training that was asked to end."""


class TrainingProgress:
    """Reports of one training to the log and to one node."""

    def __init__(self, node_id: str | None, plan: PreviewPlan | None, status: TrainingStatus):
        self._plan, self.status = plan, status
        self._lines = ProgressLines(status.steps)
        self._bar = comfy.utils.ProgressBar(status.steps, node_id)
        self.remarks: list[str] = []
        """How it went, in sentences, once it is over."""
        self.is_worse = False

    @property
    def makes_samples(self) -> bool:
        """Whether samples were asked for."""
        return self._plan is not None

    def show(self, step: int) -> None:
        """Move the bar; raises when the prompt was cancelled."""
        self._bar.update_absolute(step)

    def say(self, kind: str, message: str, **values: str) -> None:
        """Warn in the log and in the node; see `TrainingStatus.note`."""
        logging.warning(f"LoRA training: {message}")
        self.status.note(kind, message, **values)

    def needs(self, verdict: MemoryVerdict) -> None:
        """Tell the log and the node what the training will take of the device."""
        needs_in_log(verdict)
        estimate = verdict.estimate
        setting = estimate.plan.memory
        self.status.needs(estimate.peak_bytes, verdict.free, setting.swap or 0.0, setting.inputs)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Tell the node of an error that ends the training."""
        try:
            yield
        except STOPS:
            self.status.stopped()
            raise
        except BaseException as error:
            self.status.stopped(str(error) or type(error).__name__)
            raise

    def options(
        self,
        velocity: ComfyVelocityModel,
        data: TrainingPictures,
        save_every: int,
        check_termination: Callable[[], None],
    ) -> RunOptions:
        """What the training calls."""

        def check() -> None:
            comfy.model_management.throw_exception_if_processing_interrupted()
            check_termination()

        return RunOptions(
            save_every=save_every,
            preview_every=self._plan.every if self._plan else 0,
            on_begin=self._on_begin,
            on_step=self._on_step,
            check=check,
            preview=lambda path: self._preview(velocity, data, path),
            on_kept=self._on_kept,
            on_verdict=self._on_verdict,
            tell=lambda message: self.say("not_kept", message, error=message),
        )

    def _on_begin(self, folder: Path, history: Sequence[StepRecord]) -> None:
        """A training that is gone on with has samples already."""
        done = history[-1].step if history else 0
        earlier = [one for one in rounds_in(folder / PREVIEWS) if one[0] <= done]
        for step, path in thinned(earlier):
            self._sampled(step, path)
        self.status.started(folder, history)

    def _on_step(self, record: StepRecord) -> None:
        self.status.stepped(record)
        self.show(record.step)
        for line in self._lines.after(record):
            logging.info(f"LoRA training: {line}")

    def _preview(self, velocity: ComfyVelocityModel, data: TrainingPictures, path: Path) -> None:
        """Samples, if they can be had: a training does not end for want of them."""
        if self._plan is None:
            return
        try:
            self._sample(self._plan, velocity, data, path)
        except comfy.model_management.InterruptProcessingException:
            raise
        except Exception as error:
            self.say(
                "no_samples", f"no samples for {path.name}: {error}", picture=path.name, error=str(error)
            )

    def _sample(
        self, plan: PreviewPlan, velocity: ComfyVelocityModel, data: TrainingPictures, path: Path
    ) -> None:
        shape = tuple(data.latents[0].shape)
        images = preview(velocity, plan.positive, plan.negative, shape, plan.settings, plan.vae)
        save_previews(path, images)
        self._sampled(int(path.stem.removeprefix("step_")), path)

    def _sampled(self, step: int, path: Path) -> None:
        subfolder = path.parent.relative_to(folder_paths.get_output_directory()).as_posix()
        self.status.sampled(step, {"filename": path.name, "subfolder": subfolder, "type": "output"})

    def _on_verdict(self, verdict: Verdict) -> None:
        self.is_worse = verdict.is_worse
        for remark in verdict.remarks:
            self.remarks.append(remark.text)
            self.say(remark.kind, remark.text, **remark.values)

    def _on_kept(self, kept: Kept) -> None:
        cancel = comfy.model_management.InterruptProcessingException.__name__
        logging.warning(
            f"LoRA training: {replace(kept, reason='cancelled') if kept.reason == cancel else kept}"
        )
        self.status.kept(kept)
