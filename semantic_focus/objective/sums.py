"""Weighted sums over named regions: one pass over prediction and target serves every region.

    D = Σ m·p·t     P = Σ m·p²     T = Σ m·t²        cos = D / sqrt(P·T)     Σ m·(p − t)² = P − 2D + T

Channels are summed first, which leaves three numbers per cell; the regions are then one small matrix product
with the masks. Nothing of the size of K velocities is ever made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..autocast import without_autocast

RESIDUAL = "residual"
"""Name of the region that no mask covers: 1 − min(1, Σ masks)."""

ROUNDING = 0.02
"""Cover that rounding alone may leave open: six masks of 8 bits lose up to 6 · 1/510 = 0.012."""

MIN_NORM_RATIO = 1e-4
"""A prediction shorter than this share of the target's length is treated as that long, so that the gradient
of the cosine (which grows as 1/length) stays bounded.
"""

BLOCK_ELEMENTS = 2**19
"""Elements that the CPU multiplies at once: 2 MB in float32 stay in its cache, and bound the extra memory.
Smaller blocks give two threads too little to share.
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
        return 1 - _cosine(self.dot, self.pred, self.target, self.present())

    def squared_error(self) -> Tensor:
        """Float[B, K]: mean squared error over the region's elements; 0 where a region is absent."""
        error = (self.pred - 2 * self.dot + self.target).clamp_min(0)
        return error / torch.where(self.present(), self.area * self.channels, 1.0)

    def present(self) -> Tensor:
        """Bool[B, K]: the region covers something in this sample, and the target is not zero there."""
        return (self.area > 0) & (self.target > 0)


def _cosine(dot: Tensor, pred: Tensor, target: Tensor, defined: Tensor) -> Tensor:
    target = torch.where(defined, target, 1.0)
    length_ratio = (pred / target).clamp_min(MIN_NORM_RATIO**2).sqrt()
    return dot / (target * length_ratio)


@dataclass(frozen=True)
class CellProducts:
    """Products of prediction and target summed over channels, each Float[B, N] for N latent cells; float32,
    or float64 if the velocities are. Differentiable in both velocities.
    """

    stacked: Tensor
    channels: int

    @classmethod
    def of(cls, v_pred: Tensor, v_target: Tensor) -> "CellProducts":
        """The products of two velocities Float[B, C, *grid]; half precision is multiplied in float32."""
        return cls(_ChannelProducts.apply(v_pred.flatten(2), v_target.flatten(2)), v_pred.shape[1])

    def region_sums(self, masks: Tensor) -> RegionSums:
        """The sums over regions Float[B, K, *grid] in 0..1."""
        weights = masks.to(self.stacked).flatten(2)
        dot, pred, target = _MaskProduct.apply(self.stacked, weights).unbind(1)
        return RegionSums(dot, pred, target, weights.sum(-1), self.channels)

    def cosine_loss(self, masks: Tensor) -> Tensor:
        """Float[B, K]: the mean over a region's cells, weighted by its mask, of 1 − cosine over the channels.

        A cell whose target is zero counts as orthogonal; 0 where a region is absent.
        """
        dot, pred, target = self.stacked.unbind(1)
        losses = 1 - _cosine(dot, pred, target, target > 0)
        weights = masks.to(self.stacked).flatten(2)
        total = _MaskProduct.apply(losses.unsqueeze(1), weights).squeeze(1)
        area = weights.sum(-1)
        return total / torch.where(area > 0, area, 1.0)

    def squared_error(self) -> Tensor:
        """Float[B, N]: mean squared error over the channels of each cell."""
        dot, pred, target = self.stacked.unbind(1)
        return (pred - 2 * dot + target).clamp_min(0) / self.channels


class _MaskProduct(torch.autograd.Function):
    """Float[B, R, N], Float[B, K, N] -> Float[B, R, K]: a matrix product that autocast lowers neither forward
    nor, where plain autograd would let it, backward.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(values, weights)
        with without_autocast(values.device):
            return torch.bmm(values, weights.mT)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        values, weights = ctx.saved_tensors
        with without_autocast(values.device):
            to_values = torch.bmm(grads[0], weights) if ctx.needs_input_grad[0] else None
            to_weights = torch.bmm(grads[0].mT, values) if ctx.needs_input_grad[1] else None
        return to_values, to_weights


class _ChannelProducts(torch.autograd.Function):
    """Float[B, C, N] twice -> Float[B, 3, N]: Σ_c p·t, Σ_c p², Σ_c t².

    Plain autograd would keep and re-read three tensors of the size of the velocity; the gradient is
    g_dot·t + 2·g_pred·p, written in one go. It is made of differentiable operations, so it can be
    differentiated again.
    """

    @staticmethod
    def forward(ctx: Any, pred: Tensor, target: Tensor) -> Tensor:
        ctx.save_for_backward(pred, target)
        batch, channels, cells = pred.shape
        dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
        products = pred.new_empty(batch, 3, cells, dtype=dtype)
        elements = BLOCK_ELEMENTS if pred.device.type == "cpu" else pred.numel()
        samples = max(1, elements // max(1, channels * cells))
        width = max(1, min(cells, elements // max(1, channels)))
        for first in range(0, batch, samples):
            for start in range(0, cells, width):
                block = slice(first, first + samples), slice(None), slice(start, start + width)
                p, t = pred[block].to(dtype), target[block].to(dtype)
                for row, (left, right) in enumerate(((p, t), (p, p), (t, t))):
                    products[block[0], row, block[2]] = (left * right).sum(1)
        return products

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        pred, target = ctx.saved_tensors
        by_dot, by_pred, by_target = grads[0].split(1, dim=1)
        to_pred = to_target = None
        if ctx.needs_input_grad[0]:
            to_pred = (by_dot * target).addcmul_(by_pred, pred, value=2).to(pred.dtype)
        if ctx.needs_input_grad[1]:
            to_target = (by_dot * pred).addcmul_(by_target, target, value=2).to(target.dtype)
        return to_pred, to_target


def region_sums(v_pred: Tensor, v_target: Tensor, masks: Tensor) -> RegionSums:
    """The sums of one prediction over K regions.

    Args:
        v_pred: Float[B, C, *grid]; half precision is summed in float32.
        v_target: as `v_pred`.
        masks: Float[B, K, *grid] in 0..1.
    """
    return CellProducts.of(v_pred, v_target).region_sums(masks.to(v_pred.device))


def stack_masks(masks: Mapping[str, Tensor], like: Tensor, residual: bool = True) -> Tensor:
    """Put named masks on the grid of a velocity and append the residual.

    Args:
        masks: name -> Float[B, H, W] or [H, W]; for a video grid (T, H, W) also [B, T, H, W], otherwise every
            frame gets the same mask. B may be 1.
        like: Float[B, C, *grid].
        residual: False leaves the residual out.

    Returns:
        Float[B, K + 1, *grid], the last channel being the residual, see `uncovered`.

    Raises:
        ValueError: a mask lies on another grid, or has the residual's name.
    """
    if RESIDUAL in masks:
        raise ValueError(f"a mask is named {RESIDUAL!r}, which stands for what no mask covers: rename it")
    batch, grid = like.shape[0], tuple(like.shape[2:])
    dtype = torch.promote_types(like.dtype, torch.float32)
    regions = like.new_empty(batch, len(masks) + residual, *grid, dtype=dtype)
    for index, (name, mask) in enumerate(masks.items()):
        if tuple(mask.shape[-2:]) != grid[-2:]:
            raise ValueError(
                f"mask {name!r} is {list(mask.shape)} but the velocity has a grid of {list(grid)}: "
                "bring it there with downsample_mask_to_latent(mask, latent_size)"
            )
        framed = mask.unsqueeze(1) if len(grid) == 3 and mask.ndim == 3 else mask
        if framed.ndim > len(grid) + 1 or any(
            have not in (1, want)
            for have, want in zip(reversed(framed.shape), reversed((batch, *grid)), strict=False)
        ):
            raise ValueError(
                f"mask {name!r} of shape {list(mask.shape)} does not fit a batch of {batch} "
                f"on the grid {list(grid)}"
            )
        regions[:, index] = framed
    if residual:
        regions[:, -1] = uncovered(regions[:, :-1])
    return regions


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
