"""The persons of the ablation: framings of one photograph each, and the hand-drawn face, which is learnt.

Reported persons are on photographs in the public domain; what was tried out and tuned was tried on others.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from benchmarks.photographs import provide
from benchmarks.segmentation import REFERENCES, read_reference
from benchmarks.small_flow import SIDE, SUBJECT_WORD
from host.standins.codec import BLOCK, BlockCodec
from semantic_focus.training.trainer import TrainingPictures

TOKENS = 8
FACE_HEIGHT_SHARE = 0.45
"""The middle of the face is that far down a framing that is not shifted."""


@dataclass(frozen=True)
class Framing:
    """A square window `zoom` times as high as the face; `right` and `up` shift the face by whole tokens."""

    zoom: float
    right: int = 0
    up: int = 0


TRAINED = (
    Framing(1.6, -1), Framing(1.6, 1), Framing(1.6, 0, 1), Framing(1.6, -1, 1), Framing(1.6, 1, 1),
    Framing(2.1, -1), Framing(2.1, 1), Framing(2.1, 0, 1), Framing(2.1, -1, 1),
)  # fmt: skip
HELD_OUT = (Framing(1.6), Framing(2.1), Framing(2.1, 1, 1))


@dataclass(frozen=True)
class Subject:
    """A person: the photograph's name in `benchmarks.photographs` and the caption of all framings."""

    name: str
    caption: str


REPORTED = (
    Subject("astronaut", f"{SUBJECT_WORD} woman portrait smiling"),
    Subject("obama", f"{SUBJECT_WORD} man portrait"),
    Subject("biden", f"{SUBJECT_WORD} man portrait"),
)
DEVELOPMENT = (
    Subject("single_face", f"{SUBJECT_WORD} man portrait smiling sky"),
    Subject("Image_with_alpha", f"{SUBJECT_WORD} man portrait beard smiling"),
    Subject("franck_02045", f"{SUBJECT_WORD} man portrait"),
)
SUBJECTS = {subject.name: subject for subject in (*REPORTED, *DEVELOPMENT)}


def framed(subject: Subject, framings: tuple[Framing, ...]) -> tuple[Tensor, Tensor]:
    """Pixels Float[N, 128, 128, 3] in 0..1 and the face Float[N, 16, 16] in 0..1 on the latent grid.

    Where a window goes beyond the photograph, the photograph's edge is repeated.
    """
    photograph = np.array(Image.open(provide()[subject.name]).convert("RGB"))
    reference = read_reference(REFERENCES / f"{subject.name}.json")
    face = reference.region("face") & (reference.persons == 1)
    rows, columns = (np.flatnonzero(face.any(axis)) for axis in (1, 0))
    height = rows[-1] - rows[0]
    margin = 2 * int(height)
    middle = (columns[0] + columns[-1]) / 2 + margin, (rows[0] + rows[-1]) / 2 + margin
    picture = Image.fromarray(np.pad(photograph, ((margin, margin), (margin, margin), (0, 0)), "edge"))
    mask = Image.fromarray(np.pad(np.uint8(255) * face, margin))
    pixels, faces = [], []
    for framing in framings:
        side = framing.zoom * height
        left = middle[0] - side / 2 - framing.right * side / TOKENS
        top = middle[1] - FACE_HEIGHT_SHARE * side + framing.up * side / TOKENS
        window = (left, top, left + side, top + side)
        pixels.append(np.array(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS, window)))
        faces.append(np.array(mask.resize((SIDE, SIDE), Image.Resampling.BOX, window)))
    shares = torch.from_numpy(np.stack(faces)).float() / 255
    return torch.from_numpy(np.stack(pixels)).float() / 255, F.avg_pool2d(shares, BLOCK)


def training_pictures(subject: Subject, framings: tuple[Framing, ...], codec: BlockCodec) -> TrainingPictures:
    """The framings in latent space with the one region "face"."""
    pixels, faces = framed(subject, framings)
    return TrainingPictures(tuple(codec.encode(pixels)), tuple(faces[:, None]), ("face",))
