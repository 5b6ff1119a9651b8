"""What the networks know of a person beside their answers: inner activations, and where they lie.

Three of the networks look at the whole person and again at the head, upright as far as the face tells; the
fourth at the face. Their activations name parts of people far better than colours do.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .detect import Face
from .networks import Network, Networks
from .persons import Person
from .taps import INNER

SIDE = 256
MARGIN, HEAD_REACH, FACE_REACH = 1.1, 3.8, 1.9
"""Sides of the three squares: of the person's longer side, and of the face's."""
GRID = 128
"""Activations of one square are put together on a grid of so many cells each way."""


class Reader(NamedTuple):
    """A network that looks at a square: its field in `Networks`, file, input side, and input range."""

    field: str
    file: str
    side: int
    low: float
    high: float


POSE = Reader("pose_landmarks", "pose_landmark_full.tflite", 256, 0, 1)
SELFIE = Reader("selfie", "selfie_segmentation.tflite", 256, 0, 1)
DETECTOR = Reader("pose_detector", "pose_detection.tflite", 224, -1, 1)
MESH = Reader("face_mesh", "face_landmark.tflite", 192, 0, 1)

READERS: Mapping[str, Sequence[Reader]] = {
    "whole": (POSE, SELFIE, DETECTOR),
    "head": (POSE, SELFIE, DETECTOR),
    "face": (MESH,),
}
"""Which networks look at which square."""
BEYOND: Mapping[str, str] = {"whole": "border", "head": "zeros", "face": "zeros"}
"""What is known outside a square: nothing, or what is known at its border."""


@dataclass(frozen=True)
class Square:
    """A square of a picture: its pixels UInt8[S, S, 3], and the affine map (2x3) from the picture to 0..1."""

    pixels: np.ndarray
    transform: np.ndarray


@dataclass(frozen=True)
class Sight:
    """What the networks see in one square: activations Float[h, w, C] by network file and tensor."""

    activations: Mapping[str, np.ndarray]
    transform: np.ndarray


def squares(picture: np.ndarray, window: tuple[slice, slice], face: Face | None) -> dict[str, Square]:
    """The squares of one person in a UInt8[H, W, 3] picture, by name as in READERS.

    Args:
        window: rows and columns that the person takes.
        face: without one, there is only the whole person.
    """
    rows, columns = window
    middle = np.array([(columns.start + columns.stop) / 2, (rows.start + rows.stop) / 2])
    longer = max(rows.stop - rows.start, columns.stop - columns.start)
    if face is None:
        return {"whole": _cut(picture, middle, MARGIN * longer, 0.0, SIDE)}
    axis = face.chin - face.top
    angle = math.atan2(axis[1], axis[0]) - math.pi / 2
    upright = round(angle / (math.pi / 2)) * math.pi / 2
    size = max(face.height, face.width)
    below = np.array([-math.sin(angle), math.cos(angle)])
    return {
        "whole": _cut(picture, middle, MARGIN * longer, upright, SIDE),
        "head": _cut(picture, face.centre + 0.25 * size * below, HEAD_REACH * size, angle, SIDE),
        "face": _cut(picture, face.centre, FACE_REACH * size, angle, MESH.side),
    }


def look(networks: Networks, square: Square, readers: Sequence[Reader]) -> Sight:
    """Let networks look at a square."""
    import cv2

    activations = {}
    for reader in readers:
        pixels = square.pixels
        if len(pixels) != reader.side:
            pixels = cv2.resize(pixels, (reader.side, reader.side), interpolation=cv2.INTER_AREA)
        network: Network = getattr(networks, reader.field)
        inner = network.inner(pixels * np.float32((reader.high - reader.low) / 255) + np.float32(reader.low))
        activations.update({f"{reader.file}:{n}": a for n, a in zip(INNER[reader.file], inner, strict=True)})
    return Sight(activations, square.transform)


def sights(
    networks: Networks, picture: np.ndarray, person: Person, window: tuple[slice, slice]
) -> dict[str, Sight]:
    """What is seen of one person, by square."""
    cut = squares(picture, window, person.face)
    return {name: look(networks, square, READERS[name]) for name, square in cut.items()}


def gathered(sight: Sight, weights: Mapping[str, Tensor]) -> Tensor:
    """Float[GRID * GRID, K], row by row: the sum over activations of each times its Float[C, K], on one grid.

    Weighing before enlarging gives the same as after it, in a tenth of the time.
    """
    by_side: dict[int, Tensor] = {}
    for key, activation in sight.activations.items():
        side = len(activation)
        values = torch.from_numpy(activation).reshape(side * side, -1) @ weights[key]
        by_side[side] = by_side[side].add_(values) if side in by_side else values
    first, *others = (_enlarged(values, side) for side, values in by_side.items())
    for layer in others:
        first = first.add_(layer)
    return first


def _enlarged(values: Tensor, side: int) -> Tensor:
    """Float[GRID * GRID, K] of Float[side * side, K], linear between the middles of cells."""
    if side == GRID:
        return values
    cells = values.reshape(1, side, side, -1).permute(0, 3, 1, 2)  # quick, as the K of a cell lie together
    enlarged = torch.nn.functional.interpolate(cells, size=(GRID, GRID), mode="bilinear")
    return enlarged.permute(0, 2, 3, 1).reshape(GRID * GRID, -1)


def cells(transform: np.ndarray, points: np.ndarray, beyond: str) -> tuple[np.ndarray, np.ndarray]:
    """Which cells of a square's grid are around points Float[N, 2] (x, y) of the picture.

    Returns:
        Int[N, 4], numbers of cells, row by row, and Float[N, 4], their shares in each point. Where `beyond`
        the square there is nothing ("zeros"), they sum to less than 1; its "border" goes on.
    """
    places = ((points @ transform[:, :2].T + transform[:, 2]) * GRID - 0.5).astype(np.float32)
    first = np.floor(places)
    part = (places - first).T
    x, y = first.T.astype(np.int64)
    columns, rows = np.stack([x, x + 1, x, x + 1], 1), np.stack([y, y, y + 1, y + 1], 1)
    (right, down), (left, up) = part, 1 - part
    shares = np.stack([left * up, right * up, left * down, right * down], 1)
    if beyond == "zeros":
        shares *= (columns >= 0) & (columns < GRID) & (rows >= 0) & (rows < GRID)
    return np.clip(rows, 0, GRID - 1) * GRID + np.clip(columns, 0, GRID - 1), shares


def sampled(layers: Tensor, around: tuple[np.ndarray, np.ndarray]) -> Tensor:
    """Float[N, K]: Float[GRID * GRID, K] at the points that `cells` were asked for."""
    numbers, shares = (torch.from_numpy(part) for part in around)
    return torch.nn.functional.embedding_bag(numbers, layers, mode="sum", per_sample_weights=shares)


def nearness(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Float[N]: 1 for points inside a square, fading to 0 towards its border and beyond."""
    places = np.abs((points @ transform[:, :2].T + transform[:, 2]) * 2 - 1).max(1)
    return np.clip((1 - places) / 0.15, 0, 1).astype(np.float32)


def _cut(picture: np.ndarray, centre: np.ndarray, side: float, angle: float, pixels: int) -> Square:
    """The square around a point (x, y), turned by `angle` radians. Points count pixels from their corners."""
    import cv2

    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) / side
    transform = np.concatenate([turn, (0.5 - turn @ centre)[:, None]], axis=1)
    if side > 2 * pixels:  # linear sampling would skip pixels
        picture = cv2.GaussianBlur(picture, (0, 0), 0.4 * side / pixels)
    to_pixels = pixels * transform
    to_pixels[:, 2] += 0.5 * to_pixels[:, :2].sum(1) - 0.5
    return Square(cv2.warpAffine(picture, to_pixels, (pixels, pixels), flags=cv2.INTER_LINEAR), transform)
