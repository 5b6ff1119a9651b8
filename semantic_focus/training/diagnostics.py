"""What a training really looks at: errors by noise level, and a dry run that shows what the masks do."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..objective.sums import RESIDUAL, stack_masks
from ..objective.total import Objective
from .data import TrainingPictures, VelocityModel
from .step_record import StepRecord
from .step_report import divided

SIGMA_BINS = 5


@dataclass(frozen=True)
class SigmaBin:
    """One region's mean over the samples of a training whose noise position lies in [low, high).

    `cosine` is 1 − cosine, `error` the mean squared error; both differ so much between noise levels that
    only bins of one level can be compared.
    """

    region: str
    low: float
    high: float
    samples: int
    cosine: float
    error: float


def sigma_bins(history: Iterable[StepRecord], bins: int = SIGMA_BINS) -> list[SigmaBin]:
    """Every region's losses by noise position, in equal bins of 0..1 that hold a sample."""
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for record in history:
        for sample in record.samples:
            place = min(int(sample.position * bins), bins - 1)
            for region, cosine in sample.cosine.items():
                found.setdefault((region, place), []).append((cosine, sample.error[region]))
    regions = list(dict.fromkeys(region for region, _ in found))
    return [
        SigmaBin(region, place / bins, (place + 1) / bins, len(pairs), *_means(pairs))
        for region in regions
        for place in range(bins)
        if (pairs := found.get((region, place)))
    ]


def _means(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    cosines, errors = zip(*pairs, strict=True)
    return sum(cosines) / len(cosines), sum(errors) / len(errors)


@dataclass(frozen=True)
class DryRunRow:
    """One region before the first step.

    Attributes:
        region: its name.
        weight: from the objective.
        pictures: how many pictures have it.
        coverage: mean share of the latent cells, over all pictures.
        gradient_share: share of the squared gradient on the velocity that lies in it, mean over pictures;
            where regions overlap, it is divided between them.
    """

    region: str
    weight: float
    pictures: int
    coverage: float
    gradient_share: float


@dataclass(frozen=True)
class DryRun:
    """What the first step would learn from.

    Attributes:
        rows: one per region, the residual last.
        leak: the largest gradient on a cell that no trained region covers, as a share of the largest of all;
            0 when the masks do what they should. NaN when there is no such cell.
        heat: one Float[*grid] per picture, length of the gradient in each cell, 1 at its largest.
    """

    rows: tuple[DryRunRow, ...]
    leak: float
    heat: tuple[Tensor, ...]


def dry_run(
    model: VelocityModel,
    data: TrainingPictures,
    objective: Objective,
    position: float = 0.5,
    seed: int = 0,
    check: Callable[[], None] = lambda: None,
) -> DryRun:
    """The gradient that each picture would send into the velocity at the first step, where the prediction is
    that of the base model; nothing is trained, and no pass goes backward through the model.

    Args:
        position: noise position of all pictures.
        check: called before each picture; what it raises ends the run.
    """
    generator = torch.Generator().manual_seed(seed)
    shares, areas, heat, leaks = [], [], [], []
    names = (*data.labels, RESIDUAL)
    for index in range(len(data.latents)):
        check()
        clean, masks = data.batch([index])
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        u = torch.tensor([position], device=clean.device)
        noisy, sigma, target = model.corrupt(clean, noise, u)
        with torch.no_grad():
            v_base = model.predict(noisy, sigma, [index])
        v_pred = v_base.clone().requires_grad_()
        value = objective(
            v_pred,
            target,
            masks,
            v_base if objective.needs_base_prediction else None,
            model.noise_level(u) if objective.needs_noise_position else None,
        )
        (gradient,) = torch.autograd.grad(value.total, v_pred)
        squared = gradient.float().square().sum(1)
        regions = stack_masks(masks, v_pred)
        shares.append((divided(regions) * squared[:, None])[0].flatten(1).sum(1) / _above_0(squared.sum()))
        areas.append(regions[0].flatten(1).mean(1))
        heat.append((squared / _above_0(squared.max())).sqrt()[0].cpu())
        leaks.append(_leak(squared[0], regions[0], names, objective))
    share, area = torch.stack(shares), torch.stack(areas)
    weights = {**objective.weights, RESIDUAL: objective.global_fallback}
    rows = tuple(
        DryRunRow(
            name,
            weights.get(name, 0.0) if objective.enabled else 1.0,
            int((area[:, k] > 0).sum()),
            float(area[:, k].mean()),
            float(share[:, k].mean()),
        )
        for k, name in enumerate(names)
    )
    known = [leak for leak in leaks if not math.isnan(leak)]
    return DryRun(rows, max(known) if known else math.nan, tuple(heat))


def _leak(squared: Tensor, regions: Tensor, names: Sequence[str], objective: Objective) -> float:
    if not objective.enabled:
        return math.nan
    weights = {**objective.weights, RESIDUAL: objective.global_fallback}
    trained = [k for k, name in enumerate(names) if weights.get(name, 0.0) > 0]
    outside = (regions[trained] > 0).sum(0) == 0
    if not outside.any():
        return math.nan
    return float((squared[outside].max() / _above_0(squared.max())).sqrt())


def _above_0(value: Tensor) -> Tensor:
    return value.clamp_min(torch.finfo(value.dtype).tiny)


def format_dry_run(found: DryRun) -> str:
    """The table as aligned text, and in one sentence whether the masks are used."""
    lines = [f"{'region':<12}{'weight':>8}{'pictures':>10}{'cover':>8}{'gradient':>10}"]
    for row in found.rows:
        lines.append(
            f"{row.region:<12}{row.weight:>8.2f}{row.pictures:>10}{row.coverage:>8.1%}{row.gradient_share:>10.1%}"
        )
    if math.isnan(found.leak):
        lines.append("Every cell is trained: no place is left out.")
    elif found.leak == 0:
        lines.append("The masks are used: no gradient outside the trained regions.")
    else:
        lines.append(
            f"Gradient outside the trained regions: {found.leak:.1%} of the largest inside "
            "(a base loss over the whole picture does that)."
        )
    return "\n".join(lines)


def format_sigma_bins(bins: Sequence[SigmaBin]) -> str:
    """Squared error by region and noise level, as aligned text."""
    edges = sorted({(item.low, item.high) for item in bins})
    lines = [f"{'error at':<12}" + "".join(f"{f'{low:g}-{high:g}':>10}" for low, high in edges)]
    for region in dict.fromkeys(item.region for item in bins):
        by_edge = {(item.low, item.high): item.error for item in bins if item.region == region}
        cells = (f"{by_edge[edge]:>10.3f}" if edge in by_edge else f"{'':>10}" for edge in edges)
        lines.append(f"{region:<12}" + "".join(cells))
    return "\n".join(lines)
