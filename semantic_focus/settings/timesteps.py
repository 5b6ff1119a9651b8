"""The noise levels of a config.toml: [timesteps], or [acrf] of the origin trainer."""

import math
from dataclasses import replace
from typing import get_args

from ..objective.timesteps import ACRF_ANCHORS, TimestepKind, TimestepSampling
from .toml import Setting, Tables, given, number, numbers, one_of, whole

TIMESTEPS = {
    "kind": Setting(one_of(get_args(TimestepKind)), ("timesteps.kind",)),
    "mean": Setting(number(-math.inf), ("timesteps.mean",)),
    "std": Setting(number(above=True), ("timesteps.std",)),
    "shift": Setting(number(above=True), ("timesteps.shift",)),
    "anchors": Setting(numbers, ("timesteps.anchors",)),
    "jitter": Setting(number(), ("timesteps.jitter",)),
    "low": Setting(number(), ("timesteps.low",)),
    "high": Setting(number(), ("timesteps.high",)),
}
ACRF = {
    "kind": Setting(one_of(("acrf",)), ("acrf.kind",)),
    "turbo_steps": Setting(whole(1), ("acrf.turbo_steps",)),
    "shift": Setting(number(above=True), ("acrf.shift",)),
    "jitter": Setting(number(), ("acrf.jitter_scale",)),
}


def timesteps_of(file: Tables) -> TimestepSampling | None:
    """Which noise levels a config.toml has trained; None: the file does not say.

    Raises:
        ConfigError: values that do not fit each other, or both sections.
    """
    own, origin = given(file, TIMESTEPS), given(file, ACRF)
    if own and origin:
        raise file.error("acrf", "", "and [timesteps] say the same: keep one of them")
    if not own and not origin:
        return None
    section = "acrf" if origin else "timesteps"
    try:
        return _acrf(**origin) if origin else TimestepSampling(**own)
    except ValueError as error:
        raise file.error(section, "", f"cannot be used: {error}") from error


def _acrf(
    kind: str = "acrf", turbo_steps: int = len(ACRF_ANCHORS), shift: float = 3.0, jitter: float | None = None
) -> TimestepSampling:
    sampling = TimestepSampling("anchors", anchors=acrf_anchors(turbo_steps, shift))
    if tuple(round(anchor, 3) for anchor in sampling.anchors) == ACRF_ANCHORS:
        sampling = TimestepSampling("acrf")
    return sampling if jitter is None else replace(sampling, jitter=jitter)


def acrf_anchors(count: int, shift: float) -> tuple[float, ...]:
    """The noise positions at which the origin trainer's scheduler samples in `count` steps.

    Evenly spaced from 1 down to s(1/1000) and then shifted, with s(u) = shift·u / (1 + (shift − 1)·u): the
    lowest is shifted twice, as in diffusers' FlowMatchEulerDiscreteScheduler.
    """

    def shifted(u: float) -> float:
        return shift * u / (1 + (shift - 1) * u)

    lowest = shifted(1 / 1000)
    if count == 1:
        return (1.0,)
    return tuple(shifted(1 + (lowest - 1) * step / (count - 1)) for step in range(count))
