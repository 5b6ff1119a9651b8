"""Pictures that are stored turned: an EXIF field says how to show them, and not every program looks at it.

OneTrainer and this pack show them upright. sd-scripts and diffusion-pipe train on the pixels as they are
stored, and their masks have to be stored the same way.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image

from ..files.text import some
from .folder import TURNS, DatasetError
from .formats import opened_picture, why_unreadable

MOST_NAMES = 20
"""More pictures are counted, not named."""
TURNED_BACK = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}
"""What undoes a turn; all others undo themselves."""
ON_ITS_SIDE = 5
"""From this EXIF orientation on, pictures are stored on their side."""
NEARLY_SQUARE = 1.02
"""Ratio of the sides up to which a picture on its side has the shape of one that is upright."""


Answer = TypeVar("Answer")


def orientation_of(picture: str | Path) -> int:
    """How a picture file is stored: 1 upright, 2 to 8 as the EXIF orientations; its pixels are not read.

    Raises:
        DatasetError: damaged, or no picture.
    """
    return _asked(Path(picture), _orientation)


def upright_size(picture: Path) -> tuple[int, int]:
    """(height, width) of an upright picture file; nothing is decoded. Raises as `orientation_of`."""
    return _asked(picture, _upright_size)


def _asked(picture: Path, question: Callable[[Image.Image], Answer]) -> Answer:
    try:
        with opened_picture(picture) as file:
            return question(file)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything: struct.error, TypeError ...
        raise DatasetError(why_unreadable(picture, error)) from error


def _upright_size(file: Image.Image) -> tuple[int, int]:
    return (file.width, file.height) if _orientation(file) >= ON_ITS_SIDE else (file.height, file.width)


def _orientation(file: Image.Image) -> int:
    orientation = file.getexif().get(ExifTags.Base.Orientation, 1)
    return orientation if orientation in TURNS else 1


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """Stored pixels, turned upright by an EXIF orientation."""
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def turned_back(picture: Image.Image, orientation: int) -> Image.Image:
    """Upright pixels, turned as a picture of this EXIF orientation stores them."""
    if orientation not in TURNS:
        return picture
    turn = TURNS[orientation]
    return picture.transpose(TURNED_BACK.get(turn, turn))


def shape_tells(picture: str | Path) -> bool:
    """Whether the shape of something made from a picture shows which way up that was."""
    orientation = orientation_of(picture)
    if orientation == 1:
        return True
    with opened_picture(picture) as file:
        sides = sorted(file.size)
    return orientation >= ON_ITS_SIDE and sides[1] > sides[0] * NEARLY_SQUARE


def said_of(pictures: Iterable[Path]) -> str:
    """The beginning of a message about pictures that are stored turned: their names, and what is meant."""
    names = some((picture.name for picture in pictures), MOST_NAMES)
    return f"{names}: stored turned, with an EXIF field that shows them upright"
