"""From what the objective said about a step's passes to the step's record."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..objective.total import Objective, ObjectiveValue
from .data import Batch
from .step_record import SampleRecord, StepRecord


@dataclass(frozen=True)
class JudgedPass:
    """What one pass through the model has for the step's record.

    Attributes:
        first: place in the step of its first picture; the others follow it.
        pictures: B picture indices.
        positions: Float[B], noise positions.
        names: K regions, the residual after those that have a mask.
        total: Float[], the objective's total.
        base, prior: its unweighted terms.
        table: Float[4, B, K]: of each region 1 − cosine, mean squared error, coverage, and 1 where it is
            present.
        energy: Float[M], squared gradient on the velocity in each of the first M regions, the residual last;
            where regions overlap, it is divided between them.
        energy_everywhere: Float[], in the whole picture.
    """

    first: int
    pictures: list[int]
    positions: Tensor
    names: tuple[str, ...]
    total: Tensor
    base: float
    prior: float
    table: Tensor
    energy: Tensor
    energy_everywhere: Tensor

    @classmethod
    def of(cls, batch: Batch, value: ObjectiveValue, gradient: Tensor) -> "JudgedPass":
        """The pass with the gradient on its velocity, Float[B, C, *grid]."""
        squared = gradient.float().square().sum(1)
        energy = (divided(value.masks) * squared[:, None]).transpose(0, 1).flatten(1).sum(1)
        columns = value.cosine, value.squared_error, value.coverage, value.present.to(value.cosine)
        return cls(
            first=batch.first,
            pictures=batch.pictures,
            positions=batch.u,
            names=value.names,
            total=value.total.detach(),
            base=value.base,
            prior=value.prior,
            table=torch.stack(columns),
            energy=energy,
            energy_everywhere=squared.sum(),
        )


def divided(regions: Tensor) -> Tensor:
    """Regions that overlap, each with its share of a cell only: they add up to 1 where anything is.

    Args:
        regions: Float[B, K, *grid] in 0..1.
    """
    return regions / regions.sum(1, keepdim=True).clamp_min(torch.finfo(regions.dtype).tiny)


def report(
    number: int, rate: float, passes: Sequence[JudgedPass], gradient_norm: Tensor, objective: Objective
) -> StepRecord:
    """Everything a step reports, averaged over all its pictures.

    Args:
        number: of the step, from 1.
        passes: in the order of their pictures' places.
        rate: its learning rate.
        gradient_norm: Float[], before clipping.
    """
    sizes = [len(item.pictures) for item in passes]
    energy = torch.stack([item.energy for item in passes]).sum(0)
    everywhere = torch.stack([item.energy_everywhere for item in passes]).sum()
    shares = energy.new_tensor(sizes) / sum(sizes)
    loss = (torch.stack([item.total for item in passes]).to(shares) * shares).sum()
    energy_shares = energy / everywhere.clamp_min(torch.finfo(energy.dtype).tiny)
    total, norm, *by_region = torch.cat((loss[None], gradient_norm.to(shares)[None], energy_shares)).tolist()
    samples = tuple(record for item in passes for record in _samples(item))
    return StepRecord(
        step=number,
        total=total,
        regions={name: _mean_cost(name, samples, objective) for name in passes[0].names},
        base=_mean([item.base for item in passes], sizes),
        prior=_mean([item.prior for item in passes], sizes),
        learning_rate=rate,
        gradient_norm=norm,
        gradient_share=dict(zip(passes[0].names, by_region, strict=False)),
        samples=samples,
    )


def _samples(item: JudgedPass) -> Iterator[SampleRecord]:
    names = item.names
    cosine, error, coverage, present = item.table.tolist()
    for row, (picture, position) in enumerate(zip(item.pictures, item.positions.tolist(), strict=True)):
        columns = [k for k in range(len(names)) if present[row][k]]
        yield SampleRecord(
            picture,
            position,
            {names[k]: cosine[row][k] for k in columns},
            {names[k]: error[row][k] for k in columns},
            {names[k]: coverage[row][k] for k in columns},
        )


def _mean_cost(name: str, samples: Sequence[SampleRecord], objective: Objective) -> float:
    """Mean of a region's unweighted value over the samples that have it; NaN where none has."""
    costs = [
        objective.cosine_weight * sample.cosine[name] + objective.magnitude_weight * sample.error[name]
        for sample in samples
        if name in sample.cosine
    ]
    return sum(costs) / len(costs) if costs else math.nan


def _mean(values: list[float], sizes: list[int]) -> float:
    return sum(value * size for value, size in zip(values, sizes, strict=True)) / sum(sizes)
