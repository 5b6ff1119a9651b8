"""Face, hair, bare skin and clothing of each person, from the face mesh, body landmarks and colours.

No network names these parts. Each person's pixels are shared out among skin, hair and clothing by Bayes'
rule: a prior from where the pixel lies relative to the head and limbs, times how typical its colour is of the
part. The colours are learnt from this person in a few rounds, from where each part nearly always is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...refine import clean, guided_filter, pieces
from .colour import BINS, ColourModel, bins, skin_like, skin_tone
from .detect import Face, Pose
from .persons import Person, oval_mask

PARTS = ("face", "hair", "clothing", "body")
WORK_SIDE = 448
SPECK = 0.003
"""Pieces of a part, and holes in it, below this share of the person go to what surrounds them."""
SMALLEST_HAT = 0.025
"""Share of the person that a piece of clothing on the head must cover to be one."""
ROUNDS = 4
COMPANY = 1.5
"""How strongly a pixel joins the parts around it: the log-odds that company of one part only gives it."""
LIMBS = ((11, 13), (13, 15), (12, 14), (14, 16), (23, 25), (25, 27), (24, 26), (26, 28))
"""Upper and lower arms, then legs, as pairs of pose landmarks."""
HANDS = ((15, 19), (16, 20))
FEET = ((27, 31), (28, 32))


@dataclass(frozen=True)
class HeadFrame:
    """Where pixels lie relative to a face.

    `across` is 0 on the face's axis and 0.5 at the cheeks, `down` 0 at the forehead's top and 1 at the chin,
    both Float[H, W]; `oval` is the soft inside of the mesh.
    """

    across: np.ndarray
    down: np.ndarray
    oval: np.ndarray

    @staticmethod
    def of(face: Face, shape: Sequence[int]) -> "HeadFrame":
        top = face.top
        axis = (face.chin - top) / max(face.height, 1e-6)
        rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
        centre = face.centre
        across = (-(columns - centre[0]) * axis[1] + (rows - centre[1]) * axis[0]) / max(face.width, 1e-6)
        down = ((columns - top[0]) * axis[0] + (rows - top[1]) * axis[1]) / max(face.height, 1e-6)
        return HeadFrame(across, down, oval_mask(face, shape))


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
    skin = _skin_of_all(bins(picture), persons)
    for person in persons:
        window = _window(person.mask)
        parts = _parts_of(picture, person, skin, window)
        for name, part in parts.items():
            result[name][window] += part
    return result


def _window(mask: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.where(mask.max(1) > 0)[0], np.where(mask.max(0) > 0)[0]
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _parts_of(
    picture: np.ndarray, person: Person, skin: ColourModel | None, window: tuple[slice, slice]
) -> dict[str, np.ndarray]:
    """Float[h, w] of each part inside the window; colours are weighed at no more than WORK_SIDE."""
    import cv2

    size = person.mask[window].shape
    scale = min(1.0, WORK_SIDE / max(size))
    small = (max(1, round(size[1] * scale)), max(1, round(size[0] * scale)))
    view = cv2.resize(picture[window], small, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(person.mask[window], small, interpolation=cv2.INTER_AREA)
    limbs = cv2.resize(_limb_prior(person, window), small, interpolation=cv2.INTER_AREA)
    if person.face is None:
        parts = _faceless(view, mask, limbs, skin)
    else:
        face = person.face.moved(-np.array([window[1].start, window[0].start])).scaled(scale)
        parts = _with_face(view, mask, limbs, face)
    whole = tidy(np.stack([parts[name] for name in PARTS]), mask)
    large = [cv2.resize(layer, size[::-1], interpolation=cv2.INTER_LINEAR) for layer in whole]
    return {name: layer * person.mask[window] for name, layer in zip(PARTS, large, strict=True)}


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


def _with_face(picture: np.ndarray, mask: np.ndarray, limbs: np.ndarray, face: Face) -> dict[str, np.ndarray]:
    """Shares Float[h, w] of a person whose face is seen; they sum to 1."""
    head = HeadFrame.of(face, mask.shape)
    skin_share, hair_share, clothing_share = _share_out(picture, mask, head, _priors(head, limbs), face)
    glint = _glint(clothing_share, mask, head)
    hair_share, clothing_share = hair_share + glint * clothing_share, clothing_share * (1 - glint)
    on_head = _head_region(head)
    stray = _stray(skin_share * on_head, head.oval) * on_head
    return {
        "face": skin_share * on_head * (1 - stray),
        "hair": hair_share + skin_share * stray * on_head,
        "clothing": clothing_share,
        "body": skin_share * (1 - on_head),
    }


def _stray(face: np.ndarray, oval: np.ndarray) -> np.ndarray:
    """Float[h, w], 1 on head skin that does not touch the face: it is a glint or ornament in the hair."""
    import cv2

    label, _ = pieces(np.maximum(face, oval) > 0.3, connectivity=4)
    known = np.bincount(label.ravel(), weights=(oval > 0.5).ravel()) > 0
    known[0] = True
    return cv2.dilate((~known[label]).astype(np.float32), np.ones((5, 5), np.uint8))


def _glint(clothing: np.ndarray, mask: np.ndarray, head: HeadFrame) -> np.ndarray:
    """Float[h, w], 1 on small pieces of clothing above the chin: light on the hair, too small for a hat."""
    import cv2

    label, area = pieces(clothing * mask > 0.3)
    small = area < SMALLEST_HAT * mask.sum()
    small[np.unique(label[head.down > 0.9])] = False
    small[0] = False
    return cv2.dilate(small[label].astype(np.float32), np.ones((5, 5), np.uint8))


def _grey(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def _priors(head: HeadFrame, limbs: np.ndarray) -> np.ndarray:
    """Float[3, h, w]: skin, hair and clothing by place alone; they sum to 1."""
    side, down, oval = np.abs(head.across), head.down, head.oval
    above_chin = _ramp(down, 1.15, 0.85)
    near_head = _ramp(side, 1.3, 0.8) * _ramp(down, -1.2, -0.7)
    crown = _ramp(down, 0.45, 0.1)
    temples = _ramp(side, 0.38, 0.55) * _ramp(down, 1.3, 0.7)
    long_hair = 0.3 * _ramp(side, 0.25, 0.5) * _ramp(side, 1.6, 0.9) * _ramp(down, 3.2, 1.2)
    hair = np.maximum(np.maximum(crown, temples) * 0.7 * near_head, long_hair)
    neck = _ramp(side, 0.6, 0.3) * _ramp(down, 1.9, 1.2) * _ramp(down, 0.8, 1.0)
    ears = 0.12 * _ramp(np.abs(down - 0.45), 0.3, 0.15) * _ramp(side, 0.7, 0.55)
    forehead = 0.35 * _ramp(side, 0.5, 0.3) * _ramp(down, -0.35, -0.1) * above_chin
    shoulders = _ramp(down, 1.0, 1.3) * (1 - 0.6 * _ramp(down, 1.6, 2.4))
    skin = np.maximum.reduce([0.07 + 0.26 * shoulders, 0.6 * limbs, 0.6 * neck, ears, forehead])
    clothing = 0.12 + 0.58 * _ramp(down, 0.95, 1.35) * (1 - 0.6 * neck) * (1 - 0.8 * _ramp(limbs, 0.5, 1))
    bangs = 0.35 * _ramp(down, 0.4, 0.0)
    inside = np.stack([1 - bangs, bangs, np.zeros_like(bangs)]) + 1e-3
    outside = np.stack([skin, hair + 0.02, clothing])
    priors = oval * inside / inside.sum(0) + (1 - oval) * outside / outside.sum(0)
    return (priors / priors.sum(0)).astype(np.float32)


def _share_out(
    picture: np.ndarray, mask: np.ndarray, head: HeadFrame, priors: np.ndarray, face: Face
) -> np.ndarray:
    """Float[3, h, w]: skin, hair, clothing; sums to 1. Mean-field rounds with colours relearnt in each."""
    import cv2

    codes, grey = bins(picture), _grey(picture)
    inner = ((head.oval > 0.5) & (head.down > 0.3) & (head.down < 0.95)) * mask
    not_skin = 1.001 - skin_tone(codes, inner)[codes]
    outside = mask * (1 - head.oval)
    below = ColourModel.fit(codes, priors[2] * outside * not_skin * (head.down > 1.5))
    covered = _covered(below, codes, picture, face) * (1 - head.oval)
    clothing = ColourModel.fit(codes, priors[2] * outside * not_skin**1.5 + covered * mask)
    priors = priors * np.stack([np.ones_like(mask), 1 - 0.9 * covered, np.ones_like(mask)])
    skin = ColourModel.fit(codes, inner).mixed(skin_like(codes, inner), 0.5)
    hair = _hair_model(codes, priors[1] * outside * (1 - 0.9 * covered) ** 3, skin, clothing)
    first = models = [skin, hair, clothing]
    radius = max(1, round(0.03 * face.height))
    reach = 2 * max(1, round(0.12 * face.height)) + 1
    shares, company = priors, np.zeros_like(priors)
    for _ in range(ROUNDS):
        likelihood = np.stack([model.density(codes) for model in models])
        posterior = priors * likelihood * np.exp(COMPANY * company)
        posterior /= posterior.sum(0)
        smooth = np.clip(guided_filter(grey, posterior, radius, 2e-3, 2), 1e-4, 1)
        shares = smooth / smooth.sum(0)
        company = np.stack([cv2.blur(share * mask, (reach, reach)) for share in shares])
        weights = (shares[0], shares[1], shares[2] * not_skin)
        models = [ColourModel.fit(codes, w * mask).mixed(f, 0.5) for w, f in zip(weights, first, strict=True)]
    crisp = shares**3
    return crisp / crisp.sum(0)


def _covered(clothing: ColourModel, codes: np.ndarray, picture: np.ndarray, face: Face) -> np.ndarray:
    """Float[h, w] in 0..1: how likely a pixel is a veil or cap: white or cream, and in the clothing too.

    Other colours say nothing: dark hair above dark clothes is the commonest of coincidences.
    """
    import cv2

    side = 2 * max(1, round(0.04 * face.height)) + 1
    lab = cv2.cvtColor(cv2.blur(picture, (side, side)), cv2.COLOR_RGB2LAB).astype(np.float32)
    chroma = np.hypot(lab[..., 1] - 128, lab[..., 2] - 128)
    white = _ramp(lab[..., 0], 135, 185) * _ramp(chroma, 18, 12)
    relative = clothing.density(codes) * BINS**3
    return white * cv2.blur(relative / (relative + 10), (side, side))


def _hair_model(
    codes: np.ndarray, weight: np.ndarray, skin: ColourModel, clothing: ColourModel
) -> ColourModel:
    """Colours where hair is expected, those that skin or clothing explains held back."""
    hair = ColourModel.fit(codes, weight)
    skin_seen, clothing_seen = skin.density(codes), clothing.density(codes)
    for _ in range(2):
        seen = hair.density(codes)
        hair = ColourModel.fit(codes, weight / (1 + skin_seen / seen + (2 * clothing_seen / seen) ** 2))
    return hair


def _head_region(head: HeadFrame) -> np.ndarray:
    """Float[h, w]: where skin is the face's (with forehead and ears), not the neck's or a hand's."""
    side, down = np.abs(head.across), head.down
    above = _ramp(side, 0.85, 0.7) * _ramp(down, 0.72, 0.62) * _ramp(down, -0.7, -0.55)
    return np.maximum(head.oval, above)


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


def _faceless(
    picture: np.ndarray, mask: np.ndarray, limbs: np.ndarray, skin: ColourModel | None
) -> dict[str, np.ndarray]:
    """Shares of a person whose face is not seen: clothing, but for limbs in the skin colours of others."""
    body = np.zeros_like(mask)
    if skin is not None:
        codes = bins(picture)
        clothing = ColourModel.fit(codes, mask * (1 - limbs))
        odds = (0.1 + 0.4 * limbs) * skin.density(codes) / clothing.density(codes)
        share = guided_filter(_grey(picture), (odds / (1 + odds))[None], 2, 2e-3)[0]
        body = np.clip(share, 0, 1) * limbs
    zeros = np.zeros_like(mask)
    return {"face": zeros, "hair": zeros, "clothing": 1 - body, "body": body}


def _ramp(x: np.ndarray, zero: float, one: float) -> np.ndarray:
    """Linear from 0 at `zero` to 1 at `one`, flat beyond; either may be the larger."""
    return np.clip((x - zero) / (one - zero), 0, 1)
