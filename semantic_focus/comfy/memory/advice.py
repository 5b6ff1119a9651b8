"""Which memory setting fits, and what to change where none does: each tried by the estimate first."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import torch

from ...training.memory import GIB, MemorySetting
from .estimate import Estimate, Estimator
from .step_plan import StepPlan

LADDER = (*(MemorySetting(percent / 100) for percent in range(0, 100, 5)), MemorySetting(1.0, inputs=True))
"""Settings, each of which takes less of the device than the one before."""
PIXELS = 8
"""Along a side of a latent's cell, in the families that are trained."""
MULTIPLE = 64
SMALLEST = 256
"""Side of pictures in pixels, below which nothing is advised."""
MOST_SETTINGS = 3
FP8_FILE = "the model as an fp8 file"


def choose(estimate_for: Callable[[MemorySetting], Estimate], free: int) -> Estimate | None:
    """The setting that leaves most on the device and fits; None: none does.

    First all on the device, then more and more of the blocks in RAM, at last their inputs there too.

    Args:
        estimate_for: of one and the same training.
        free: bytes of the device.
    """
    return next((found for found in map(estimate_for, LADDER) if found.fits(free)), None)


def free_for_training(device: torch.device) -> int:
    """Bytes of a device that are free, or held by models of ComfyUI that make room for a training."""
    management = comfy.model_management
    loaded = [it for it in management.current_loaded_models if it.device == device and it.model is not None]
    free: Any = management.get_free_memory(device)
    return int(free + sum(it.model_loaded_memory() for it in loaded))


@dataclass(frozen=True)
class Change:
    """What would make a training fit.

    Attributes:
        said: the setting, as a user finds it.
        estimate: with it.
    """

    said: str
    estimate: Estimate

    def __str__(self) -> str:
        return f"{self.said} ({self.estimate.peak_bytes / GIB:.1f} GiB)"


def advice(estimator: Estimator, plan: StepPlan, free: int) -> list[Change]:
    """Up to three settings, each of which makes a training fit alone; where none does, several together; an
    empty list where nothing helps.

    Args:
        plan: as it is now; an automatic memory setting may choose.
        free: bytes of the device.

    Raises:
        CannotBeCounted: the model cannot be estimated.
    """
    tried = _Trial(estimator, plan, free)
    alone = list(itertools.islice(tried.alone(), MOST_SETTINGS))
    return alone or list(itertools.islice(tried.together(), MOST_SETTINGS))


@dataclass(frozen=True)
class Verdict:
    """Whether a training fits.

    Attributes:
        estimate: with the memory setting that was chosen; where none fits, with the one that takes least.
        free: bytes of the device.
        changes: what would make it fit; empty where it does.
    """

    estimate: Estimate
    free: int
    changes: tuple[Change, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether it does."""
        return self.estimate.fits(self.free)

    def refusal(self, name: str) -> str:
        """That it does not fit, and what to do; see `refusal`."""
        return refusal(name, self.estimate, list(self.changes), self.free)


def judge(estimator: Estimator, plan: StepPlan, free: int) -> Verdict:
    """Whether a training fits as planned; an automatic memory setting is chosen.

    Raises:
        CannotBeCounted: the model cannot be estimated.
    """
    if plan.memory.swap is not None:
        found = estimator.estimate(plan)
    else:
        found = choose(lambda setting: estimator.estimate(replace(plan, memory=setting)), free)
        found = found or estimator.estimate(replace(plan, memory=LADDER[-1]))
    changes = () if found.fits(free) else tuple(advice(estimator, plan, free))
    return Verdict(found, free, changes)


def refusal(name: str, found: Estimate, changes: list[Change], free: int) -> str:
    """That a training does not fit, and what to do, in a sentence or two.

    Args:
        name: of the model.
        found: of the training as it was set.
        changes: of `advice`.
        free: bytes of the device.
    """
    said = f"{name} {found.said(free)}"
    if not changes:
        return f"{said}, and no setting makes it fit: take a smaller model, or a device with more memory"
    if len(changes) == 1:
        return f"{said}. It fits with {changes[0]}"
    return f"{said}. Each of these makes it fit: {'; '.join(map(str, changes))}"


class _Trial:
    """Changes of one plan that are tried."""

    def __init__(self, estimator: Estimator, plan: StepPlan, free: int):
        self._estimator, self._plan, self._free = estimator, plan, free
        self._is_automatic = plan.memory.swap is None

    def _fitting(self, plan: StepPlan, estimator: Estimator | None = None) -> Estimate | None:
        estimator = estimator or self._estimator
        if self._is_automatic:
            return choose(lambda setting: estimator.estimate(replace(plan, memory=setting)), self._free)
        found = estimator.estimate(plan)
        return found if found.fits(self._free) else None

    def alone(self) -> Iterator[Change]:
        """One setting after the other."""
        plan = self._plan
        if not self._is_automatic:
            chosen = choose(lambda s: self._estimator.estimate(replace(plan, memory=s)), self._free)
            if chosen is not None:
                yield Change(f"memory: {chosen.plan.memory.said()}", chosen)
        if not plan.gradient_checkpointing:
            yield from self._if_it_fits(
                "gradient checkpointing on", replace(plan, gradient_checkpointing=True)
            )
        if plan.batch > 1:
            yield from self._if_it_fits("batch 1", replace(plan, batch=1))
        if (narrow := self._estimator.in_fp8()) is not None:
            yield from self._if_it_fits(FP8_FILE, plan, narrow)
        yield from self._fewer_pixels(plan)
        if plan.adapter.rank > 4:
            rank = plan.adapter.rank // 2
            smaller = replace(plan, adapter=replace(plan.adapter, rank=rank))
            yield from self._if_it_fits(f"rank {rank}", smaller)

    def together(self) -> Iterator[Change]:
        """Everything that costs time only at once; then an fp8 file too, then with smaller pictures."""
        said: list[str] = []
        plan = replace(self._plan, memory=MemorySetting())
        if not plan.gradient_checkpointing:
            said, plan = [*said, "gradient checkpointing on"], replace(plan, gradient_checkpointing=True)
        if plan.batch > 1:
            said, plan = [*said, "batch 1"], replace(plan, batch=1)
        trial = _Trial(self._estimator, plan, self._free)
        if said:
            yield from trial._if_it_fits(" + ".join(said), plan)
        narrow = self._estimator.in_fp8()
        if narrow is not None:
            yield from trial._if_it_fits(" + ".join([*said, FP8_FILE]), plan, narrow)
        for change in trial._fewer_pixels(plan):
            yield Change(" + ".join([*said, change.said]), change.estimate)
        if narrow is not None:
            for change in trial._fewer_pixels(plan, narrow):
                yield Change(" + ".join([*said, FP8_FILE, change.said]), change.estimate)

    def _if_it_fits(self, said: str, plan: StepPlan, estimator: Estimator | None = None) -> Iterator[Change]:
        if found := self._fitting(plan, estimator):
            if self._is_automatic and found.plan.memory.swap:
                said = f"{said}, memory: {found.plan.memory.said()}"
            yield Change(said, found)

    def _fewer_pixels(self, plan: StepPlan, estimator: Estimator | None = None) -> Iterator[Change]:
        """Smaller pictures of the same shape, and of videos fewer frames."""
        channels, *frames, rows, columns = plan.latent
        if frames and frames[0] > 1:
            fewer = (frames[0] + 1) // 2
            said = f"{4 * (fewer - 1) + 1} frames"
            yield from self._if_it_fits(
                said, replace(plan, latent=(channels, fewer, rows, columns)), estimator
            )
        side = math.sqrt(rows * columns) * PIXELS
        below = range(math.ceil(side / MULTIPLE) * MULTIPLE - MULTIPLE, SMALLEST - 1, -MULTIPLE)
        sizes = list(below)
        low, high = 0, len(sizes)
        found: Change | None = None
        while low < high:  # smaller pictures never take more
            middle = (low + high) // 2
            share = sizes[middle] / side
            latent = (channels, *frames, _even(rows * share), _even(columns * share))
            change = next(
                self._if_it_fits(f"resolution {sizes[middle]}", replace(plan, latent=latent), estimator), None
            )
            found, low, high = (change, low, middle) if change else (found, middle + 1, high)
        if found is not None:
            yield found


def _even(cells: float) -> int:
    return max(2, 2 * round(cells / 2))
