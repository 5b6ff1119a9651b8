"""Velocities and masks on a small grid, and the region cosine loss as a slow oracle in plain Python."""

import math

import torch
from torch import Tensor

from semantic_focus.objective.sums import RESIDUAL

GRID = (3, 4)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def soft(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def row(index: int, batch: int = 1) -> Tensor:
    """A mask of 1 in one row of GRID."""
    mask = torch.zeros(batch, *GRID)
    mask[:, index] = 1
    return mask


def picture(*vectors: tuple[float, ...]) -> Tensor:
    """Float[1, C, 1, n] whose n cells hold these channel vectors."""
    return torch.tensor(vectors).T[None, :, None]


def cells(*values: float) -> Tensor:
    """A mask Float[1, 1, n]."""
    return torch.tensor([[list(values)]])


def oracle_regions(pred: Tensor, target: Tensor, masks: dict[str, Tensor], magnitude: float = 0.0):
    """Per sample: name -> (value, area), number by number in Python floats; absent regions are left out."""
    batch, channels, height, width = pred.shape
    result = []
    for b in range(batch):
        planes = {name: mask[b].tolist() for name, mask in masks.items()}
        planes[RESIDUAL] = [
            [1 - min(1.0, sum(mask[b, y, x].item() for mask in masks.values())) for x in range(width)]
            for y in range(height)
        ]
        values = {}
        for name, plane in planes.items():
            dot = pred_sq = target_sq = error = area = 0.0
            for y in range(height):
                for x in range(width):
                    area += plane[y][x]
                    for c in range(channels):
                        p, t = pred[b, c, y, x].item(), target[b, c, y, x].item()
                        dot += plane[y][x] * p * t
                        pred_sq += plane[y][x] * p * p
                        target_sq += plane[y][x] * t * t
                        error += plane[y][x] * (p - t) ** 2
            if area > 0:
                cosine = dot / math.sqrt(pred_sq * target_sq)
                values[name] = (1 - cosine + magnitude * error / (area * channels), area)
        result.append(values)
    return result


def oracle(
    pred: Tensor,
    target: Tensor,
    masks: dict[str, Tensor],
    weights: dict[str, float],
    fallback: float = 0.0,
    magnitude: float = 0.0,
    shrinkage: float = 0.0,
) -> float:
    losses = []
    for regions in oracle_regions(pred, target, masks, magnitude):
        above = below = 0.0
        for name, (value, area) in regions.items():
            weight = fallback if name == RESIDUAL else weights.get(name, 0.0)
            weight *= area / (area + shrinkage)
            above += weight * value
            below += weight
        losses.append(above / below if below else 0.0)
    return sum(losses) / len(losses)
