"""Which family of models a MODEL is of."""

from typing import Any

from ..settings import recipes
from ..settings.recipes import Recipe
from .fingerprint import looks_distilled

UNLIKE = ("Flux2", "ZImagePixelSpace")
"""Classes of ComfyUI that derive from a family they do not train like."""

BY_CLASS = {
    "SD15": recipes.SD15,
    "SDXL": recipes.SDXL,
    "SD3": recipes.SD3,
    "Flux": recipes.FLUX_DEV,
    "ZImage": recipes.Z_IMAGE,
    "QwenImage": recipes.QWEN_IMAGE,
    "WAN21_T2V": recipes.WAN,
}
"""By the class in comfy/supported_models.py that a model's configuration is of or derives from."""


def recipe_of(patcher: Any, file: str = "") -> Recipe:
    """The recipe for a MODEL; that for other models if its family has none.

    Args:
        patcher: ComfyUI's MODEL.
        file: name of its file: nothing else tells Z-Image Turbo from Z-Image.
    """
    config: Any = getattr(patcher.model, "model_config", None)
    classes = [cls.__name__ for cls in type(config).__mro__]
    if any(name in classes for name in UNLIKE):
        return recipes.OTHER
    recipe = next((BY_CLASS[name] for name in classes if name in BY_CLASS), recipes.OTHER)
    if recipe is recipes.FLUX_DEV and not config.unet_config.get("guidance_embed"):
        return recipes.FLUX_SCHNELL
    if recipe is recipes.Z_IMAGE and looks_distilled(file):
        return recipes.Z_IMAGE_TURBO
    return recipe
