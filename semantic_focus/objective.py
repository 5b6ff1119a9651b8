"""The training objective: what the sliders mean, as a value that turns predictions into one number.

total = base_weight · MSE(v)
      + mean_b Σ_k w_k · (cosine_weight · (1 − cos_k) + magnitude_weight · MSE_k) / Σ_k w_k
      + prior_weight · mean squared (v_lora − v_base) over what has weight 0
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor

from .categories import SEMANTIC_CATEGORIES
from .losses import (
    RESIDUAL,
    check_weights,
    effective_weights,
    region_sums,
    stack_masks,
    uncovered,
    weighted_mean,
)

GLOBAL = "global"
"""Name of the one region that covers everything when regions are switched off."""


@dataclass(frozen=True)
class ObjectiveValue:
    """What one batch cost.

    `total` is the scalar to differentiate. `regions` maps a region's name to the mean of its unweighted value
    over the samples in which it is present (NaN: in none); `base` and `prior` are the unweighted scalars.
    """

    total: Tensor
    regions: Mapping[str, float]
    base: float
    prior: float


@dataclass(frozen=True)
class Objective:
    """How much each region counts.

    Attributes:
        weights: region name -> weight >= 0; copied.
        global_fallback: weight of what no region covers.
        enabled: False trains the whole picture as one region with the same cosine and magnitude terms;
            weights and prior are then not used.
        cosine_weight, magnitude_weight: share of direction and of squared error within a region.
        base_weight: plain mean squared error over everything, on top.
        prior_weight: pull towards the base model's own prediction on everything that has weight 0. Without
            it, free regions drift as far as if they were trained.
        area_shrinkage: A0 in latent cells, see `semantic_cosine_loss`: a sliver of a region must not outweigh
            a whole one.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            name: category.default_weight for name, category in SEMANTIC_CATEGORIES.items()
        }
    )
    global_fallback: float = 0.1
    enabled: bool = True
    cosine_weight: float = 1.0
    magnitude_weight: float = 1.0
    base_weight: float = 0.0
    prior_weight: float = 4.0
    area_shrinkage: float = 4.0

    def __post_init__(self):
        object.__setattr__(self, "weights", dict(self.weights))
        check_weights(self.weights, self.global_fallback)
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and not 0 <= value < float("inf"):
                raise ValueError(f"{item.name} is {value}: it must be a finite number of 0 or more")
        if self.cosine_weight == self.magnitude_weight == self.base_weight == 0:
            raise ValueError(
                "cosine_weight, magnitude_weight and base_weight are all 0: nothing would be learnt"
            )
        if self.enabled and self.base_weight == 0 and not any((*self.weights.values(), self.global_fallback)):
            raise ValueError(
                "all region weights are 0: nothing would be learnt. Raise the weight of at least one region, "
                "or switch the regions off to train the whole picture"
            )

    @property
    def needs_base_prediction(self) -> bool:
        """Whether each step needs the velocity of the model without the adapter."""
        return self.enabled and self.prior_weight > 0

    def trains(self, masks: Mapping[str, Tensor]) -> bool:
        """Whether these masks of one or more samples give the objective anything to learn from."""
        if not self.enabled or self.base_weight > 0:
            return True
        if any(
            weight > 0 and name in masks and bool(masks[name].any()) for name, weight in self.weights.items()
        ):
            return True
        if self.global_fallback == 0:
            return False
        return not masks or bool(uncovered(torch.stack(list(masks.values()), 1)).any())

    def __call__(
        self, v_pred: Tensor, v_target: Tensor, masks: Mapping[str, Tensor], v_base: Tensor | None = None
    ) -> ObjectiveValue:
        """Evaluate one batch.

        Args:
            v_pred: Float[B, C, *grid], the prediction with the adapter.
            v_target: as `v_pred`, the model's own target (velocity, eps or v).
            masks: region name -> Float[B, H, W] in 0..1 on the latent grid.
            v_base: the prediction without the adapter; needed when `needs_base_prediction`.
        """
        names = [*masks, RESIDUAL]
        regions = stack_masks(masks, v_pred)
        wanted = [float(self.weights.get(name, 0.0)) for name in masks] + [self.global_fallback]
        if not self.enabled:
            names.append(GLOBAL)
            regions = torch.cat((regions, torch.ones_like(regions[:, :1])), 1)
            wanted = [0.0] * len(wanted) + [1.0]
        sums = region_sums(v_pred, v_target, regions)
        values = self.cosine_weight * sums.cosine_loss() + self.magnitude_weight * sums.squared_error()
        total = weighted_mean(values, effective_weights(sums, wanted, self.area_shrinkage))
        base = (v_pred.to(regions.dtype) - v_target.to(regions.dtype)).square().mean()
        if self.base_weight:
            total = total + self.base_weight * base
        prior = total.new_zeros(())
        if self.needs_base_prediction:
            if v_base is None:
                raise ValueError("prior_weight > 0 needs v_base, the prediction without the adapter")
            prior = prior_loss(v_pred, v_base, regions, wanted)
            total = total + self.prior_weight * prior
        return ObjectiveValue(
            total, _mean_where_present(names, values, sums.present()), base.item(), prior.item()
        )


def prior_loss(v_pred: Tensor, v_base: Tensor, regions: Tensor, weights: list[float]) -> Tensor:
    """Mean squared difference to the base prediction over what no weighted region covers.

    Per sample it is averaged over the free elements, so that its strength does not depend on the size of the
    free area; a sample without a free area contributes 0.

    Args:
        v_pred, v_base: Float[B, C, *grid].
        regions: Float[B, K, *grid] in 0..1.
        weights: K region weights; a region of weight 0 is free.
    """
    free = uncovered(regions[:, [k for k, weight in enumerate(weights) if weight > 0]])
    squared = (v_pred.to(free.dtype) - v_base.to(free.dtype)).square().sum(1)
    mass = free.flatten(1).sum(1) * v_pred.shape[1]
    return ((squared * free).flatten(1).sum(1) / torch.where(mass > 0, mass, 1.0)).mean()


def _mean_where_present(names: list[str], values: Tensor, present: Tensor) -> dict[str, float]:
    means = torch.where(present, values.detach(), float("nan")).nanmean(0).tolist()
    return dict(zip(names, means, strict=True))
