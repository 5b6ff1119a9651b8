"""Figures -> pictures with exact masks: parts laid over each other, the masks composited along with them."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.world.parts import load_parts
from benchmarks.world.people import (
    BACKGROUNDS,
    CLOTHES,
    CLOTHES_COLOURS,
    HAIR,
    HAIR_COLOURS,
    RGB,
    Face,
    Figure,
)

SIDE = 96
"""Of a picture, in pixels."""
REGIONS = ("face", "hair", "clothing", "background")
COLOUR_SPREAD = 0.02
"""Standard deviation by which the colours of hair, clothes and background vary from picture to picture."""
VIEW = (6.0, 7.0, 52.0)
"""Left, top and side of what the sprites show, in units of the drawing."""
EYES_AT, MOUTH_AT = (32.0, 29.0), (32.0, 41.0)
"""Where eyes and mouth lie, in units of the drawing."""


@cache
def _sprites() -> dict[tuple[str, str], Tensor]:
    return load_parts()


@cache
def sprite(group: str, name: str, at: tuple[float, float], lower: float = 0.0, size: float = 1.0) -> Tensor:
    """Float[7, S, S]: a part as of `load_parts`, enlarged about a place and moved down, both in units of the
    drawing; sampled at twice the size, so that edges are smooth.
    """
    left, top, side = VIEW
    # in the coordinates of affine_grid, -1 .. 1 over the view: where does a pixel of the result come from?
    x, y = (2 * (at[0] - left) / side - 1, 2 * (at[1] - top) / side - 1)
    down = 2 * lower / side
    where = torch.tensor([[1 / size, 0, x - x / size], [0, 1 / size, y - (y + down) / size]])
    grid = F.affine_grid(where[None], [1, 7, 2 * SIDE, 2 * SIDE], align_corners=False)
    return F.avg_pool2d(F.grid_sample(_sprites()[group, name][None], grid, align_corners=False), 2)[0]


class _Canvas:
    """Pictures Float[N, 3, S, S] being painted, and how much of each region is seen at every pixel."""

    def __init__(self, colours: Sequence[RGB]):
        self.pixels = _column(colours).expand(-1, -1, SIDE, SIDE)
        empty = torch.zeros(len(colours), 1, SIDE, SIDE)
        self.seen = dict.fromkeys(REGIONS[:-1], empty)

    def paint(self, layers: Sequence[Tensor], colours: Sequence[RGB], region: str) -> None:
        """Lay one sprite over each picture; what it covers is seen no more."""
        stacked = torch.stack(list(layers))
        through = 1 - stacked[:, 6:]
        self.pixels = self.pixels * through + stacked[:, :3] + stacked[:, 3:6] * _column(colours)
        self.seen = {name: seen * through for name, seen in self.seen.items()}
        self.seen[region] = self.seen[region] + stacked[:, 6:]

    def masks(self) -> Tensor:
        """Float[N, 4, S, S]: the regions in the order of `REGIONS`; they add up to 1."""
        seen = torch.cat(list(self.seen.values()), 1)
        return torch.cat((seen, 1 - seen.sum(1, keepdim=True)), 1)


def _column(colours: Sequence[RGB]) -> Tensor:
    return torch.tensor(colours)[:, :, None, None]


def _varied(random: np.random.Generator, colour: RGB) -> RGB:
    red, green, blue = np.clip(np.array(colour) + COLOUR_SPREAD * random.standard_normal(3), 0, 1).tolist()
    return red, green, blue


def _beard(face: Face) -> Tensor:
    if face.beard == "none":
        return torch.zeros(7, SIDE, SIDE)
    return sprite("facialHair", face.beard, MOUTH_AT, 0.6 * face.mouth_height)


def draw(figures: Sequence[Figure], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures Float[N, S, S, 3] and masks Float[N, 4, S, S], both in 0..1; regions as of `REGIONS`.

    Args:
        seed: of the small differences in colour.
    """
    random = np.random.default_rng(seed)
    faces, scenes = [figure.face for figure in figures], [figure.scene for figure in figures]
    skin, middle = [face.skin for face in faces], (32.0, 33.0)
    canvas = _Canvas([_varied(random, BACKGROUNDS[scene.background]) for scene in scenes])
    canvas.paint([sprite("head", "head", middle)] * len(figures), skin, "face")
    canvas.paint([sprite("eyes", f.eyes, EYES_AT, f.eye_height, f.eye_size) for f in faces], skin, "face")
    canvas.paint(
        [sprite("hair", HAIR[scene.hair], middle) for scene in scenes],
        [_varied(random, HAIR_COLOURS[scene.hair_colour]) for scene in scenes],
        "hair",
    )
    canvas.paint(
        [sprite("body", CLOTHES[scene.clothes], middle) for scene in scenes],
        [_varied(random, CLOTHES_COLOURS[scene.clothes_colour]) for scene in scenes],
        "clothing",
    )
    canvas.paint([sprite("nose", "mediumRound", middle)] * len(figures), skin, "face")
    # the mouth over the beard, so that it can be read in every face
    canvas.paint([_beard(face) for face in faces], [face.beard_colour for face in faces], "face")
    canvas.paint(
        [sprite("mouth", f.mouth, MOUTH_AT, f.mouth_height, f.mouth_size) for f in faces], skin, "face"
    )
    painted = F.pad(torch.cat((canvas.pixels.clamp(0, 1), canvas.masks()), 1), (1, 1, 1, 1), "replicate")
    moved = torch.stack(
        [
            picture[:, figure.top : figure.top + SIDE, figure.left : figure.left + SIDE]
            for picture, figure in zip(painted, figures, strict=True)
        ]
    )
    return moved[:, :3].movedim(1, -1), moved[:, 3:].clamp(0, 1)


def sheet(pixels: Tensor, columns: int) -> np.ndarray:
    """Pictures Float[N, S, S, 3] in rows, as UInt8[R * S, columns * S, 3]; empty places are white."""
    rows = math.ceil(len(pixels) / columns)
    blank = pixels.new_ones(rows * columns - len(pixels), *pixels.shape[1:])
    placed = (
        torch.cat((pixels, blank)).unflatten(0, (rows, columns)).movedim(2, 1).flatten(2, 3).flatten(0, 1)
    )
    return (placed * 255).round().byte().numpy()
