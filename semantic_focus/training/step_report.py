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
    """One pass through the model: what the objective said, and where its gradient lies.

    Attributes:
        energy: Float[K], squared gradient on the velocity in each region, the residual last; where regions
            overlap, it is divided between them.
        energy_everywhere: Float[], in the whole picture.
    """

    batch: Batch
    value: ObjectiveValue
    energy: Tensor
    energy_everywhere: Tensor

    @classmethod
    def of(cls, batch: Batch, value: ObjectiveValue, gradient: Tensor) -> "JudgedPass":
        """The pass with the gradient on its velocity, Float[B, C, *grid]."""
        squared = gradient.float().square().sum(1)
        energy = (divided(value.masks) * squared[:, None]).transpose(0, 1).flatten(1).sum(1)
        return cls(batch, value, energy, squared.sum())


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
        rate: its learning rate.
        gradient_norm: Float[], before clipping.
    """
    values = [item.value for item in passes]
    sizes = [len(item.batch.pictures) for item in passes]
    energy = torch.stack([item.energy for item in passes]).sum(0)
    everywhere = torch.stack([item.energy_everywhere for item in passes]).sum()
    shares = energy.new_tensor(sizes) / sum(sizes)
    loss = (torch.stack([value.total.detach() for value in values]).to(shares) * shares).sum()
    energy_shares = energy / everywhere.clamp_min(torch.finfo(energy.dtype).tiny)
    total, norm, *by_region = torch.cat((loss[None], gradient_norm.to(shares)[None], energy_shares)).tolist()
    samples = tuple(record for item in passes for record in _samples(item))
    return StepRecord(
        step=number,
        total=total,
        regions={name: _mean_cost(name, samples, objective) for name in values[0].names},
        base=_mean([value.base for value in values], sizes),
        prior=_mean([value.prior for value in values], sizes),
        learning_rate=rate,
        gradient_norm=norm,
        gradient_share=dict(zip(values[0].names, by_region, strict=False)),
        samples=samples,
    )


def _samples(item: JudgedPass) -> Iterator[SampleRecord]:
    value, batch = item.value, item.batch
    table = torch.stack((value.cosine, value.squared_error, value.coverage, value.present.to(value.cosine)))
    cosine, error, coverage, present = table.tolist()
    for row, (picture, position) in enumerate(zip(batch.pictures, batch.u.tolist(), strict=True)):
        columns = [k for k in range(len(value.names)) if present[row][k]]
        yield SampleRecord(
            picture,
            position,
            {value.names[k]: cosine[row][k] for k in columns},
            {value.names[k]: error[row][k] for k in columns},
            {value.names[k]: coverage[row][k] for k in columns},
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
