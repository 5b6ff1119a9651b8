"""Which noise levels the steps train at."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

TimestepKind = Literal["uniform", "logit_normal", "shifted", "acrf", "anchors"]

ACRF_ANCHORS = (1.0, 0.96, 0.913, 0.858, 0.79, 0.707, 0.602, 0.465, 0.278, 0.009)
"""Noise positions of anchor-constrained rectified flow: ten, shift 3."""

LOWEST, HIGHEST = 0.001, 0.999
"""No position is nearer to clean or to pure noise than this."""


@dataclass(frozen=True)
class TimestepSampling:
    """Distribution of the noise position u in (0, 1); 0 is clean, 1 is pure noise.

    For flow models u is sigma itself, for discrete models the share of the schedule.

    Attributes:
        kind: "uniform"; "logit_normal", sigmoid(mean + std·N(0, 1)) as in Stable Diffusion 3 (Esser et al.
            2024, section 3.1); "shifted", uniform moved towards noise by s·u / (1 + (s − 1)·u) (ibid.,
            section 5.3.2); "acrf", near one of `ACRF_ANCHORS`; "anchors", near one of `anchors`.
        mean, std: of the logit-normal.
        shift: s of the shifted kind.
        anchors: positions of the kind "anchors", such as those a model is sampled at.
        jitter: standard deviation around an anchor.
        low, high: only positions between them are trained. A distribution is cut there and fills the range
            as densely as before in proportion; anchors outside are left out.
    """

    kind: TimestepKind = "logit_normal"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 3.0
    anchors: tuple[float, ...] = ()
    jitter: float = 0.02
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self):
        if self.kind not in get_args(TimestepKind):
            *others, last = get_args(TimestepKind)
            raise ValueError(f"timestep sampling {self.kind!r}: choose {', '.join(others)} or {last}")
        for name in ("std", "shift"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: it must be a finite number above 0")
        if not 0 <= self.jitter < float("inf"):
            raise ValueError(f"jitter is {self.jitter}: it must be a finite number of 0 or more")
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"positions from {self.low} to {self.high}: it must be 0 <= low < high <= 1")
        if self.kind in ("acrf", "anchors"):
            if self.kind == "anchors" and not self.anchors:
                raise ValueError('kind "anchors" needs anchors: positions in 0..1 to train at')
            if not self._anchors_within_limits():
                raise ValueError(
                    f"no anchor lies between {self.low} and {self.high}: widen the limits "
                    f"(anchors: {', '.join(f'{u:g}' for u in self._all_anchors())})"
                )
        elif not self._share_below(self.high) - self._share_below(self.low) > 1e-6:
            raise ValueError(
                f"{self.kind} has practically no position between {self.low} and {self.high}: widen the "
                "limits, or move the distribution"
            )

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Float[count] in [0.001, 0.999] and within the limits, in random order.

        Stratified: one draw in each of `count` slices of equal probability, or every anchor equally often
        (of fewer draws than anchors, every anchor at most once). Draw all positions of one optimizer step
        at once, also those of its accumulated batches.
        """
        if self.kind in ("acrf", "anchors"):
            u = self._near_anchors(count, generator)
        else:
            slices = torch.randperm(count, generator=generator)
            share = (slices + torch.rand(count, generator=generator)) / count
            low, high = self._share_below(self.low), self._share_below(self.high)
            u = self._position_at(low + share * (high - low))
        return u.clamp(max(LOWEST, self.low), min(HIGHEST, self.high))

    def _position_at(self, share: Tensor) -> Tensor:
        """The position below which this share of the distribution lies."""
        if self.kind == "logit_normal":
            return torch.sigmoid(self.mean + self.std * torch.special.ndtri(share.double())).float()
        if self.kind == "shifted":
            return self.shift * share / (1 + (self.shift - 1) * share)
        return share

    def _share_below(self, position: float) -> float:
        """The inverse of `_position_at`, for one number."""
        if self.kind == "logit_normal":
            logit = torch.logit(torch.tensor(position, dtype=torch.float64))
            return torch.special.ndtr((logit - self.mean) / self.std).item()
        if self.kind == "shifted":
            return position / (self.shift - (self.shift - 1) * position)
        return position

    def _all_anchors(self) -> tuple[float, ...]:
        return ACRF_ANCHORS if self.kind == "acrf" else self.anchors

    def _anchors_within_limits(self) -> list[float]:
        return [u for u in self._all_anchors() if self.low <= u <= self.high]

    def _near_anchors(self, count: int, generator: torch.Generator) -> Tensor:
        anchors = torch.tensor(self._anchors_within_limits())
        rounds = -(-count // len(anchors))
        order = torch.cat([torch.randperm(len(anchors), generator=generator) for _ in range(rounds)])
        chosen = anchors[order[:count]][torch.randperm(count, generator=generator)]
        return chosen + self.jitter * torch.randn(count, generator=generator)
