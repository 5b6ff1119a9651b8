"""One training step, and the loop around it. Everything random comes from one seeded CPU generator."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import torch
from torch import Tensor

from .lora import LoraAdapters
from .objective import Objective, ObjectiveValue
from .timesteps import TimestepSampling


class VelocityModel(Protocol):
    """A diffusion model as the trainer sees it: frozen, with conditioning already bound to each picture."""

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise a batch to the positions u.

        Args:
            clean, noise: Float[B, C, *grid].
            u: Float[B] in (0, 1); 0 is clean.

        Returns:
            noisy Float[B, C, *grid], sigma Float[B], and the target of the model's own parametrisation.
        """
        ...

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        """Float[B, C, *grid]: the model's raw prediction, conditioned for these picture indices."""
        ...


@dataclass(frozen=True)
class TrainingPictures:
    """The dataset in latent space.

    Attributes:
        latents: one Float[C, *grid] per picture, as the model wants them (latent format applied); sizes may
            differ.
        masks: one Float[K, h, w] per picture in 0..1, on the latent's own grid.
        labels: the K region names.
    """

    latents: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    labels: tuple[str, ...]

    def __post_init__(self):
        if not self.latents:
            raise ValueError("no picture to train on")
        if len(self.latents) != len(self.masks):
            raise ValueError(f"{len(self.latents)} latents but masks for {len(self.masks)} pictures")
        for index, (latent, mask) in enumerate(zip(self.latents, self.masks, strict=True)):
            if mask.shape != (len(self.labels), *latent.shape[-2:]):
                raise ValueError(
                    f"picture {index + 1}: masks are {list(mask.shape)} but its latent has a grid of "
                    f"{list(latent.shape[-2:])} and there are {len(self.labels)} regions: bring the masks "
                    "to the latent grid first (node 'Masks To Latent')"
                )

    def batch(self, pictures: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents Float[B, C, *grid] and region name -> Float[B, h, w] of pictures of one size."""
        masks = torch.stack([self.masks[i] for i in pictures])
        return torch.stack([self.latents[i] for i in pictures]), dict(
            zip(self.labels, masks.unbind(1), strict=True)
        )


@dataclass(frozen=True)
class TrainingSettings:
    """Everything else that decides the result, besides model, pictures and objective.

    `steps` counts optimizer updates, `learning_rate` is the peak, `warmup` the steps of linear rise before
    it; `max_grad_norm` 0 means no clipping.
    """

    steps: int = 500
    batch_size: int = 1
    learning_rate: float = 1e-4
    schedule: Literal["constant", "cosine"] = "cosine"
    warmup: int = 10
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    seed: int = 0
    timesteps: TimestepSampling = field(default_factory=TimestepSampling)

    def __post_init__(self):
        if self.steps < 1 or self.batch_size < 1:
            raise ValueError(f"steps ({self.steps}) and batch_size ({self.batch_size}) must be 1 or more")
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate is {self.learning_rate}: it must be above 0")
        for name in ("warmup", "weight_decay", "max_grad_norm"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: it must be a finite number of 0 or more")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"learning rate schedule {self.schedule!r}: choose constant or cosine")

    def rate_at(self, step: int) -> float:
        """Learning rate of the 0-based step."""
        rise = min(1.0, (step + 1) / (self.warmup + 1))
        if self.schedule == "constant":
            return self.learning_rate * rise
        return self.learning_rate * rise * 0.5 * (1 + math.cos(math.pi * step / self.steps))


@dataclass(frozen=True)
class StepRecord:
    """What one step reported; `step` counts from 1."""

    step: int
    total: float
    regions: Mapping[str, float]
    base: float
    prior: float
    learning_rate: float


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is no longer a finite number. The adapters still hold the last good step."""

    def __init__(self, step: int, learning_rate: float, what: str):
        super().__init__(
            f"step {step}: the {what} is not a finite number (learning rate {learning_rate:g}). Lower the "
            "learning rate, or train in fp32, and check that the latents come from the VAE of this model"
        )
        self.step = step


def training_loss(
    model: VelocityModel,
    adapters: LoraAdapters,
    objective: Objective,
    clean: Tensor,
    masks: Mapping[str, Tensor],
    pictures: list[int],
    noise: Tensor,
    u: Tensor,
) -> ObjectiveValue:
    """The objective on one batch, with noise and noise positions given. Adapters must be attached."""
    noisy, sigma, target = model.corrupt(clean, noise, u)
    v_base = None
    if objective.needs_base_prediction:
        with adapters.disabled(), torch.no_grad():
            v_base = model.predict(noisy, sigma, pictures)
    return objective(model.predict(noisy, sigma, pictures), target, masks, v_base)


def picture_batches(
    data: TrainingPictures, batch_size: int, generator: torch.Generator
) -> Iterator[list[int]]:
    """Endless full batches of picture indices of one latent size each.

    Every pass over the dataset is a new permutation; pictures wait in a queue of their size until it fills a
    batch, so that every picture is used equally often and a small dataset still gives full batches.
    """
    waiting: dict[tuple[int, ...], list[int]] = {}
    while True:
        for index in torch.randperm(len(data.latents), generator=generator).tolist():
            queue = waiting.setdefault(tuple(data.latents[index].shape), [])
            queue.append(index)
            if len(queue) == batch_size:
                yield list(queue)
                queue.clear()


def train(
    model: VelocityModel,
    adapters: LoraAdapters,
    data: TrainingPictures,
    objective: Objective,
    settings: TrainingSettings,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> list[StepRecord]:
    """Train the adapters in place.

    Args:
        on_step: called after each update; what it raises (a cancel, say) ends the training with the adapters
            as they are after that update.

    Raises:
        TrainingDiverged: the loss or gradient became NaN or infinite.
        ValueError: no picture has any region that the objective trains.
    """
    if not any(objective.trains(data.batch([i])[1]) for i in range(len(data.latents))):
        wanted = ", ".join(name for name, weight in objective.weights.items() if weight > 0)
        raise ValueError(
            f"none of the {len(data.latents)} pictures has a region with a weight above 0 ({wanted}): "
            "check the segmentation preview, or raise global_fallback"
        )
    generator = torch.Generator().manual_seed(settings.seed)
    parameters = adapters.parameters()
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    batches = picture_batches(data, settings.batch_size, generator)
    history = []
    with adapters.attached():
        for step in range(settings.steps):
            rate = optimizer.param_groups[0]["lr"] = settings.rate_at(step)
            pictures = next(batches)
            clean, masks = data.batch(pictures)
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            u = settings.timesteps.sample(len(pictures), generator).to(clean.device)
            value = training_loss(model, adapters, objective, clean, masks, pictures, noise, u)
            total = value.total.item()
            if not math.isfinite(total):
                raise TrainingDiverged(step + 1, rate, "loss")
            optimizer.zero_grad()
            if value.total.requires_grad:
                value.total.backward()
            norm = torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm or math.inf)
            if not math.isfinite(norm.item()):
                raise TrainingDiverged(step + 1, rate, "gradient")
            optimizer.step()
            history.append(StepRecord(step + 1, total, value.regions, value.base, value.prior, rate))
            on_step(history[-1])
    return history
