"""Region by region LoRA training: masks, losses and a trainer in plain PyTorch, without ComfyUI.

>>> from semantic_focus import load_masks, downsample_mask_to_latent, semantic_cosine_loss
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .categories import SEMANTIC_CATEGORIES
    from .datasets.mask_file import load_masks, save_masks
    from .objective.loss import semantic_cosine_loss
    from .objective.total import Objective
    from .regions.masks import SemanticMasks, downsample_mask_to_latent

__version__ = "0.2.0"
__all__ = [
    "SEMANTIC_CATEGORIES",
    "Objective",
    "SemanticMasks",
    "downsample_mask_to_latent",
    "load_masks",
    "save_masks",
    "semantic_cosine_loss",
]

_PLACES = {
    "SEMANTIC_CATEGORIES": ".categories",
    "Objective": ".objective.total",
    "SemanticMasks": ".regions.masks",
    "downsample_mask_to_latent": ".regions.masks",
    "load_masks": ".datasets.mask_file",
    "save_masks": ".datasets.mask_file",
    "semantic_cosine_loss": ".objective.loss",
}
"""Where the public names are; they are imported when they are asked for, because torch takes its time."""


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_PLACES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
