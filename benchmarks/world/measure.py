"""What a LoRA does, counted on samples: who is seen, whether the prompt is followed, what leaks, who else
changes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.world.codec import WorldCodec
from benchmarks.world.flow import STEPS, sample
from benchmarks.world.people import FACE_PARTS, SCENE_WORDS, Face, Scene, caption
from benchmarks.world.persons import TRIGGER, Person, other_scenes
from benchmarks.world.reader import TRAIT_SCALE, Reader, Reading, traits

ASKED, BARE, STRANGERS = 48, 24, 24
SEEDS = {"asked": 101, "bare": 102, "strangers": 103}
SAME_SKIN = 0.12
"""Largest distance of two skin colours (red, green, blue in 0..1) that still are one person's."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "hair": ("hair", "hair_colour"),
    "clothes": ("clothes", "clothes_colour"),
    "background": ("background",),
}
ASPECTS = ("face", *GROUPS)
"""What of a sample is as asked for, or not."""


@dataclass(frozen=True)
class Samples:
    """Pictures Float[N, S, S, 3] of a model.

    Attributes:
        asked: the person in scenes that share nothing with the training pictures'.
        bare: the person, nothing else said.
        strangers: other scenes without the trigger.
    """

    asked: Tensor
    bare: Tensor
    strangers: Tensor
    scenes: Sequence[Scene]


def draw_samples(model: nn.Module, codec: WorldCodec, person: Person, share: float = 1.0) -> Samples:
    """Sample the model as it is now; `share` of the usual number of pictures and of steps.

    Each kind starts from noise of its own seed, the same for all models.
    """
    asked, bare, strangers = (max(2, round(share * count)) for count in (ASKED, BARE, STRANGERS))
    scenes = other_scenes(person, asked)
    prompts = {
        "asked": [caption(scene, TRIGGER) for scene in scenes],
        "bare": [caption(None, TRIGGER)] * bare,
        "strangers": [caption(scene) for scene in scenes[:strangers]],
    }
    steps = max(2, round(share * STEPS))
    drawn = {kind: codec.decode(sample(model, texts, SEEDS[kind], steps)) for kind, texts in prompts.items()}
    return Samples(**drawn, scenes=scenes)


@dataclass(frozen=True)
class AskedCounts:
    """Shares of samples for which scenes were asked, all in 0..1 but for `distance`.

    Attributes:
        parts: of eyes, mouth and beard, those that are the person's.
        identity: samples in which all three are.
        same: in which the skin is too.
        distance: mean distance of the face's traits (skin, heights, sizes) to the person's, in standard
            deviations of random faces.
        follow, leak: group of attributes -> those that are as asked for, and those that are the training
            pictures' instead; "all" is the mean over the five attributes.
    """

    parts: float
    identity: float
    same: float
    distance: float
    follow: Mapping[str, float]
    leak: Mapping[str, float]


@dataclass(frozen=True)
class Counts(AskedCounts):
    """The same, and shares of the other samples.

    Attributes:
        bare_identity, bare_leak: the same where nothing but the trigger was said.
        diversity: of the scenes then, entropy over the largest possible, mean over the attributes.
        strangers: samples without the trigger that are the person (`same`).
        strangers_follow: of these samples' attributes, those that are as asked for.
    """

    bare_identity: float
    bare_leak: float
    diversity: float
    strangers: float
    strangers_follow: float


def count_asked(pixels: Tensor, scenes: Sequence[Scene], reader: Reader, person: Person) -> AskedCounts:
    """Read samples Float[N, S, S, 3], for each of which one of the scenes was asked."""
    read = reader.read(pixels)
    right = _right_parts(read, person.face)
    wanted = _wanted(scenes)
    return AskedCounts(
        parts=float(right.mean()),
        identity=float(right.all(0).mean()),
        same=float(_same(read, person.face).mean()),
        distance=float((read.traits - traits(person.face)).square().mean(1).sqrt().mean()),
        follow=_grouped({name: read.is_as(name, words).mean() for name, words in wanted.items()}),
        leak=_grouped(_own(read, person.scene)),
    )


def is_as_asked(read: Reading, scenes: Sequence[Scene], person: Person) -> Tensor:
    """Bool[N, 4]: which of `ASPECTS` of each picture are the person's, and as its scene has them."""
    right = {name: read.is_as(name, words) for name, words in _wanted(scenes).items()}
    face = _right_parts(read, person.face).all(0)
    groups = [np.stack([right[name] for name in names]).all(0) for names in GROUPS.values()]
    return torch.from_numpy(np.stack([face, *groups], 1))


def count(samples: Samples, reader: Reader, person: Person) -> Counts:
    """Read the samples."""
    asked = count_asked(samples.asked, samples.scenes, reader, person)
    bare, strangers = map(reader.read, (samples.bare, samples.strangers))
    wanted = _wanted(samples.scenes[: len(samples.strangers)])
    return Counts(
        **vars(asked),
        bare_identity=float(_right_parts(bare, person.face).all(0).mean()),
        bare_leak=_grouped(_own(bare, person.scene))["all"],
        diversity=float(np.mean([_entropy(bare.words[name], words) for name, words in SCENE_WORDS.items()])),
        strangers=float(_same(strangers, person.face).mean()),
        strangers_follow=float(
            np.mean([strangers.is_as(name, words).mean() for name, words in wanted.items()])
        ),
    )


def _wanted(scenes: Sequence[Scene]) -> dict[str, list[str]]:
    """Attribute -> its word in each scene."""
    return {name: [getattr(scene, name) for scene in scenes] for name in SCENE_WORDS}


def _right_parts(reading: Reading, face: Face) -> np.ndarray:
    """Bool[3, N]: which of the face's parts are right."""
    return np.stack([reading.is_as(name, _all(getattr(face, name), reading)) for name in FACE_PARTS])


def _same(reading: Reading, face: Face) -> np.ndarray:
    skin = ((reading.traits - traits(face)) * TRAIT_SCALE)[:, :3]
    return _right_parts(reading, face).all(0) & (torch.linalg.norm(skin, dim=1) < SAME_SKIN).numpy()


def _own(reading: Reading, scene: Scene) -> dict[str, float]:
    """Attribute -> share of the pictures that have it of the training pictures."""
    return {name: reading.is_as(name, _all(word, reading)).mean() for name, word in scene.words().items()}


def _all(word: str, reading: Reading) -> list[str]:
    return [word] * len(reading.traits)


def _grouped(shares: Mapping[str, float]) -> dict[str, float]:
    grouped = {group: float(np.mean([shares[name] for name in names])) for group, names in GROUPS.items()}
    return grouped | {"all": float(np.mean(list(shares.values())))}


def _entropy(read: Sequence[str], words: Sequence[str]) -> float:
    shares = [read.count(word) / len(read) for word in words]
    return -sum(share * math.log(share) for share in shares if share) / math.log(len(words))
