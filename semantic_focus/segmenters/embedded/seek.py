"""Faces of a picture from coarse to fine, and how large the picture has to be for the smallest of them.

A detector sees a face that is a twentieth of what it looks at, so a picture is looked at in tiles, and in
smaller ones where that promises something. What is smooth, or a person seen already, is passed over.
"""

import math
from collections.abc import Sequence

import numpy as np

from .detect import Face, best_of, find_faces
from .networks import Networks

ANALYSIS_SIDE, LARGEST_SIDE = 768, 1536
"""Pictures are analysed at this longer side, and at up to the second for small faces."""
SEARCH_SIDE = 3072
"""Longer side at which small faces are looked for."""
LEAST_HEAD = 40
"""Pixels from forehead to chin at which a person is analysed."""
NEARER, NEAREST = 0.36, 0.18
"""Sides of tiles, as shares of the longer side."""
LEAST_TILE = 160
"""Pixels of a tile that show more than a larger one did."""
MOST_TILES = 40
SMALL_FACE = 0.06
"""Height of a face, as a share of the longer side, beside which smaller ones are looked for."""
LEAST_DETAIL = 10.0
"""Difference of grey from its surroundings, of 255, that a fiftieth of a tile must have."""
NEAR_FACE = 0.1
"""A face of this share of the longer side has a body that fills the tiles around it."""
LEAST_OPEN = 0.4
"""Share of a tile that no near body takes."""
COUNTS = 0.45
"""Score of a face for the picture to be enlarged for it."""

Box = tuple[float, float, float, float]


def analysed(picture: np.ndarray, longest: int = ANALYSIS_SIDE) -> np.ndarray:
    """UInt8[H, W, 3] with its longer side at most that."""
    import cv2

    height, width = picture.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(picture)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def look_closely(networks: Networks, picture: np.ndarray) -> tuple[np.ndarray, list[Face]]:
    """A picture at the size at which it is analysed, and the faces that are seen in it.

    Args:
        picture: UInt8[H, W, 3] of any size.
    """
    small, large = analysed(picture), analysed(picture, SEARCH_SIDE)
    faces = find_faces(networks, small)
    known = len(faces)
    for share in (NEARER, NEAREST):
        longest = max(large.shape)
        scale = longest / max(small.shape)
        if share == NEAREST and not _is_worth_it(faces, known, max(small.shape)):
            break
        boxes = [box for box in tiles(large.shape[:2], share) if _may_hold_more(small, faces, box, scale)]
        if boxes:
            nearer = find_faces(networks, large, boxes[:MOST_TILES])
            faces = best_of([*faces, *(face.scaled(1 / scale) for face in nearer)])
    heights = [face.height for face in faces if face.score > COUNTS]
    if not heights or min(heights) >= LEAST_HEAD:
        return small, faces
    side = min(LARGEST_SIDE, max(large.shape), math.ceil(ANALYSIS_SIDE * LEAST_HEAD / min(heights)))
    enlarged = analysed(large, side)
    scale = max(enlarged.shape) / max(small.shape)
    return enlarged, [face.scaled(scale) for face in faces]


def tiles(size: Sequence[int], share: float) -> list[Box]:
    """Overlapping square boxes that cover a picture of (height, width), of this share of its longer side.

    None when they would hold too few pixels. Of a long picture they are as wide as it is, if that is less.
    """
    longest, shortest = max(size), min(size)
    side = max(min(share * longest, float(shortest)), longest / MOST_TILES)
    if side < LEAST_TILE:
        return []
    starts = []
    for length in size:
        count = max(1, math.ceil((length - side) / (0.85 * side)) + 1)
        starts.append(np.linspace(0, max(0.0, length - side), count))
    return [(x, y, x + side, y + side) for y in starts[0] for x in starts[1]]


def _is_worth_it(faces: Sequence[Face], known: int, longest: int) -> bool:
    """Whether smaller faces are to be expected: there are small ones, more than at first sight, or none."""
    counted = [face for face in faces if face.score > COUNTS]
    return not counted or len(faces) > known or min(face.height for face in counted) < SMALL_FACE * longest


def _may_hold_more(small: np.ndarray, faces: Sequence[Face], box: Box, scale: float) -> bool:
    """Whether there is something in a tile besides persons who are near and seen."""
    import cv2

    left, top, right, bottom = (int(value / scale) for value in box)
    grey = cv2.cvtColor(small[top : bottom + 1, left : right + 1], cv2.COLOR_RGB2GRAY).astype(np.float32)
    detail = np.abs(grey - cv2.GaussianBlur(grey, (0, 0), 4))
    open_ = np.ones(grey.shape, bool)
    for face in faces:
        if face.score > COUNTS and face.height > NEAR_FACE * max(small.shape):
            (x, y), wide, high = face.centre - (left, top), face.width, face.height
            rows = slice(max(0, int(y - 1.2 * high)), max(0, int(y + 5 * high)))
            columns = slice(max(0, int(x - 1.3 * wide)), max(0, int(x + 1.3 * wide)))
            open_[rows, columns] = False
    return bool(open_.mean() > LEAST_OPEN and np.percentile(detail[open_], 98) > LEAST_DETAIL)
