"""Region by region LoRA training: masks, losses and a trainer in plain PyTorch, without ComfyUI.

>>> from semantic_focus import load_masks, downsample_mask_to_latent, semantic_cosine_loss
"""

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
