"""What a running training tells: progress bar, log, samples, and where its state is when it ends early."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import comfy.model_management
import comfy.utils
from PIL import Image

from ..semantic_focus.comfy_model import ComfyVelocityModel
from ..semantic_focus.comfy_preview import preview
from ..semantic_focus.preview_grid import save_previews
from ..semantic_focus.step_record import StepRecord
from ..semantic_focus.training_data import TrainingPictures
from ..semantic_focus.training_run import Kept, RunOptions
from .training_options import PreviewPlan

PREVIEW_SIDE = 512
"""Largest side in pixels of the samples that the node shows on the way."""

LOG_LINES = 20
"""About how many lines a training writes into the log."""


class TrainingProgress:
    """Reports of one training to one node."""

    def __init__(self, steps: int, node_id: str | None, plan: PreviewPlan | None):
        self._steps, self._node_id, self._plan = steps, node_id, plan
        self._bar = comfy.utils.ProgressBar(steps, node_id)
        self._step = 0

    def say(self, message: str) -> None:
        """Warn in the log and in the node."""
        logging.warning(f"LoRA training: {message}")
        if self._node_id is not None:
            from server import PromptServer

            PromptServer.instance.send_progress_text(message, self._node_id)

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
            on_step=self._on_step,
            check=check,
            preview=lambda path: self._preview(velocity, data, path),
            on_kept=self._on_kept,
        )

    def _on_step(self, record: StepRecord) -> None:
        self._step = record.step
        self._bar.update_absolute(record.step)
        if record.step == 1 or record.step % max(1, self._steps // LOG_LINES) == 0:
            logging.info(f"LoRA training: step {record.step}/{self._steps}, loss {record.total:.4f}")

    def _preview(self, velocity: ComfyVelocityModel, data: TrainingPictures, path: Path) -> None:
        """Samples, if they can be had: a training does not end for want of them."""
        if self._plan is None:
            return
        try:
            self._sample(self._plan, velocity, data, path)
        except comfy.model_management.InterruptProcessingException:
            raise
        except Exception as error:
            self.say(f"no samples for {path.name}: {error}")

    def _sample(
        self, plan: PreviewPlan, velocity: ComfyVelocityModel, data: TrainingPictures, path: Path
    ) -> None:
        shape = tuple(data.latents[0].shape)
        images = preview(velocity, plan.positive, plan.negative, shape, plan.settings, plan.vae)
        save_previews(path, images)
        with Image.open(path) as picture:
            shown = ("JPEG", picture.convert("RGB"), PREVIEW_SIDE)
        self._bar.update_absolute(self._step, preview=shown)

    def _on_kept(self, kept: Kept) -> None:
        cancel = comfy.model_management.InterruptProcessingException.__name__
        self.say(str(replace(kept, reason="cancelled") if kept.reason == cancel else kept))
