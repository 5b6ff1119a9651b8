"""What the parts of a person are told apart by: numbers for every pixel, for the networks of `parts.py`."""

from collections.abc import Sequence

import numpy as np

from .colour import bins, skin_tone
from .detect import Face
from .guess import HeadFrame, first_guess, priors_by_place

LAB_SPREAD = (30.0, 10.0, 10.0)
"""Steps of 8-bit L, a and b that count as one unit of difference between two colours."""
FARTHEST = 4.0


def features(
    picture: np.ndarray, mask: np.ndarray, limbs: np.ndarray, face: Face, shoulders: float
) -> np.ndarray:
    """Float[F, h, w]: place, colour and surroundings of every pixel of one person.

    All lengths are in face heights and all colours relative to this person's own, so that neither size nor
    light makes much difference. Nothing is the same for a whole person (a skin tone, say): what was fitted
    would know the few persons it was fitted to by it.

    Args:
        picture: UInt8[h, w, 3], sRGB, cut to the person.
        mask: Float[h, w] in 0..1, the person.
        limbs: Float[h, w] in 0..1, where the pose has hands, feet, arms and legs.
        shoulders: row of the shoulder line, NaN when it is not seen.
    """
    import cv2

    head = HeadFrame.of(face, mask.shape)
    side, down = np.abs(head.across), head.down
    unit = max(face.height, 1.0)
    inside = mask > 0.5
    codes = bins(picture)
    guess = first_guess(picture, codes, mask, head, priors_by_place(head, limbs), face)

    def around(layer: np.ndarray, reach: float) -> np.ndarray:
        width = 2 * max(1, round(reach * unit)) + 1
        return cv2.blur(layer * mask, (width, width)) / (cv2.blur(mask, (width, width)) + 1e-3)

    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    inner = (head.oval > 0.5) & (down > 0.3) & (down < 0.95) & inside
    skin = _median(lab, inner, np.median(lab, (0, 1)))
    crown = _median(lab, (side < 0.35) & (down > -0.32) & (down < -0.12) & inside, skin)
    temples = _median(lab, (side > 0.52) & (side < 0.72) & (down > 0.1) & (down < 0.5) & inside, crown)
    torso = _median(lab, (side < 0.8) & (down > 1.9) & (down < 3) & inside, skin)
    tone = np.clip((lab - skin) / (40.0, 15.0, 15.0), -3, 3).astype(np.float32)
    smooth = np.stack([around(channel, 0.05) for channel in np.moveaxis(lab, -1, 0)], -1)
    chroma, tint = lab[..., 1:] - 128, skin[1:] - 128
    strength = np.hypot(chroma[..., 0], chroma[..., 1]) + 2
    hue = (chroma @ tint) / (strength * (np.hypot(*tint) + 2))
    likeness = skin_tone(codes, inner.astype(np.float32))[codes]
    depth = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, 5) / unit
    seen = bool(np.isfinite(shoulders))
    rows = np.arange(mask.shape[0], dtype=np.float32)[:, None] + np.zeros_like(mask)
    layers = [
        np.minimum(side, 3),
        np.clip(down, -1.5, 5),
        np.clip(side - 0.5, -0.5, 0.5),
        np.clip(down - 1, -0.6, 0.6),
        np.clip(down, -0.6, 0.6),
        head.oval,
        around(head.oval, 0.15),
        *np.moveaxis(tone, -1, 0),
        *(around(channel, 0.06) for channel in np.moveaxis(tone, -1, 0)),
        *(_difference(smooth, colour) for colour in (skin, crown, temples, torso)),
        hue,
        np.minimum(strength / 30, 2),
        likeness,
        around(likeness, 0.06),
        around(likeness, 0.2),
        limbs,
        np.clip((rows - shoulders) / unit if seen else down - 1.45, -3, 3),
        np.minimum(depth, 1.5),
        *guess,
        *(around(layer, 0.12) for layer in guess),
        *(around(layer, 0.4) for layer in guess),
    ]
    return np.stack([np.asarray(layer, np.float32) for layer in layers])


def _median(lab: np.ndarray, where: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Float[3]: the median colour, or `default` where there are too few pixels."""
    chosen = lab[where]
    return np.median(chosen, 0) if len(chosen) > 20 else default


def _difference(colours: np.ndarray, colour: np.ndarray | Sequence[float]) -> np.ndarray:
    """Float[...]: distance of Float[..., 3] from one colour, in units of LAB_SPREAD, at most FARTHEST."""
    scaled = (colours - np.asarray(colour, np.float32)) / np.asarray(LAB_SPREAD, np.float32)
    return np.minimum(np.sqrt((scaled * scaled).sum(-1)), FARTHEST)
