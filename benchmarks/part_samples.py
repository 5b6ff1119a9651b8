"""What the small networks of the embedded segmenter learn from: pixels of drawn pictures.

Kept in `.cache/part_samples`, by picture and by everything that they depend on.
"""

import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.part_versions import versions
from benchmarks.photographs import CHECKOUT
from benchmarks.segmentation import read_reference
from semantic_focus.datasets.folder import load_picture
from semantic_focus.files.writing import write_atomically
from semantic_focus.segmenters.embedded import deep
from semantic_focus.segmenters.embedded.again import mirrored
from semantic_focus.segmenters.embedded.networks import Networks
from semantic_focus.segmenters.embedded.parts import PARTS, View, places, window_of, windows_of
from semantic_focus.segmenters.embedded.persons import Person, find_persons
from semantic_focus.segmenters.embedded.seek import look_closely

EMBEDDED = (
    "again",
    "bodies",
    "colour",
    "deep",
    "detect",
    "features",
    "guess",
    "networks",
    "parts",
    "persons",
)
EMBEDDED += ("seek", "taps", "torso")
KEPT = CHECKOUT / ".cache" / "part_samples"
SOURCES = (
    "benchmarks/part_versions.py",
    "benchmarks/part_samples.py",
    *(f"semantic_focus/segmenters/embedded/{name}.py" for name in EMBEDDED),
)
"""What samples depend on, beside the picture and its drawing."""
PIXELS = 400
"""Pixels taken of each person in each version of a picture; most of them near the head."""
DIMENSIONS = 12
"""Numbers that are kept of each activation: its first principal components over all pictures."""
FOR_COMPONENTS = 60
NOBODY = len(PARTS)
"""The part of pixels where nobody is drawn."""
AROUND = ("as it is", "mirrored", "grey", "light 1", "clothes", "soft")
"""Versions in which the surroundings of persons are looked at."""


@dataclass(frozen=True)
class Drawn:
    """A picture UInt8[H, W, 3] as it is analysed, its drawing UInt8[H, W], and the persons found in it."""

    name: str
    picture: np.ndarray
    parts: np.ndarray
    persons: list[Person]


@dataclass(frozen=True)
class Rows:
    """Pixels of one look at one person in one version.

    `place` Float16[N, F] (None where no face is seen), `squares` Float16[N, K] by square (their `nearness`
    last), `parts` UInt8[N].
    """

    version: str
    person: int
    place: np.ndarray | None
    squares: Mapping[str, np.ndarray]
    parts: np.ndarray


Components = Mapping[str, Mapping[str, torch.Tensor]]
"""By square and activation Float[C, K]: K components; and "mean" Float[sum K] of all, by square."""


def drawn(name: str, path: Path, reference: Path, networks: Networks) -> Drawn:
    """A picture with its drawing, as the segmenter looks at it."""
    whole = (load_picture(path).numpy() * 255).round().astype(np.uint8)
    picture, faces = look_closely(networks, whole)
    size = (picture.shape[1], picture.shape[0])
    parts = cv2.resize(read_reference(reference).parts, size, interpolation=cv2.INTER_NEAREST)
    return Drawn(name, picture, parts, find_persons(networks, picture, faces))


def upright(item: Drawn) -> Iterator[Drawn]:
    """The picture turned so that persons are upright, for all those who then are."""
    for quarters in sorted({person.quarters for person in item.persons}):
        persons = [person.turned(quarters) for person in item.persons if person.quarters == quarters]
        picture, parts = (np.ascontiguousarray(np.rot90(a, quarters)) for a in (item.picture, item.parts))
        yield Drawn(item.name, picture, parts, persons)


def components(pictures: Sequence[Drawn], networks: Networks) -> Components:
    """Principal components of every activation, over pixels of persons in the pictures as they are."""
    generator = np.random.default_rng(0)
    found: dict[str, dict[str, list[np.ndarray]]] = {}
    for item in (turned for picture in pictures for turned in upright(picture)):
        for person in item.persons:
            if person.face is None:
                continue
            rows, columns = np.nonzero(person.mask > 0.5)
            chosen = generator.integers(0, len(rows), FOR_COMPONENTS)
            points = np.stack([columns[chosen], rows[chosen]], 1) + 0.5
            for square, sight in deep.sights(networks, item.picture, person, window_of(person)).items():
                near = deep.nearness(sight.transform, points) > 0
                if not near.any():
                    continue
                at = points[near] @ sight.transform[:, :2].T + sight.transform[:, 2]
                for key, activation in sight.activations.items():
                    values = bilinear(activation, at).numpy()
                    found.setdefault(square, {}).setdefault(key, []).append(values)
    return {
        square: {key: _principal(np.concatenate(values)) for key, values in by_key.items()}
        for square, by_key in found.items()
    }


def _principal(values: np.ndarray) -> torch.Tensor:
    """Float[C + 1, K]: half-whitened components of Float[N, C]; the last row takes the mean away."""
    mean, spread = values.mean(0), values.std(0) + 1e-3 * values.std() + 1e-6
    _, weight, basis = np.linalg.svd((values - mean) / spread, full_matrices=False)
    count = min(DIMENSIONS, values.shape[1])
    basis = basis[:count].T / (weight[:count] / len(values) ** 0.5) ** 0.5 / spread[:, None]
    return torch.from_numpy(np.concatenate([basis, -(mean @ basis)[None]]).astype(np.float32))


def projected(
    sight: deep.Sight, basis: Mapping[str, torch.Tensor], points: np.ndarray, beyond: str
) -> np.ndarray:
    """Float[N, K]: all components of a square at points of the picture, then how far inside they are.

    The same as `deep.gathered` and `deep.sampled` give, without all the places that nobody asks for.
    """
    numbers, shares = deep.cells(sight.transform, points, beyond)
    rows, columns = np.divmod(numbers.ravel(), deep.GRID)
    middles = (np.stack([columns, rows], 1) + 0.5) / deep.GRID
    found = []
    for key, weight in basis.items():
        values = bilinear(sight.activations[key], middles) @ weight[:-1] + weight[-1]
        found.append((values.numpy().reshape(*shares.shape, -1) * shares[..., None]).sum(1))
    return np.concatenate([*found, deep.nearness(sight.transform, points)[:, None]], 1)


def bilinear(layers: np.ndarray, places: np.ndarray) -> torch.Tensor:
    """Float[N, C] of Float[h, w, C] at places Float[N, 2] (x, y) in 0..1; its border goes on beyond."""
    grid = torch.from_numpy((places * 2 - 1).astype(np.float32))[None, None]
    found = torch.nn.functional.grid_sample(
        torch.from_numpy(layers).permute(2, 0, 1)[None], grid, padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T


def collect(drawing: Drawn, basis: Components, networks: Networks) -> list[Rows]:
    """What one picture teaches."""
    generator = np.random.default_rng(sum(map(ord, drawing.name)))
    return [rows for item in upright(drawing) for rows in _collected(item, basis, networks, generator)]


def _collected(
    item: Drawn, basis: Components, networks: Networks, generator: np.random.Generator
) -> list[Rows]:
    result = []
    for version in versions(item.picture, item.parts, item.persons, generator):
        for number, found in enumerate(item.persons):
            person = mirrored(found, item.picture.shape[1]) if version.mirrored else found
            windows = windows_of(person)
            if version.altered:
                windows = [windows[int(generator.integers(len(windows)))]]
            seen = None
            for window in windows:
                view = View.of(version.picture, person, window)
                shape = (view.mask.shape[1], view.mask.shape[0])
                truth = cv2.resize(version.parts[window], shape, interpolation=cv2.INTER_NEAREST)
                known = np.flatnonzero((view.mask > 0.5) & (truth > 0) & (truth <= len(PARTS)))
                if len(known) < 200:
                    continue
                if seen is None:
                    seen = deep.sights(networks, version.picture, person, window_of(person))
                layers = None if person.face is None else view.features()
                chosen = generator.choice(
                    known, min(len(known), PIXELS), replace=False, p=_chance(layers, known)
                )
                points = places(window, view.mask.shape)[chosen]
                squares = {
                    square: projected(sight, basis[square], points, deep.BEYOND[square]).astype(np.float16)
                    for square, sight in seen.items()
                }
                numbers = None if layers is None else layers.reshape(len(layers), -1)[:, chosen].T
                place = None if numbers is None else numbers.astype(np.float16)
                drawn_there = truth.ravel()[chosen].astype(np.uint8) - 1
                result.append(Rows(version.name, number, place, squares, drawn_there))
    return result


def surroundings(drawing: Drawn, basis: Components, networks: Networks) -> list[Rows]:
    """Pixels around persons where nobody is drawn, half of them where the segmenter finds the person."""
    generator = np.random.default_rng(sum(map(ord, drawing.name)))
    result = []
    for item in upright(drawing):
        chosen = [v for v in versions(item.picture, item.parts, [], generator) if v.name in AROUND]
        for number, found in enumerate(item.persons):
            for version in chosen:
                person = mirrored(found, item.picture.shape[1]) if version.mirrored else found
                window = window_of(person)
                nobody = np.zeros(version.parts.shape, bool)
                nobody[window] = version.parts[window] == 0
                wrong = np.flatnonzero(nobody & (person.mask > 0.3))
                right = np.flatnonzero(nobody & (person.mask <= 0.3))
                some = [generator.choice(p, min(len(p), PIXELS // 2), replace=False) for p in (wrong, right)]
                rows, columns = np.divmod(np.concatenate(some), item.picture.shape[1])
                if not len(rows):
                    continue
                points = np.stack([columns, rows], 1) + 0.5
                squares = {
                    square: projected(sight, basis[square], points, deep.BEYOND[square]).astype(np.float16)
                    for square, sight in deep.sights(networks, version.picture, person, window).items()
                }
                result.append(Rows(version.name, number, None, squares, np.full(len(rows), NOBODY, np.uint8)))
    return result


def _chance(layers: np.ndarray | None, known: np.ndarray) -> np.ndarray:
    """Float[N]: how likely each known pixel is taken."""
    if layers is None:
        return np.full(len(known), 1 / len(known))
    across, down = layers[0].ravel()[known], layers[1].ravel()[known]
    chance = np.where((across < 2) & (down > -1) & (down < 2.5), 1.0, 0.35)
    return chance / chance.sum()


@dataclass(frozen=True)
class Source:
    """A drawn picture: its name, file and drawing."""

    name: str
    path: Path
    reference: Path


def all_rows(
    basis_of: Sequence[Source], sources: Sequence[Source], networks: Networks
) -> tuple[Components, dict[str, tuple[list[Rows], list[Rows]]]]:
    """The components of the first pictures, and what each of `sources` teaches, of persons and around them.

    What is cached is read.
    """
    code = b"".join((CHECKOUT / source).read_bytes() for source in SOURCES)

    def kept(name: str, made_of: Sequence[bytes], make: Callable[[], Any]) -> Any:
        digest = hashlib.sha256(code + b"".join(hashlib.sha256(part).digest() for part in made_of))
        path = KEPT / f"{name}-{digest.hexdigest()[:20]}.pickle"
        if not path.is_file():
            KEPT.mkdir(parents=True, exist_ok=True)
            value = pickle.dumps(make())
            write_atomically(path, lambda temporary: Path(temporary).write_bytes(value))
        return pickle.loads(path.read_bytes())

    def picture(source: Source) -> Drawn:
        return drawn(source.name, source.path, source.reference, networks)

    pictures = [source.path.read_bytes() for source in basis_of]
    basis = kept("components", pictures, lambda: components([picture(s) for s in basis_of], networks))
    rows, around = {}, {}
    for source in sources:
        made_of = [source.path.read_bytes(), source.reference.read_bytes(), *pictures]
        rows[source.name] = kept(
            source.name, made_of, lambda source=source: collect(picture(source), basis, networks)
        )
        around[source.name] = kept(
            f"around-{source.name}",
            made_of,
            lambda source=source: surroundings(picture(source), basis, networks),
        )
    return basis, {name: (found, around[name]) for name, found in rows.items() if found}
