"""Whether a training fits its device, told before its model is loaded."""

import logging
import math
from typing import Any

from ...files.text import in_short
from ..request import TrainingRequest
from .advice import Verdict, free_for_training, judge
from .counted import CannotBeCounted
from .estimate import Estimator
from .step_plan import StepPlan


def judge_training(request: TrainingRequest) -> Verdict | None:
    """What a training takes, and what to change where it does not fit.

    Returns:
        None where that cannot be told: on the CPU, which has no memory of its own, and for networks that
        cannot be run without values. The log says so.
    """
    device = request.patcher.load_device
    if device.type == "cpu":
        return None
    try:
        estimator = Estimator(request.patcher, longest(request.conditionings))
        return judge(estimator, plan_of(request), free_for_training(device))
    except CannotBeCounted as error:
        logging.info(f"LoRA training: how much memory it will take cannot be told: {in_short(error)}")
        return None


def needs_in_log(verdict: Verdict) -> None:
    """Where there is no node: tell the log what a training takes."""
    logging.info(f"LoRA training: {verdict.estimate.said(verdict.free)}")


def plan_of(request: TrainingRequest) -> StepPlan:
    """The step of a training that takes most."""
    scenes = request.scenes.latents if request.scenes else ()
    shapes = [tuple(samples.shape[1:]) for samples in (*request.latents, *scenes)]
    return StepPlan(
        latent_of(request.patcher, max(shapes, key=math.prod)),
        request.settings.batch_size,
        request.adapter,
        request.layers,
        request.settings.optimizer,
        request.gradient_checkpointing,
        request.memory,
        request.objective.needs_base_prediction,
        request.settings.ema_decay > 0,
        max(1, len(request.masks[0].labels)) if request.masks else 1,
    )


def latent_of(patcher: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    """[C, *grid] as the model takes it: a picture may be a video of one frame, and the other way round."""
    dimensions = patcher.get_model_object("latent_format").latent_dimensions
    if dimensions == 3 and len(shape) == 3:
        return (shape[0], 1, *shape[1:])
    if dimensions == 2 and len(shape) == 4:
        return (shape[0], *shape[2:])
    return shape


def longest(conditionings: Any) -> Any:
    """Of some CONDITIONING, the one with the longest text."""
    return max(conditionings, key=lambda conditioning: conditioning[0][0].shape[1])
