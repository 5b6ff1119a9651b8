"""A LoRA that acts while training only, and undoes the distillation of a few-step model."""

from collections.abc import Mapping
from typing import Any

import comfy.lora
import comfy.model_patcher
import comfy.sd
from torch import Tensor

from ..lora.keys import some
from ..lora.layers import all_linear_layers
from ..lora.reading import read_lora
from .key_map import comfy_key_map


def with_training_adapter(
    patcher: comfy.model_patcher.ModelPatcher, lora: Mapping[str, Tensor]
) -> comfy.model_patcher.ModelPatcher:
    """The model with a training adapter, read as every LoRA is. What weights can have but no adapter on
    activations (convolutions, norms, DoRA) is left to ComfyUI's own loader.
    """
    model: Any = patcher.model
    name, advice = type(model).__name__, "Choose the adapter made for this model"
    try:
        read = read_lora(lora, all_linear_layers(model.diffusion_model), comfy_key_map(patcher))
        if not read.rest:
            read.complete()
    except ValueError as error:
        raise ValueError(f"the training adapter does not belong to {name}: {error} {advice}") from error
    rest = {key: tensor for group in read.rest.values() for key, tensor in group.items()}
    foreign = _foreign_keys(model, rest)
    if foreign:
        fits = read.adapters or len(foreign) < len(rest)
        share = (
            f"{len(foreign)} of its {len(lora)} keys do not fit"
            if fits
            else f"none of its {len(lora)} keys fits"
        )
        raise ValueError(
            f"the training adapter does not belong to {name}: {share} ({some(foreign)}). {advice}"
        )
    patched: Any = comfy.sd.load_lora_for_models(patcher, None, {**read.tensors(), **rest}, 1.0, 0.0)[0]
    return patched


class _NotedReads(dict[str, Tensor]):
    """A dictionary that knows what was taken out of it."""

    def __init__(self, tensors: Mapping[str, Tensor]):
        super().__init__(tensors)
        self.taken: set[str] = set()

    def __getitem__(self, key: str) -> Tensor:
        self.taken.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.taken.add(key)
        return super().get(key, default)


def _foreign_keys(model: Any, tensors: Mapping[str, Tensor]) -> list[str]:
    """The keys that ComfyUI's loader makes nothing of."""
    if not tensors:
        return []
    noted, known = _NotedReads(tensors), comfy.lora.model_lora_keys_unet(model, {})
    comfy.lora.load_lora(noted, known, log_missing=False)
    return [key for key in tensors if key not in noted.taken]
