"""Face, hair, bare skin and clothing of each person.

No network of the embedded six names these parts. Small networks of our own do, pixel by pixel, from what
`features.py` measures; `benchmarks/fit_parts.py` fitted them to hand-drawn references.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from safetensors.torch import load_file

from ...regions.refine import clean, guided_filter
from .colour import ColourModel, bins, skin_like
from .detect import Face, Pose
from .features import features
from .guess import grey_of
from .networks import FITTED
from .persons import Person, oval_mask

PARTS = ("face", "hair", "clothing", "body")
WORK_SIDE = 320
CHUNK = 1 << 13
"""Pixels that are classified at a time: more does not fit into a processor's cache."""
EDGE_RADIUS, EDGE_EPSILON = 0.03, 1e-3
"""Guided filter that draws the parts' borders along the picture's: radius in face heights, variance."""
SPECK = 0.003
"""Pieces of a part, and holes in it, below this share of the person go to what surrounds them."""
LIMBS = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28))
"""Upper and lower arms, then legs, as pairs of pose landmarks."""
HANDS = ((15, 19), (16, 20))
FEET = ((27, 31), (28, 32))
SHOULDERS = slice(11, 13)


Window = tuple[slice, slice]
"""Rows and columns."""


def find_parts(picture: np.ndarray, persons: Sequence[Person]) -> dict[str, np.ndarray]:
    """Scores of the four parts over all persons.

    Args:
        picture: UInt8[H, W, 3], sRGB.

    Returns:
        Float[H, W] in 0..1 for "face", "hair", "clothing" and "body"; they sum to the persons' union.
    """
    result = {name: np.zeros(picture.shape[:2], np.float32) for name in PARTS}
    if not persons:
        return result
    everybody_is_seen = all(person.face is not None for person in persons)
    skin = None if everybody_is_seen else _skin_of_all(bins(picture), persons)
    for person in persons:
        window = window_of(person)
        for name, part in zip(PARTS, _parts_of(picture, person, skin), strict=True):
            result[name][window] += part
    return result


@dataclass(frozen=True)
class View:
    """One person, cut out and at no more than WORK_SIDE: what the parts are found in.

    `picture` UInt8[h, w, 3], `mask` and `limbs` Float[h, w]; `face` and `shoulders` (row of their line,
    NaN where it is not seen) in its pixels.
    """

    picture: np.ndarray
    mask: np.ndarray
    limbs: np.ndarray
    face: Face | None
    shoulders: float

    @staticmethod
    def of(picture: np.ndarray, person: Person, window: Window) -> "View":
        import cv2

        size = person.mask[window].shape
        scale = min(1.0, WORK_SIDE / max(size))
        small = (max(1, round(size[1] * scale)), max(1, round(size[0] * scale)))

        def shrunk(layer: np.ndarray) -> np.ndarray:
            return cv2.resize(layer, small, interpolation=cv2.INTER_AREA)

        corner = np.array([window[1].start, window[0].start])
        pose, shoulders = person.pose, float("nan")
        if pose is not None and pose.visibility[SHOULDERS].min() > 0.5:
            shoulders = (float(pose.landmarks[SHOULDERS, 1].mean()) - corner[1]) * scale
        return View(
            shrunk(picture[window]),
            shrunk(person.mask[window]),
            shrunk(_limb_prior(person, window)),
            None if person.face is None else person.face.moved(-corner).scaled(scale),
            shoulders,
        )

    def features(self) -> np.ndarray:
        """Float[F, h, w]; only for a person whose face is seen."""
        assert self.face is not None
        return features(self.picture, self.mask, self.limbs, self.face, self.shoulders)


def window_of(person: Person) -> Window:
    """Rows and columns that a person's mask takes."""
    rows, columns = np.where(person.mask.max(1) > 0)[0], np.where(person.mask.max(0) > 0)[0]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def windows_of(person: Person) -> list[Window]:
    """What a person is looked at in: all of it, and the head again from near if it is small in that."""
    whole = window_of(person)
    height, width = person.mask[whole].shape
    if person.face is None or max(height, width) <= 1.2 * WORK_SIDE:
        return [whole]
    (x, y), size = person.face.centre, max(person.face.height, person.face.width)
    rows = slice(max(whole[0].start, int(y - 1.7 * size)), min(whole[0].stop, int(y + 2.2 * size)))
    columns = slice(max(whole[1].start, int(x - 1.7 * size)), min(whole[1].stop, int(x + 1.7 * size)))
    near = max(rows.stop - rows.start, columns.stop - columns.start)
    return [whole, (rows, columns)] if 16 < near < 0.8 * max(height, width) else [whole]


def _parts_of(picture: np.ndarray, person: Person, skin: ColourModel | None) -> np.ndarray:
    """Float[4, h, w] inside the person's window: the mask, shared out among the parts."""
    whole, *near = windows_of(person)
    shares = _shares_in(picture, person, whole, skin)
    for window in near:
        rows = slice(window[0].start - whole[0].start, window[0].stop - whole[0].start)
        columns = slice(window[1].start - whole[1].start, window[1].stop - whole[1].start)
        inside = _fading((rows, columns), (shares.shape[1], shares.shape[2]))
        closer = _shares_in(picture, person, window, skin)
        shares[:, rows, columns] += inside * (closer - shares[:, rows, columns])
    return shares * person.mask[whole]


def _shares_in(picture: np.ndarray, person: Person, window: Window, skin: ColourModel | None) -> np.ndarray:
    """Float[4, h, w] of one window: shares that sum to 1."""
    import cv2

    view = View.of(picture, person, window)
    shares = _faceless(view, skin) if view.face is None else _with_face(view, view.face)
    size = (window[1].stop - window[1].start, window[0].stop - window[0].start)
    whole = tidy(shares, view.mask)
    return np.stack([cv2.resize(layer, size, interpolation=cv2.INTER_LINEAR) for layer in whole])


def _fading(window: Window, shape: tuple[int, int]) -> np.ndarray:
    """Float[h, w] of a window in an area of `shape`: 1, towards its borders inside the area 0."""
    fades = []
    for part, length in zip(window, shape, strict=True):
        place, margin = np.arange(part.start, part.stop), 0.15 * (part.stop - part.start)
        before = (place - part.start) / margin if part.start > 0 else np.ones(len(place))
        after = (part.stop - 1 - place) / margin if part.stop < length else np.ones(len(place))
        fades.append(np.clip(np.minimum(before, after), 0, 1))
    return np.outer(*fades).astype(np.float32)


def tidy(shares: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Give specks of a part, and holes in it, to what surrounds them.

    Args:
        shares: Float[K, h, w], the parts' shares of each pixel.
        mask: Float[h, w], the person.

    Returns:
        Float[K, h, w] that sums to 1.
    """
    import cv2

    limit = max(4, round(SPECK * float(mask.sum())))
    kept = np.stack([clean(layer, limit, limit) for layer in shares])
    side = 2 * max(1, round(0.5 * limit**0.5)) + 1
    around = np.stack([cv2.blur(layer, (side, side)) for layer in kept])
    filled = kept + 1e-2 * around + 1e-6
    return filled / filled.sum(0)


def _with_face(view: View, face: Face) -> np.ndarray:
    """Float[4, h, w]: shares of a person whose face is seen; they sum to 1."""
    probability = classify(view.features(), view.mask > 0.02)
    radius = max(1, round(EDGE_RADIUS * face.height))
    smooth = guided_filter(grey_of(view.picture), probability, radius, EDGE_EPSILON, 2)
    crisp = np.clip(smooth, 1e-4, 1) ** 2
    return crisp / crisp.sum(0)


def classify(layers: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Float[4, h, w]: probability of each part, the mean over the fitted networks.

    Args:
        layers: Float[F, h, w], see `features.py`.
        where: Bool[h, w], the pixels that matter; the others are clothing.
    """
    fitted = fitted_networks()
    result = np.zeros((len(PARTS), *where.shape), np.float32)
    result[PARTS.index("clothing")] = 1
    flat, shares = layers.reshape(len(layers), -1), result.reshape(len(PARTS), -1)
    for pixels in np.array_split(np.flatnonzero(where), max(1, int(where.sum()) // CHUNK)):
        inputs = (torch.from_numpy(flat[:, pixels].T) - fitted["mean"]) / fitted["scale"]
        x = inputs.expand(len(fitted["bias_1"]), *inputs.shape)
        x = torch.baddbmm(fitted["bias_1"][:, None], x, fitted["weight_1"]).relu_()
        x = torch.baddbmm(fitted["bias_2"][:, None], x, fitted["weight_2"]).relu_()
        x = torch.baddbmm(fitted["bias_3"][:, None], x, fitted["weight_3"])
        shares[:, pixels] = x.softmax(-1).mean(0).T.numpy()
    return result


@cache
def fitted_networks() -> dict[str, torch.Tensor]:
    """N networks of three layers: `mean` and `scale` of the inputs, `weight_i` Float[N, in, out]."""
    return load_file(FITTED)


def _limb_prior(person: Person, window: tuple[slice, slice]) -> np.ndarray:
    """Float[h, w] in 0..1: 1 at hands and feet, less along arms and legs."""
    import cv2

    height, width = person.mask[window].shape
    prior = np.zeros((height, width), np.float32)
    pose = person.pose
    if pose is None:
        return prior
    points = pose.landmarks - (window[1].start, window[0].start)
    thickness = 0.35 * _shoulder_width(pose)
    for pairs, strength, share in ((LIMBS, 0.5, 0.8), (FEET, 0.5, 0.6), (HANDS, 1.0, 1.0)):
        for a, b in pairs:
            if min(pose.visibility[a], pose.visibility[b]) > 0.5:
                layer = np.zeros((height, width), np.uint8)
                ends = [tuple(int(v) for v in points[i]) for i in (a, b)]
                cv2.line(layer, ends[0], ends[1], 1, max(1, round(thickness * share)))
                prior = np.maximum(prior, strength * layer)
    return prior


def _shoulder_width(pose: Pose) -> float:
    shoulders = np.hypot(*(pose.landmarks[11] - pose.landmarks[12]))
    torso = np.hypot(*(pose.landmarks[11:13].mean(0) - pose.landmarks[23:25].mean(0)))
    return float(max(shoulders, 0.5 * torso))


def _skin_of_all(codes: np.ndarray, persons: Sequence[Person]) -> ColourModel | None:
    """Skin colours of every face in the picture, for persons whose own face is not seen."""
    weight = np.zeros(codes.shape, np.float32)
    for person in persons:
        if person.face is not None:
            weight = np.maximum(weight, oval_mask(person.face, codes.shape) > 0.9)
    return skin_like(codes, weight) if weight.any() else None


def _faceless(view: View, skin: ColourModel | None) -> np.ndarray:
    """Float[4, h, w] of a person whose face is not seen: clothing, limbs in the skin of others."""
    body = np.zeros_like(view.mask)
    if skin is not None:
        codes = bins(view.picture)
        clothing = ColourModel.fit(codes, view.mask * (1 - view.limbs))
        odds = (0.1 + 0.4 * view.limbs) * skin.density(codes) / clothing.density(codes)
        share = guided_filter(grey_of(view.picture), (odds / (1 + odds))[None], 2, 2e-3)[0]
        body = np.clip(share, 0, 1) * view.limbs
    zeros = np.zeros_like(view.mask)
    return np.stack([zeros, zeros, 1 - body, body])
