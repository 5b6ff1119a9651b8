"""A drawn person as a dataset: pictures, captions and exact masks; and what the LoRAs are asked for."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from benchmarks.world.drawing import REGIONS, draw
from benchmarks.world.people import Scene, caption
from benchmarks.world.persons import PERSONS, TRIGGER, Person, asked_for, training_figures
from semantic_focus.datasets.mask_file import mask_path, save_masks

PERSON = PERSONS["p2"]
PICTURES = 10
"""To train on."""
ASKED = 24
"""Scenes to ask for."""


def write_training(person: Person, count: int, folder: Path) -> Tensor:
    """So many training pictures Float[N, S, S, 3], written with captions of the trigger alone.

    Their exact masks lie beside them as masks made by hand do: *SAM Semantic Segment* reads them, and
    segments nothing.
    """
    pixels, masks = draw(training_figures(person, count), seed=9)
    for path, regions in zip(_write(pixels, [caption(None, TRIGGER)] * count, folder), masks, strict=True):
        save_masks(mask_path(path), dict(zip(REGIONS, regions, strict=True)), encoding="float")
    return pixels


def write_asked(person: Person, scenes: Sequence[Scene], folder: Path) -> Tensor:
    """The person drawn in these scenes, Float[N, S, S, 3], written with the captions that ask for them."""
    pixels = asked_for(person, scenes)
    _write(pixels, [caption(scene, TRIGGER) for scene in scenes], folder)
    return pixels


def _write(pixels: Tensor, captions: Sequence[str], folder: Path) -> list[Path]:
    """A new folder of PNGs with captions; the pictures' paths."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    paths = [folder / f"{number:02}.png" for number in range(1, len(pixels) + 1)]
    for path, picture, text in zip(paths, pixels, captions, strict=True):
        Image.fromarray((picture * 255).round().to(torch.uint8).numpy()).save(path)
        path.with_suffix(".txt").write_text(text)
    return paths
