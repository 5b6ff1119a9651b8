"""What human parsers call the parts of a person, in our categories; and persons for those that know none."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ..protocol import WeightFolders

NAMES = MappingProxyType(
    {
        "face": (
            ("face", "face skin", "skin", "nose", "mouth", "u lip", "l lip", "upper lip", "lower lip")
            + ("l eye", "r eye", "left eye", "right eye", "l brow", "r brow", "left eyebrow", "right eyebrow")
            + ("l ear", "r ear", "left ear", "right ear", "eye g", "glasses", "eyeglasses", "sunglasses")
        ),
        "hair": ("hair",),
        "clothing": (
            ("upper clothes", "clothes", "clothing", "cloth", "top", "coat", "dress", "jumpsuits", "skirt")
            + ("pants", "belt", "scarf", "hat", "bag", "socks", "glove", "gloves", "shoes", "left shoe")
            + ("right shoe", "ear r", "earring", "neck l", "necklace", "jewelry", "others")
        ),
        "body": (
            ("body skin", "neck", "torso skin", "torso", "arms", "hands", "legs", "feet", "left arm")
            + ("right arm", "left leg", "right leg", "left hand", "right hand", "left foot", "right foot")
        ),
    }
)
"""Label names of parsers of clothes and of faces, by category; what is in none of them is background."""


def spoken(label: str) -> str:
    """A label name in lower-case words: "Left-shoe" and "left_shoe" are "left shoe"."""
    return " ".join(re.split(r"[^a-z0-9]+", label.lower())).strip()


def category_of(label: str) -> str | None:
    """The category a parser's label belongs to; None for background and unknown names."""
    return next((category for category, names in NAMES.items() if spoken(label) in names), None)


def regions(shares: Tensor, labels: Sequence[str], wanted: Sequence[str]) -> dict[str, Tensor]:
    """The four parts, and every wanted category that is itself one of the labels.

    Args:
        shares: Float[C, h, w] in 0..1, the classes' shares of each pixel, by `labels`.

    Returns:
        Float[h, w] in 0..1 by category.
    """
    groups = {
        category: [i for i, label in enumerate(labels) if category_of(label) == category]
        for category in NAMES
    }
    for category in wanted:
        if category not in groups and category != "background":
            groups[category] = [i for i, label in enumerate(labels) if spoken(label) == spoken(category)]
    return {category: shares[indices].sum(0).clamp(0, 1) for category, indices in groups.items() if indices}


def unsupported(labels: Sequence[str], wanted: Sequence[str]) -> str:
    """The wanted categories that a parser with these labels cannot find, for the provenance."""
    known = {*filter(None, map(category_of, labels)), *map(spoken, labels), "background", "lighting"}
    return ", ".join(category for category in wanted if spoken(category) not in known)


class EmbeddedPersons:
    """Person masks of the embedded detector; of none when its networks are not here."""

    def __init__(self, folders: WeightFolders):
        from ..embedded import segmenter as embedded

        self.details: Mapping[str, str] = {"persons": "unknown"}
        self._networks = None
        if embedded.missing(folders) is None:
            from ..embedded.networks import load_networks

            self._networks = load_networks(folders.get("mediapipe", ()))
            self.details = {"persons": embedded.weights_id(folders)}

    def find(self, picture: Tensor) -> Tensor | None:
        """Float[P, h, w] of a picture Float[H, W, 3] in 0..1, h <= H; None when persons cannot be told."""
        if self._networks is None:
            return None
        from ..embedded.persons import find_persons
        from ..embedded.segmenter import analysed, eight_bit

        small = analysed(eight_bit(picture))
        masks = [person.mask for person in find_persons(self._networks, small)]
        return torch.from_numpy(np.stack(masks)).float() if masks else torch.zeros(0, *small.shape[:2])
