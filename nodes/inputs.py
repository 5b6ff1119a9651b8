"""Inputs that many nodes have."""

from collections.abc import Callable
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..semantic_focus.comfy.preview import PreviewSettings


def whole(name: str, default: int, limits: tuple[int, int], tooltip: str) -> io.Int.Input:
    """A whole number within limits."""
    low, high = limits
    return io.Int.Input(name, default=default, min=low, max=high, tooltip=tooltip)


def number(
    name: str, default: float, limits: tuple[float, float], step: float, tooltip: str
) -> io.Float.Input:
    """A number within limits, which arrows move by `step`."""
    low, high = limits
    return io.Float.Input(name, default=default, min=low, max=high, step=step, tooltip=tooltip)


def share(name: str, default: float, tooltip: str) -> io.Float.Input:
    """A number below 1."""
    return io.Float.Input(
        name, default=default, min=0.0, max=0.9999, step=0.0001, round=0.0001, tooltip=tooltip
    )


def sampling_inputs() -> tuple[io.Input, ...]:
    """How pictures are sampled, as in ComfyUI's KSampler: the fields of `PreviewSettings`."""
    settings = PreviewSettings()
    return (
        io.Int.Input("steps", default=settings.steps, min=1, max=200),
        io.Float.Input("cfg", default=settings.cfg, min=0.0, max=30.0, step=0.1),
        io.Int.Input("seed", default=settings.seed, min=0, max=0xFFFFFFFFFFFFFFFF),
        io.Combo.Input("sampler", options=comfy.samplers.SAMPLER_NAMES, default=settings.sampler),
        io.Combo.Input("scheduler", options=list(comfy.samplers.SCHEDULER_NAMES), default=settings.scheduler),
    )


def mask_file() -> io.String.Input:
    """The path of a mask file."""
    return io.String.Input("mask_file", tooltip="Usually the mask_files output of Load Semantic Dataset.")


class Parsed(io.String.Input):
    """A text of a certain form; `parse` raises ValueError for any other, see `values.with_checked_inputs`."""

    def __init__(self, name: str, parse: Callable[[str], object], **options: Any):
        super().__init__(name, **options)
        self.parse = parse
