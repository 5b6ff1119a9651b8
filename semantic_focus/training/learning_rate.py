"""The learning rate over the steps: a function of the step alone, a resumed run needs no state."""

import math
from collections.abc import Callable, Mapping

RATE_SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "constant": lambda done: 1.0,
    "linear": lambda done: 1.0 - done,
}
"""Share of the peak rate at a share of the steps; cosine as in Loshchilov & Hutter 2017 (SGDR)."""


def rate_factor(schedule: str, step: int, steps: int, warmup: int) -> float:
    """Share of the peak rate at the 0-based `step` of `steps`, after `warmup` steps of linear rise.

    Beyond the last step the rate stays at its last value.
    """
    rise = min(1.0, (step + 1) / (warmup + 1))
    return rise * RATE_SCHEDULES[schedule](min(step, steps - 1) / steps)
