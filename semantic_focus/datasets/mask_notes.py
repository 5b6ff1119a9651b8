"""What to look at in the mask pictures of a dataset, before they are trained with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .captions import named

EMPTY, FULL = 1 / 255, 254 / 255
"""A mask with nothing above, or nothing below, is black or white."""


@dataclass(frozen=True)
class MaskLook:
    """What one mask looks like.

    Attributes:
        understood: how it had to be understood, see `MaskPicture`.
        black, white: all over.
        inverted: white in its corners and darker in its middle than around it.
    """

    understood: str
    black: bool
    white: bool
    inverted: bool


def look_at(mask: Tensor, understood: str) -> MaskLook:
    """Of a mask Float[H, W] in 0..1."""
    black, white = bool((mask <= EMPTY).all()), bool((mask >= FULL).all())
    return MaskLook(understood, black, white, _looks_inverted(mask))


def notes_on(masks: Mapping[Path, MaskLook]) -> list[str]:
    """Sentences on the masks of a dataset: how they were understood, and which train nothing."""
    notes = []
    for understood in dict.fromkeys(one.understood for one in masks.values() if one.understood):
        names = [path.name for path, one in masks.items() if one.understood == understood]
        notes.append(f"mask read as it is meant ({understood}): {named(names)}")
    black = [path.name for path, one in masks.items() if one.black]
    white = [path.name for path, one in masks.items() if one.white]
    if black:
        notes.append(f"{_share(black, masks)} black all over, and train nothing: {named(black)}")
    if white and len(white) == len(masks):
        notes.append(f"{_share(white, masks)} white all over: the pictures are trained as a whole")
    told_apart = [one for one in masks.values() if not (one.black or one.white)]
    if told_apart and all(one.inverted for one in told_apart):
        notes.append(
            f"{len(told_apart)} of {len(masks)} masks are white at the border and black inside. White is "
            "trained: if they are meant the other way round, invert them"
        )
    return notes


def _share(names: Sequence[str], masks: Mapping[Path, MaskLook]) -> str:
    return f"{len(names)} of {len(masks)} masks are"


def _looks_inverted(mask: Tensor) -> bool:
    height, width = mask.shape
    corners = mask[[0, 0, -1, -1], [0, -1, 0, -1]]
    middle = mask[height // 4 : height - height // 4, width // 4 : width - width // 4].mean()
    border = torch.cat((mask[0], mask[-1], mask[:, 0], mask[:, -1])).mean()
    return bool(corners.min() > 0.5 and border > 0.75 and middle < border)
