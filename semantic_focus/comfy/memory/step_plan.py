"""A training as far as its memory goes, and one of its steps counted whole."""

from dataclasses import dataclass
from typing import Any

import torch

from ...lora.adapters import AdapterSettings
from ...lora.layers import linear_layers
from ...lora.network import LoraAdapters
from ...objective.total import Objective
from ...training.data import TrainingPictures
from ...training.memory import MemorySetting
from ...training.settings import TrainingSettings
from ...training.trainer import Trainer
from ..model import ComfyVelocityModel, velocity_model
from .counted import DEVICE, StepBytes, count_step, counting, loading_on_meta


@dataclass(frozen=True)
class StepPlan:
    """What of a training decides the memory of a step, besides the model and its prompts.

    Attributes:
        latent: [C, *grid] of the largest picture.
        batch: pictures in a pass.
        layers: a name of `LAYER_CHOICES`.
        optimizer: a name of `OPTIMIZERS`.
        memory: what waits in RAM.
        prior: the base model's own prediction is asked for too.
        average: a moving average of the adapters is kept.
        regions: how many masks there are.
    """

    latent: tuple[int, ...]
    batch: int = 1
    adapter: AdapterSettings = AdapterSettings()  # noqa: RUF009
    layers: str = "attention + feed-forward"
    optimizer: str = "adamw"
    gradient_checkpointing: bool = True
    memory: MemorySetting = MemorySetting(0.0)  # noqa: RUF009
    prior: bool = True
    average: bool = False
    regions: int = 6

    def adapters(self, velocity: ComfyVelocityModel) -> LoraAdapters:
        """The adapters, without values."""
        chosen = linear_layers(velocity.network, self.layers, self.adapter.include, self.adapter.exclude)
        with torch.device(DEVICE):  # random numbers are not drawn there
            return LoraAdapters(chosen, self.adapter, 0, DEVICE)

    def trainer(self, velocity: ComfyVelocityModel, adapters: LoraAdapters) -> Trainer:
        """The training."""
        names = tuple(f"region {number}" for number in range(self.regions))
        latent, masks = torch.zeros(self.latent), torch.zeros(self.regions, *self.latent[-2:])
        data = TrainingPictures((latent,) * self.batch, (masks,) * self.batch, names, device=DEVICE)
        objective = Objective(dict.fromkeys(names, 1.0), prior_weight=4.0 if self.prior else 0.0)
        settings = TrainingSettings(
            batch_size=self.batch, optimizer=self.optimizer, ema_decay=0.99 if self.average else 0.0
        )
        return Trainer(velocity, adapters, data, objective, settings)


def count_training(patcher: Any, conditioning: Any, plan: StepPlan) -> StepBytes:
    """A step of a training, from the loading of the model on.

    Args:
        patcher: ComfyUI's MODEL with the meta device as its own, and weights on the CPU that nobody has
            touched.
        conditioning: of every picture.
    """
    conditionings = [conditioning] * plan.batch
    with (
        loading_on_meta(),
        counting(patcher.model) as live,
        velocity_model(patcher, conditionings, plan.gradient_checkpointing, memory=plan.memory) as velocity,
    ):
        adapters = plan.adapters(velocity)
        trainer = plan.trainer(velocity, adapters)
        with adapters.attached():
            return count_step(live, velocity.network, trainer)
