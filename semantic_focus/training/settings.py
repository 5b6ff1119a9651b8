"""Everything that decides a training's result, besides model, pictures, adapters and objective."""

import math
from dataclasses import dataclass, field

from ..objective.timesteps import TimestepSampling
from .learning_rate import RATE_SCHEDULES, rate_factor
from .optimizers import OPTIMIZERS


@dataclass(frozen=True)
class TrainingSettings:
    """How long, how fast and on which noise levels.

    Attributes:
        steps: optimizer updates.
        batch_size: pictures in one pass through the model.
        accumulation: batches in one update.
        learning_rate: the peak; `warmup` steps of linear rise before it, then `schedule`, a name of
            `RATE_SCHEDULES`.
        schedule_steps: length of the schedule; 0: `steps`. For trainings in several pieces.
        optimizer: a name of `OPTIMIZERS`.
        up_rate_ratio: rate of the adapters' `up` over that of the rest (LoRA+, Hayou et al. 2024).
        max_grad_norm: 0 means no clipping.
        ema_decay: the result is a moving average of the steps, see `MovingAverage`; 0 means the last step.
        caption_dropout: share of pictures that are shown with the empty prompt.
        seed: of everything random.
        timesteps: which noise levels are trained.
    """

    steps: int = 500
    batch_size: int = 1
    accumulation: int = 1
    learning_rate: float = 1e-4
    schedule: str = "cosine"
    schedule_steps: int = 0
    warmup: int = 10
    optimizer: str = "adamw"
    up_rate_ratio: float = 1.0
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    ema_decay: float = 0.0
    caption_dropout: float = 0.0
    seed: int = 0
    timesteps: TimestepSampling = field(default_factory=TimestepSampling)

    def __post_init__(self):
        for name in ("steps", "batch_size", "accumulation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 1 or more")
        for name in ("learning_rate", "up_rate_ratio"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be above 0")
        for name in ("warmup", "weight_decay", "max_grad_norm", "schedule_steps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be a finite number of 0 or more")
        for name in ("ema_decay", "caption_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 0 or more and below 1")
        if self.schedule not in RATE_SCHEDULES:
            raise ValueError(
                f"learning rate schedule {self.schedule!r}: choose one of {', '.join(RATE_SCHEDULES)}"
            )
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer {self.optimizer!r}: choose one of {', '.join(OPTIMIZERS)}")

    def rate_at(self, step: int) -> float:
        """Learning rate of the 0-based step."""
        length = self.schedule_steps or self.steps
        return self.learning_rate * rate_factor(self.schedule, step, length, self.warmup)
