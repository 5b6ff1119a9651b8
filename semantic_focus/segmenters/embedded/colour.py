"""Colour statistics: smoothed histograms over CIE Lab that say how typical a colour is of a region."""

from dataclasses import dataclass

import numpy as np

BINS = 32
FLOOR = 0.03
"""Share of every model that is spread evenly over all colours: no colour is ever impossible."""


def bins(picture: np.ndarray) -> np.ndarray:
    """Int32[H, W]: Lab histogram cell of every pixel of a UInt8[H, W, 3] sRGB picture."""
    import cv2

    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    # chroma in photographs fills the middle half of its range: two steps there are worth one in lightness
    lightness = lab[..., 0] / 256 * BINS
    chroma = np.clip((lab[..., 1:] - 128) / 128 * BINS + BINS / 2, 0, BINS - 1)
    cells = np.concatenate([lightness[..., None], chroma], axis=-1).astype(np.int32)
    return (cells[..., 0] * BINS + cells[..., 1]) * BINS + cells[..., 2]


@dataclass(frozen=True)
class ColourModel:
    """Probability of each histogram cell, Float[BINS**3]."""

    table: np.ndarray

    @staticmethod
    def fit(codes: np.ndarray, weight: np.ndarray) -> "ColourModel":
        """Histogram of `codes` weighted by `weight`, smoothed by about one cell each way."""
        counts = np.bincount(codes.ravel(), weights=weight.ravel(), minlength=BINS**3).reshape(
            BINS, BINS, BINS
        )
        for axis in (0, 1, 2):
            for _ in range(2):
                counts = _smooth(counts, axis)
        total = counts.sum()
        uniform = np.full(BINS**3, 1 / BINS**3)
        return ColourModel(uniform if total <= 0 else (1 - FLOOR) * counts.ravel() / total + FLOOR * uniform)

    def mixed(self, other: "ColourModel", share: float) -> "ColourModel":
        """This model with `share` of another."""
        return ColourModel((1 - share) * self.table + share * other.table)

    def density(self, codes: np.ndarray) -> np.ndarray:
        """Float[H, W]: probability of every pixel's colour."""
        return self.table.astype(np.float32)[codes]


def skin_tone(codes: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Float[BINS**3] in 0..1: likeness to the weighted colours, strict in chroma, lax in lightness."""
    cells = np.stack(np.unravel_index(np.arange(BINS**3), (BINS,) * 3), axis=-1) + 0.5
    counts = np.bincount(codes.ravel(), weights=weight.ravel(), minlength=BINS**3)
    total = max(counts.sum(), 1e-9)
    mean = counts @ cells / total
    spread = np.sqrt(counts @ (cells - mean) ** 2 / total) + (4.0, 0.8, 0.8)
    return np.exp(-0.5 * (((cells - mean) / spread) ** 2).sum(-1)).astype(np.float32)


def skin_like(codes: np.ndarray, weight: np.ndarray) -> ColourModel:
    """Skin tone as a colour model: this skin under any plausible light."""
    table = skin_tone(codes, weight)
    return ColourModel((1 - FLOOR) * table / table.sum() + FLOOR / BINS**3)


def _smooth(counts: np.ndarray, axis: int) -> np.ndarray:
    """Half of each cell and a quarter of both its neighbours along an axis; the last is its own neighbour."""
    along = np.moveaxis(counts, axis, 0)
    quarter = 0.25 * along
    result = 0.5 * along
    result[1:] += quarter[:-1]
    result[:-1] += quarter[1:]
    result[0] += quarter[0]
    result[-1] += quarter[-1]
    return np.moveaxis(result, 0, axis)
