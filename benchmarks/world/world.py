"""The world as one thing: base model, codec and reader, and how good they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from torch import nn

from benchmarks.comfyui import import_comfyui
from benchmarks.world.base import CACHE, Pretraining, ensure_base, load_base
from benchmarks.world.codec import WorldCodec
from benchmarks.world.drawing import draw
from benchmarks.world.flow import sample
from benchmarks.world.people import SCENE_WORDS, caption, random_figure
from benchmarks.world.reader import Reader, accuracy, ensure_reader, true_words
from host.serve import comfyui_folder

READER_STEPS = 600
QUICK_READER_STEPS = 300
"""With the base model of `QUICK` settings."""
JUDGED = 256
"""Pictures on which the reader and the base model are judged."""


@dataclass(frozen=True)
class World:
    """What all LoRAs share."""

    model: nn.Module
    codec: WorldCodec
    reader: Reader


@cache
def load_world(settings: Pretraining, folder: Path = CACHE, reader_steps: int = READER_STEPS) -> World:
    """The base model and the reader in `folder`, made now where they are not there."""
    import_comfyui(comfyui_folder())
    model, codec = load_base(ensure_base(settings, folder))
    reader = ensure_reader(
        folder / f"reader_{settings.key}.safetensors", reader_steps, lambda px: codec.decode(codec.encode(px))
    )
    return World(model, codec, reader)


def judge(world: World, pictures: int = JUDGED) -> dict[str, Mapping[str, float]]:
    """Attribute -> accuracy of the reader on true pictures and on the codec's, and how often the base model's
    samples are read as they were asked for.
    """
    random = np.random.default_rng(99)
    figures = [random_figure(random) for _ in range(pictures)]
    pixels, _ = draw(figures, seed=98)
    words = true_words(figures)
    latents = sample(world.model, [caption(figure.scene) for figure in figures], seed=97)
    asked = {name: words[name] for name in SCENE_WORDS}
    return {
        "true pictures": accuracy(world.reader.read(pixels), words),
        "through the codec": accuracy(
            world.reader.read(world.codec.decode(world.codec.encode(pixels))), words
        ),
        "base samples": accuracy(world.reader.read(world.codec.decode(latents)), asked),
    }
