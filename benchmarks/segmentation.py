"""How well and how fast each segmenter finds face, hair, clothing, bare skin and persons.

    python -m benchmarks.segmentation [--backend mediapipe ...] [--pictures seen|held-out|all] [--save FOLDER]
                                      [--recolour]

Ground truth are polygons drawn by hand on photographs and generated portraits, see references/README.md. A
pixel belongs to a region when its mask is above one half; pixels marked "ignore" do not count.

IoU is intersection over union, over the pictures in which the region is. Boundary error is the mean distance
between the two outlines, both ways, in thousandths of the picture's longer side. A face counts as found when
at least half of its reference area is face. Seconds are for pictures resized to the area of 1024x1024,
after a warm-up, one picture at a time.

Something worn on the head (clothing drawn around a face, not below it) counts as called hair when more than a
quarter of it is. A question mark is behind what the segmenter itself doubts, see `flagged.py`. With
--recolour, the clothing drawn in the held-out pictures is given 8 hues one after the other: how much that
changes its IoU is how much colour decides.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageDraw

from benchmarks.flagged import flagged_regions, told
from benchmarks.part_versions import recolour
from benchmarks.photographs import FOLDER, PHOTOGRAPHS, Photograph, provide
from benchmarks.portraits import PORTRAITS
from semantic_focus.datasets.folder import load_picture
from semantic_focus.regions.blocks import at_full_size
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.overlay import overlay
from semantic_focus.segmenters.protocol import MissingWeightsError, SegmentRequest
from semantic_focus.segmenters.table import BACKENDS, LazySegmenter

REFERENCES = Path(__file__).parent / "references"
PARTS = ("face", "hair", "clothing", "body")
REGIONS = ("person", *PARTS)
NOTHING, IGNORED = 0, 255
LEAST_SHARE = 0.0005
"""A region of less than this share of the picture is not scored in it."""
LEAST_FACE = 48
"""Height in pixels from which a face must be found."""
TIMED_AREA = 1024 * 1024
HUES, HUE_STRENGTH = 8, 30
"""How often clothes are recoloured, and the chroma (in 8-bit Lab) that they get."""
CALLED = 0.25
"""Share of what is worn on a head from which it counts as called hair."""
GROUPS = (
    ("photographs it was tuned on", PHOTOGRAPHS, False),
    ("photographs held out", PHOTOGRAPHS, True),
    ("generated portraits it was tuned on", PORTRAITS, False),
    ("generated portraits held out", PORTRAITS, True),
)


@dataclass(frozen=True)
class Reference:
    """A drawing: uint8[H, W] of 1 + index in PARTS, 0 or IGNORED, and of the person's number (0: none)."""

    parts: np.ndarray
    persons: np.ndarray

    def region(self, name: str) -> np.ndarray:
        """Bool[H, W]."""
        if name == "person":
            return (self.parts != NOTHING) & (self.parts != IGNORED)
        return self.parts == 1 + PARTS.index(name)

    @property
    def counted(self) -> np.ndarray:
        """Bool[H, W]: not ignored."""
        return self.parts != IGNORED


def read_reference(path: Path) -> Reference:
    """Paint the shapes of a drawing over each other, in their order."""
    drawing = json.loads(path.read_text())
    parts = Image.new("L", tuple(drawing["size"]), NOTHING)
    persons = parts.copy()
    code = {name: 1 + index for index, name in enumerate(PARTS)}
    for shape in drawing["shapes"]:
        outline = [tuple(point) for point in shape["polygon"]]
        fill = {"background": NOTHING, "ignore": IGNORED, **code}[shape["region"]]
        ImageDraw.Draw(parts).polygon(outline, fill=fill)
        ImageDraw.Draw(persons).polygon(outline, fill=shape["person"] if shape["region"] in code else 0)
    return Reference(np.asarray(parts), np.asarray(persons))


def predicted(masks: SemanticMasks) -> dict[str, np.ndarray]:
    """Bool[H, W] by region, of the only picture."""
    found = {name: masks.region(name)[0].numpy() > 0.5 for name in PARTS}
    persons = at_full_size(masks.persons[0], masks.size) if masks.persons else masks.masks[0, :0]
    union = persons.sum(0) if len(persons) else torch.stack([masks.region(n)[0] for n in PARTS]).sum(0)
    return {"person": union.numpy() > 0.5, **found}


def iou(a: np.ndarray, b: np.ndarray, counted: np.ndarray) -> float:
    """Intersection over union where `counted`; 1 when both are empty."""
    union = ((a | b) & counted).sum()
    return float((a & b & counted).sum() / union) if union else 1.0


def boundary_error(a: np.ndarray, b: np.ndarray, counted: np.ndarray) -> float:
    """Mean distance between the outlines, in thousandths of the longer side; NaN when one has none."""

    def outline(mask: np.ndarray) -> np.ndarray:
        inside = mask.astype(np.uint8)
        return (inside > cv2.erode(inside, np.ones((3, 3), np.uint8))) & counted

    lines = outline(a), outline(b)
    if not lines[0].any() or not lines[1].any():
        return float("nan")
    distances = []
    for here, there in (lines, lines[::-1]):
        field_ = cv2.distanceTransform((~there).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        distances.append(float(field_[here].mean()))
    return 1000 * statistics.fmean(distances) / max(a.shape)


@dataclass
class Score:
    """What was measured on one picture."""

    ious: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    missed_faces: list[int] = field(default_factory=list)
    faces: int = 0
    persons: tuple[int, int] = (0, 0)
    headwear: float | None = None
    """Share of what is worn on heads that is called hair; None where nobody wears anything there."""
    flagged: frozenset[str] = frozenset()
    """Regions that the segmenter itself doubts."""


def score(reference: Reference, found: Mapping[str, np.ndarray], persons: int) -> Score:
    """Compare a result with a drawing."""
    result = Score(persons=(persons, len(set(np.unique(reference.persons)) - {0})))
    for name in REGIONS:
        truth = reference.region(name)
        if truth.mean() >= LEAST_SHARE:
            result.ious[name] = iou(found[name], truth, reference.counted)
            result.errors[name] = boundary_error(found[name], truth, reference.counted)
    for number in sorted(set(np.unique(reference.persons)) - {0}):
        face = reference.region("face") & (reference.persons == number)
        rows = np.flatnonzero(face.any(1))
        if len(rows) and np.ptp(rows) + 1 >= LEAST_FACE:
            result.faces += 1
            if (found["face"] & face).sum() < 0.5 * face.sum():
                result.missed_faces.append(int(number))
    worn = headwear(reference)
    if worn.any():
        result.headwear = float((found["hair"] & worn).sum() / worn.sum())
    return result


def headwear(reference: Reference) -> np.ndarray:
    """Bool[H, W]: clothing around faces, not below them, where it is more than a tenth of the face."""
    result = np.zeros(reference.parts.shape, bool)
    for number in set(np.unique(reference.persons)) - {0}:
        mine = reference.persons == number
        face = mine & reference.region("face")
        if not face.any():
            continue
        rows, columns = np.flatnonzero(face.any(1)), np.flatnonzero(face.any(0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        around = np.zeros_like(result)
        around[
            max(0, rows[0] - height) : rows[-1] - height // 4,
            max(0, columns[0] - width // 2) : columns[-1] + width // 2,
        ] = True
        worn = mine & around & reference.region("clothing")
        if worn.sum() > 0.1 * face.sum():
            result |= worn
    return result


def table(scores: Mapping[str, Score]) -> Iterable[str]:
    """One line per picture, then the means."""
    yield f"{'picture':<48}" + "".join(f"{name:>10}" for name in REGIONS) + "   persons  faces missed"
    for name, result in scores.items():
        cells = "".join(
            f"{result.ious[n]:9.3f}{'?' if n in result.flagged else ' '}"
            if n in result.ious
            else f"{'-':>9} "
            for n in REGIONS
        )
        missed = ", ".join(f"person {n}" for n in result.missed_faces) or "-"
        yield f"{name:<48}{cells}   {result.persons[0]} of {result.persons[1]}    {missed}"
    for title, what in (("mean IoU", "ious"), ("mean boundary error", "errors")):
        means = []
        for region in REGIONS:
            values = [getattr(s, what)[region] for s in scores.values() if region in getattr(s, what)]
            known = [value for value in values if value == value]
            means.append(statistics.fmean(known) if known else float("nan"))
        yield f"{title:<48}" + "".join(f"{mean:10.3f}" for mean in means)
    faces, missed = sum(s.faces for s in scores.values()), sum(len(s.missed_faces) for s in scores.values())
    yield f"faces of {LEAST_FACE} pixels or more: {faces - missed} of {faces} found"
    worn = {name: s.headwear for name, s in scores.items() if s.headwear is not None}
    called = [f"{name} ({share:.0%})" for name, share in worn.items() if share > CALLED]
    yield (
        f"hat or scarf called hair: {len(called)} of {len(worn)}" + (": " * bool(called)) + ", ".join(called)
    )


def ceiling() -> Iterable[str]:
    """How well two drawings of one picture agree: more than this cannot be measured."""
    yield "two drawings of the same picture (the ceiling)"
    scores = {}
    for path in sorted((REFERENCES / "second").glob("*.json")):
        first, second = read_reference(REFERENCES / path.name), read_reference(path)
        counted = second.counted
        parts = np.where(counted, first.parts, IGNORED)
        found = {name: second.region(name) for name in REGIONS}
        persons = len(set(np.unique(second.persons)) - {0})
        scores[path.stem] = score(Reference(parts, first.persons), found, persons)
    yield from table(scores)


def timed(segmenter: LazySegmenter, pictures: Mapping[str, Path]) -> list[float]:
    """Seconds per picture, each resized to TIMED_AREA."""
    seconds = []
    for path in pictures.values():
        image = load_picture(path)
        scale = (TIMED_AREA / (image.shape[0] * image.shape[1])) ** 0.5
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        resized = torch.from_numpy(cv2.resize(image.numpy(), size, interpolation=cv2.INTER_AREA))[None]
        if not seconds:
            segmenter.get().segment(resized, SegmentRequest())
        begun = time.perf_counter()
        segmenter.get().segment(resized, SegmentRequest())
        seconds.append(time.perf_counter() - begun)
    return seconds


def resident() -> float:
    """Memory of this process in MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(name: str, pictures: Mapping[str, Path], save: Path | None, with_time: bool) -> None:
    """Print the tables of one backend."""
    bare = resident()
    segmenter = LazySegmenter(name)
    scores: dict[str, Score] = {}
    for stem, path in pictures.items():
        image = load_picture(path)[None]
        masks = segmenter.get().segment(image, SegmentRequest())
        reference = read_reference(REFERENCES / f"{stem}.json")
        persons = len(masks.persons[0]) if masks.persons else 0
        scores[stem] = score(reference, predicted(masks), persons)
        scores[stem].flagged = flagged_regions(masks, PARTS)
        if save is not None:
            save.mkdir(parents=True, exist_ok=True)
            drawn = (overlay(image, masks)[0] * 255).byte().numpy()
            picture = Image.fromarray(drawn)
            picture.thumbnail((900, 900))
            picture.save(save / f"{stem}.jpg", quality=88)
    for title, photographs, held_out in GROUPS:
        names = {photograph.name for photograph in photographs if photograph.held_out is held_out}
        part = {stem: result for stem, result in scores.items() if stem in names}
        if part:
            print(f"\n{name}: {title}")
            print("\n".join(table(part)))
    print(f"\n{name}: what it doubts, in all pictures")
    ious = {
        stem: {part: result.ious[part] for part in PARTS if part in result.ious}
        for stem, result in scores.items()
    }
    print("\n".join(told(ious, {stem: result.flagged for stem, result in scores.items()})))
    if with_time:
        seconds = sorted(timed(segmenter, pictures))
        print(
            f"\n{name}, 1024x1024 pixels: median {statistics.median(seconds):.2f} s, "
            f"{seconds[0]:.2f} to {seconds[-1]:.2f} s; process {resident():.0f} MB "
            f"({bare:.0f} MB of them before the segmenter was loaded)"
        )


def recoloured(name: str, pictures: Mapping[str, Path]) -> None:
    """Print how the IoU of clothing changes with its colour."""
    segmenter = LazySegmenter(name)
    ious: dict[str, list[float]] = {}
    print(f"\n{name}: IoU of clothing as it is, then in {HUES} hues")
    for stem, path in pictures.items():
        reference = read_reference(REFERENCES / f"{stem}.json")
        clothing = reference.region("clothing")
        if clothing.mean() < LEAST_SHARE:
            continue
        image = (load_picture(path).numpy() * 255).round().astype(np.uint8)
        lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
        angles = 2 * np.pi * np.arange(HUES) / HUES
        hues = [128 + HUE_STRENGTH * np.array([np.cos(angle), np.sin(angle)]) for angle in angles]
        for version in (image, *(recolour(lab, clothing, hue, 0, 1) for hue in hues)):
            found = segmenter.get().segment(torch.from_numpy(version)[None] / 255, SegmentRequest())
            mask = found.region("clothing")[0].numpy() > 0.5
            ious.setdefault(stem, []).append(iou(mask, clothing, reference.counted))
        print(f"{stem:<48}" + "".join(f"{value:7.3f}" for value in ious[stem]), flush=True)
    means = np.array(list(ious.values())).mean(0)
    print(f"{'mean':<48}" + "".join(f"{value:7.3f}" for value in means))
    print(f"largest change of the mean: {np.abs(means[1:] - means[0]).max():.3f}")


def chosen(options: argparse.Namespace) -> list[Photograph]:
    """The pictures to measure, of those that are drawn."""
    held_out = {"seen": (False,), "held-out": (True,), "all": (False, True)}[options.pictures]
    return [
        picture
        for picture in (*PHOTOGRAPHS, *PORTRAITS)
        if picture.held_out in held_out
        and (options.only is None or picture.name in options.only)
        and (REFERENCES / f"{picture.name}.json").exists()
    ]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--backend", nargs="*", default=None, help="default: all that can run here")
    parser.add_argument("--pictures", choices=("seen", "held-out", "all"), default="all")
    parser.add_argument("--only", nargs="*", default=None, metavar="NAME", help="these pictures only")
    parser.add_argument("--save", type=Path, default=None, help="folder for overlays")
    parser.add_argument("--no-time", action="store_true", help="leave the timing out")
    parser.add_argument("--recolour", action="store_true", help="measure held-out clothing in other hues")
    options = parser.parse_args()
    if options.recolour and options.pictures == "all":
        options.pictures = "held-out"
    photographs = chosen(options)
    pictures = provide(FOLDER, photographs)
    if not options.recolour:
        print("\n".join(ceiling()))
    for name in options.backend or BACKENDS:
        reason = BACKENDS[name].functions().missing({})
        if reason and options.backend is None:
            print(f"\n{name}: not measured: {reason}")
            continue
        try:
            if options.recolour:
                recoloured(name, pictures)
            else:
                measure(name, pictures, options.save, not options.no_time)
        except MissingWeightsError as error:
            print(f"\n{name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
