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
class ValidationRecord:
    """What a training showed after a step on what it does not see. Regions that are absent are left out, and
    values that are no finite numbers.

    Attributes:
        loss: the objective's total; NaN where it is no number.
        loss_before: that of the base model alone.
        regions: each region's unweighted value, as in `StepRecord`.
        regions_before: that of the base model alone.
        drift: mean squared difference between the predictions with and without the adapters.
    """

    loss: float
    loss_before: float
    regions: Mapping[str, float]
    regions_before: Mapping[str, float]
    drift: Mapping[str, float]


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
        gradient_share: region -> share of the squared gradient on the velocity that lies in it; where regions
            overlap, it is divided between them.
        samples: one per picture, in the order of the batch.
        validation: of the adapters after this step; None where there was none.
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
    validation: ValidationRecord | None = None
