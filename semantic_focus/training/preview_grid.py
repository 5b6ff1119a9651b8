"""Samples of a training as one picture: a row for each round, so that a prompt is followed downwards."""

import re
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..files.writing import make_folder, write_png

GRID = "grid.png"
MAX_SIDE = 4096
"""Pixels; a taller grid is shrunk."""
MARGIN, GAP = 24, 8
_STEP = re.compile(r"step_(\d+)\.png")


def save_previews(path: Path, images: Tensor) -> None:
    """Write a round of samples side by side, Float[N, H, W, 3] in 0..1, and renew the grid of all rounds."""
    make_folder(path.parent)
    row = np.concatenate(list((images.clamp(0, 1).numpy() * 255).round().astype(np.uint8)), axis=1)
    _save(Image.fromarray(row), path)
    rounds = rounds_in(path.parent)
    rows = [(step, Image.open(file, formats=["PNG"]).convert("RGB")) for step, file in rounds]
    _save(_grid(rows), path.parent / GRID)


def side_by_side(before: Tensor, after: Tensor) -> Tensor:
    """Two samples of one prompt with their names above them, Float[MARGIN + H, 2 W + GAP, 3].

    Args:
        before: Float[H, W, 3] in 0..1, without the LoRA.
        after: of the same size, with it.
    """
    height, width, _ = before.shape
    sheet = Image.new("RGB", (2 * width + GAP, MARGIN), "white")
    draw = ImageDraw.Draw(sheet)
    for left, words in ((4, "without"), (width + GAP + 4, "with the LoRA")):
        draw.text((left, 6), words, fill="black")
    names = torch.from_numpy(np.asarray(sheet, np.float32) / 255)
    return torch.cat([names, torch.cat([before, before.new_ones(height, GAP, 3), after], dim=1)])


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
