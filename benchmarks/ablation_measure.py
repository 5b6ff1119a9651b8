"""What a LoRA of the ablation learnt, what it changed elsewhere, and how its samples look."""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from benchmarks.small_flow import CaptionedFlow
from host.standins.codec import CHANNELS
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.training.trainer import TrainingPictures

SIGMAS = (0.2, 0.4, 0.6, 0.8, 0.95)
NOISE_SEED = 1_000_003
SAMPLE_SEED = 2_000_003
SAMPLES = 8
SHOWN_SIGMA = 0.7
SAMPLING_STEPS = 20
SAMPLING_SHIFT = 3.0
FREE = 0.05
"""A cell of a sample is free where the face covers less than this share of it, averaged over all framings."""


@dataclass(frozen=True)
class Errors:
    """Mean squared velocity errors, and mean squared differences to the base model, for each of `SIGMAS`."""

    face: tuple[float, ...]
    rest: tuple[float, ...]
    face_change: tuple[float, ...]
    drift: tuple[float, ...]


@dataclass(frozen=True)
class Samples:
    """Samples with the LoRA, and the base model's from the same noise.

    Attributes:
        diversity: mean squared distance between two samples in the free area, per element.
        change: mean squared distance to the base model's sample in the free area, per element.
    """

    diversity: float
    base_diversity: float
    change: float


def measure_errors(flow: CaptionedFlow, adapters: LoraAdapters, data: TrainingPictures) -> Errors:
    """Predict all pictures at every sigma, with and without the adapters, on noise of its own seed."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    everyone = list(range(len(data.latents)))
    clean, masks = data.batch(everyone)
    face = masks["face"][:, None]
    rows = []
    with torch.no_grad(), adapters.attached():
        for sigma in SIGMAS:
            noise = torch.randn(clean.shape, generator=generator)
            noisy, u, target = flow.corrupt(clean, noise, torch.full((len(clean),), sigma))
            after = flow.predict(noisy, u, everyone)
            with adapters.disabled():
                before = flow.predict(noisy, u, everyone)
            rows.append(
                (
                    _mean_square(after - target, face),
                    _mean_square(after - target, 1 - face),
                    _mean_square(after - before, face),
                    _mean_square(after - before, 1 - face),
                )
            )
    return Errors(*zip(*rows, strict=True))


def _mean_square(difference: Tensor, weight: Tensor) -> float:
    return float((difference.square() * weight).sum() / (weight.sum() * CHANNELS))


def clean_estimates(flow: CaptionedFlow, adapters: LoraAdapters, data: TrainingPictures) -> Tensor:
    """Float[N, C, *grid]: what the adapted model takes the pictures for at SHOWN_SIGMA, x − sigma * v."""
    everyone = list(range(len(data.latents)))
    clean, _ = data.batch(everyone)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(NOISE_SEED))
    noisy, u, _ = flow.corrupt(clean, noise, torch.full((len(clean),), SHOWN_SIGMA))
    with torch.no_grad(), adapters.attached():
        return noisy - SHOWN_SIGMA * flow.predict(noisy, u, everyone)


def sample(flow: CaptionedFlow, shape: tuple[int, ...]) -> Tensor:
    """Float[SAMPLES, *shape] by Euler steps from fixed noise, with the caption of the first picture."""
    x = torch.randn(SAMPLES, *shape, generator=torch.Generator().manual_seed(SAMPLE_SEED))
    u = torch.linspace(1, 0, SAMPLING_STEPS + 1)
    sigmas = SAMPLING_SHIFT * u / (1 + (SAMPLING_SHIFT - 1) * u)
    with torch.no_grad():
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            x = x + (following - sigma) * flow.predict(x, sigma.expand(SAMPLES), [0] * SAMPLES)
    return x


def measure_samples(
    flow: CaptionedFlow, adapters: LoraAdapters, data: TrainingPictures
) -> tuple[Samples, Tensor]:
    """How much the samples differ from each other and from the base model's; and the samples."""
    shape = tuple(data.latents[0].shape)
    before = sample(flow, shape)
    with adapters.attached():
        after = sample(flow, shape)
    free = (torch.stack(data.masks)[:, 0].mean(0) < FREE).float()
    return (
        Samples(_diversity(after, free), _diversity(before, free), _mean_square(after - before, _like(free))),
        after,
    )


def _like(free: Tensor) -> Tensor:
    return free.expand(SAMPLES, 1, *free.shape)


def _diversity(samples: Tensor, free: Tensor) -> float:
    """Twice the variance over samples, which is the mean squared distance of a pair."""
    return 2 * float((samples.var(0) * free).sum() / (free.sum() * CHANNELS))


@dataclass(frozen=True)
class Result:
    """One training and what was measured on it; `seconds` is the training alone."""

    subject: str
    seed: int
    variant: str
    steps: int
    seconds: float
    trained: Errors
    held_out: Errors
    samples: Samples

    def to_json(self) -> dict:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict) -> "Result":
        nested = {"trained": Errors, "held_out": Errors, "samples": Samples}
        return cls(**{k: nested[k](**v) if k in nested else v for k, v in values.items()})
