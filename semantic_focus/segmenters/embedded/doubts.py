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
from .classifier import DEEP, EVERYTHING, PARTS, PLACE, Fitted
from .detect import Face, Pose
from .networks import Networks
from .parts import Look, looks_at, parts_of, window_of
from .persons import Person

FITTED = Path(__file__).with_name("doubts.safetensors")
MOST_ASKED = 4
"""Persons of a picture that are asked about again, the largest; it takes as long as the first time."""
SIDE = 256
"""Places are looked for at this longer side."""
LEAST = 0.0005
"""A region of less than this share of the picture is not doubted, unless another answer has more of it."""
BACKGROUND = "background"

NAMES = ("mirrored", "placed", "deep", "certain", "soft", "edge", "share", "size", "face", "persons")
"""What a doubt is made of, for each region; see `Evidence.numbers`."""


@dataclass
class Evidence:
    """What the answers about one picture add up to; sums over its persons, per part.

    `both` and `either` are the common and the joint area of two answers, by the way of asking.
    """

    shape: tuple[int, int]
    both: dict[str, np.ndarray] = field(default_factory=dict)
    either: dict[str, np.ndarray] = field(default_factory=dict)
    strength: np.ndarray = field(default_factory=lambda: np.zeros(len(PARTS)))
    area: np.ndarray = field(default_factory=lambda: np.zeros(len(PARTS)))
    soft: np.ndarray = field(default_factory=lambda: np.zeros(len(PARTS)))
    edge: float = 0.0
    whole: float = 0.0
    face: float = 0.0
    persons: int = 0
    differing: np.ndarray | None = None
    """Float[4, 5, h, w] at SIDE: how much of a part may be another part, or background, and where."""

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
            for way in ("mirrored", "placed", "deep")
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
    looks: Sequence[Sequence[Look]],
    fitted: Fitted | None = None,
) -> Evidence:
    """Ask again about every person of a UInt8[H, W, 3] picture.

    Args:
        looks: what the first answers were made of, by person.
        fitted: networks of our own to use instead of those in the file.
    """
    import cv2

    scale = min(1.0, SIDE / max(picture.shape[:2]))
    small = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    found = Evidence(picture.shape[:2], persons=len(persons))
    found.differing = np.zeros((len(PARTS), len(PARTS) + 1, small[1], small[0]), np.float32)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    sizes = [float(person.mask.sum()) for person in persons]
    asked = sorted(range(len(persons)), key=lambda index: -sizes[index])[:MOST_ASKED]
    for index, person in enumerate(persons):
        window = window_of(person)
        shares = parts_of(person, looks[index], fitted)
        _add_first(found, person, shares, window)
        if index not in asked:
            continue
        again = mirror(person, picture.shape[1])
        other = parts_of(again, looks_at(networks, mirrored, again), fitted)[:, :, ::-1]
        found.compare("mirrored", shares, other)
        view = looks[index][0]
        everything, placed, deep = view.probabilities((EVERYTHING, (PLACE,), DEEP), fitted)
        for way, answer in (("placed", placed), ("deep", deep)):
            found.compare(way, everything * view.view.mask, answer * view.view.mask)
        size = (window[1].stop - window[1].start, window[0].stop - window[0].start)
        mean = np.stack([cv2.resize(layer, size) for layer in (placed + deep) / 2]) * person.mask[window]
        _add_differing(found.differing, shares, (other + mean) / 2, person.mask[window], window, scale)
    return found


def _add_first(found: Evidence, person: Person, shares: np.ndarray, window: tuple[slice, slice]) -> None:
    hard = shares > 0.5
    found.area += hard.sum((1, 2))
    found.strength += (shares * hard).sum((1, 2))
    found.soft += ((shares > 0.15) & (shares < 0.85)).sum((1, 2))
    mask = person.mask[window]
    found.edge += float(((mask > 0.15) & (mask < 0.85)).sum())
    found.whole += float((mask > 0.5).sum())
    if person.face is not None:
        found.face = max(found.face, person.face.score)


def _add_differing(
    into: np.ndarray,
    one: np.ndarray,
    other: np.ndarray,
    mask: np.ndarray,
    window: tuple[slice, slice],
    scale: float,
) -> None:
    """Where a part was said and another is possible, both ways round; where the person ends, background."""
    import cv2

    rows = slice(int(window[0].start * scale), max(1, round(window[0].stop * scale)))
    columns = slice(int(window[1].start * scale), max(1, round(window[1].stop * scale)))
    place = into[:, :, rows, columns]
    size = (place.shape[3], place.shape[2])
    if min(size) < 1:
        return
    first, second = (
        np.stack([cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in answer])
        for answer in (one, other)
    )
    unsure = cv2.resize(np.minimum(mask, 1 - mask), size, interpolation=cv2.INTER_AREA)
    for a in range(len(PARTS)):
        for b in range(len(PARTS)):
            if a != b:
                gained = np.minimum(first[a], second[b])
                place[a, b] = np.maximum(place[a, b], gained)
                place[b, a] = np.maximum(place[b, a], gained)
        place[a, -1] = np.maximum(place[a, -1], unsure * first[a])


def mirror(person: Person, width: int) -> Person:
    """The person in the mirrored picture of `width` pixels."""

    def turned(points: np.ndarray) -> np.ndarray:
        return np.concatenate([width - points[..., :1], points[..., 1:]], axis=-1)

    face, pose = person.face, person.pose
    if face is not None:
        face = Face(face.score, turned(face.outline), turned(face.top), turned(face.chin))
    if pose is not None:
        mask = np.ascontiguousarray(pose.mask[:, ::-1])
        pose = Pose(pose.score, turned(pose.landmarks), pose.visibility, mask)
    return Person(np.ascontiguousarray(person.mask[:, ::-1]), face, pose)


@cache
def fitted_weights() -> Mapping[str, torch.Tensor]:
    """`mean` and `scale` Float[N], `weight` Float[4, N] and `bias` Float[4], by part."""
    return load_file(FITTED)


def scores(numbers: np.ndarray, fitted: Mapping[str, torch.Tensor] | None = None) -> np.ndarray:
    """Float[4] in 0..1 of Float[4, N]: how likely each part is wrong; from one half on it is flagged."""
    fitted = fitted_weights() if fitted is None else fitted
    scaled = (torch.from_numpy(numbers).float() - fitted["mean"]) / fitted["scale"]
    return torch.sigmoid((scaled * fitted["weight"]).sum(1) + fitted["bias"]).numpy()


def doubts(found: Evidence) -> list[Doubt]:
    """What is doubted of a picture, the gravest first."""
    assert found.differing is not None
    possible = found.differing.sum((1, 2, 3)) / found.differing[0, 0].size
    there = found.area / (found.shape[0] * found.shape[1])
    chances = scores(found.numbers())
    result = [
        _placed(PARTS[index], float(chances[index]), found.differing[index])
        for index in range(len(PARTS))
        if there[index] >= LEAST or possible[index] >= LEAST
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
