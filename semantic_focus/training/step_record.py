"""What a training step reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class SampleRecord:
    """What one picture of a step showed, at noise position `position`; regions that are absent are left out.

    `cosine` are losses, 1 − cos; `error` mean squared errors; `coverage` shares of the picture.
    """

    picture: int
    position: float
    cosine: Mapping[str, float]
    error: Mapping[str, float]
    coverage: Mapping[str, float]


@dataclass(frozen=True)
class StepRecord:
    """What one step reported.

    Attributes:
        step: counts from 1.
        total: the loss.
        regions: mean of each region's unweighted value over the pictures that have it (NaN: none has).
        base, prior: the unweighted terms; the prior is NaN in steps that leave it out, 0 where there is none.
        learning_rate: of this step.
        gradient_norm: before clipping.
        gradient_share: region -> share of the squared gradient on the velocity that lies in it. Regions may
            overlap.
        samples: one per picture, in the order of the batch.
    """

    step: int
    total: float
    regions: Mapping[str, float]
    base: float
    prior: float
    learning_rate: float
    gradient_norm: float = 0.0
    gradient_share: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[SampleRecord, ...] = ()
