"""What a segmenter is to its users, and what it is asked.

A backend is a module with three functions, and is imported when it is first asked for, never with the
package: segmenter runtimes are heavy and optional.

    missing(folders) -> str | None    why it cannot run here and what to do about it; None when it can. Cheap.
    weights_id(folders) -> str        names the weights that `load` would take, without loading them. Cheap.
    load(folders, device) -> Segmenter
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from ..categories import SEMANTIC_CATEGORIES
from ..keywords import Prompt
from ..regions.masks import SemanticMasks

WeightFolders = Mapping[str, Sequence[Path]]
"""Where to look for weights: the folders of each kind, by the name that ComfyUI's models folder gives it."""


@dataclass(frozen=True)
class SegmentRequest:
    """What to find in the pictures.

    Attributes:
        prompts: each wanted category with its words; a backend without text prompts goes by the category
            names.
        refine: one of `regions.refine.REFINEMENTS`.
        keep_overlaps: leave the regions as they were found instead of sharing every pixel out between them
            (see `regions.masks.partition`).
    """

    prompts: Mapping[str, Prompt] = field(
        default_factory=lambda: {
            name: Prompt(category.keywords) for name, category in SEMANTIC_CATEGORIES.items()
        }
    )
    refine: str = "fast"
    keep_overlaps: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """The wanted categories, in order."""
        return tuple(self.prompts)


def is_looked_for(category: str, keep_overlaps: bool) -> bool:
    """Whether a segmenter that goes by words reads those of a category.

    Not those of "lighting", which is measured, and those of "background" only with `keep_overlaps`; else it
    is the rest.
    """
    return category != "lighting" and (category != "background" or keep_overlaps)


class Segmenter(Protocol):
    """Finds persons and their parts. `name` and `weights_id` go into every cache file.

    `modules` are the networks that ComfyUI may move between devices; empty when there are none of torch.
    """

    name: str
    weights_id: str
    modules: Sequence[nn.Module]

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


class BackendFunctions(Protocol):
    """What a backend is to its users; see the top of this file."""

    def missing(self, folders: WeightFolders = ..., /) -> str | None: ...
    def weights_id(self, folders: WeightFolders = ..., /) -> str: ...
    def load(self, folders: WeightFolders = ..., device: str = ..., /) -> Segmenter: ...


class MissingWeightsError(FileNotFoundError):
    """Weights or a runtime that a backend needs are not on this machine; the message says how to get them."""
