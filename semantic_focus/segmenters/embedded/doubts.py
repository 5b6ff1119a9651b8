"""Where the embedded segmenter is probably wrong.

It is asked again in other ways: about the mirrored picture, without the inner activations, and by them
alone. Where its answers differ, or are half-hearted, it is unsure; `benchmarks/fit_doubts.py` fitted on drawn
pictures how likely a region is wrong then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from ...regions.doubts import Doubt
from .again import seen_mirrored
from .classifier import DEEP, EVERYTHING, PARTS, PLACE, Fitted
from .networks import Networks
from .persons import Person

FITTED = Path(__file__).with_name("doubts.safetensors")
MOST_ASKED = 4
"""Persons of a picture that are asked about again, the largest; it takes half as long as the first time."""
SIDE = 256
"""Places are looked for at this longer side."""
LEAST, POSSIBLE = 0.001, 0.017
"""A region of less than this share of the picture is not doubted, unless other answers have so much of it."""
BACKGROUND = "background"

WAYS = {"mirrored": EVERYTHING, "placed": (PLACE,), "deep": DEEP}
"""How it is asked again: about the mirrored picture, by all sources or by some of them."""

NAMES = ("mirrored", "placed", "deep", "certain", "soft", "edge", "share", "size", "face", "persons")
"""What a doubt is made of, for each region; see `Evidence.numbers`."""


@dataclass
class Evidence:
    """What the answers about one picture add up to, per part.

    `shape` is the picture's; `strength` the sum of a part where it is above one half, `area` the pixels
    there, `soft` those where it is half-hearted; `edge` and `whole` the same of everybody; `face` the best
    face's score. `differing` Float[4, 5, h, w], at SIDE: how much of a part may be another part, or
    background, and where. `both` and `either` are the common and the joint area of two answers, by the way
    of asking.
    """

    shape: tuple[int, int]
    strength: np.ndarray
    area: np.ndarray
    soft: np.ndarray
    edge: float
    whole: float
    face: float
    persons: int
    differing: np.ndarray
    both: dict[str, np.ndarray] = field(default_factory=dict)
    either: dict[str, np.ndarray] = field(default_factory=dict)

    def compare(self, way: str, one: np.ndarray, other: np.ndarray) -> None:
        """Add two answers Float[4, h, w] about the same pixels."""
        low, high = np.minimum(one, other).sum((1, 2)), np.maximum(one, other).sum((1, 2))
        self.both[way] = self.both.get(way, 0) + low
        self.either[way] = self.either.get(way, 0) + high

    def numbers(self) -> np.ndarray:
        """Float[4, N], see NAMES: agreements 0..1, mean strength inside, share of it that is half-hearted,
        that of the persons' border, share of the person and of the picture, the best face, how many persons.
        """
        agreed = [
            self.both.get(way, np.zeros(len(PARTS))) / np.maximum(self.either.get(way, 0), 1e-6)
            for way in WAYS
        ]
        every = np.ones(len(PARTS))
        return np.stack(
            [
                *agreed,
                self.strength / np.maximum(self.area, 1),
                np.minimum(self.soft / np.maximum(self.area, 1), 3),
                self.edge / max(self.whole, 1) * every,
                np.sqrt(self.area / max(self.whole, 1)),
                np.sqrt(self.area / (self.shape[0] * self.shape[1])),
                self.face * every,
                min(self.persons, 5) * every,
            ],
            axis=1,
        )


def evidence_of(
    networks: Networks,
    picture: np.ndarray,
    persons: Sequence[Person],
    found: Mapping[str, np.ndarray],
    fitted: Fitted | None = None,
) -> Evidence:
    """Ask again about the persons of a UInt8[H, W, 3] picture.

    Args:
        found: Float[H, W] of each part, the first answer.
        fitted: networks of our own to use instead of those in the file.
    """
    scale = min(1.0, SIDE / max(picture.shape[:2]))
    small = (max(1, round(picture.shape[0] * scale)), max(1, round(picture.shape[1] * scale)))
    answer = np.stack([found[name] for name in PARTS])
    result = _first(answer, persons, small)
    persons = sorted(persons, key=lambda person: -float(person.mask.sum()))[:MOST_ASKED]
    for person in persons:
        # who lies is looked at in a turned picture, as `upright.find_parts_upright` does
        seen = np.ascontiguousarray(np.rot90(picture, person.quarters))
        who, said = person.turned(person.quarters), np.rot90(answer, person.quarters, (1, 2))
        # of a person whose face is not seen, no place in relation to it is known
        using = [
            EVERYTHING if sources == (PLACE,) and who.face is None else sources for sources in WAYS.values()
        ]
        window, again = seen_mirrored(networks, seen, who, using, fitted)
        size = again.shape[:-3:-1]
        mask, first = _shrunk(who.mask[window][None], size), _shrunk(said[:, window[0], window[1]], size)
        for way, other in zip(WAYS, again[:, : len(PARTS)] * mask, strict=True):
            result.compare(way, first, other)
        place = np.rot90(result.differing, person.quarters, (2, 3))
        _add_differing(place, first, again[:, : len(PARTS)].mean(0) * mask, window, scale)
    return result


def _first(answer: np.ndarray, persons: Sequence[Person], small: tuple[int, int]) -> Evidence:
    """What the first answer Float[4, H, W] says of itself."""
    hard, height, width = answer > 0.5, *answer.shape[1:]
    differing = np.zeros((len(PARTS), len(PARTS) + 1, *small), np.float32)
    everybody = answer.sum(0)
    # where persons end: that may be wrong too
    differing[:, -1] = _shrunk(answer * np.minimum(everybody, 1 - everybody).clip(0), small[::-1])
    faces = [person.face.score for person in persons if person.face is not None]
    return Evidence(
        (height, width),
        strength=(answer * hard).sum((1, 2)),
        area=hard.sum((1, 2)).astype(np.float64),
        soft=((answer > 0.15) & (answer < 0.85)).sum((1, 2)).astype(np.float64),
        edge=float(((everybody > 0.15) & (everybody < 0.85)).sum()),
        whole=float((everybody > 0.5).sum()),
        face=max(faces, default=0.0),
        persons=len(persons),
        differing=differing,
    )


def _shrunk(layers: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """Float[K, h, w] of Float[K, H, W], `size` being (w, h)."""
    import cv2

    return np.stack([cv2.resize(layer, tuple(size), interpolation=cv2.INTER_AREA) for layer in layers])


def _add_differing(
    into: np.ndarray, one: np.ndarray, other: np.ndarray, window: tuple[slice, slice], scale: float
) -> None:
    """Where a part was said and another is possible, both ways round."""
    rows = slice(int(window[0].start * scale), min(round(window[0].stop * scale), into.shape[2]))
    columns = slice(int(window[1].start * scale), min(round(window[1].stop * scale), into.shape[3]))
    place = into[:, :, rows, columns]
    if not place.size:
        return
    first, second = (_shrunk(answer, place.shape[:1:-1]) for answer in (one, other))
    for a in range(len(PARTS)):
        for b in range(len(PARTS)):
            if a != b:
                gained = np.minimum(first[a], second[b])
                place[a, b] = np.maximum(place[a, b], gained)
                place[b, a] = np.maximum(place[b, a], gained)


@cache
def fitted_weights() -> Mapping[str, torch.Tensor]:
    """`mean` and `scale` Float[N], `weight` Float[4, N] and `bias` Float[4], by part."""
    return load_file(FITTED)


def scores(numbers: np.ndarray, fitted: Mapping[str, torch.Tensor] | None = None) -> np.ndarray:
    """Float[4] in 0..1 of Float[4, N]: how likely each part is wrong; from one half on it is flagged."""
    fitted = fitted_weights() if fitted is None else fitted
    scaled = (torch.from_numpy(numbers).float() - fitted["mean"]) / fitted["scale"]
    return torch.sigmoid((scaled * fitted["weight"]).sum(1) + fitted["bias"]).numpy()


def doubts_about(found: Evidence) -> list[Doubt]:
    """What is doubted of a picture, the gravest first."""
    possible = found.differing[:, : len(PARTS)].sum((1, 2, 3)) / found.differing[0, 0].size
    there = found.area / (found.shape[0] * found.shape[1])
    chances = scores(found.numbers())
    result = [
        _placed(PARTS[index], float(chances[index]), found.differing[index])
        for index in range(len(PARTS))
        if there[index] >= LEAST or possible[index] >= POSSIBLE
    ]
    return sorted(result, key=lambda doubt: -doubt.score)


def _placed(part: str, score: float, differing: np.ndarray) -> Doubt:
    """Where a part may be another: the middle of the worst place, and what all of it lies in."""
    import cv2

    names = (*PARTS, BACKGROUND)
    other = int(differing.sum((1, 2)).argmax())
    layer = cv2.blur(differing[other], (9, 9), borderType=cv2.BORDER_CONSTANT)
    height, width = layer.shape
    y, x = np.unravel_index(int(layer.argmax()), layer.shape)
    rows, columns = np.nonzero(layer >= max(0.5 * float(layer.max()), 1e-6))
    box = (0.0, 0.0, 1.0, 1.0)
    if len(rows):
        box = (
            float(columns.min() / width),
            float(rows.min() / height),
            float((columns.max() + 1) / width),
            float((rows.max() + 1) / height),
        )
    at = (float((x + 0.5) / width), float((y + 0.5) / height))
    return Doubt(part, names[other] if len(rows) else "", score, at, box)
