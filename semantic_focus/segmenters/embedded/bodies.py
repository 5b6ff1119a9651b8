"""Which faces and poses of a picture belong together, and how a picture is looked at again for more."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .detect import Face, Pose, find_faces, find_poses, selfie
from .networks import Networks
from .seek import NEARER, SMALL_FACE, tiles
from .torso import NEAR_TRUST, Square, find_torsos

SURE_FACE = 0.7
"""A face with at least this score counts without support from a body."""
WEAK_FACE = 0.45
MAX_TORSO_SQUARES = 4.0
"""A silhouette without a face may cover this many squares of its shoulder-to-hip length; flowers do more."""
SURE_POSE, LEAST_BODY = 0.95, 0.02
"""Score of a pose, and its share of the picture, from which a body counts that only a second look found."""
CLEAR_POSE = 0.9
"""Score of a pose below which the body of a face is looked at again."""
NEAR_HEAD = 1.6
"""A face this many face sizes from a pose's head may still be that body's: turned heads are misplaced."""

Body = tuple[Face | None, Pose | None]
"""A face, a pose, or both, of one person."""


def find_bodies(networks: Networks, picture: np.ndarray, seen: Sequence[Face] | None = None) -> list[Body]:
    """Faces and poses that belong together; a face alone must be sure, a pose alone must look like a body.

    Where nobody is found, the picture is looked at again in smaller windows, and what is found then must be
    sure: a house has a roof for a head. Where there is nobody still, bodies without a head are looked for.

    Args:
        picture: UInt8[H, W, 3].
        seen: the faces in it, if they are known.
    """
    faces = find_faces(networks, picture) if seen is None else seen
    if bodies := _bodies(networks, picture, faces, ()):
        return bodies
    height, width = picture.shape[:2]
    grid = [
        (x * width, y * height, (x + side) * width, (y + side) * height)
        for side in (0.7, 0.5)
        for x in (0.0, (1 - side) / 2, 1 - side)
        for y in (0.0, (1 - side) / 2, 1 - side)
    ]
    found = _bodies(networks, picture, find_faces(networks, picture, grid), grid)
    sure = [(face, pose) for face, pose in found if face is not None or _is_sure(networks, picture, pose)]
    if sure:
        return sure
    if torsos := find_torsos(networks, picture):
        return [(None, pose) for pose in torsos]
    for window in grid[: len(grid) // 2]:
        if torsos := _torsos_in(networks, picture, window):
            return [(None, pose) for pose in torsos]
    return []


def _torsos_in(networks: Networks, picture: np.ndarray, window: Sequence[float]) -> list[Pose]:
    """Bodies without a head in a window (a box) of the picture, in its pixels."""
    left, top, right, bottom = (int(value) for value in window)
    shape, corner = picture.shape[:2], np.array([left, top])
    found = []
    for pose in find_torsos(networks, np.ascontiguousarray(picture[top:bottom, left:right]), NEAR_TRUST):
        mask = np.zeros(shape, np.float32)
        mask[top:bottom, left:right] = pose.mask
        found.append(replace(pose, landmarks=pose.landmarks + corner, mask=mask))
    return found


def _bodies(
    networks: Networks, picture: np.ndarray, seen: Sequence[Face], more: Sequence[Sequence[float]]
) -> list[Body]:
    """Bodies from the faces seen; poses are looked for around them and in `more` windows (boxes)."""
    height, width = picture.shape[:2]
    faces = [face for face in seen if face.score > WEAK_FACE]
    windows = [_around(face) for face in faces if face.width < 0.2 * width]
    one_portrait = len(faces) == 1 and faces[0].width > 0.1 * width
    if not one_portrait:
        windows += [(start * width, 0, (start + 0.5) * width, height) for start in (0.0, 0.25, 0.5)]
    if faces and min(face.height for face in faces) < SMALL_FACE * max(height, width):
        windows += tiles((height, width), NEARER)  # others as small may have their backs to us
    poses = find_poses(networks, picture, [*windows, *more])
    free = list(poses)
    bodies: list[Body] = []
    for face in faces:
        near = sorted((gap, index) for index, pose in enumerate(free) if (gap := _gap(face, pose)) < 1)
        if near or face.score > SURE_FACE:
            bodies.append((face, free.pop(near[0][1]) if near else None))
    bodies = [(face, _pose_below(networks, picture, face, pose) if face else pose) for face, pose in bodies]
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


def _pose_below(networks: Networks, picture: np.ndarray, face: Face, known: Pose | None) -> Pose | None:
    """The body of a face, looked for where it should be, if none is known or that one is doubtful."""
    if known is not None and known.score > CLEAR_POSE:
        return known
    pose = Square.below(face).read(networks, picture)
    better = pose.score > (CLEAR_POSE if known is None else known.score) and _gap(face, pose) < 1
    return pose if better else known


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
    window = box_around(pose.mask)
    seen = selfie(networks, picture, window) if window is not None else pose.mask
    return float(seen[pose.mask > 0.5].mean()) > 0.6


def _without_pose(bodies: Sequence[Body], pose: Pose) -> int | None:
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


def box_around(mask: np.ndarray, margin: float = 0.15) -> tuple[float, float, float, float] | None:
    """The box of a mask and some more around it, a share of its longer side; None when the mask is empty."""
    rows, columns = np.where(mask.max(1) > 0.4)[0], np.where(mask.max(0) > 0.4)[0]
    if not len(rows):
        return None
    more = margin * max(np.ptp(rows), np.ptp(columns))
    return columns[0] - more, rows[0] - more, columns[-1] + more, rows[-1] + more
