"""What the noise level of a sample does to its weights: windows per region, and min-SNR."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["flow", "eps", "v"]
"""What a model predicts: ε − x0 of a rectified flow, the noise, or v of a variance-preserving model."""

NUMBER = r"\d*\.?\d+(?:e-?\d+)?"
WINDOW_LINE = re.compile(rf"({NUMBER})\s*\.\.\s*({NUMBER})(?:\s+ramp\s+({NUMBER}))?")


@dataclass(frozen=True)
class SigmaWindow:
    """The noise positions at which a region is trained.

    The weight is 1 from `low` to `high` and falls linearly to 0 over a width of `ramp` outside, in noise
    positions of 0 (clean) to 1 (noise).
    """

    low: float = 0.0
    high: float = 1.0
    ramp: float = 0.0

    def __post_init__(self):
        if not 0 <= self.low < self.high <= 1:
            raise ValueError(f"window {self.low} .. {self.high}: it must be 0 <= low < high <= 1")
        if not 0 <= self.ramp <= 1:
            raise ValueError(f"ramp is {self.ramp}: it must be within 0 .. 1")

    def weight_at(self, position: Tensor) -> Tensor:
        """Float[B] in 0..1 for noise positions Float[B]."""
        outside = torch.maximum(self.low - position, position - self.high).clamp_min(0)
        return (1 - outside / self.ramp).clamp_min(0) if self.ramp else (outside == 0).to(position.dtype)


@dataclass(frozen=True)
class NoiseLevel:
    """How noisy each sample of a batch is.

    Attributes:
        position: Float[B] in (0, 1), 0 clean; σ itself for a rectified flow.
        snr: Float[B], signal-to-noise ratio ᾱ / (1 − ᾱ); None: ((1 − σ) / σ)², that of a rectified flow.
        prediction: what the velocities given to the objective are.
    """

    position: Tensor
    snr: Tensor | None = None
    prediction: Prediction = "flow"

    def __post_init__(self):
        if self.prediction not in ("flow", "eps", "v"):
            raise ValueError(f"prediction is {self.prediction!r}: choose flow, eps or v")
        if self.snr is None and self.prediction != "flow":
            raise ValueError(f"the prediction {self.prediction!r} needs snr, Float[B]: alpha² / sigma²")

    def check(self, batch: int) -> None:
        """Raise ValueError unless there is one level per sample."""
        for name, value in (("noise position", self.position), ("snr", self.snr)):
            if value is not None and value.shape != (batch,):
                raise ValueError(
                    f"{name} has shape {list(value.shape)}: it must be [{batch}], one per sample"
                )

    def min_snr_weight(self, gamma: float) -> Tensor:
        """Float[B]: the weight of the squared error of the prediction under min-SNR-γ (Hang et al. 2023,
        "Efficient Diffusion Training via Min-SNR Weighting Strategy", arXiv:2303.09556).

        There the squared error of x0 weighs min(SNR, γ). The error of x0 is σ times that of a flow's
        velocity, 1 / √SNR times that of ε, and 1 / √(SNR + 1) times that of v, which leaves

            flow  σ²·min(SNR, γ) = min((1 − σ)², γ·σ²)      eps  min(SNR, γ) / SNR
            v     min(SNR, γ) / (SNR + 1)
        """
        if self.snr is None:
            return torch.minimum((1 - self.position).square(), gamma * self.position.square())
        clipped = self.snr.clamp(max=gamma)
        if self.prediction == "eps":
            return clipped / self.snr.clamp_min(torch.finfo(self.snr.dtype).tiny)
        if self.prediction == "v":
            return clipped / (self.snr + 1)
        return clipped / (1 + self.snr.sqrt()).square()


def window_of(values: Sequence[float], name: str) -> SigmaWindow:
    """A window from [low, high] or [low, high, ramp].

    Raises:
        ValueError: other lengths, or limits that make no window; `name` is in the message.
    """
    if len(values) not in (2, 3):
        raise ValueError(f"window of {name!r} is {list(values)}: write [low, high] or [low, high, ramp]")
    try:
        return SigmaWindow(*map(float, values))
    except ValueError as error:
        raise ValueError(f"window of {name!r}: {error}") from None


def parse_windows(text: str) -> dict[str, SigmaWindow]:
    """Region -> window from lines like ``face: 0 .. 0.6`` or ``face: 0 .. 0.6 ramp 0.1``.

    Raises:
        ValueError: a line of another form, a region twice, or limits that make no window.
    """
    windows: dict[str, SigmaWindow] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = (part.strip() for part in line.replace("：", ":").partition(":"))
        match = WINDOW_LINE.fullmatch(value)
        if not (name and colon and match):
            raise ValueError(f"windows, line {number}: {line.strip()!r} is not of the form 'face: 0 .. 0.6'")
        if name in windows:
            raise ValueError(f"windows, line {number}: {name!r} is there twice: keep one of them")
        windows[name] = window_of([float(part) for part in match.groups() if part], name)
    return windows


def format_windows(windows: Mapping[str, SigmaWindow]) -> str:
    """The lines that `parse_windows` reads."""
    return "\n".join(
        f"{name}: {window.low:g} .. {window.high:g}" + (f" ramp {window.ramp:g}" if window.ramp else "")
        for name, window in windows.items()
    )
