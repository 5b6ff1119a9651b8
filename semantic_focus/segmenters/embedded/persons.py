"""Persons of a picture: which faces and bodies belong together, and one soft mask for each."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...regions.refine import guided_filter, pieces
from .bodies import Body, box_around, find_bodies
from .colour import ColourModel, bins
from .detect import Face, Pose, selfie
from .networks import Networks

REACH = 2.0
"""How far, in face heights, a person may extend beyond what the pose network saw: hair, sleeves."""
FAR_AWAY = 0.25
"""Persons that take less of a picture, with those beside them, are looked at by themselves."""
AROUND = 0.3
"""What is looked at around them, as a share of their longer side."""
STRAIGHT = 50.0
"""Degrees that a person may lean and still count as upright."""

Window = tuple[slice, slice]
"""Rows and columns."""


@dataclass(frozen=True)
class Person:
    """One person: soft mask Float[H, W], and the face and pose it was found by (at least one of them)."""

    mask: np.ndarray
    face: Face | None
    pose: Pose | None

    def turned(self, quarters: int) -> "Person":
        """The person in the picture turned as numpy.rot90 turns it."""
        return Person(
            np.ascontiguousarray(np.rot90(self.mask, quarters)),
            None if self.face is None else self.face.turned(quarters, self.mask.shape),
            None if self.pose is None else self.pose.turned(quarters),
        )

    @property
    def quarters(self) -> int:
        """How often the picture has to be turned against the clock for the person to be upright: 0 to 3."""
        return quarters_of((self.face, self.pose))


def find_persons(networks: Networks, picture: np.ndarray, seen: Sequence[Face] | None = None) -> list[Person]:
    """Persons of a UInt8[H, W, 3] picture, left to right by the centre of their masks.

    The networks know people who are upright. Where a body is not, the picture is turned, and looked at again.

    Args:
        seen: the faces in it, if they are known.
    """
    bodies = find_bodies(networks, picture, seen)
    leaning = sorted({quarters_of(body) for body in bodies} - {0})
    upright = [body for body in bodies if quarters_of(body) == 0]
    persons = _persons(networks, picture, upright if leaning else bodies)
    for quarters in leaning:
        persons += _turned(networks, picture, quarters, [b for b in bodies if quarters_of(b) == quarters])
    if leaning and len(persons) > 1:
        total = np.maximum(np.sum([person.mask for person in persons], axis=0), 1)
        persons = [replace(person, mask=person.mask / total) for person in persons]
    return sorted(persons, key=lambda person: _centre_x(person.mask))


def quarters_of(body: Body) -> int:
    """How often a picture has to be turned against the clock for a body to be upright: 0 to 3.

    The pose says, if there is one: a face that stands on its head is often read the wrong way round.
    """
    face, pose = body
    if pose is not None:
        hips, head = pose.landmarks[23:25].mean(0), pose.landmarks[:11].mean(0)
        down = hips - head
    else:
        assert face is not None
        down = face.chin - face.top
    lean = float(np.degrees(np.arctan2(down[0], down[1])))
    # from straight down against the clock: 90 is a head to the left
    return 0 if abs(lean) < STRAIGHT else round(-lean / 90) % 4


def _turned(networks: Networks, picture: np.ndarray, quarters: int, bodies: Sequence[Body]) -> list[Person]:
    """Persons who are upright when the picture is turned; `bodies` is what they seem to be in it as it is."""
    shape = picture.shape
    there = np.ascontiguousarray(np.rot90(picture, quarters))
    found = [body for body in find_bodies(networks, there) if quarters_of(body) == 0]
    if not found:
        found = [
            (None if face is None else face.turned(quarters, shape), pose and pose.turned(quarters))
            for face, pose in bodies
        ]
    return [person.turned(-quarters) for person in _persons(networks, there, found)]


def _persons(networks: Networks, picture: np.ndarray, bodies: Sequence[Body]) -> list[Person]:
    """The persons whose faces and poses these are; those far away each in a window of the picture."""
    persons = []
    cores = [_core(body, picture.shape) for body in bodies]
    for window, own in _groups(cores, picture.shape):
        box = np.array([window[1].start, window[0].start, window[1].stop, window[0].stop])
        others = [n for n, core in enumerate(cores) if n not in own and _touch(core, box)]
        inside = [_inside(bodies[n], window) for n in (*own, *others)]
        masks = _masks(networks, np.ascontiguousarray(picture[window]), inside)
        for number, share in zip(own, masks, strict=False):
            if share.max() > 0.5:
                mask = np.zeros(picture.shape[:2], np.float32)
                mask[window] = share
                persons.append(Person(mask, *bodies[number]))
    return persons


def _masks(networks: Networks, picture: np.ndarray, bodies: Sequence[Body]) -> Iterator[np.ndarray]:
    """Float[H, W] for each body."""
    evidence = np.stack(
        [
            _guessed(networks, picture, face)
            if face and pose is None
            else _evidence(face, pose, picture.shape)
            for face, pose in bodies
        ]
    )
    union = _union(networks, picture, bodies, evidence)
    for share in _shares(bodies, evidence):
        yield union * share


def _groups(cores: Sequence[np.ndarray], shape: Sequence[int]) -> list[tuple[Window, list[int]]]:
    """Numbers of bodies that overlap, and where in a picture of `shape` to look at them: in all of it, unless
    they are far away.
    """
    groups = [(core, [number]) for number, core in enumerate(cores)]
    place = 0
    while place < len(groups):
        box, numbers = groups[place]
        near = next((n for n, (other, _) in enumerate(groups) if n != place and _touch(other, box)), None)
        if near is None:
            place += 1
            continue
        other, others = groups[near]
        joined = np.concatenate([np.minimum(other[:2], box[:2]), np.maximum(other[2:], box[2:])])
        groups = [group for n, group in enumerate(groups) if n not in (place, near)]
        groups.insert(0, (joined, numbers + others))
        place = 0
    height, width = shape[:2]
    whole: list[int] = []
    apart: list[tuple[Window, list[int]]] = []
    for box, numbers in groups:
        margin = AROUND * float(max(box[2:] - box[:2]))
        left, top = (max(0, int(value - margin)) for value in box[:2])
        right, bottom = min(width, int(box[2] + margin)), min(height, int(box[3] + margin))
        if (right - left) * (bottom - top) < FAR_AWAY * height * width:
            apart.append(((slice(top, bottom), slice(left, right)), numbers))
        else:
            whole += numbers
    return apart + ([((slice(0, height), slice(0, width)), sorted(whole))] if whole else [])


def _touch(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.minimum(a[2:], b[2:]) > np.maximum(a[:2], b[:2])).all())


def _core(body: Body, shape: Sequence[int]) -> np.ndarray:
    """Float[4], the box of a body: of its face and pose, or of what there should be below a face."""
    face, pose = body
    boxes = []
    if pose is not None and (box := box_around(pose.mask, 0)) is not None:
        boxes.append(box)
    if face is not None:
        (x, y), wide, high = face.centre, face.width, face.height
        reach, below = (0.7, 0.6) if pose is not None else (1.4, 2.5)
        boxes.append((x - reach * wide, y - high, x + reach * wide, y + below * high))
    if not boxes:
        return np.array([0, 0, shape[1], shape[0]], float)
    corners = np.array(boxes, float)
    limits = np.array([shape[1], shape[0]] * 2, float)
    return np.clip(np.concatenate([corners[:, :2].min(0), corners[:, 2:].max(0)]), 0, limits)


def _inside(body: Body, window: Window) -> Body:
    face, pose = body
    corner = np.array([window[1].start, window[0].start])
    return face and face.moved(-corner), pose and pose.inside(*window)


def oval_mask(face: Face, shape: Sequence[int]) -> np.ndarray:
    """Float[H, W]: inside of the face mesh's outline, antialiased."""
    import cv2

    mask = np.zeros(tuple(shape[:2]), np.uint8)
    outline = np.round(face.outline * 16).astype(np.int32)
    cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _guessed(networks: Networks, picture: np.ndarray, face: Face) -> np.ndarray:
    """Float[H, W]: where the body of a face without a pose is, as the selfie network sees it from near."""
    (x, y), wide, high = face.centre, face.width, face.height
    somebody = selfie(networks, picture, (x - 2.2 * wide, y - 1.6 * high, x + 2.2 * wide, y + 3.5 * high))
    below = np.maximum(_torso(face, picture.shape), _nearness(face, picture.shape) > 0.5)
    return np.maximum(somebody * below, oval_mask(face, picture.shape))


def _evidence(face: Face | None, pose: Pose | None, shape: Sequence[int]) -> np.ndarray:
    """Float[H, W]: where this body certainly is."""
    mask = np.zeros(tuple(shape[:2]), np.float32) if pose is None else pose.mask
    return mask if face is None else np.maximum(mask, oval_mask(face, shape))


def _shares(bodies: Sequence[Body], evidence: np.ndarray) -> np.ndarray:
    """Float[P, H, W]: whose each pixel is: on a head by the face, elsewhere by evidence, and by distance
    where nobody has any.
    """
    import cv2

    if len(evidence) == 1:
        return np.ones_like(evidence)
    scores, heads = [], []
    for (face, pose), layer in zip(bodies, evidence, strict=True):
        distance = cv2.distanceTransform((layer < 0.5).astype(np.uint8), cv2.DIST_L2, 5)
        known = np.maximum(layer, 0.6 * _torso(face, layer.shape)) if face and not pose else layer
        away = np.minimum(distance / (0.01 * max(layer.shape)), 1e6)
        scores.append(known**2 + 1e-6 + 0.05 / (1 + away**4))
        heads.append(_nearness(face, layer.shape) if face else np.zeros_like(layer))
    by_body, nearest = np.stack(scores), np.stack(heads)
    by_head = nearest**4 + 1e-9
    on_a_head = np.clip((nearest.max(0) - 0.3) / 0.3, 0, 1)
    return (1 - on_a_head) * by_body / by_body.sum(0) + on_a_head * by_head / by_head.sum(0)


def _nearness(face: Face, shape: Sequence[int]) -> np.ndarray:
    """Float[H, W]: 1 in the middle of a face, 0.5 at about where the head ends."""
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    x, y = face.centre
    distance = (columns - x) ** 2 + (rows - y) ** 2
    return np.exp(-distance / (0.9 * max(face.width, face.height)) ** 2)


def _torso(face: Face, shape: Sequence[int]) -> np.ndarray:
    """Float[H, W], 1 where the body below an upright face would be."""
    import cv2

    (x, y), wide, high = face.centre, face.width, face.height
    outline = [(x - wide, y + high), (x + wide, y + high), (x + 1.6 * wide, y + 3 * high)]
    outline += [
        (x + 1.3 * wide, y + 7 * high),
        (x - 1.3 * wide, y + 7 * high),
        (x - 1.6 * wide, y + 3 * high),
    ]
    layer = np.zeros(tuple(shape[:2]), np.uint8)
    cv2.fillPoly(layer, [np.round(outline).astype(np.int32)], 1)
    return layer.astype(np.float32)


def _union(
    networks: Networks,
    picture: np.ndarray,
    bodies: Sequence[Body],
    evidence: np.ndarray,
) -> np.ndarray:
    """Float[H, W]: where any of the bodies is, from the selfie network, the pose masks and the colours."""
    import cv2

    height, width = picture.shape[:2]
    seen = evidence.max(0)
    somebody = selfie(networks, picture)
    for window in _body_windows(bodies, evidence):
        somebody = np.maximum(somebody, selfie(networks, picture, window))
    faces = [face.height for face, _ in bodies if face is not None]
    reach = REACH * max(faces, default=0.1 * height)
    near = cv2.distanceTransform((seen < 0.5).astype(np.uint8), cv2.DIST_L2, 5) < reach
    # the selfie network knows hair and sleeves of people near the camera, the pose network people far from it
    nearness = float(np.clip((max(faces, default=0) / height - 0.03) / 0.09, 0, 1))
    trust = 0.35 + 0.3 * nearness
    mixed = (trust * somebody + (1 - trust) * seen) * near
    ovals = [oval_mask(face, picture.shape) for face, _ in bodies if face is not None]
    mixed = np.max([mixed, *ovals], axis=0)
    recoloured = _by_colour(picture, mixed)
    radius = max(2, round(0.008 * max(height, width)))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    smooth = np.clip(guided_filter(grey, recoloured[None], radius, 1e-3)[0], 0, 1)
    return _connected(_steepen(smooth), seen, evidence)


def _body_windows(bodies: Sequence[Body], evidence: np.ndarray) -> list[tuple[float, float, float, float]]:
    """A window around each body that is clearly smaller than the picture."""
    height, width = evidence.shape[1:]
    windows = []
    for _, layer in zip(bodies, evidence, strict=True):
        window = box_around(layer)
        if window is not None and (window[2] - window[0]) * (window[3] - window[1]) < 0.7 * height * width:
            windows.append(window)
    return windows


def _by_colour(picture: np.ndarray, person: np.ndarray) -> np.ndarray:
    """Let the colours of sure person and sure background decide where the networks do not."""
    import cv2

    sure, never = person > 0.9, person < 0.1
    if sure.sum() < 50 or never.sum() < 50:
        return person
    codes = bins(picture)
    reach = max(3, round(0.12 * max(person.shape)))
    around = cv2.dilate(sure.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    inside = ColourModel.fit(codes, sure.astype(np.float32)).density(codes)
    outside = ColourModel.fit(codes, (never & around).astype(np.float32)).density(codes)
    ratio = np.clip(np.sqrt(inside / outside), 1 / 4, 4)
    prior = np.clip(person, 0.01, 0.99)
    odds = prior / (1 - prior) * ratio
    return np.where(sure | never, person, odds / (1 + odds)).astype(np.float32)


def _steepen(mask: np.ndarray) -> np.ndarray:
    """Stretch 0.15..0.85 to 0..1, so that faint network haze is neither person nor hole."""
    return np.clip((mask - 0.15) / 0.7, 0, 1)


def _connected(mask: np.ndarray, seen: np.ndarray, evidence: np.ndarray) -> np.ndarray:
    """Keep the pieces with a fair share of the evidence; without any, none."""
    import cv2

    label, _ = pieces(mask > 0.5)
    seen_area = np.bincount(label.ravel(), weights=(seen > 0.6).ravel())
    seen_area[0] = 0
    touched = seen_area > 0.03 * seen_area.max()
    for layer in evidence:  # somebody small beside somebody big
        own = np.bincount(label[layer > 0.6], minlength=len(touched))
        touched |= own > 0.3 * own.sum()
    touched[0] = False
    halo = cv2.dilate(touched[label].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    return np.where(halo, mask, 0).astype(np.float32)


def _centre_x(mask: np.ndarray) -> float:
    columns = mask.sum(0)
    return float((columns * np.arange(len(columns))).sum() / columns.sum())
