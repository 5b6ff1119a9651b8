"""The vocabulary: region categories, their colours, keywords and weights, and the weight presets."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Category:
    """One named region of a picture.

    `colour` is 8-bit RGB. `partitioned` regions exclude each other (together with background they sum to 1 at
    every pixel, to less where a segmenter leaves open what it is); the others are soft layers that overlap
    them.
    """

    name: str
    name_zh: str
    keywords: tuple[str, ...]
    default_weight: float
    colour: tuple[int, int, int]
    partitioned: bool = True


SEMANTIC_CATEGORIES: Mapping[str, Category] = MappingProxyType(
    {
        category.name: category
        for category in (
            Category("face", "人脸", ("face", "head", "eyes", "nose", "mouth"), 1.0, (232, 78, 70)),
            Category("body", "身体", ("body", "torso", "arms", "legs"), 0.5, (247, 160, 190)),
            Category("clothing", "服装", ("dress", "shirt", "pants", "clothes"), 0.8, (66, 133, 244)),
            Category("hair", "发型", ("hair", "bangs"), 0.6, (245, 196, 48)),
            Category("background", "背景", ("background", "sky", "wall", "floor"), 0.1, (64, 168, 110)),
            Category(
                "lighting", "光影", ("light", "shadow", "highlight"), 0.3, (170, 120, 225), partitioned=False
            ),
        )
    }
)
"""Category by name, in palette order."""


def is_soft_layer(label: str) -> bool:
    """Whether a region overlaps the others as a soft layer (lighting)."""
    return label in SEMANTIC_CATEGORIES and not SEMANTIC_CATEGORIES[label].partitioned


PARTITION_PRIORITY = ("face", "hair", "clothing", "body")
"""Who keeps a pixel that several detections claim, first wins; background takes what is left."""


@dataclass(frozen=True)
class Preset:
    """Weights for one purpose. `enabled=False` trains the whole picture alike (one global region)."""

    weights: Mapping[str, float]
    enabled: bool = True


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "person": Preset(
            dict(face=1.0, body=0.3, clothing=0.0, hair=0.6, background=0.0, lighting=0.0),
        ),
        "outfit": Preset(
            dict(face=0.0, body=0.5, clothing=1.0, hair=0.0, background=0.0, lighting=0.0),
        ),
        "style": Preset(
            dict(face=0.0, body=0.0, clothing=0.0, hair=0.0, background=0.0, lighting=0.5),
            enabled=False,
        ),
    }
)
