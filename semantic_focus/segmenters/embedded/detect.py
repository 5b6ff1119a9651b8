"""Faces with their mesh, and poses with their person mask, from the detector and landmark networks.

Network conventions (anchor strides, input ranges, landmark indices, region-of-interest rules) are those that
the MediaPipe project documents for these models. Points are (x, y) in pixels of the picture, boxes
(x0, y0, x1, y1).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .networks import Network, Networks

FACE_OVAL = (
    (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377)
    + (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109)
)  # fmt: skip
FOREHEAD, CHIN, RIGHT_EYE, LEFT_EYE = 10, 152, 33, 263

FACE_THRESHOLD = 0.5
POSE_THRESHOLD = 0.4
CLEAR_FACE = 0.8
"""A face below this score is looked at again from nearer."""
TILE = 0.6
"""Side of the four overlapping tiles in which small faces are looked for, as a share of the picture."""


@dataclass(frozen=True)
class DetectorSpec:
    """How a detector reads a picture: input side, stride of each anchor of a cell, keypoints per box."""

    side: int
    strides: tuple[int, ...]
    keypoints: int


FACE_NEAR = DetectorSpec(128, (8, 8, 16, 16, 16, 16, 16, 16), 6)
FACE_FAR = DetectorSpec(192, (4,), 6)
POSE = DetectorSpec(224, (8, 8, 16, 16, 32, 32, 32, 32, 32, 32), 4)


@dataclass(frozen=True)
class Detection:
    """A box with its score (0..1) and keypoints Float[N, 2]."""

    box: np.ndarray
    score: float
    keypoints: np.ndarray


@dataclass(frozen=True)
class Face:
    """A face: score 0..1, outline Float[N, 2], the top of the forehead and the tip of the chin."""

    score: float
    outline: np.ndarray
    top: np.ndarray
    chin: np.ndarray

    @property
    def height(self) -> float:
        """Forehead to chin, in pixels."""
        return float(np.hypot(*(self.chin - self.top)))

    @property
    def width(self) -> float:
        """Cheek to cheek as seen, but at least 0.6 of the height: a profile is narrow, its head is not."""
        axis = (self.chin - self.top) / max(self.height, 1e-6)
        return max(float(np.ptp(self.outline @ (-axis[1], axis[0]))), 0.6 * self.height)

    @property
    def centre(self) -> np.ndarray:
        """Middle of the outline's extent."""
        return (self.outline.min(0) + self.outline.max(0)) / 2

    def is_at(self, other: "Face") -> bool:
        """Whether both are readings of one face: their centres lie within half a face."""
        return float(np.hypot(*(self.centre - other.centre))) < 0.5 * max(self.width, other.width)

    def moved(self, offset: np.ndarray) -> "Face":
        """The face shifted by (x, y)."""
        return Face(self.score, self.outline + offset, self.top + offset, self.chin + offset)

    def scaled(self, scale: float) -> "Face":
        """The face in a picture resized by `scale`."""
        return Face(self.score, self.outline * scale, self.top * scale, self.chin * scale)

    def turned(self, quarters: int, shape: Sequence[int]) -> "Face":
        """The face in a picture of `shape` that is turned as numpy.rot90 turns it."""
        points = (turned_points(p, quarters, shape) for p in (self.outline, self.top, self.chin))
        return Face(self.score, *points)


@dataclass(frozen=True)
class Pose:
    """A body: score, landmarks Float[33, 2], their visibility Float[33] and a soft mask Float[H, W]."""

    score: float
    landmarks: np.ndarray
    visibility: np.ndarray
    mask: np.ndarray

    def inside(self, rows: slice, columns: slice) -> "Pose":
        """The pose in a window of the picture."""
        moved = self.landmarks - (columns.start, rows.start)
        return replace(self, landmarks=moved, mask=self.mask[rows, columns])

    def turned(self, quarters: int) -> "Pose":
        """The pose in the picture turned as numpy.rot90 turns it."""
        points = turned_points(self.landmarks, quarters, self.mask.shape)
        return replace(self, landmarks=points, mask=np.ascontiguousarray(np.rot90(self.mask, quarters)))


def turned_points(points: np.ndarray, quarters: int, shape: Sequence[int]) -> np.ndarray:
    """Float[..., 2], (x, y) in a picture of `shape`, in the picture turned as numpy.rot90 turns it."""
    height, width = shape[:2]
    for _ in range(quarters % 4):
        points = np.stack([points[..., 1], width - 1 - points[..., 0]], -1)
        height, width = width, height
    return points


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Logistic function without overflow."""
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def anchors(spec: DetectorSpec) -> np.ndarray:
    """Float[A, 2]: anchor centres in 0..1; anchors that share a stride lie together, cell by cell."""
    centres = []
    for stride in dict.fromkeys(spec.strides):
        cells = math.ceil(spec.side / stride)
        line = (np.arange(cells) + 0.5) / cells
        grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
        centres.append(np.repeat(grid, spec.strides.count(stride), axis=0))
    return np.concatenate(centres).astype(np.float32)


def letterbox(picture: np.ndarray, side: int) -> tuple[np.ndarray, float, np.ndarray]:
    """Fit a picture into a black square; also returns its scale and its (x, y) offset in the square."""
    import cv2

    height, width = picture.shape[:2]
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    offset = np.array([(side - size[0]) // 2, (side - size[1]) // 2])
    square = np.zeros((side, side, 3), np.uint8)
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square[offset[1] : offset[1] + size[1], offset[0] : offset[0] + size[0]] = resized
    return square, scale, offset


def detect(
    network: Network,
    spec: DetectorSpec,
    picture: np.ndarray,
    threshold: float,
    window: Sequence[float] | None = None,
) -> list[Detection]:
    """Boxes above `threshold` in a UInt8[H, W, 3] picture or one window (a box) of it, overlaps included."""
    left, top = 0, 0
    if window is not None:
        left, top, right, bottom = _inside(window, picture.shape)
        picture = picture[top:bottom, left:right]
    if min(picture.shape[:2]) < 1:
        return []
    square, scale, offset = letterbox(picture, spec.side)
    boxes, logits = sorted(network(square / 127.5 - 1), key=lambda output: -output.shape[-1])
    scores = sigmoid(logits[0, :, 0])
    hits = scores > threshold
    values, centres = boxes[0][hits], anchors(spec)[hits] * spec.side
    middle, half = values[:, :2] + centres, values[:, 2:4] / 2
    points = values[:, 4 : 4 + 2 * spec.keypoints].reshape(-1, spec.keypoints, 2) + centres[:, None]

    def to_picture(xy: np.ndarray) -> np.ndarray:
        return (xy - offset) / scale + (left, top)

    corners = np.concatenate([to_picture(middle - half), to_picture(middle + half)], axis=1)
    return [Detection(*hit) for hit in zip(corners, scores[hits].tolist(), to_picture(points), strict=True)]


def suppress(detections: Iterable[Detection], overlap: float) -> list[Detection]:
    """Keep the best of boxes whose intersection exceeds `overlap` of the smaller one; best first."""
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda d: -d.score):
        if all(_overlap(candidate.box, other.box) <= overlap for other in kept):
            kept.append(candidate)
    return kept


def find_faces(
    networks: Networks, picture: np.ndarray, windows: Sequence[Sequence[float]] | None = None
) -> list[Face]:
    """Faces of a UInt8[H, W, 3] picture, best first: of all of it and four tiles, or only of `windows`."""
    height, width = picture.shape[:2]
    hits: list[Detection] = []
    if windows is None:
        hits = detect(networks.face_near, FACE_NEAR, picture, FACE_THRESHOLD)
        hits += detect(networks.face_far, FACE_FAR, picture, FACE_THRESHOLD)
        spans = [((0, TILE * n), ((1 - TILE) * n, n)) for n in (width, height)]
        windows = [(x0, y0, x1, y1) for x0, x1 in spans[0] for y0, y1 in spans[1]]
    for window in windows:
        hits += detect(networks.face_far, FACE_FAR, picture, FACE_THRESHOLD, window)
    faces = []
    for hit in suppress(hits, 0.5):
        face = read_face(networks.face_mesh, picture, hit)
        faces.append(
            face if face.score > CLEAR_FACE else max(face, *_closer(networks, picture, hit), key=_score)
        )
    return best_of(faces)


def best_of(faces: Iterable[Face]) -> list[Face]:
    """Each face once, by its best reading, best first."""
    kept: list[Face] = []
    for face in sorted(faces, key=_score, reverse=True):
        if face.score > 0 and not any(face.is_at(other) for other in kept):
            kept.append(face)
    return kept


def read_face(network: Network, picture: np.ndarray, detection: Detection) -> Face:
    """The face of a detection; its score is the detector's times the mesh's, 0 where the mesh sees none."""
    mesh, presence = face_mesh(network, picture, detection)
    score = detection.score * presence if presence > 0.5 else 0.0
    return Face(score, mesh[list(FACE_OVAL)], mesh[FOREHEAD], mesh[CHIN])


def _closer(networks: Networks, picture: np.ndarray, hit: Detection) -> list[Face]:
    """Readings of a doubtful face from a window around it: a profile is often mis-sized at first sight."""
    centre, reach = (hit.box[:2] + hit.box[2:]) / 2, 3 * float(max(hit.box[2:] - hit.box[:2]))
    window = (*(centre - reach), *(centre + reach))
    hits = detect(networks.face_near, FACE_NEAR, picture, FACE_THRESHOLD, window)
    hits += detect(networks.face_far, FACE_FAR, picture, FACE_THRESHOLD, window)
    there = sorted((other for other in hits if _overlap(hit.box, other.box) > 0.3), key=lambda d: -d.score)
    return [read_face(networks.face_mesh, picture, other) for other in (hit, *there[:5])]


def _score(face: Face) -> float:
    return face.score


def face_mesh(network: Network, picture: np.ndarray, detection: Detection) -> tuple[np.ndarray, float]:
    """Float[468, 2] mesh points and the probability of a face; a second pass follows the first's tilt."""
    import cv2

    side = 192
    box = detection.box
    centre, size = (box[:2] + box[2:]) / 2, float(max(box[2:] - box[:2]))
    across = detection.keypoints[1] - detection.keypoints[0]
    points, presence = np.zeros((468, 2)), 0.0
    for _ in range(2):
        transform = _crop_transform(centre, 1.5 * size, math.atan2(across[1], across[0]), side)
        crop = cv2.warpAffine(picture, transform, (side, side), flags=cv2.INTER_LINEAR)
        landmarks, logit = sorted(network(crop / 255.0), key=lambda output: -output.size)
        presence = float(sigmoid(logit.ravel()[0]))
        points = _apply(cv2.invertAffineTransform(transform), landmarks.reshape(468, 3)[:, :2])
        across = points[LEFT_EYE] - points[RIGHT_EYE]
        centre, size = (points.min(0) + points.max(0)) / 2, float(max(np.ptp(points, axis=0)))
    return points, presence


def find_poses(networks: Networks, picture: np.ndarray, windows: Sequence[Sequence[float]]) -> list[Pose]:
    """Bodies of a UInt8[H, W, 3] picture, best first, looked for in all of it and in each window."""
    hits = detect(networks.pose_detector, POSE, picture, POSE_THRESHOLD)
    for window in windows:
        hits += detect(networks.pose_detector, POSE, picture, POSE_THRESHOLD, window)
    poses: list[Pose] = []
    for hit in suppress(hits, 0.6):
        pose = read_pose(networks.pose_landmarks, picture, hit)
        if pose.score > 0.5 and all(_shared(pose.mask, other.mask) < 0.6 for other in poses):
            poses.append(pose)
    return poses


def read_pose(network: Network, picture: np.ndarray, detection: Detection) -> Pose:
    """Landmarks and mask in the square around the circle that the detector's first two keypoints span."""
    import cv2

    side = 256
    height, width = picture.shape[:2]
    hip, rim = detection.keypoints[:2]
    up = rim - hip
    transform = _crop_transform(hip, 2.5 * float(np.hypot(*up)), math.atan2(up[1], up[0]) + math.pi / 2, side)
    crop = cv2.warpAffine(picture, transform, (side, side), flags=cv2.INTER_LINEAR)
    outputs = {output.size: output for output in network(crop / 255.0)}
    landmarks = outputs[195].reshape(39, 5)[:33]
    back = cv2.invertAffineTransform(transform)
    mask = cv2.warpAffine(sigmoid(outputs[side * side].reshape(side, side)), back, (width, height))
    return Pose(
        score=float(outputs[1].ravel()[0]),
        landmarks=_apply(back, landmarks[:, :2]),
        visibility=sigmoid(landmarks[:, 3]),
        mask=mask.astype(np.float32),
    )


def selfie(networks: Networks, picture: np.ndarray, window: Sequence[float] | None = None) -> np.ndarray:
    """Float[H, W]: the selfie network's person probability inside a window (a box), 0 outside."""
    import cv2

    height, width = picture.shape[:2]
    result = np.zeros((height, width), np.float32)
    left, top, right, bottom = _inside(window or (0, 0, width, height), picture.shape)
    if right <= left or bottom <= top:
        return result
    crop = picture[top:bottom, left:right]
    shrink = cv2.INTER_AREA if max(crop.shape[:2]) > 256 else cv2.INTER_LINEAR
    seen = networks.selfie(cv2.resize(crop, (256, 256), interpolation=shrink) / 255.0)[0][0, :, :, 0]
    result[top:bottom, left:right] = cv2.resize(
        seen, (right - left, bottom - top), interpolation=cv2.INTER_LINEAR
    )
    return result


def _crop_transform(centre: np.ndarray, size: float, angle: float, side: int) -> np.ndarray:
    """Affine map (2x3) from a square of the picture, turned by `angle` radians, to a side x side crop."""
    import cv2

    along = size / 2 * np.array([math.cos(angle), math.sin(angle)])
    down = np.array([-along[1], along[0]])
    corners = np.stack([centre, centre + along, centre + down]).astype(np.float32)
    return cv2.getAffineTransform(corners, np.array([[0.5, 0.5], [1, 0.5], [0.5, 1]], np.float32) * side)


def _apply(transform: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ transform[:, :2].T + transform[:, 2]


def _inside(window: Sequence[float], shape: Sequence[int]) -> tuple[int, int, int, int]:
    height, width = shape[:2]
    left, top = max(0, int(window[0])), max(0, int(window[1]))
    return left, top, max(left, min(width, math.ceil(window[2]))), max(top, min(height, math.ceil(window[3])))


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    smaller = min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
    return float(np.prod(np.maximum(sides, 0)) / max(smaller, 1e-9))


def _shared(a: np.ndarray, b: np.ndarray) -> float:
    """About the share of the smaller of two masks that both cover."""
    inside_a, inside_b = a[::3, ::3] > 0.5, b[::3, ::3] > 0.5
    smaller = min(inside_a.sum(), inside_b.sum())
    return float((inside_a & inside_b).sum() / max(smaller, 1))
