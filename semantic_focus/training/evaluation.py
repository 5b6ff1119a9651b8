"""What a LoRA changed, region by region, measured on noise that training never saw."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..objective.sums import RESIDUAL, region_sums, stack_masks
from .trainer import TrainingPictures, VelocityModel

EVALUATION_POSITIONS = (0.2, 0.4, 0.6, 0.8, 0.95)
"""Noise positions of the comparison: errors differ so much between them that each gets the same say."""


@dataclass(frozen=True)
class RegionChange:
    """One region before and after. Errors are mean squared errors of the velocity; cosines are losses, 1 −
    cos; `drift` is the mean squared difference between the two predictions. NaN: the region is in no picture.
    """

    region: str
    coverage: float
    error_before: float
    error_after: float
    cosine_before: float
    cosine_after: float
    drift: float


@dataclass(frozen=True)
class Predictions:
    """What a model says of every picture at every noise position.

    Attributes:
        answers: Float[1, C, *grid] each, on the CPU, picture by picture.
        seed: of the noise.
        positions: of each picture.
    """

    answers: tuple[Tensor, ...]
    seed: int
    positions: tuple[float, ...]


def predictions(
    model: VelocityModel,
    data: TrainingPictures,
    seed: int = 1_000_003,
    positions: Sequence[float] = EVALUATION_POSITIONS,
) -> Predictions:
    """Predict every picture at every noise position.

    Args:
        model: with the adapters that are attached to it now.
        seed: of the evaluation noise; picture i at position j gets the same noise for every LoRA compared.
    """
    answers = tuple(answer for _, answer, _ in _passes(model, data, seed, positions))
    return Predictions(answers, seed, tuple(positions))


def compare(before: Predictions, model: VelocityModel, data: TrainingPictures) -> list[RegionChange]:
    """Region by region, what a model with the adapters that it has now says otherwise on the same noise.

    One picture at a time: of many, no more is kept than `before`.
    """
    rows, areas = [], []
    regions = torch.empty(0)
    after = _passes(model, data, before.seed, before.positions)
    for number, (index, answer, target) in enumerate(after):
        if number % len(before.positions) == 0:
            clean, masks = data.batch([index])
            regions = stack_masks(masks, clean).cpu()
            areas.append(regions[0].flatten(1).mean(1))
        rows.append(_measure(before.answers[number], answer, target, regions))
    values = torch.stack(rows).nanmean(0)
    coverage = torch.stack(areas).mean(0).tolist()
    return [
        RegionChange(name, coverage[k], *values[:, k].tolist())
        for k, name in enumerate((*data.labels, RESIDUAL))
    ]


def _passes(
    model: VelocityModel, data: TrainingPictures, seed: int, positions: Sequence[float]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Picture, answer and target of each, on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    for index in range(len(data.latents)):
        clean, _ = data.batch([index])
        for position in positions:
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            with torch.no_grad():
                noisy, sigma, target = model.corrupt(
                    clean, noise, torch.tensor([position], device=clean.device)
                )
                answer = model.predict(noisy, sigma, [index])
            yield index, answer.cpu(), target.cpu()


def _measure(before: Tensor, after: Tensor, target: Tensor, regions: Tensor) -> Tensor:
    """Float[5, K]: errors and cosine losses before and after, and drift; NaN where a region is absent."""
    old, new = region_sums(before, target, regions), region_sums(after, target, regions)
    drift = region_sums(before - after, torch.ones_like(before), regions).pred
    table = torch.stack(
        (
            old.squared_error(),
            new.squared_error(),
            old.cosine_loss(),
            new.cosine_loss(),
            drift / torch.where(old.present(), old.area * old.channels, 1.0),
        )
    )[:, 0]
    return torch.where(old.present()[0], table, float("nan"))


def format_table(rows: Sequence[RegionChange]) -> str:
    """The comparison as aligned text, one line per region that occurs."""
    lines = [f"{'region':<12}{'cover':>7}{'error before':>14}{'after':>9}{'change':>9}{'drift':>9}"]
    for row in rows:
        if row.error_before == row.error_before:
            change = row.error_after / row.error_before - 1 if row.error_before else 0.0
            lines.append(
                f"{row.region:<12}{row.coverage:>7.1%}{row.error_before:>14.4f}{row.error_after:>9.4f}"
                f"{change:>9.1%}{row.drift:>9.4f}"
            )
    return "\n".join(lines)
