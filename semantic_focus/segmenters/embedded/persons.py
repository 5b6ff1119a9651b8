"""Persons of a picture: which faces and bodies belong together, and one soft mask for each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...regions.refine import guided_filter, pieces
from .colour import ColourModel, bins
from .detect import Face, Pose, find_faces, find_poses
from .networks import Networks

SURE_FACE = 0.7
"""A face with at least this score counts without support from a body."""
WEAK_FACE = 0.45
MAX_TORSO_SQUARES = 4.0
"""A silhouette without a face may cover this many squares of its shoulder-to-hip length; flowers do more."""
SURE_POSE, LEAST_BODY = 0.95, 0.02
"""Score of a pose, and its share of the picture, from which a body counts that only a second look found."""
NEAR_HEAD = 1.6
"""A face this many face sizes from a pose's head may still be that body's: turned heads are misplaced."""
REACH = 2.0
"""How far, in face heights, a person may extend beyond what the pose network saw: hair, sleeves."""


@dataclass(frozen=True)
class Person:
    """One person: soft mask Float[H, W], and the face and pose it was found by (at least one of them)."""

    mask: np.ndarray
    face: Face | None
    pose: Pose | None


def find_persons(networks: Networks, picture: np.ndarray) -> list[Person]:
    """Persons of a UInt8[H, W, 3] picture, left to right by the centre of their masks."""
    bodies = find_bodies(networks, picture)
    if not bodies:
        return []
    evidence = np.stack([_evidence(face, pose, picture.shape) for face, pose in bodies])
    union = _union(networks, picture, bodies, evidence)
    persons = []
    for (face, pose), share in zip(bodies, _shares(bodies, evidence), strict=True):
        mask = union * share
        if mask.max() > 0.5:
            persons.append(Person(mask, face, pose))
    return sorted(persons, key=lambda person: _centre_x(person.mask))


def find_bodies(networks: Networks, picture: np.ndarray) -> list[tuple[Face | None, Pose | None]]:
    """Faces and poses that belong together; a face alone must be sure, a pose alone must look like a body.

    Where nobody is found, the picture is looked at again in smaller windows, and what is found then must be
    sure: a house has a roof for a head.
    """
    bodies = _bodies(networks, picture, find_faces(networks, picture), ())
    if bodies:
        return bodies
    height, width = picture.shape[:2]
    grid = [
        (x * width, y * height, (x + side) * width, (y + side) * height)
        for side in (0.7, 0.5)
        for x in (0.0, (1 - side) / 2, 1 - side)
        for y in (0.0, (1 - side) / 2, 1 - side)
    ]
    found = _bodies(networks, picture, find_faces(networks, picture, grid), grid)
    return [(face, pose) for face, pose in found if face is not None or _is_sure(networks, picture, pose)]


def _bodies(
    networks: Networks, picture: np.ndarray, seen: Sequence[Face], more: Sequence[Sequence[float]]
) -> list[tuple[Face | None, Pose | None]]:
    """Bodies from the faces seen; poses are looked for around them and in `more` windows (boxes)."""
    height, width = picture.shape[:2]
    faces = [face for face in seen if face.score > WEAK_FACE]
    windows = [_around(face) for face in faces if face.width < 0.2 * width]
    one_portrait = len(faces) == 1 and faces[0].width > 0.1 * width
    if not one_portrait:
        windows += [(start * width, 0, (start + 0.5) * width, height) for start in (0.0, 0.25, 0.5)]
    poses = find_poses(networks, picture, [*windows, *more])
    free = list(poses)
    bodies: list[tuple[Face | None, Pose | None]] = []
    for face in faces:
        near = sorted((gap, index) for index, pose in enumerate(free) if (gap := _gap(face, pose)) < 1)
        if near or face.score > SURE_FACE:
            bodies.append((face, free.pop(near[0][1]) if near else None))
    for pose in free:
        found = [f for f in find_faces(networks, picture, [_head(pose)]) if f.score > WEAK_FACE]
        known = [face for face, _ in bodies if face is not None]
        new = [face for face in found if not any(face.is_at(other) for other in known)]
        own = next((face for face in new if _gap(face, pose) < 1), None)
        if own is None and any(_gap(face, pose) < 1 for face in found):
            continue  # another reading of somebody already there
        if own is None and (near := _without_pose(bodies, pose)) is not None:
            bodies[near] = (bodies[near][0], pose)
            continue
        if own is None:
            own = next((face for face in new if face.score > SURE_FACE and _is_inside(face, pose)), None)
        if own is not None or _is_body(pose):
            bodies.append((own, pose))
    return bodies


def oval_mask(face: Face, shape: Sequence[int]) -> np.ndarray:
    """Float[H, W]: inside of the face mesh's outline, antialiased."""
    import cv2

    mask = np.zeros(tuple(shape[:2]), np.uint8)
    outline = np.round(face.outline * 16).astype(np.int32)
    cv2.fillPoly(mask, [outline], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _around(face: Face) -> tuple[float, float, float, float]:
    x, y = face.centre
    return x - 4 * face.width, y - 2 * face.height, x + 4 * face.width, y + 7 * face.height


def _head(pose: Pose) -> tuple[float, float, float, float]:
    x, y = pose.landmarks[:11].mean(0)
    reach = max(1.2 * float(np.hypot(*(pose.landmarks[11] - pose.landmarks[12]))), 24.0)
    return x - reach, y - reach, x + reach, y + reach


def _gap(face: Face, pose: Pose) -> float:
    """Distance of the pose's head from the face, in face sizes."""
    return float(np.hypot(*(pose.landmarks[:11].mean(0) - face.centre))) / max(face.width, face.height)


def _is_sure(networks: Networks, picture: np.ndarray, pose: Pose | None) -> bool:
    """Whether pose and selfie network agree on a body that is not tiny."""
    if pose is None or pose.score < SURE_POSE or (pose.mask > 0.5).mean() < LEAST_BODY:
        return False
    window = _with_margin(pose.mask)
    seen = _selfie(networks, picture, window) if window is not None else pose.mask
    return float(seen[pose.mask > 0.5].mean()) > 0.6


def _without_pose(bodies: Sequence[tuple[Face | None, Pose | None]], pose: Pose) -> int | None:
    """Index of the nearest body that has a face on this pose's mask, not far from its head, and no pose."""
    gaps = [
        (_gap(face, pose), index)
        for index, (face, other) in enumerate(bodies)
        if face is not None and other is None and _is_inside(face, pose)
    ]
    gap, index = min(gaps, default=(NEAR_HEAD, -1))
    return index if gap < NEAR_HEAD else None


def _is_inside(face: Face, pose: Pose) -> bool:
    """Whether the middle of the face lies on the body: the pose network often misplaces a turned head."""
    x, y = np.clip(face.centre.round().astype(int), 0, np.array(pose.mask.shape[::-1]) - 1)
    return bool(pose.mask[y, x] > 0.5)


def _is_body(pose: Pose) -> bool:
    shoulders, hips = pose.landmarks[11:13].mean(0), pose.landmarks[23:25].mean(0)
    torso = float(np.hypot(*(shoulders - hips)))
    return pose.score > 0.8 and float((pose.mask > 0.5).sum()) < MAX_TORSO_SQUARES * torso**2


def _evidence(face: Face | None, pose: Pose | None, shape: Sequence[int]) -> np.ndarray:
    """Float[H, W]: where this body certainly is."""
    mask = np.zeros(tuple(shape[:2]), np.float32) if pose is None else pose.mask
    return mask if face is None else np.maximum(mask, oval_mask(face, shape))


def _shares(bodies: Sequence[tuple[Face | None, Pose | None]], evidence: np.ndarray) -> np.ndarray:
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
    bodies: Sequence[tuple[Face | None, Pose | None]],
    evidence: np.ndarray,
) -> np.ndarray:
    """Float[H, W]: where any of the bodies is, from the selfie network, the pose masks and the colours."""
    import cv2

    height, width = picture.shape[:2]
    seen = evidence.max(0)
    selfie = _selfie(networks, picture, (0, 0, width, height))
    for window in _body_windows(bodies, evidence):
        selfie = np.maximum(selfie, _selfie(networks, picture, window))
    faces = [face.height for face, _ in bodies if face is not None]
    reach = REACH * max(faces, default=0.1 * height)
    near = cv2.distanceTransform((seen < 0.5).astype(np.uint8), cv2.DIST_L2, 5) < reach
    # the selfie network knows hair and sleeves of people near the camera, the pose network people far from it
    nearness = float(np.clip((max(faces, default=0) / height - 0.03) / 0.09, 0, 1))
    trust = 0.35 + 0.3 * nearness
    mixed = (trust * selfie + (1 - trust) * seen) * near
    ovals = [oval_mask(face, picture.shape) for face, _ in bodies if face is not None]
    mixed = np.max([mixed, *ovals], axis=0)
    recoloured = _by_colour(picture, mixed)
    radius = max(2, round(0.008 * max(height, width)))
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    smooth = np.clip(guided_filter(grey, recoloured[None], radius, 1e-3)[0], 0, 1)
    return _connected(_steepen(smooth), seen)


def _selfie(networks: Networks, picture: np.ndarray, window: Sequence[float]) -> np.ndarray:
    """Float[H, W]: the selfie network's person probability inside a window, 0 outside."""
    import cv2

    height, width = picture.shape[:2]
    left, top = max(0, int(window[0])), max(0, int(window[1]))
    right, bottom = min(width, int(np.ceil(window[2]))), min(height, int(np.ceil(window[3])))
    result = np.zeros((height, width), np.float32)
    if right <= left or bottom <= top:
        return result
    crop = picture[top:bottom, left:right]
    shrink = cv2.INTER_AREA if max(crop.shape[:2]) > 256 else cv2.INTER_LINEAR
    seen = networks.selfie(cv2.resize(crop, (256, 256), interpolation=shrink) / 255.0)[0][0, :, :, 0]
    result[top:bottom, left:right] = cv2.resize(
        seen, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
    )
    return result


def _body_windows(
    bodies: Sequence[tuple[Face | None, Pose | None]], evidence: np.ndarray
) -> list[tuple[float, float, float, float]]:
    """A window around each body that is clearly smaller than the picture."""
    height, width = evidence.shape[1:]
    windows = []
    for _, layer in zip(bodies, evidence, strict=True):
        window = _with_margin(layer)
        if window is not None and (window[2] - window[0]) * (window[3] - window[1]) < 0.7 * height * width:
            windows.append(window)
    return windows


def _with_margin(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    """The box of a mask and some more around it; None when the mask is empty."""
    rows, columns = np.where(mask.max(1) > 0.4)[0], np.where(mask.max(0) > 0.4)[0]
    if not len(rows):
        return None
    margin = 0.15 * max(np.ptp(rows), np.ptp(columns))
    return columns[0] - margin, rows[0] - margin, columns[-1] + margin, rows[-1] + margin


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


def _connected(mask: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Keep the pieces with a fair share of the evidence; without any, none."""
    import cv2

    label, _ = pieces(mask > 0.5)
    seen_area = np.bincount(label.ravel(), weights=(seen > 0.6).ravel())
    seen_area[0] = 0
    touched = seen_area > 0.03 * seen_area.max()
    halo = cv2.dilate(touched[label].astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    return np.where(halo, mask, 0).astype(np.float32)


def _centre_x(mask: np.ndarray) -> float:
    columns = mask.sum(0)
    return float((columns * np.arange(len(columns))).sum() / columns.sum())
