"""The persons that LoRAs learn: their faces, and the one scene that all their training pictures share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from benchmarks.world.codec import BLOCK, WorldCodec
from benchmarks.world.drawing import REGIONS, draw
from benchmarks.world.people import BEARD_COLOURS, Face, Figure, Scene, caption, other_scene, rgb
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.scenes import SceneShares, with_scenes

TRIGGER = "sks"
"""The name of the person in the captions; an unknown word to the base model."""


@dataclass(frozen=True)
class Person:
    """Somebody to learn."""

    name: str
    face: Face
    scene: Scene


DEVELOPMENT = (
    Person(
        "dev1",
        Face("glasses", "bigSmile", "walrus", rgb("b16a5b"), BEARD_COLOURS[0]),
        Scene("long", "blond", "plaid", "red", "sky"),
    ),
    Person(
        "dev2",
        Face("happy", "frown", "goatee", rgb("eeb4a4"), BEARD_COLOURS[2], eye_height=1.2),
        Scene("curly", "black", "sweater", "green", "rose"),
    ),
)
"""What is tried out is tried out on these alone."""

REPORTED = (
    Person(
        "p1",
        Face("sleep", "lips", "none", rgb("6f4538"), BEARD_COLOURS[0], eye_height=-1.2, eye_size=1.5),
        Scene("bun", "pink", "wrap", "white", "mint"),
    ),
    Person(
        "p2",
        Face("glasses", "frown", "goatee", rgb("e5a07e"), BEARD_COLOURS[2], eye_size=1.5),
        Scene("pigtails", "blue", "plaid", "yellow", "lilac"),
    ),
    Person(
        "p3",
        Face("open", "surprise", "beardMustache", rgb("d78774"), BEARD_COLOURS[1], mouth_size=1.5),
        Scene("mohawk", "ginger", "sweater", "purple", "cream"),
    ),
    Person(
        "p4",
        Face("happy", "bigSmile", "walrus", rgb("92594b"), BEARD_COLOURS[3], mouth_height=1.4),
        Scene("curly", "brown", "wrap", "blue", "orange"),
    ),
)
PERSONS = {person.name: person for person in (*DEVELOPMENT, *REPORTED)}


def training_figures(person: Person, count: int) -> list[Figure]:
    """So many pictures of a person, all in one scene, a little moved."""
    return [Figure(person.face, person.scene, number % 3, number // 3 % 3) for number in range(count)]


def training_pictures(person: Person, count: int, codec: WorldCodec) -> TrainingPictures:
    """The pictures as the trainer wants them, their exact masks averaged over each latent cell."""
    pixels, masks = draw(training_figures(person, count), seed=9)
    return TrainingPictures(tuple(codec.encode(pixels)), tuple(latent_masks(masks)), REGIONS)


def latent_masks(masks: Tensor) -> Tensor:
    """Float[N, K, H, W] -> Float[N, K, H/8, W/8]: the share of each cell that a region covers."""
    return F.avg_pool2d(masks, BLOCK)


def training_captions(person: Person, count: int, full: bool) -> list[str]:
    """A caption for each picture: the trigger alone, or with all that is seen; then the same without the
    trigger.
    """
    scene = person.scene if full else None
    return [caption(scene, TRIGGER)] * count + [caption(scene)] * count


def pictures_with_scenes(
    person: Person,
    count: int,
    codec: WorldCodec,
    scenes: Sequence[Scene],
    latents: Tensor,
    shares: SceneShares,
) -> tuple[TrainingPictures, list[str]]:
    """The person's pictures beside these scenes, and a caption for each that a scene is used in: with the
    trigger for composites, without for strangers.

    Args:
        latents: Float[N, 16, h, w]: the base model's samples of the scenes.
    """
    pictures = with_scenes(training_pictures(person, count, codec), ["face"], list(latents), shares)
    captions = [caption(scene, TRIGGER) for scene in scenes if shares.composites]
    return pictures, captions + [caption(scene) for scene in scenes if shares.strangers]


def other_scenes(person: Person, count: int, seed: int = 11) -> list[Scene]:
    """Scenes to ask for, which share nothing with the training pictures."""
    random = np.random.default_rng(seed)
    return [other_scene(random, person.scene) for _ in range(count)]


def asked_for(person: Person, scenes: Sequence[Scene]) -> Tensor:
    """Float[N, S, S, 3]: the person drawn in these scenes: what a perfect LoRA would give."""
    return draw([Figure(person.face, scene) for scene in scenes], seed=3)[0]
