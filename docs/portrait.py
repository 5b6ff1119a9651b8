"""Training pictures for the pictures of the docs: framings of one photograph, and their captions.

It is NASA's public-domain portrait of the astronaut Eileen Collins, as it comes with scikit-image. One
photograph stands in for different shots; the captions say which framing each is.
"""

from dataclasses import dataclass
from pathlib import Path

from PIL import Image

PHOTOGRAPH = "astronaut.png"
SAVED_SIDE = 384


@dataclass(frozen=True)
class Framing:
    """A square window of the photograph, in its pixels, and what is written about it."""

    name: str
    left: int
    top: int
    side: int
    caption: str


FRAMINGS = (
    Framing("astronaut_close_left_high", 156, 32, 192, "astronaut woman portrait close left high"),
    Framing("astronaut_close_left_low", 156, 8, 192, "astronaut woman portrait close left low"),
    Framing("astronaut_close_centre_low", 132, 8, 192, "astronaut woman portrait close centre low"),
    Framing("astronaut_close_right_high", 108, 32, 192, "astronaut woman portrait close right high"),
    Framing("astronaut_close_right_low", 108, 8, 192, "astronaut woman portrait close right low"),
    Framing("astronaut_wide_left_high", 130, 32, 256, "astronaut woman portrait wide left high"),
    Framing("astronaut_wide_left_low", 130, 0, 256, "astronaut woman portrait wide left low"),
    Framing("astronaut_wide_centre_high", 98, 32, 256, "astronaut woman portrait wide centre high"),
    Framing("astronaut_wide_right_low", 66, 0, 256, "astronaut woman portrait wide right low"),
)


def write_framings(photographs: Path, folder: Path) -> None:
    """Write each framing as a PNG of 384 x 384 with a caption .txt beside it into a new folder.

    Raises:
        FileNotFoundError: `photographs` has no astronaut.png.
    """
    folder.mkdir()
    with Image.open(photographs / PHOTOGRAPH) as picture:
        portrait = picture.convert("RGB")
    for framing in FRAMINGS:
        window = (framing.left, framing.top, framing.left + framing.side, framing.top + framing.side)
        square = portrait.resize((SAVED_SIDE, SAVED_SIDE), Image.Resampling.LANCZOS, box=window)
        square.save(folder / f"{framing.name}.png")
        (folder / f"{framing.name}.txt").write_text(framing.caption)
