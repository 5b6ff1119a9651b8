"""A person seen again, mirrored and by fewer sources. What then changes is doubtful."""

from collections.abc import Sequence

import numpy as np

from .classifier import EVERYTHING, Fitted, heard
from .detect import Face, Pose
from .networks import Networks
from .parts import Window, looks_at, window_of
from .persons import Person

SIDE = 160
"""Longer side at which it is told again what a pixel is: half of the first time's, a quarter of the work."""


def seen_mirrored(
    networks: Networks,
    picture: np.ndarray,
    person: Person,
    using: Sequence[Sequence[str]] = (EVERYTHING,),
    fitted: Fitted | None = None,
) -> tuple[Window, np.ndarray]:
    """What each pixel of a person is, as told from the mirrored picture.

    Args:
        picture: UInt8[H, W, 3], sRGB.
        using: U choices of sources (`classifier.EVERYTHING`, ...): the networks run once for all.
        fitted: networks of our own to use instead of those in the file.

    Returns:
        The person's window in the picture, and the probabilities Float[U, 5, h, w] of face, hair, clothing,
        body, and of anybody being there, the right way round and no larger than SIDE.
    """
    who = mirrored(person, picture.shape[1])
    seen = np.ascontiguousarray(picture[:, ::-1])
    (look,) = looks_at(networks, seen, who, [window_of(who)], SIDE)
    found = look.probabilities(heard(look.seen, fitted), using, fitted)
    return window_of(person), found[..., ::-1]


def mirrored(person: Person, width: int) -> Person:
    """The person in the mirrored picture, which is `width` pixels wide."""

    def turned(points: np.ndarray) -> np.ndarray:
        return points * (-1, 1) + (width, 0)

    face, pose = person.face, person.pose
    if face is not None:
        face = Face(face.score, turned(face.outline), turned(face.top), turned(face.chin))
    if pose is not None:
        mask = np.ascontiguousarray(pose.mask[:, ::-1])
        pose = Pose(pose.score, turned(pose.landmarks), pose.visibility, mask)
    return Person(np.ascontiguousarray(person.mask[:, ::-1]), face, pose)
