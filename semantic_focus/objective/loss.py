"""The region cosine loss on the velocity, as one pure function."""

from collections.abc import Mapping, Sequence
from typing import Literal, get_args, overload

import torch
from torch import Tensor

from .sums import RESIDUAL, CellProducts, RegionSums, stack_masks

Weight = float | Tensor
"""A number for all samples, or Float[B] with one for each."""

CosineKind = Literal["region", "pixel"]
"""One cosine over all elements of a region, or the mean of one cosine per latent cell."""

Normalisation = Literal["present", "fixed"]
"""Divide by the weights of the regions that a sample has, or by those of all regions that are wanted."""


def check_weights(weights: Mapping[str, Weight], global_fallback: Weight = 0.0) -> None:
    """Raise ValueError for a weight that is not a finite number >= 0."""
    for name, weight in {**weights, "global_fallback": global_fallback}.items():
        if isinstance(weight, Tensor):
            good = bool(((weight >= 0) & weight.isfinite()).all())
        else:
            good = 0 <= weight < float("inf")
        if not good:
            raise ValueError(f"weight of {name!r} is {weight}: weights are finite numbers of 0 or more")


def check_choice(name: str, value: str, kind: object) -> None:
    """Raise ValueError unless `value` is one of the strings of the Literal `kind`."""
    if value not in get_args(kind):
        raise ValueError(f"{name} is {value!r}: choose {' or '.join(get_args(kind))}")


def weight_table(weights: Sequence[Weight], like: Tensor) -> Tensor:
    """K weights as Float[1, K], or Float[B, K] when one of them is a weight per sample.

    Args:
        like: Float[B, K'], whose batch, dtype and device they take.

    Raises:
        ValueError: a weight per sample that has not B of them.
    """
    if not any(isinstance(weight, Tensor) for weight in weights):
        return like.new_tensor([weights])
    columns = []
    for weight in weights:
        column = torch.as_tensor(weight, dtype=like.dtype, device=like.device)
        if column.shape not in ((), (len(like),)):
            raise ValueError(
                f"a weight per sample has shape {list(column.shape)}, but the batch has {len(like)} samples"
            )
        columns.append(column.expand(len(like)))
    return torch.stack(columns, 1)


def effective_weights(
    sums: RegionSums, wanted: Tensor | Sequence[Weight], area_shrinkage: float = 0.0
) -> Tensor:
    """Float[B, K]: the wanted weights, 0 where a region is absent, shrunk by w·A / (A + A0) for small
    areas.
    """
    table = wanted if isinstance(wanted, Tensor) else weight_table(wanted, sums.area)
    weights = table * sums.present()
    return weights * (sums.area / (sums.area + area_shrinkage)) if area_shrinkage else weights


def per_sample_mean(values: Tensor, weights: Tensor, divisor: Tensor | None = None) -> Tensor:
    """Float[B]: Σ_k w·value / Σ_k w of each sample; 0 where the weights are all 0.

    Args:
        values: Float[B, K].
        weights: Float[B, K], already 0 where a region is absent.
        divisor: Float[B] or [1] to divide by instead of Σ_k w.
    """
    total = weights.sum(1) if divisor is None else divisor
    return (weights * values).sum(1) / torch.where(total > 0, total, 1.0)


@overload
def semantic_cosine_loss(
    v_pred: Tensor,
    v_target: Tensor,
    masks: Mapping[str, Tensor],
    weights: Mapping[str, Weight],
    global_fallback: Weight = ...,
    *,
    magnitude_weight: float = ...,
    area_shrinkage: float = ...,
    cosine: CosineKind = ...,
    normalise: Normalisation = ...,
    return_regions: Literal[False] = ...,
) -> Tensor: ...
@overload
def semantic_cosine_loss(
    v_pred: Tensor,
    v_target: Tensor,
    masks: Mapping[str, Tensor],
    weights: Mapping[str, Weight],
    global_fallback: Weight = ...,
    *,
    magnitude_weight: float = ...,
    area_shrinkage: float = ...,
    cosine: CosineKind = ...,
    normalise: Normalisation = ...,
    return_regions: Literal[True],
) -> tuple[Tensor, dict[str, Tensor]]: ...
def semantic_cosine_loss(
    v_pred: Tensor,
    v_target: Tensor,
    masks: Mapping[str, Tensor],
    weights: Mapping[str, Weight],
    global_fallback: Weight = 0.0,
    *,
    magnitude_weight: float = 0.0,
    area_shrinkage: float = 0.0,
    cosine: CosineKind = "region",
    normalise: Normalisation = "present",
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
        weights: region name -> weight >= 0, a number or Float[B] with one per sample; a mask without a weight
            counts as 0, a weight without a mask as absent.
        global_fallback: weight of the residual, 1 − min(1, Σ masks), a region like the others.
        magnitude_weight: adds this many times the region's mean squared error, because the cosine alone
            leaves the length of the velocity free (0.5·v and 2·v both have cosine loss 0).
        area_shrinkage: A0 in latent cells; a region of area A gets weight w·A / (A + A0). The cosine over a
            few cells is mostly noise.
        cosine: "region" takes one cosine over all elements of a region, so that long vectors count more;
            "pixel" the mean, weighted by the mask, of one cosine over the channels per latent cell.
        normalise: "present" as said above; "fixed" divides by the sum of all weights, also of absent regions
            and before shrinkage, so that a sample with few regions counts less.
        return_regions: also return region name -> Float[B], the unweighted value per sample, NaN where
            absent.

    Returns:
        A scalar, differentiable in velocities and masks, also twice; with `return_regions` a pair of it and
        the dict.

    Raises:
        ValueError: shapes that do not fit, a negative or non-finite weight, or an unknown choice.

    Example:
        >>> v = torch.randn(2, 16, 32, 32)
        >>> face = torch.zeros(2, 32, 32); face[:, 8:16, 8:16] = 1
        >>> float(semantic_cosine_loss(v, v, {"face": face}, {"face": 1.0})) < 1e-6
        True
    """
    check_velocities(v_pred, v_target)
    check_weights(weights, global_fallback)
    check_weights({"magnitude_weight": magnitude_weight, "area_shrinkage": area_shrinkage})
    check_choice("cosine", cosine, CosineKind)
    check_choice("normalise", normalise, Normalisation)
    residual = return_regions or isinstance(global_fallback, Tensor) or global_fallback > 0
    names = (*masks, RESIDUAL) if residual else tuple(masks)
    products = CellProducts.of(v_pred, v_target)
    regions = stack_masks(masks, v_pred, residual)
    sums = products.region_sums(regions)
    values = sums.cosine_loss() if cosine == "region" else products.cosine_loss(regions)
    if magnitude_weight:
        values = values + magnitude_weight * sums.squared_error()
    every = {**dict.fromkeys(masks, 0.0), **weights, RESIDUAL: global_fallback}
    effective = effective_weights(sums, [every[name] for name in names], area_shrinkage)
    divisor = weight_table([*every.values()], sums.area).sum(1) if normalise == "fixed" else None
    loss = per_sample_mean(values, effective, divisor).mean()
    if not return_regions:
        return loss
    values = torch.where(sums.present(), values, float("nan"))
    return loss, dict(zip(names, values.unbind(1), strict=True))


def check_velocities(v_pred: Tensor, v_target: Tensor) -> None:
    """Raise ValueError unless both are Float[B, C, H, W] or both Float[B, C, T, H, W]."""
    if v_pred.shape != v_target.shape:
        raise ValueError(f"v_pred is {list(v_pred.shape)} but v_target {list(v_target.shape)}")
    if v_pred.ndim not in (4, 5):
        raise ValueError(f"v_pred must be [B, C, H, W] or [B, C, T, H, W], got shape {list(v_pred.shape)}")
