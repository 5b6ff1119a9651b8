"""Samples of a training as one picture: a row for each round, so that a prompt is followed downwards."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ..files.writing import make_folder, write_png

GRID = "grid.png"
MAX_SIDE = 4096
"""Pixels; the rows of a taller grid are shrunk."""
MOST_ROWS = 24
"""Of more rounds the grid has some, spread over the training."""
MARGIN, GAP = 24, 8
_STEP = re.compile(r"step_(\d+)\.png")


def save_previews(path: Path, images: Tensor) -> None:
    """Write a round of samples side by side, Float[N, H, W, 3] in 0..1, and renew the grid of all rounds."""
    make_folder(path.parent)
    row = np.concatenate(list((images.clamp(0, 1).numpy() * 255).round().astype(np.uint8)), axis=1)
    _save(Image.fromarray(row), path)
    _save(_grid(_spread(rounds_in(path.parent))), path.parent / GRID)


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


def _spread(rounds: Sequence[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """As many rounds as fit into a grid, the first and the last among them."""
    last, rows = len(rounds) - 1, min(len(rounds), MOST_ROWS)
    return [rounds[round(row * last / max(rows - 1, 1))] for row in range(rows)]


def _grid(rounds: Sequence[tuple[int, Path]]) -> Image.Image:
    """The rounds below each other, each with its step above it; one at a time is there at full size."""
    sizes = [_size(file) for _, file in rounds]
    width, height = max(width for width, _ in sizes), sum(height for _, height in sizes)
    scale = min(1.0, MAX_SIDE / width, (MAX_SIDE - len(rounds) * MARGIN) / height)
    sizes = [(max(1, int(width * scale)), max(1, int(height * scale))) for width, height in sizes]
    total = sum(height + MARGIN for _, height in sizes)
    grid = Image.new("RGB", (max(width for width, _ in sizes), total), "white")
    draw, top = ImageDraw.Draw(grid), 0
    for (step, file), size in zip(rounds, sizes, strict=True):
        draw.text((4, top + 6), f"step {step}", fill="black")
        with _opened(file) as opened:
            picture = opened.convert("RGB")
        grid.paste(picture if picture.size == size else picture.resize(size), (0, top + MARGIN))
        top += size[1] + MARGIN
    return grid


def _size(file: Path) -> tuple[int, int]:
    with _opened(file) as picture:
        return picture.size


def _opened(file: Path) -> Image.Image:
    return Image.open(file, formats=["PNG"])


def _save(picture: Image.Image, path: Path) -> None:
    write_png(path, picture)
