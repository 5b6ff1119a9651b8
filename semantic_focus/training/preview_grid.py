"""Samples of a training as one picture: a row for each round, so that a prompt is followed downwards."""

import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ..files.writing import make_folder, write_png

GRID = "grid.png"
MAX_SIDE = 4096
"""Pixels; a taller grid is shrunk."""
MARGIN = 24
_STEP = re.compile(r"step_(\d+)\.png")


def save_previews(path: Path, images: Tensor) -> None:
    """Write a round of samples side by side, Float[N, H, W, 3] in 0..1, and renew the grid of all rounds."""
    make_folder(path.parent)
    row = np.concatenate(list((images.clamp(0, 1).numpy() * 255).round().astype(np.uint8)), axis=1)
    _save(Image.fromarray(row), path)
    rounds = rounds_in(path.parent)
    rows = [(step, Image.open(file, formats=["PNG"]).convert("RGB")) for step, file in rounds]
    _save(_grid(rows), path.parent / GRID)


def rounds_in(folder: Path) -> list[tuple[int, Path]]:
    """The rounds of samples in a folder, by step; none when there is no such folder."""
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted((int(match[1]), file) for file in files if (match := _STEP.fullmatch(file.name)))


def _grid(rows: list[tuple[int, Image.Image]]) -> Image.Image:
    """The rounds below each other, each with its step above it."""
    width = max(picture.width for _, picture in rows)
    grid = Image.new("RGB", (width, sum(picture.height + MARGIN for _, picture in rows)), "white")
    draw, top = ImageDraw.Draw(grid), 0
    for step, picture in rows:
        draw.text((4, top + 6), f"step {step}", fill="black")
        grid.paste(picture, (0, top + MARGIN))
        top += picture.height + MARGIN
    grid.thumbnail((MAX_SIDE, MAX_SIDE))
    return grid


def _save(picture: Image.Image, path: Path) -> None:
    write_png(path, picture)
