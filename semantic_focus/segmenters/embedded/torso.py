"""Bodies without a head in the picture: backs, and outfits cut at the neck.

The pose detector looks for heads. The pose network itself needs none, only a square that the body fits in,
and the selfie network tells where somebody may be: squares are tried there, and what is read must hold when
the picture is mirrored and the square moved. What looks like a person by chance does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .detect import Detection, Face, Pose, read_pose, selfie
from .networks import Networks

MOST = 3
"""Bodies that are looked for one after the other."""
LEAST_SEEN, SURE_SEEN = 0.03, 0.92
"""Share of the picture in which somebody may be, and mean probability there."""
LEAST_SIDE = 16
"""Pixels: nobody can be told from anything else in a smaller picture, or window of one."""
LEAST_TRUST, NEAR_TRUST = 0.55, 0.75
"""How far a body must be trusted that is seen in the whole picture, and in a window of it: there are many."""
DEEP = (0.5, 0.8, 1.1)
"""Where the hips may be: this far down what is seen, in its heights."""
WIDE = (1.0, 1.5, 2.2)
"""Sides of the squares, in longer sides of what is seen."""
HIPS, SQUARE = 3.6, 11.0
"""From a face's middle to the hips, and the side of a square for the whole body, in heights of the face."""
TORSO = (11, 12, 23, 24)
"""Shoulders and hips among the landmarks."""


@dataclass(frozen=True)
class Square:
    """Where a body may be: the hips in the middle, upright."""

    centre: np.ndarray
    side: float

    @staticmethod
    def below(face: Face) -> "Square":
        """Where the body of a person of usual proportions is, who stands upright below that face."""
        return Square(face.centre + (0, HIPS * face.height), SQUARE * face.height)

    def read(self, networks: Networks, picture: np.ndarray) -> Pose:
        """What the pose network makes of it. Its rules make the square 2.5 times as wide as hips to rim."""
        rim = self.centre - (0, self.side / 2.5)
        return read_pose(
            networks.pose_landmarks, picture, Detection(np.zeros(4), 1.0, np.stack([self.centre, rim]))
        )


def find_torsos(networks: Networks, picture: np.ndarray, least: float = LEAST_TRUST) -> list[Pose]:
    """Bodies without a head of a UInt8[H, W, 3] picture, the most certain first."""
    import cv2

    found: list[Pose] = []
    if min(picture.shape[:2]) < LEAST_SIDE:
        return found
    views = list(person_views(networks, picture))
    while len(found) < MOST:
        pose = _best(networks, picture, views, least)
        if pose is None:
            break
        found.append(pose)
        around = cv2.dilate((pose.mask > 0.3).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        views = [np.where(around, 0, view) for view in views]
    return found


def person_views(networks: Networks, picture: np.ndarray) -> Iterator[np.ndarray]:
    """Float[H, W] each: where the selfie network sees somebody, when it looks in different ways.

    It looks at squares. What is much wider than high is squeezed beyond recognition, so such a picture is
    also shown with its borders drawn out to a square.
    """
    import cv2

    height, width = picture.shape[:2]
    yield selfie(networks, picture)
    side = max(height, width)
    if side < 1.15 * min(height, width):
        return
    left = (side - width) // 2
    for top in dict.fromkeys(((side - height) // 2, side - height)):
        square = cv2.copyMakeBorder(
            picture, top, side - height - top, left, side - width - left, cv2.BORDER_REPLICATE
        )
        yield selfie(networks, square)[top : top + height, left : left + width]


def _best(networks: Networks, picture: np.ndarray, views: list[np.ndarray], least: float) -> Pose | None:
    """The body that fits best into what is seen in one of the views; None where none is certain."""
    best: tuple[float, Pose, Square] | None = None
    for view in views:
        inside = view > 0.5
        if inside.mean() < LEAST_SEEN or view[inside].mean() < SURE_SEEN:
            continue
        for square in _squares(inside):
            pose = square.read(networks, picture)
            trust = pose.score * _fit(pose.mask > 0.5, inside)
            if best is None or trust > best[0]:
                best = trust, pose, square
    if best is None or best[0] < least:
        return None
    trust, pose, square = best
    return pose if trust * _steadiness(networks, picture, square, pose) > least else None


def _squares(inside: np.ndarray) -> Iterator[Square]:
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    across = float((inside.sum(0) * np.arange(inside.shape[1])).sum() / inside.sum())
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    for down in DEEP:
        for share in WIDE:
            yield Square(np.array([across, rows[0] + down * high]), share * float(max(high, wide)))


def _steadiness(networks: Networks, picture: np.ndarray, square: Square, pose: Pose) -> float:
    """0..1: how much of a reading is the same in the mirrored picture and in a square a little off."""
    width = picture.shape[1]
    other_way = Square(np.array([width - 1 - square.centre[0], square.centre[1]]), square.side)
    mirrored = other_way.read(networks, np.ascontiguousarray(picture[:, ::-1]))
    points = mirrored.landmarks * (-1, 1) + (width - 1, 0)
    moved = Square(square.centre + (0.06 * square.side, 0.04 * square.side), 1.12 * square.side)
    again = moved.read(networks, picture)
    length = max(float(np.hypot(*(pose.landmarks[11:13].mean(0) - pose.landmarks[23:25].mean(0)))), 1.0)
    expected = pose.landmarks[list(TORSO)]
    # a body seen from behind may be read with its left and right exchanged
    swapped = points[[12, 11, 24, 23]], again.landmarks[list(TORSO)]
    straight = points[list(TORSO)], again.landmarks[[12, 11, 24, 23]]
    errors = [
        min(float(np.hypot(*(found - expected).T).mean()) for found in pair) / length
        for pair in zip(swapped, straight, strict=True)
    ]
    overlaps = [_iou(mask > 0.5, pose.mask > 0.5) for mask in (mirrored.mask[:, ::-1], again.mask)]
    return min(overlaps) * max(0.0, 1 - max(errors))


def _fit(body: np.ndarray, seen: np.ndarray) -> float:
    """0..1: how much of the body is seen, times the root of how much of what is seen it is."""
    both = float((body & seen).sum())
    return both / max(1, body.sum()) * (both / max(1, seen.sum())) ** 0.5


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / max(1, (a | b).sum()))
