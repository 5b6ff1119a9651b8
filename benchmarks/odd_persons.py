"""How persons in odd places are found: without a head, small, many, upside down, lying, cut by the border.

    python -m benchmarks.odd_persons [--only NAME ...] [--save FOLDER]

The pictures are composed of photographs of the segmentation benchmark, none of them held out, and what is
expected is their drawing, composed in the same way. A person counts as found when a person of the result
has an IoU of one half or more with the drawn one. Ends with 1 when a bar is missed.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from benchmarks.photographs import provide
from benchmarks.segmentation import IGNORED, REFERENCES, Reference, iou, predicted, read_reference
from semantic_focus.regions.doubts import doubts_of, in_sentences
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.overlay import overlay
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import LazySegmenter

FOUND = 0.5
"""IoU with the drawing from which a person is found."""
BARS = {"crowd": ("found", 22), "headless": ("clothing", 0.7)}
"""Of some pictures: what must reach how much."""


@dataclass(frozen=True)
class Scene:
    """A picture UInt8[H, W, 3] and what is drawn in it, of the same size."""

    picture: np.ndarray
    drawn: Reference

    @property
    def layers(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.picture, self.drawn.parts, self.drawn.persons

    def each(self, change: Callable[[np.ndarray], np.ndarray]) -> "Scene":
        """The scene with each of its layers changed in the same way."""
        picture, parts, persons = (np.ascontiguousarray(change(layer)) for layer in self.layers)
        return Scene(picture, Reference(parts, persons))

    def cut(self, left: float, top: float, right: float, bottom: float) -> "Scene":
        """A window of it, in shares of its sides."""
        height, width = self.picture.shape[:2]
        rows = slice(round(top * height), round(bottom * height))
        columns = slice(round(left * width), round(right * width))
        return self.each(lambda layer: layer[rows, columns])

    def turned(self, quarters: int) -> "Scene":
        """Turned against the clock by quarters of a circle."""
        return self.each(lambda layer: np.rot90(layer, quarters))

    def leaning(self, degrees: float) -> "Scene":
        """Turned against the clock around its middle; what comes in from outside is grey."""
        height, width = self.picture.shape[:2]
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)

        def turned(layer: np.ndarray) -> np.ndarray:
            way, fill = (cv2.INTER_AREA, (127,) * 3) if layer.ndim == 3 else (cv2.INTER_NEAREST, 0)
            return cv2.warpAffine(layer, turn, (width, height), flags=way, borderValue=fill)

        return self.each(turned)

    def resized(self, height: int, width: int) -> "Scene":
        def resized(layer: np.ndarray) -> np.ndarray:
            way = cv2.INTER_NEAREST if layer.ndim == 2 else cv2.INTER_AREA
            return cv2.resize(layer, (width, height), interpolation=way)

        return self.each(resized)

    def high(self, height: int) -> "Scene":
        """At this height, its aspect kept."""
        return self.resized(height, max(1, round(self.picture.shape[1] * height / self.picture.shape[0])))

    def repainted(self, paint: Callable[[np.ndarray], np.ndarray]) -> "Scene":
        return Scene(paint(self.picture), self.drawn)

    def person(self, number: int) -> "Scene":
        """One person of it, cut out: what is not that person is IGNORED in `parts`."""
        inside = self.drawn.persons == number
        rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
        box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        parts = np.where(inside, self.drawn.parts, IGNORED)
        return Scene(self.picture[box], Reference(parts[box], inside[box].astype(np.uint8)))


@cache
def photograph(name: str) -> Scene:
    picture = np.asarray(Image.open(provide()[name]).convert("RGB"))
    return Scene(picture, read_reference(REFERENCES / f"{name}.json"))


def meadow(height: int, width: int) -> Scene:
    """Grass and sky without anybody: the left edge of a photograph, enlarged."""
    scene = photograph("object_detection_input").cut(0, 0, 0.2, 1).resized(height, width)
    return Scene(
        scene.picture, Reference(np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8))
    )


def put(people: Iterable[tuple[Scene, int, int]], ground: Scene) -> Scene:
    """Persons that were cut out put over a scene, each with the (x, y) of its left upper corner."""
    picture, parts, persons = (layer.copy() for layer in ground.layers)
    for person, left, top in people:
        height, width = person.picture.shape[:2]
        rows, columns = slice(max(0, top), top + height), slice(max(0, left), left + width)
        window = slice(rows.start - top, None), slice(columns.start - left, None)
        shape = picture[rows, columns].shape[:2]
        cut = [layer[window][: shape[0], : shape[1]] for layer in person.layers]
        inside = cut[2] > 0
        soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 0.8)[..., None]
        picture[rows, columns] = np.round(soft * cut[0] + (1 - soft) * picture[rows, columns])
        parts[rows, columns][inside] = cut[1][inside]
        persons[rows, columns][inside] = persons.max() + 1
    return Scene(picture, Reference(parts, persons))


CAST = (
    [("bus", 2), ("bus", 3), ("object_detection_input", 1), ("obama3", 1)]
    + [("zidane", 1), ("zidane", 2), ("gender_detection_input", 1), ("gender_detection_input", 2)]
    + [("face_detection_input", number) for number in range(1, 6)]
    + [("multi_face", number) for number in range(1, 6)]
    + [("astronaut", 1), ("single_face", 1), ("audrey", 1), ("franck_02045", 1)]
    + [("sample1", 1), ("sample1", 3)]
)  # fmt: skip
"""Photographs and numbers of the persons in them."""


def cast(photograph_name: str, number: int, height: int) -> Scene:
    """One of the cast, cut out, this high."""
    return photograph(photograph_name).person(number).high(height)


def crowd(height: int = 2048, width: int = 3072, tall: int = 400) -> Scene:
    """24 persons in four rows on a meadow."""
    across, down = width // 6, height // 4
    people = []
    for place, (name, number) in enumerate(CAST):
        person = cast(name, number, tall)
        if person.picture.shape[1] > 0.95 * across:
            person = person.high(round(tall * 0.95 * across / person.picture.shape[1]))
        left = (place % 6) * across + (across - person.picture.shape[1]) // 2
        people.append((person, left, (place // 6 + 1) * down - person.picture.shape[0] - 8))
    return put(people, meadow(height, width))


def beside(scenes: Sequence[Scene], axis: int) -> Scene:
    """Scenes beside (1) or below (0) each other; their persons are numbered on."""
    persons, so_far = [], 0
    for scene in scenes:
        layer = scene.drawn.persons.astype(int)
        persons.append(np.where(layer > 0, layer + so_far, 0).astype(np.uint8))
        so_far += int(layer.max())
    pictures, parts = (np.concatenate([s.layers[n] for s in scenes], axis) for n in (0, 1))
    return Scene(pictures, Reference(parts, np.concatenate(persons, axis)))


def strip(name: str, number: int, face: int, share: float = 1 / 8) -> Scene:
    """A tall picture of 1:8 with one of the cast half way down, the face about this many pixels high."""
    person = photograph(name).person(number)
    rows = np.flatnonzero((person.drawn.parts == 1).any(1))
    person = person.high(round(person.picture.shape[0] * face / np.ptp(rows)))
    width = 512
    ground = meadow(round(width / share), width)
    left = (width - person.picture.shape[1]) // 2
    return put([(person, left, round(0.45 * ground.picture.shape[0]))], ground)


def sketch(picture: np.ndarray) -> np.ndarray:
    """As drawn with a pencil."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    soft = cv2.GaussianBlur(255 - grey, (0, 0), 0.012 * max(grey.shape))
    lines = cv2.divide(grey, 255 - np.minimum(soft, 254), scale=256)
    return np.repeat(lines[..., None], 3, -1)


def dim(picture: np.ndarray) -> np.ndarray:
    """In weak blue light, with noise."""
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.clip(picture * (0.10, 0.13, 0.22) + noise, 0, 255).astype(np.uint8)


SCENES: dict[str, Callable[[], Scene]] = {
    "headless": lambda: photograph("obama3").cut(0.05, 0.19, 0.85, 1),
    "headless, near": lambda: photograph("single_face").cut(0, 0.68, 1, 1),
    "headless, two": lambda: photograph("gender_detection_input").cut(0, 0.47, 1, 1),
    "headless, suit": lambda: photograph("astronaut").cut(0, 0.36, 1, 1),
    "from behind": lambda: photograph("object_detection_input").cut(0.2, 0.1, 0.6, 1),
    "crowd": crowd,
    "crowd, smaller": lambda: crowd(tall=240),
    "strip": lambda: strip("obama3", 1, 70),
    "strip, lying": lambda: strip("zidane", 2, 70).turned(1),
    "upside down": lambda: photograph("astronaut").turned(2),
    "upside down, two": lambda: photograph("zidane").turned(2),
    "lying": lambda: photograph("obama3").cut(0.05, 0, 0.85, 1).turned(1),
    "lying, near": lambda: photograph("single_face").turned(3),
    "leaning": lambda: photograph("franck_02045").leaning(50),
    "half a face": lambda: photograph("franck_02045").cut(0, 0, 0.5, 1),
    "chin only": lambda: photograph("audrey").cut(0, 0.42, 1, 1),
    "big in front": lambda: put(
        [
            (cast("bus", 3, 330), 60, 380),
            (cast("bus", 2, 330), 260, 390),
            (cast("franck_02045", 1, 1000), 380, 60),
        ],
        meadow(1060, 1500),
    ),
    "mirror": lambda: beside(
        [s := photograph("obama3").cut(0.05, 0, 0.85, 1).high(1024), s.each(lambda layer: layer[:, ::-1])], 1
    ),
    "drawing": lambda: photograph("gender_detection_input").repainted(sketch),
    "dim": lambda: photograph("face_detection_input").repainted(dim),
    "far away": lambda: put([(cast("obama3", 1, 170), 2000, 1100)], meadow(1536, 2304)),
}


def matched(masks: SemanticMasks, drawn: Reference) -> int:
    """How many of the drawn persons are found, each by another person of the result."""
    found = []
    for person in masks.persons[0]:
        layer = (person.float().numpy() > 0.5).astype(np.uint8)
        found.append(cv2.resize(layer, drawn.parts.shape[::-1], interpolation=cv2.INTER_NEAREST) > 0)
    free, hits = list(found), 0
    for number in sorted(set(np.unique(drawn.persons)) - {0}):
        truth = drawn.persons == number
        values = [iou(layer, truth, drawn.counted) for layer in free]
        if values and max(values) >= FOUND:
            free.pop(int(np.argmax(values)))
            hits += 1
    return hits


def measure(segmenter: LazySegmenter, scene: Scene) -> tuple[dict[str, float], SemanticMasks]:
    """found, expected, persons, IoU of person and clothing, seconds."""
    image = torch.from_numpy(scene.picture.copy())[None].float() / 255
    begun = time.perf_counter()
    masks = segmenter.get().segment(image, SegmentRequest())
    seconds = time.perf_counter() - begun
    regions = predicted(masks)
    at_full = tuple(scene.drawn.parts.shape)
    result: dict[str, float] = {"found": matched(masks, scene.drawn), "persons": len(masks.persons[0])}
    result["expected"] = len(set(np.unique(scene.drawn.persons)) - {0})
    for name in ("person", "clothing"):
        layer = cv2.resize(regions[name].astype(np.uint8), at_full[::-1], interpolation=cv2.INTER_NEAREST) > 0
        result[name] = iou(layer, scene.drawn.region(name), scene.drawn.counted)
    return {**result, "seconds": seconds}, masks


def main() -> int:
    parser = argparse.ArgumentParser(description="Persons in odd places.")
    parser.add_argument("--only", nargs="*", default=None, metavar="NAME")
    parser.add_argument("--save", type=Path, default=None, help="folder for overlays")
    options = parser.parse_args()
    segmenter = LazySegmenter("mediapipe")
    segmenter.get().segment(torch.zeros(1, 64, 64, 3), SegmentRequest())
    print(f"{'picture':<20} {'size':>11} {'found':>9} {'too many':>9} {'person':>7} {'clothing':>9} {'s':>6}")
    rows, missed = [], []
    for name, make in SCENES.items():
        if options.only is not None and name not in options.only:
            continue
        scene = make()
        row, masks = measure(segmenter, scene)
        rows.append(row)
        size = f"{scene.picture.shape[1]}x{scene.picture.shape[0]}"
        said = "; ".join(in_sentences(sum(doubts_of(masks.provenance), [])))
        found = f"{row['found']:.0f} of {row['expected']:.0f}"
        print(
            f"{name:<20} {size:>11} {found:>9} {row['persons'] - row['found']:9.0f} {row['person']:7.3f} "
            f"{row['clothing']:9.3f} {row['seconds']:6.2f}  {said}",
            flush=True,
        )
        if name in BARS and row[BARS[name][0]] < BARS[name][1]:
            missed.append(name)
        if options.save is not None:
            save(options.save / f"{name.replace(', ', '_').replace(' ', '_')}.png", scene, masks)
    means = [statistics.fmean(row[name] for row in rows) for name in ("person", "clothing")]
    print(f"mean IoU: person {means[0]:.3f}, clothing {means[1]:.3f}")
    return int(bool(missed))


def save(path: Path, scene: Scene, masks: SemanticMasks) -> None:
    """The overlay, at most 1200 pixels long."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = (
        (overlay(torch.from_numpy(scene.picture.copy())[None].float() / 255, masks)[0] * 255).byte().numpy()
    )
    picture = Image.fromarray(drawn)
    picture.thumbnail((1200, 1200))
    picture.save(path)


if __name__ == "__main__":
    sys.exit(main())
