"""A first guess at skin, hair and clothing of a person: where each usually is, and the colours found there.

Each pixel is shared out by Bayes' rule: a prior from where it lies relative to the head and limbs, times how
typical its colour is of the part. The colours are learnt from this person in a few rounds, from where each
part nearly always is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...regions.refine import guided_filter
from .colour import BINS, ColourModel, skin_like, skin_tone
from .detect import Face
from .persons import oval_mask

ROUNDS = 4
COMPANY = 1.5
"""How strongly a pixel joins the parts around it: the log-odds that company of one part only gives it."""


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


def priors_by_place(head: HeadFrame, limbs: np.ndarray) -> np.ndarray:
    """Float[3, h, w]: skin, hair and clothing by place alone; they sum to 1."""
    side, down, oval = np.abs(head.across), head.down, head.oval
    above_chin = ramp(down, 1.15, 0.85)
    near_head = ramp(side, 1.3, 0.8) * ramp(down, -1.2, -0.7)
    crown = ramp(down, 0.45, 0.1)
    temples = ramp(side, 0.38, 0.55) * ramp(down, 1.3, 0.7)
    long_hair = 0.3 * ramp(side, 0.25, 0.5) * ramp(side, 1.6, 0.9) * ramp(down, 3.2, 1.2)
    hair = np.maximum(np.maximum(crown, temples) * 0.7 * near_head, long_hair)
    neck = ramp(side, 0.6, 0.3) * ramp(down, 1.9, 1.2) * ramp(down, 0.8, 1.0)
    ears = 0.12 * ramp(np.abs(down - 0.45), 0.3, 0.15) * ramp(side, 0.7, 0.55)
    forehead = 0.35 * ramp(side, 0.5, 0.3) * ramp(down, -0.35, -0.1) * above_chin
    shoulders = ramp(down, 1.0, 1.3) * (1 - 0.6 * ramp(down, 1.6, 2.4))
    skin = np.maximum.reduce([0.07 + 0.26 * shoulders, 0.6 * limbs, 0.6 * neck, ears, forehead])
    clothing = 0.12 + 0.58 * ramp(down, 0.95, 1.35) * (1 - 0.6 * neck) * (1 - 0.8 * ramp(limbs, 0.5, 1))
    bangs = 0.35 * ramp(down, 0.4, 0.0)
    inside = np.stack([1 - bangs, bangs, np.zeros_like(bangs)]) + 1e-3
    outside = np.stack([skin, hair + 0.02, clothing])
    priors = oval * inside / inside.sum(0) + (1 - oval) * outside / outside.sum(0)
    return (priors / priors.sum(0)).astype(np.float32)


def first_guess(
    picture: np.ndarray,
    codes: np.ndarray,
    mask: np.ndarray,
    head: HeadFrame,
    priors: np.ndarray,
    face: Face,
) -> np.ndarray:
    """Float[3, h, w]: skin, hair, clothing; sums to 1. Mean-field rounds with colours relearnt in each.

    `codes` are the `bins` of the picture.
    """
    import cv2

    grey = grey_of(picture)
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
    white = ramp(lab[..., 0], 135, 185) * ramp(chroma, 18, 12)
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


def grey_of(picture: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255


def ramp(x: np.ndarray, zero: float, one: float) -> np.ndarray:
    """Linear from 0 at `zero` to 1 at `one`, flat beyond; either may be the larger."""
    return np.clip((x - zero) / (one - zero), 0, 1)
