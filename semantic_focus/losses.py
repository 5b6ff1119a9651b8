"""The region cosine loss on the velocity, as one pure function, and the sums it is made of.

    D = Σ m·p·t     P = Σ m·p²     T = Σ m·t²        cos = D / sqrt(P·T)

summed over channels and cells of one region, each element weighted by the mask once. The squared error of the
same region comes from the same three sums: Σ m·(p − t)² = P − 2D + T.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, overload

import torch
from torch import Tensor

RESIDUAL = "residual"
"""Name of the region that no mask covers: 1 − min(1, Σ masks)."""

ROUNDING = 0.02
"""Cover that rounding alone may leave open: six masks of 8 bits lose up to 6 · 1/510 = 0.012."""

MIN_NORM_RATIO = 1e-4
"""A prediction shorter than this share of the target's length is treated as that long, so that the gradient
of the cosine (which grows as 1/length) stays bounded.
"""


@dataclass(frozen=True)
class RegionSums:
    """The weighted sums of one prediction over K regions, each Float[B, K].

    `area` is Σ m over cells, in latent cells; `channels` is the number of elements per cell.
    """

    dot: Tensor
    pred: Tensor
    target: Tensor
    area: Tensor
    channels: int

    def cosine_loss(self) -> Tensor:
        """Float[B, K]: 1 − cosine, 0 for parallel and 2 for opposite vectors; no NaN where a region is
        absent.
        """
        target = torch.where(self.present(), self.target, 1.0)
        length_ratio = (self.pred / target).clamp_min(MIN_NORM_RATIO**2).sqrt()
        return 1 - self.dot / (target * length_ratio)

    def squared_error(self) -> Tensor:
        """Float[B, K]: mean squared error over the region's elements; 0 where a region is absent."""
        error = (self.pred - 2 * self.dot + self.target).clamp_min(0)
        return error / torch.where(self.present(), self.area * self.channels, 1.0)

    def present(self) -> Tensor:
        """Bool[B, K]: the region covers something in this sample, and the target is not zero there."""
        return (self.area > 0) & (self.target > 0)


def region_sums(v_pred: Tensor, v_target: Tensor, masks: Tensor) -> RegionSums:
    """Sum products over K regions in one pass: over channels first, then one small matrix product with the
    masks.

    Args:
        v_pred: Float[B, C, *grid]; half precision is summed in float32.
        v_target: as `v_pred`.
        masks: Float[B, K, *grid] in 0..1.
    """
    with torch.autocast(v_pred.device.type, enabled=False):
        dtype = torch.promote_types(v_pred.dtype, torch.float32)
        pred, target = v_pred.to(dtype), v_target.to(dtype)
        weights = masks.to(v_pred.device, dtype).flatten(2)
        products = torch.stack(((pred * target).sum(1), (pred * pred).sum(1), (target * target).sum(1)), -1)
        dot, pred_sq, target_sq = torch.bmm(weights, products.flatten(1, -2)).unbind(-1)
    return RegionSums(dot, pred_sq, target_sq, weights.sum(-1), v_pred.shape[1])


def stack_masks(masks: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """Put named masks on the grid of a velocity and append the residual.

    Args:
        masks: name -> Float[B, H, W] or [H, W]; for a video grid (T, H, W) also [B, T, H, W], otherwise every
            frame gets the same mask. B may be 1.
        like: Float[B, C, *grid].

    Returns:
        Float[B, K + 1, *grid], the last channel being the residual, see `uncovered`.

    Raises:
        ValueError: a mask lies on another grid, or has the residual's name.
    """
    if RESIDUAL in masks:
        raise ValueError(f"a mask is named {RESIDUAL!r}, which stands for what no mask covers: rename it")
    batch, grid = like.shape[0], tuple(like.shape[2:])
    dtype = torch.promote_types(like.dtype, torch.float32)
    stacked = []
    for name, mask in masks.items():
        if tuple(mask.shape[-2:]) != grid[-2:]:
            raise ValueError(
                f"mask {name!r} is {list(mask.shape)} but the velocity has a grid of {list(grid)}: "
                "bring it there with downsample_mask_to_latent(mask, latent_size)"
            )
        mask = mask.to(like.device, dtype)
        if len(grid) == 3 and mask.ndim == 3:
            mask = mask.unsqueeze(1)
        try:
            stacked.append(mask.expand(batch, *grid))
        except RuntimeError:
            raise ValueError(
                f"mask {name!r} of shape {list(mask.shape)} does not fit a batch of {batch} "
                f"on the grid {list(grid)}"
            ) from None
    regions = (
        torch.stack(stacked, 1) if stacked else torch.zeros(batch, 0, *grid, device=like.device, dtype=dtype)
    )
    return torch.cat((regions, uncovered(regions)[:, None]), 1)


def uncovered(regions: Tensor) -> Tensor:
    """1 − min(1, Σ regions); exactly 0 in a sample that is covered everywhere to within `ROUNDING`.

    Without that, the crumbs of rounded masks would count as a region of their own with its full weight.

    Args:
        regions: Float[B, K, *grid] in 0..1.

    Returns:
        Float[B, *grid] in 0..1.
    """
    left = 1 - regions.sum(1).clamp(max=1)
    return left * (left.flatten(1).amax(1) > ROUNDING).view(-1, *[1] * (left.ndim - 1))


def check_weights(weights: Mapping[str, float], global_fallback: float) -> None:
    """Raise ValueError for a weight that is not a finite number >= 0."""
    for name, weight in {**weights, "global_fallback": global_fallback}.items():
        if not 0 <= weight < float("inf"):
            raise ValueError(f"weight of {name!r} is {weight}: weights are finite numbers of 0 or more")


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean over the batch of Σ_k w·value / Σ_k w; a sample whose weights are all 0 contributes 0.

    Args:
        values: Float[B, K].
        weights: Float[B, K], already 0 where a region is absent.
    """
    total = weights.sum(1)
    per_sample = (weights * values).sum(1) / torch.where(total > 0, total, 1.0)
    return per_sample.mean()


@overload
def semantic_cosine_loss(
    v_pred: Tensor,
    v_target: Tensor,
    masks: Mapping[str, Tensor],
    weights: Mapping[str, float],
    global_fallback: float = ...,
    *,
    magnitude_weight: float = ...,
    area_shrinkage: float = ...,
    return_regions: Literal[False] = ...,
) -> Tensor: ...
@overload
def semantic_cosine_loss(
    v_pred: Tensor,
    v_target: Tensor,
    masks: Mapping[str, Tensor],
    weights: Mapping[str, float],
    global_fallback: float = ...,
    *,
    magnitude_weight: float = ...,
    area_shrinkage: float = ...,
    return_regions: Literal[True],
) -> tuple[Tensor, dict[str, Tensor]]: ...
def semantic_cosine_loss(
    v_pred: Tensor,
    v_target: Tensor,
    masks: Mapping[str, Tensor],
    weights: Mapping[str, float],
    global_fallback: float = 0.0,
    *,
    magnitude_weight: float = 0.0,
    area_shrinkage: float = 0.0,
    return_regions: bool = False,
) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
    """Weighted mean over regions of (1 − cosine) between predicted and target velocity.

    For each sample the mean runs over the regions that are present in it: an absent region neither adds to
    the loss nor to the denominator. A sample in which no weighted region is present contributes 0.

    Args:
        v_pred: Float[B, C, H, W] or [B, C, T, H, W]; any floating dtype, summed in float32 (float64 stays).
        v_target: as `v_pred`.
        masks: region name -> Float[B, H, W] or [H, W] in 0..1 on the latent grid (see
            `downsample_mask_to_latent`). They may overlap and need not cover everything.
        weights: region name -> weight >= 0; a mask without a weight counts as 0, a weight without a mask as
            absent.
        global_fallback: weight of the residual, 1 − min(1, Σ masks), a region like the others.
        magnitude_weight: adds this many times the region's mean squared error, because the cosine alone
            leaves the length of the velocity free (0.5·v and 2·v both have cosine loss 0).
        area_shrinkage: A0 in latent cells; a region of area A gets weight w·A / (A + A0). The cosine over a
            few cells is mostly noise.
        return_regions: also return region name -> Float[B], the unweighted value per sample, NaN where
            absent.

    Returns:
        A scalar, differentiable in `v_pred`; with `return_regions` a pair of it and the dict.

    Raises:
        ValueError: shapes that do not fit, or a negative or non-finite weight.

    Example:
        >>> v = torch.randn(2, 16, 32, 32)
        >>> face = torch.zeros(2, 32, 32); face[:, 8:16, 8:16] = 1
        >>> float(semantic_cosine_loss(v, v, {"face": face}, {"face": 1.0})) < 1e-6
        True
    """
    if v_pred.shape != v_target.shape:
        raise ValueError(f"v_pred is {list(v_pred.shape)} but v_target {list(v_target.shape)}")
    if v_pred.ndim not in (4, 5):
        raise ValueError(f"v_pred must be [B, C, H, W] or [B, C, T, H, W], got shape {list(v_pred.shape)}")
    check_weights(weights, global_fallback)
    check_weights({"magnitude_weight": magnitude_weight, "area_shrinkage": area_shrinkage}, 0.0)
    sums = region_sums(v_pred, v_target, stack_masks(masks, v_pred))
    values = sums.cosine_loss()
    if magnitude_weight:
        values = values + magnitude_weight * sums.squared_error()
    wanted = [float(weights.get(name, 0.0)) for name in masks] + [float(global_fallback)]
    effective = effective_weights(sums, wanted, area_shrinkage)
    loss = weighted_mean(values, effective)
    if not return_regions:
        return loss
    values = torch.where(sums.present(), values, float("nan"))
    return loss, dict(zip((*masks, RESIDUAL), values.unbind(1), strict=True))


def effective_weights(sums: RegionSums, wanted: list[float], area_shrinkage: float) -> Tensor:
    """Float[B, K]: the wanted weights, 0 where a region is absent, shrunk by w·A / (A + A0) for small
    areas.
    """
    weights = sums.area.new_tensor(wanted) * sums.present()
    return weights * sums.area / (sums.area + area_shrinkage) if area_shrinkage else weights
