"""Altered versions of a drawn picture: in other light, clothes, hair and skin of other colours, with hats.

What is fitted to them cannot go by colour alone, and has seen more hats than were drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from semantic_focus.segmenters.embedded.detect import Face
from semantic_focus.segmenters.embedded.guess import HeadFrame
from semantic_focus.segmenters.embedded.parts import PARTS
from semantic_focus.segmenters.embedded.persons import Person

FACE, HAIR, CLOTHING, BODY = (1 + PARTS.index(name) for name in ("face", "hair", "clothing", "body"))


@dataclass(frozen=True)
class Version:
    """A picture UInt8[H, W, 3] and its drawing UInt8[H, W]; `mirrored` against the picture it was made of."""

    name: str
    picture: np.ndarray
    parts: np.ndarray
    mirrored: bool = False

    @property
    def altered(self) -> bool:
        """Whether more than left and right changed."""
        return self.name not in ("as it is", "mirrored")


def versions(
    picture: np.ndarray, parts: np.ndarray, persons: list[Person], generator: np.random.Generator
) -> Iterator[Version]:
    """The picture as it is, then altered.

    Args:
        picture: UInt8[H, W, 3], sRGB, as it is analysed.
        parts: UInt8[H, W], 1 + index in PARTS, 0 or 255.
    """
    yield Version("as it is", picture, parts)
    mirrored, flipped = np.ascontiguousarray(picture[:, ::-1]), np.ascontiguousarray(parts[:, ::-1])
    yield Version("mirrored", mirrored, flipped, True)
    yield Version("grey", _grey(picture), parts)
    yield Version("dark", lit(picture, (0.9, 0.9, 0.9), 1.6), parts)
    for number in (1, 2):
        light = tuple(generator.uniform(0.7, 1.15, 3))
        yield Version(f"light {number}", lit(picture, light, generator.uniform(0.8, 1.3)), parts)
    skin = _skin(picture, parts)
    yield Version("clothes", recoloured(picture, parts == CLOTHING, generator), parts)
    near = skin + generator.uniform((-30, -4, -4), (30, 4, 4))
    yield Version("skin-coloured clothes", recoloured(picture, parts == CLOTHING, generator, near), parts)
    both = recoloured(picture, parts == CLOTHING, generator)
    yield Version("clothes and hair", recoloured(both, parts == HAIR, generator), parts)
    near = skin + generator.uniform((-40, -3, -3), (30, 3, 3))
    both = recoloured(picture, parts == CLOTHING, generator)
    yield Version("skin-coloured hair", recoloured(both, parts == HAIR, generator, near), parts)
    tone = np.clip(skin + generator.uniform((-120, -5, -8), (10, 5, 5)), (35, 110, 110), (230, 170, 175))
    both = recoloured(mirrored, flipped == CLOTHING, generator)
    yield Version(
        "skin and clothes",
        recoloured(both, (flipped == FACE) | (flipped == BODY), generator, tone),
        flipped,
        True,
    )
    small = cv2.resize(picture, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    yield Version("soft", recoloured(soft, parts == CLOTHING, generator), parts)
    for number in (1, 2, 3):
        hatted, drawn = with_hats(picture, parts, persons, generator)
        yield Version(f"hats {number}", hatted, drawn)


def lit(picture: np.ndarray, light: tuple[float, ...], gamma: float) -> np.ndarray:
    """UInt8[H, W, 3] under coloured light."""
    values = (picture.astype(np.float32) / 255) ** gamma * np.asarray(light, np.float32)
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, -1)


def _skin(picture: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Float[3]: the median 8-bit Lab of the faces drawn."""
    faces = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[parts == FACE]
    return np.median(faces, 0) if len(faces) > 30 else np.array([170.0, 145.0, 148.0])


def recoloured(
    picture: np.ndarray,
    where: np.ndarray,
    generator: np.random.Generator,
    target: np.ndarray | None = None,
) -> np.ndarray:
    """UInt8[H, W, 3] with another mean colour where Bool[H, W] says; `target` in 8-bit Lab, None: any."""
    if where.sum() < 30:
        return picture
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    mean = lab[where].mean(0)
    if target is None:
        angle, strength = generator.uniform(0, 2 * np.pi), generator.uniform(0, 45)
        chroma = 128 + strength * np.array([np.cos(angle), np.sin(angle)])
        lighter, contrast = generator.uniform(-50, 50), generator.uniform(0.3, 1)
    else:
        chroma, lighter = np.asarray(target[1:]), (target[0] - mean[0]) * generator.uniform(0.3, 1)
        contrast = 0.4
    return recolour(lab, where, chroma, lighter, contrast)


def recolour(
    lab: np.ndarray, where: np.ndarray, chroma: np.ndarray, lighter: float, contrast: float
) -> np.ndarray:
    """UInt8[H, W, 3], sRGB, of a picture in 8-bit Lab, the chroma where Bool[H, W] says moved to `chroma`."""
    mean = lab[where].mean(0)
    new = lab.copy()
    new[..., 1:] = chroma + contrast * (lab[..., 1:] - mean[1:])
    # black and white move less: nothing is cut off
    new[..., 0] += lighter * (1 - np.abs(lab[..., 0] - 128) / 256)
    soft = cv2.GaussianBlur(where.astype(np.float32), (0, 0), 1.2)[..., None]
    mixed = np.clip(lab + soft * (new - lab), 0, 255).astype(np.uint8)
    return cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB)


def with_hats(
    picture: np.ndarray, parts: np.ndarray, persons: list[Person], generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Caps, beanies and headscarves on everybody whose face is seen: hair above a line, or all around the
    face, becomes cloth. Returns the picture and its drawing.
    """
    result, drawn = picture.copy(), parts.copy()
    cloth = [_cloth(picture, parts, generator) for _ in range(2)]
    for person in persons:
        face = person.face
        if face is None:
            continue
        head = HeadFrame.of(face, parts.shape)
        mine = (person.mask > 0.5) & (drawn != 255)
        where = _hat(head, drawn, mine, generator)
        if where.sum() < 0.02 * face.height * face.width:
            continue
        pattern = cloth[int(generator.integers(2))]
        result = _worn(result, where, pattern, head, face, generator)
        drawn[where] = CLOTHING
    return result, drawn


def _hat(head: HeadFrame, parts: np.ndarray, mine: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Bool[H, W]: what the hat of one head covers."""
    line = generator.uniform(-0.05, 0.28) + generator.uniform(-0.1, 0.1) * head.across
    near = (np.abs(head.across) < 1.6) & (head.down > -1.6)
    hair = parts == HAIR
    kind = generator.choice(["beanie", "cap", "scarf", "hood"])
    if kind == "scarf":
        return mine & near & hair & (head.down < 4)
    if kind == "hood":
        around = (head.oval < 0.5) & (head.down < 1.9) & (np.abs(head.across) < 1.1)
        return mine & near & (hair | (around & (parts == BODY)))
    above = near & (head.down < line)
    if kind == "cap":  # hangs into the forehead in the middle
        above |= near & (head.down < line + 0.1 * np.sqrt(np.clip(1 - (2 * head.across) ** 2, 0, 1)))
    return mine & above & (hair | (parts == FACE) | (parts == BODY))


def _cloth(picture: np.ndarray, parts: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Float[H, W]: lightness of woven or knitted stuff around 0, of the picture's own clothes or made up."""
    height, width = parts.shape
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    noise = generator.normal(size=(height, width)).astype(np.float32)
    kind = generator.choice(["own", "plain", "knit", "folds"])
    if kind == "own":
        lightness = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
        wide = cv2.erode((parts == CLOTHING).astype(np.uint8), np.ones((9, 9), np.uint8))
        distance = cv2.distanceTransform(wide, cv2.DIST_L2, 5)
        reach = int(distance.max() * 0.7)
        if reach >= 8:
            y, x = np.unravel_index(distance.argmax(), distance.shape)
            patch = lightness[max(0, y - reach) : y + reach, max(0, x - reach) : x + reach]
            patch = np.block([[patch, patch[:, ::-1]], [patch[::-1], patch[::-1, ::-1]]])
            tiles = (-(-height // patch.shape[0]), -(-width // patch.shape[1]))
            return np.tile(patch, tiles)[:height, :width] - patch.mean()
    if kind == "knit":
        step, angle = generator.uniform(3, 9), generator.uniform(-0.4, 0.4)
        phase = 2 * np.pi * (columns * np.cos(angle) + rows * np.sin(angle)) / step
        return 10 * np.sin(phase) + 6 * cv2.GaussianBlur(noise, (0, 0), 1)
    if kind == "folds":
        folds = cv2.GaussianBlur(noise, (0, 0), generator.uniform(4, 10), sigmaY=generator.uniform(4, 20))
        return 18 * folds / max(float(folds.std()), 1e-6) + 2 * noise
    return 3 * noise


def _worn(
    picture: np.ndarray,
    where: np.ndarray,
    pattern: np.ndarray,
    head: HeadFrame,
    face: Face,
    generator: np.random.Generator,
) -> np.ndarray:
    """UInt8[H, W, 3] with cloth of some colour there, lit from one side, the picture's own shades kept."""
    lab = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32)
    own = cv2.GaussianBlur(lab[..., 0], (0, 0), max(1.0, 0.06 * face.height))
    own = (own - own[where].mean()) * generator.uniform(0.1, 0.6)
    side = generator.uniform(-25, 25) * np.clip(head.across, -1, 1)
    angle, strength = generator.uniform(0, 2 * np.pi), generator.uniform(0, 50)
    new = np.empty_like(lab)
    new[..., 0] = np.clip(generator.uniform(40, 215) + own + side + pattern, 5, 250)
    new[..., 1] = 128 + strength * np.cos(angle)
    new[..., 2] = 128 + strength * np.sin(angle)
    soft = cv2.GaussianBlur(where.astype(np.float32), (0, 0), 0.8)[..., None]
    mixed = np.clip(lab + soft * (new - lab), 0, 255).astype(np.uint8)
    return cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB)
