"""A person seen otherwise: mirrored, in other light, by fewer sources. What then changes is doubtful."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .classifier import EVERYTHING, Fitted, heard
from .detect import Face, Pose
from .networks import Networks
from .parts import Window, looks_at, windows_of
from .persons import Person


@dataclass(frozen=True)
class Otherwise:
    """`light` multiplies red, green and blue of the picture."""

    mirrored: bool = False
    light: tuple[float, float, float] = (1.0, 1.0, 1.0)


def seen_otherwise(
    networks: Networks,
    picture: np.ndarray,
    person: Person,
    ways: Sequence[Otherwise] = (Otherwise(),),
    using: Sequence[Sequence[str]] = (EVERYTHING,),
    near: bool = True,
    fitted: Fitted | None = None,
) -> list[tuple[Window, np.ndarray]]:
    """What each pixel of a person is, seen in several ways.

    Args:
        picture: UInt8[H, W, 3], sRGB.
        ways: W ways to look; for each, the networks run once.
        using: U choices of sources (`classifier.EVERYTHING`, ...), for each way: these cost little.
        near: also look at the head from near, where `parts.windows_of` does.
        fitted: networks of our own to use instead of those in the file.

    Returns:
        For each look, the first at the whole person: its window in the picture, and the probabilities
        Float[W, U, 5, h, w] of face, hair, clothing, body, and of anybody being there, at the view's size and
        all the same way round.
    """
    windows = windows_of(person) if near else windows_of(person)[:1]
    answers: list[list[np.ndarray]] = [[] for _ in windows]
    for way in ways:
        seen, who, places = picture, person, windows
        if way.light != (1.0, 1.0, 1.0):
            seen = np.clip(seen * np.asarray(way.light, np.float32), 0, 255).round().astype(np.uint8)
        if way.mirrored:
            width = picture.shape[1]
            seen, who = np.ascontiguousarray(seen[:, ::-1]), mirrored(person, width)
            places = [(rows, slice(width - columns.stop, width - columns.start)) for rows, columns in windows]
        looks = looks_at(networks, seen, who, places)
        squares = heard(looks[0].seen, fitted)
        for answer, look in zip(answers, looks, strict=True):
            found = look.probabilities(squares, using, fitted)
            answer.append(found[..., ::-1] if way.mirrored else found)
    return [(window, np.stack(answer)) for window, answer in zip(windows, answers, strict=True)]


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
