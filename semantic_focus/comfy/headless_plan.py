"""What a training without a graph would take of the device, from headers alone. Imports ComfyUI."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..datasets.cached_shapes import LargestInputs
from ..lora.layers import linear_layers
from ..settings.filling import fill_config
from ..settings.training import TrainConfig
from ..training.memory import GIB, MemorySetting
from .family import recipe_of
from .headless import loader_options, loading
from .memory.advice import Verdict, free_for_training, judge
from .memory.beforehand import latent_of
from .memory.estimate import Estimate, Estimator
from .memory.from_file import model_of_file
from .memory.step_plan import StepPlan

SHOWN = (*(MemorySetting(percent / 100) for percent in range(0, 100, 20)), MemorySetting(1.0, inputs=True))
"""Settings that the table has."""


@dataclass(frozen=True)
class Plan:
    """What a training takes.

    Attributes:
        model: what ComfyUI calls it.
        device: it is trained on.
        rows: with other memory settings, rising in what waits in RAM.
        verdict: as it is set.
        shared_bytes: of the weights, where each of several processes is to hold a part; that is not counted.
    """

    model: str
    device: str
    rows: tuple[Estimate, ...]
    verdict: Verdict
    shared_bytes: int = 0

    def lines(self) -> Iterator[str]:
        """For people: the table, then what is chosen or what to change."""
        free, chosen = self.verdict.free, self.verdict.estimate
        name = max(len(row.plan.memory.said()) for row in self.rows)
        yield f"{self.model} on {self.device}, {free / GIB:.1f} GiB free"
        yield f"{'memory':{name}}  peak GiB  in RAM"
        for row in self.rows:
            fits = "" if row.fits(free) else "  too much"
            yield (
                f"{row.plan.memory.said():{name}}  {row.peak_bytes / GIB:8.1f}  {row.ram / GIB:6.1f}{fits}"
            )
        yield (f"{self.model} {chosen.said(free)}" if self.verdict.fits else self.verdict.refusal(self.model))
        if self.shared_bytes:
            yield (
                "[model] shard is not counted: each of N processes holds 1/N of the weights, which are "
                f"{self.shared_bytes / GIB:.1f} GiB in all numbers above, and up to two blocks whole"
            )


def plan_headless(config: TrainConfig, inputs: LargestInputs, free: int | None) -> Plan:
    """The plan of a config.

    Args:
        free: bytes of the device; None: those that are free now.

    Raises:
        ValueError: no model that ComfyUI knows, latents of another, or no layers that could be trained.
        CannotBeCounted: its network cannot be run without values.
    """
    path = config.model.path
    with loading(path):
        patcher = model_of_file(path, loader_options(config.model))
    if config.recipe != "off":
        config, _ = fill_config(config, recipe_of(patcher, path.name), len(inputs.repeats))
    channels = patcher.get_model_object("latent_format").latent_channels
    if inputs.latent[0] != channels:
        raise ValueError(
            f"{path}: {type(patcher.model).__name__} takes latents of {channels} channels, those of the "
            f"dataset have {inputs.latent[0]}: cache them with the VAE of this model"
        )
    linear_layers(
        patcher.model.diffusion_model, config.lora.layers, config.adapter.include, config.adapter.exclude
    )
    device = _training_device()
    extras: dict[str, Any] = {"pooled_output": torch.zeros(1, inputs.pooled)} if inputs.pooled else {}
    estimator = Estimator(patcher, [[torch.zeros(1, *inputs.text), extras]])
    plan = StepPlan(
        latent_of(patcher, inputs.latent),
        config.training.batch_size,
        config.adapter,
        config.lora.layers,
        config.training.optimizer,
        config.run.gradient_checkpointing,
        config.run.memory,
        config.objective.needs_base_prediction,
        config.training.ema_decay > 0,
    )
    rows = [estimator.estimate(replace(plan, memory=setting)) for setting in SHOWN]
    verdict = judge(estimator, plan, free_for_training(device) if free is None else free)
    shared = estimator.model_bytes if config.model.shard else 0
    return Plan(type(patcher.model).__name__, str(device), tuple(rows), verdict, shared)


def _training_device() -> torch.device:
    import comfy.model_management

    return comfy.model_management.get_torch_device()
