"""The training objective: what the sliders mean, as a value that turns predictions into one number.

total = mean_b s_b · (base_weight · base_b + Σ_k w_bk · region_bk / Σ_k w_bk)
      + prior_weight · mean squared (v_lora − v_base) over what has weight 0

region_bk = cosine_weight · (1 − cos_bk) + magnitude_weight · MSE_bk

s_b is the min-SNR weight of the sample (1 without), w_bk the region's weight there: 0 where it is absent,
shrunk where it is small, and only within its window of noise positions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..categories import SEMANTIC_CATEGORIES
from .loss import (
    CosineKind,
    Normalisation,
    check_choice,
    check_velocities,
    check_weights,
    effective_weights,
    per_sample_mean,
)
from .noise_weighting import NoiseLevel, SigmaWindow
from .sums import RESIDUAL, CellProducts, stack_masks, uncovered

GLOBAL = "global"
"""Name of the one region that covers everything when regions are switched off."""

BaseLoss = Literal["mse", "l1", "huber"]


@dataclass(frozen=True)
class ObjectiveValue:
    """What one batch cost.

    `total` is the scalar to differentiate; `base` and `prior` are the unweighted scalars, `prior` NaN at a
    step that leaves it out.

    The rest is for diagnostics, detached, on the device of the batch, for the K regions in `names`: `masks`
    Float[B, M, *grid] are those of the first M names as they were weighed, the residual last; `region_loss`
    Float[B, K] is each region's unweighted value, `cosine` Float[B, K] its 1 − cosine, `squared_error`
    Float[B, K] its mean squared error, `coverage` Float[B, K] its share of the cells, `present` Bool[B, K],
    and `weight` Float[B, K] what it counted for in the end.
    """

    total: Tensor
    base: float
    prior: float
    names: tuple[str, ...]
    masks: Tensor
    region_loss: Tensor
    cosine: Tensor
    squared_error: Tensor
    coverage: Tensor
    present: Tensor
    weight: Tensor

    @cached_property
    def regions(self) -> Mapping[str, float]:
        """A region's name -> the mean of its unweighted value over the samples in which it is present (NaN:
        in none). Computed, and waited for, when it is asked for.
        """
        means = torch.where(self.present, self.region_loss, float("nan")).nanmean(0)
        return dict(zip(self.names, means.tolist(), strict=True))


@dataclass(frozen=True)
class Objective:
    """How much each region counts.

    Attributes:
        weights: region name -> weight >= 0; copied.
        global_fallback: weight of what no region covers.
        enabled: False trains the whole picture as one region with the same cosine and magnitude terms;
            weights, windows and prior are then not used.
        cosine_weight, magnitude_weight: share of direction and of squared error within a region.
        base_weight: a plain loss over everything, on top.
        prior_weight: pull towards the base model's own prediction on everything that has weight 0. Without
            it, free regions drift as far as if they were trained.
        area_shrinkage: A0 in latent cells, see `semantic_cosine_loss`: a sliver of a region must not outweigh
            a whole one.
        base_loss: "mse", "l1" or "huber" (quadratic up to `huber_delta`, linear beyond).
        base_mask_floor: None: the base loss counts every cell alike. A number in 0..1: a cell counts
            floor + (1 − floor) · (cover by weighted regions), divided by the mean of that over the sample.
        cosine, normalise: see `semantic_cosine_loss`.
        windows: region name -> the noise positions at which it is trained. Outside, a region contributes
            nothing and is not held to the base model either.
        snr_gamma: γ of `NoiseLevel.min_snr_weight`, which then multiplies each sample's base and region
            losses (not the prior); 0: no such weight.
        prior_every: the prior is taken at every n-th step only, with n times its weight.
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
    prior_weight: float = 1.0
    area_shrinkage: float = 4.0
    base_loss: BaseLoss = "mse"
    huber_delta: float = 1.0
    base_mask_floor: float | None = None
    cosine: CosineKind = "region"
    normalise: Normalisation = "present"
    windows: Mapping[str, SigmaWindow] = field(default_factory=dict)
    snr_gamma: float = 0.0
    prior_every: int = 1

    def __post_init__(self):
        object.__setattr__(self, "weights", dict(self.weights))
        object.__setattr__(self, "windows", dict(self.windows))
        check_weights(self.weights, self.global_fallback)
        for name, weight in {**self.weights, "global_fallback": self.global_fallback}.items():
            if isinstance(weight, Tensor):
                raise ValueError(
                    f"weight of {name!r} is a tensor: an Objective has one number for each region. Weights "
                    "per sample go to semantic_cosine_loss"
                )
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, int | float) and not 0 <= value < float("inf"):
                raise ValueError(f"{item.name} is {value}: it must be a finite number of 0 or more")
        for name, kind in (("base_loss", BaseLoss), ("cosine", CosineKind), ("normalise", Normalisation)):
            check_choice(name, getattr(self, name), kind)
        if self.base_mask_floor is not None and self.base_mask_floor > 1:
            raise ValueError(f"base_mask_floor is {self.base_mask_floor}: it must be within 0 .. 1")
        if self.huber_delta == 0:
            raise ValueError("huber_delta is 0: it must be above 0")
        if self.prior_every != int(self.prior_every) or self.prior_every < 1:
            raise ValueError(f"prior_every is {self.prior_every}: it must be a whole number of 1 or more")
        unknown = [name for name in self.windows if name not in self.weights and name != RESIDUAL]
        if unknown:
            raise ValueError(
                f"windows has {unknown[0]!r}, which has no weight: give it one, or take one of "
                f"{', '.join((*self.weights, RESIDUAL))}"
            )
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
        """Whether steps need the velocity of the model without the adapter."""
        return self.enabled and self.prior_weight > 0

    def needs_base_prediction_at(self, step: int) -> bool:
        """Whether the step, counted from 0, needs it."""
        return self.needs_base_prediction and step % self.prior_every == 0

    @property
    def needs_noise_position(self) -> bool:
        """Whether calls need the noise position of each sample."""
        return self.snr_gamma > 0 or (self.enabled and bool(self.windows))

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
        self,
        v_pred: Tensor,
        v_target: Tensor,
        masks: Mapping[str, Tensor],
        v_base: Tensor | None = None,
        noise_position: Tensor | NoiseLevel | None = None,
    ) -> ObjectiveValue:
        """Evaluate one batch.

        Args:
            v_pred: Float[B, C, *grid], the prediction with the adapter.
            v_target: as `v_pred`, the model's own target (velocity, eps or v).
            masks: region name -> Float[B, H, W] in 0..1 on the latent grid.
            v_base: the prediction without the adapter, without gradient; needed when
                `needs_base_prediction`, but with `prior_every` above 1 only at the steps that
                `needs_base_prediction_at` tells.
            noise_position: Float[B] in (0, 1), 0 clean: σ of a rectified flow. A `NoiseLevel` for models that
                predict eps or v. Needed when `needs_noise_position`.

        Raises:
            ValueError: shapes that do not fit, or something needed is missing.
        """
        check_velocities(v_pred, v_target)
        level = self._noise_level(noise_position, v_pred)
        products = CellProducts.of(v_pred, v_target)
        stacked = regions = stack_masks(masks, v_pred)
        names = (*masks, RESIDUAL)
        wanted = [float(self.weights.get(name, 0.0)) for name in masks] + [float(self.global_fallback)]
        weighted = regions[:, [k for k, weight in enumerate(wanted) if weight > 0]]
        if not self.enabled:
            names = (*names, GLOBAL)
            regions = torch.cat((regions, torch.ones_like(regions[:, :1])), 1)
            wanted = [0.0] * len(wanted) + [1.0]
        sums = products.region_sums(regions)
        at_level = self._weights_at(names, wanted, level, sums.area)
        weight = effective_weights(sums, at_level, self.area_shrinkage)
        cosine = sums.cosine_loss() if self.cosine == "region" else products.cosine_loss(regions)
        error = sums.squared_error()
        values = self.cosine_weight * cosine + self.magnitude_weight * error
        losses = per_sample_mean(values, weight, self._divisor(names, wanted, sums.area))
        base = self._base(v_pred, v_target, products, weighted)
        if self.base_weight:
            losses = losses + self.base_weight * base
        if self.snr_gamma and level is not None:
            losses = losses * level.min_snr_weight(self.snr_gamma).to(losses)
        prior = self._prior(v_pred, v_base, weighted)
        total = losses.mean()
        if prior is not None:
            total = total + self.prior_weight * self.prior_every * prior
        left_out = total.new_tensor(float("nan") if self.needs_base_prediction else 0.0)
        scalars = torch.stack((base.mean(), left_out if prior is None else prior)).detach().tolist()
        return ObjectiveValue(
            total=total,
            base=scalars[0],
            prior=scalars[1],
            names=names,
            masks=stacked,
            region_loss=values.detach(),
            cosine=cosine.detach(),
            squared_error=error.detach(),
            coverage=sums.area / regions[0, 0].numel(),
            present=sums.present(),
            weight=weight.detach(),
        )

    def _prior(self, v_pred: Tensor, v_base: Tensor | None, weighted: Tensor) -> Tensor | None:
        """The unweighted prior; None where there is none, or this step leaves it out."""
        if not self.needs_base_prediction:
            return None
        if v_base is not None:
            return prior_loss(v_pred, v_base, weighted)
        if self.prior_every == 1:
            raise ValueError("prior_weight > 0 needs v_base, the prediction without the adapter")
        return None

    def _noise_level(self, given: Tensor | NoiseLevel | None, v_pred: Tensor) -> NoiseLevel | None:
        if given is None:
            if self.needs_noise_position:
                raise ValueError(
                    "windows and snr_gamma need noise_position, Float[B] in 0 .. 1, 0 being clean"
                )
            return None
        level = NoiseLevel(given) if isinstance(given, Tensor) else given
        level.check(len(v_pred))
        return level

    def _weights_at(
        self, names: Sequence[str], wanted: Sequence[float], level: NoiseLevel | None, like: Tensor
    ) -> Tensor:
        """Float[1, K], or Float[B, K] where a window makes the weights depend on the sample."""
        weights = like.new_tensor([wanted])
        if level is None or not self.enabled or not self.windows:
            return weights
        position = level.position.to(like)
        everywhere = SigmaWindow()
        return weights * torch.stack(
            [self.windows.get(name, everywhere).weight_at(position) for name in names], 1
        )

    def _divisor(self, names: Sequence[str], wanted: Sequence[float], like: Tensor) -> Tensor | None:
        """Float[1] with the sum of all weights, also of regions without a mask; None: those of the sample."""
        if self.normalise == "present":
            return None
        unseen = (
            [weight for name, weight in self.weights.items() if name not in names] if self.enabled else []
        )
        return like.new_tensor([sum((*wanted, *unseen))])

    def _base(self, v_pred: Tensor, v_target: Tensor, products: CellProducts, weighted: Tensor) -> Tensor:
        """Float[B]: the base loss of each sample, before `base_weight`."""
        if self.base_loss == "mse":
            error = products.squared_error()
        else:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self.base_weight > 0):
                pred, target = v_pred.to(weighted.dtype), v_target.to(weighted.dtype)
                elements = (
                    F.l1_loss(pred, target, reduction="none")
                    if self.base_loss == "l1"
                    else F.huber_loss(pred, target, reduction="none", delta=self.huber_delta)
                )
                error = elements.mean(1).flatten(1)
        if self.base_mask_floor is None or not self.enabled:
            return error.mean(1)
        cover = 1 - uncovered(weighted).flatten(1)
        cells = self.base_mask_floor + (1 - self.base_mask_floor) * cover
        mass = cells.sum(1)
        return (cells * error).sum(1) / torch.where(mass > 0, mass, 1.0)


def prior_loss(v_pred: Tensor, v_base: Tensor, weighted: Tensor) -> Tensor:
    """Mean squared difference to the base prediction over what no weighted region covers.

    Per sample it is averaged over the free elements, so that its strength does not depend on the size of the
    free area; a sample without a free area contributes 0.

    Args:
        v_pred, v_base: Float[B, C, *grid].
        weighted: Float[B, K, *grid] in 0..1, the regions whose weight is above 0.
    """
    free = uncovered(weighted)
    squared = (v_pred.to(free.dtype) - v_base.to(free.dtype)).square().sum(1)
    mass = free.flatten(1).sum(1) * v_pred.shape[1]
    return ((squared * free).flatten(1).sum(1) / torch.where(mass > 0, mass, 1.0)).mean()
