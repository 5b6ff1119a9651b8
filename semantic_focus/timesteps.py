"""Which noise levels the steps train at."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

TimestepKind = Literal["uniform", "logit_normal", "shifted"]


@dataclass(frozen=True)
class TimestepSampling:
    """Distribution of the noise position u in (0, 1); 0 is clean, 1 is pure noise.

    For flow models u is sigma itself, for discrete models the share of the schedule.

    Attributes:
        kind: "uniform"; "logit_normal", sigmoid(mean + std·N(0, 1)) as in Stable Diffusion 3 (Esser et al.
            2024, section 3.1); "shifted", uniform moved towards noise by s·u / (1 + (s − 1)·u) (ibid.,
            section 5.3.2).
        mean, std: of the logit-normal.
        shift: s of the shifted kind.
    """

    kind: TimestepKind = "logit_normal"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 3.0

    def __post_init__(self):
        if self.kind not in ("uniform", "logit_normal", "shifted"):
            raise ValueError(f"timestep sampling {self.kind!r}: choose uniform, logit_normal or shifted")
        for name in ("std", "shift"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}: it must be a finite number above 0")

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Float[count] in [0.001, 0.999], stratified: one draw in each of `count` equal slices, in random
        order.
        """
        slices = torch.randperm(count, generator=generator)
        u = (slices + torch.rand(count, generator=generator)) / count
        if self.kind == "logit_normal":
            u = torch.sigmoid(self.mean + self.std * torch.special.ndtri(u.double())).float()
        elif self.kind == "shifted":
            u = self.shift * u / (1 + (self.shift - 1) * u)
        return u.clamp(0.001, 0.999)
