"""Persons that may be in a picture and were not found, as doubts: where to look."""

from collections.abc import Sequence

import numpy as np

from ...regions.doubts import Doubt
from .detect import Face
from .networks import Networks
from .persons import Person
from .torso import SURE_SEEN, person_views

LIKELY_FACE = 0.3
"""Score from which a face that belongs to nobody is told of."""
LEAST_SHARE = 0.05
"""Share of the picture in which the selfie network must see somebody, where nobody was found."""
SEEN = 0.6
"""How likely somebody is there whom only the selfie network sees."""


def overlooked(
    networks: Networks, picture: np.ndarray, faces: Sequence[Face], persons: Sequence[Person]
) -> list[Doubt]:
    """Places of UInt8[H, W, 3] that are background, and may be persons."""
    height, width = picture.shape[:2]
    doubts = []
    for face in faces:
        x, y = np.clip(face.centre.round().astype(int), 0, (width - 1, height - 1))
        covered = any(person.mask[y, x] > 0.5 for person in persons)
        if face.score > LIKELY_FACE and not covered:
            box = np.concatenate([face.outline.min(0), face.outline.max(0)])
            doubts.append(_doubt(max(face.score, 0.5), box, picture.shape))
    if not persons and not doubts:
        for view in person_views(networks, picture):
            inside = view > 0.5
            if inside.mean() > LEAST_SHARE and view[inside].mean() > SURE_SEEN:
                rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
                box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                return [_doubt(SEEN, box, picture.shape)]
    return doubts


def _doubt(score: float, box: np.ndarray, shape: Sequence[int]) -> Doubt:
    left, top, right, bottom = (box / (shape[1], shape[0], shape[1], shape[0])).clip(0, 1).tolist()
    at = ((left + right) / 2, (top + bottom) / 2)
    return Doubt("background", "person", float(score), at, (left, top, right, bottom))
