"""Segmenters behind one small protocol, and the one table that names them.

A backend module is imported when it is first asked for, never with the package: segmenter runtimes are heavy
and optional.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from torch import Tensor

from ..categories import SEMANTIC_CATEGORIES
from ..masks import SemanticMasks


@dataclass(frozen=True)
class SegmentRequest:
    """What to find in the pictures.

    `keywords` maps each wanted category to its prompts; a backend without text prompts goes by the category
    names. `refine` is "off", "fast" or "fine" (see `refine.py`).
    """

    keywords: Mapping[str, tuple[str, ...]] = field(
        default_factory=lambda: {name: category.keywords for name, category in SEMANTIC_CATEGORIES.items()}
    )
    refine: str = "fast"


class Segmenter(Protocol):
    """Finds persons and their parts. `name` and `weights_id` go into every cache file."""

    name: str
    weights_id: str

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        """Segment every picture of a batch.

        Args:
            images: Float[B, H, W, 3] in 0..1, sRGB.
            request: categories wanted; the result has exactly these labels, in this order.

        Returns:
            Masks of the pictures' own size. A picture without a person gives background 1 and zeros
            elsewhere.
        """
        ...


@dataclass(frozen=True)
class Backend:
    """Where a segmenter lives.

    `module` (relative to this package) has ``load(weight_folders) -> Segmenter`` and ``WEIGHTS_ID``, a string
    that names its weights and is known without loading them.
    """

    module: str
    tier: str
    description: str


BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        "mediapipe": Backend(
            ".mediapipe", "fast", "face, pose and person networks, CPU, no model hub (embedded default)"
        ),
    }
)


class MissingWeightsError(FileNotFoundError):
    """Weights or a runtime that a backend needs are not on this machine; the message says how to get them."""


@dataclass
class LazySegmenter:
    """A backend of the table that is loaded when its first picture comes, so that cached masks need no model.

    Attributes:
        name: key in `BACKENDS`, or "auto" for the first entry.
        weight_folders: where to look for weights before the backend's default folder.
    """

    name: str
    weight_folders: Sequence[Path] = ()
    _loaded: Segmenter | None = None

    def __post_init__(self):
        if self.name == "auto":
            self.name = next(iter(BACKENDS))
        if self.name not in BACKENDS:
            raise ValueError(f"no segmentation backend {self.name!r}; there are {', '.join(BACKENDS)}")
        self._module = import_module(BACKENDS[self.name].module, __package__)

    @property
    def weights_id(self) -> str:
        """Names the weights; part of every cache file."""
        return self._module.WEIGHTS_ID

    def get(self) -> Segmenter:
        """The loaded segmenter.

        Raises:
            MissingWeightsError: runtime or weights are not installed.
        """
        if self._loaded is None:
            self._loaded = self._module.load(self.weight_folders)
        assert self._loaded is not None
        return self._loaded
