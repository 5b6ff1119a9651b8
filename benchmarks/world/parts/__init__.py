"""The drawn parts of a person as sprites whose colour is free."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SHEET = Path(__file__).parent / "parts.png"
CELL = 128
COLUMNS = 12
ATTRIBUTION = 'People: "Personas" by Draftbit, CC BY 4.0, recombined'
"""To be shown under every picture of these people."""

PARTS = {
    "head": ("head",),
    "eyes": ("open", "sleep", "glasses", "happy"),
    "hair": ("long", "shortCombover", "curly", "pigtails", "straightBun", "mohawk"),
    "body": ("rounded", "small", "checkered"),
    "mouth": ("smile", "frown", "surprise", "bigSmile", "lips"),
    "nose": ("mediumRound",),
    "facialHair": ("beardMustache", "walrus", "goatee"),
}
"""Group -> names of its parts as the design calls them, in their order on the sheet."""

PACKAGES = ("@dicebear/personas@9.4.3", "@resvg/resvg-js@2.6.2")


def load_parts() -> dict[tuple[str, str], Tensor]:
    """(group, name) -> Float[7, 128, 128] in 0..1: the part in black, premultiplied (3), what white adds to
    it (3), and its alpha (1).

    The part in any colour c is then ``black + c * added``, because it was drawn with fills alone.
    """
    with Image.open(SHEET) as sheet:
        pixels = torch.from_numpy(np.array(sheet.convert("RGBA"))).float() / 255
    parts = {}
    for index, key in enumerate((group, name) for group, names in PARTS.items() for name in names):
        black, white = (_cell(pixels, 2 * index + twin) for twin in (0, 1))
        parts[key] = torch.cat((black[:3], white[:3] - black[:3], black[3:]))
    return parts


def _cell(sheet: Tensor, number: int) -> Tensor:
    """Float[4, 128, 128]: one picture of the sheet, its colours multiplied by its alpha."""
    top, left = (CELL * place for place in divmod(number, COLUMNS))
    cell = sheet[top : top + CELL, left : left + CELL].movedim(-1, 0)
    return torch.cat((cell[:3] * cell[3:], cell[3:]))


def table_of_parts() -> str:
    """`PARTS` as draw_parts.mjs reads it."""
    return json.dumps(PARTS)
