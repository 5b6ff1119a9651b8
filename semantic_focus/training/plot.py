"""Training curves as a picture."""

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..files.command_lines import to_install
from ..objective.sums import RESIDUAL
from ..objective.total import GLOBAL
from ..regions.overlay import region_colour

NEUTRAL = {RESIDUAL: (150, 150, 150), GLOBAL: (90, 90, 90)}
THEMES = {"light": ((255, 255, 255), (20, 20, 20)), "dark": ((32, 32, 36), (225, 225, 225))}
"""Name -> colours of the paper, and of the ink: the total loss, axes and words."""


def smoothed(values: Sequence[float], smoothing: float) -> list[float]:
    """Exponential running mean, corrected for its start; NaN leaves it unchanged (NaN until the first
    number).

    Args:
        smoothing: 0 (none) to below 1, the share that the past keeps at each step.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}: it must be 0 or more and below 1")
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        if not math.isnan(value):
            mean = smoothing * mean + (1 - smoothing) * value
            weight = smoothing * weight + (1 - smoothing)
        result.append(mean / weight if weight else math.nan)
    return result


def loss_plot(
    loss_map: Mapping[str, Any],
    smoothing: float = 0.9,
    width: int = 960,
    height: int = 540,
    theme: str = "light",
) -> Tensor:
    """Float[H, W, 3] in 0..1: total loss in the colour of the ink, each region in its own, dots for single
    steps.

    Args:
        loss_map: "loss" with one number per step, and optionally "regions", name -> one number per step, and
            "validation", "step" and "regions" of what is held out, which is dashed.
        theme: a name of `THEMES`.

    Raises:
        ValueError: no step in it.
        ModuleNotFoundError: matplotlib is not installed.
    """
    total = [float(value) for value in loss_map["loss"]]
    if not total:
        raise ValueError("the loss map has no step in it: connect the loss_map of a training that ran")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the loss plot needs the package matplotlib:{to_install('matplotlib')}"
        ) from error
    paper, ink = (f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in THEMES[theme])
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, layout="constrained", facecolor=paper)
    axes = figure.add_subplot(facecolor=paper)
    axes.tick_params(colors=ink)
    axes.spines[:].set_color(ink)
    steps = range(1, len(total) + 1)
    curves = {"total": (total, THEMES[theme][1])}
    for name, values in loss_map.get("regions", {}).items():
        if not all(math.isnan(value) for value in values):
            curves[name] = (values, NEUTRAL.get(name) or region_colour(name))
    for name, (values, colour) in curves.items():
        rgb = tuple(channel / 255 for channel in colour)
        axes.plot(steps, values, ".", color=rgb, markersize=2, alpha=0.25)
        axes.plot(
            steps, smoothed(values, smoothing), color=rgb, linewidth=2 if name == "total" else 1.6, label=name
        )
    held_out = loss_map.get("validation", {"step": [], "regions": {}})
    for name, values in held_out["regions"].items():
        colour = [channel / 255 for channel in NEUTRAL.get(name) or region_colour(name)]
        axes.plot(held_out["step"], values, "--", color=colour, linewidth=1.4, label=f"{name}, held out")
    axes.set(xlim=(1, max(2, len(total))))
    axes.set_xlabel("step", color=ink)
    axes.set_ylabel("loss (unweighted for single regions)", color=ink)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper right", fontsize="small", ncols=2, facecolor=paper, labelcolor=ink)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    pixels = np.asarray(Image.open(buffer, formats=["PNG"]).convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels)
