"""A LoRA as one of ComfyUI's models takes it: what is trained on, what is only applied, what is foreign."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import comfy.lora
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor

from ..files.text import some
from ..lora.adapters import Adapter
from ..lora.keys import PREFIX, KeyMap, generic_tensors, split_key
from ..lora.layers import adaptable_layers
from ..lora.reading import read_lora
from .key_map import comfy_key_map

LARGEST_FOREIGN_SHARE = 0.1
"""Of the names in a file: more belong to another base model, fewer to something beside the network."""


@dataclass(frozen=True)
class ModelLora:
    """A LoRA as a model takes it.

    Attributes:
        adapters: what can be trained on, by the names of the model's layers.
        fixed: what ComfyUI's loader applies to weights and no adapter can hold (larger convolutions, norms,
            biases, DoRA, OFT), under keys that this loader knows.
        foreign: keys that have no meaning for the model.
    """

    adapters: Mapping[str, Adapter]
    fixed: Mapping[str, Tensor]
    foreign: tuple[str, ...] = ()

    def tensors(self) -> dict[str, Tensor]:
        """All that has an effect, for ComfyUI's loader."""
        return {**generic_tensors(self.adapters), **self.fixed}

    def trainable(self) -> "ModelLora":
        """The same.

        Raises:
            ValueError: there is nothing in it that can be trained on.
        """
        if not self.adapters:
            raise ValueError(
                f"nothing in this LoRA can be trained on: {some(list(self.fixed))}. Apply it to the model "
                "with Load LoRA, and train a new one on that"
            )
        return self


@torch.inference_mode(False)
def read_for_model(patcher: comfy.model_patcher.ModelPatcher, lora: Mapping[str, Tensor]) -> ModelLora:
    """Read a LoRA of any key style for a MODEL; what is left out or only applied is logged by name. Its
    adapters can be trained, also where ComfyUI's inference mode is on.

    Raises:
        ValueError: it is of another base model, of a text encoder alone, cut short, or shapes do not fit.
    """
    model: Any = patcher.model
    key_map = comfy_key_map(patcher)
    read = read_lora(lora, adaptable_layers(model.diffusion_model), key_map)
    rest = _in_known_keys(read.rest, key_map)
    unknown = set(_foreign_keys(model, rest))
    foreign = tuple(key for key in rest if key in unknown)
    fixed = {key: tensor for key, tensor in rest.items() if key not in unknown}
    if not read.adapters and not rest:
        raise ValueError("this LoRA has no key for the diffusion model: is it one of a text encoder?")
    strange = len({split_key(key)[0] for key in foreign})
    names = len(read.adapters) + len({split_key(key)[0] for key in rest})
    if strange > LARGEST_FOREIGN_SHARE * names:
        raise ValueError(
            f"{strange} of {names} names in this LoRA mean nothing to {type(model).__name__}: "
            f"{some(foreign)}. Is it of another base model?"
        )
    if foreign:
        logging.warning(
            f"{len(foreign)} keys of this LoRA mean nothing to {type(model).__name__} and are left out: "
            f"{some(foreign)}"
        )
    if fixed:
        logging.info(
            f"{len(fixed)} of the {len(lora)} keys of this LoRA cannot be trained on; they stay as they are: "
            f"{some(list(fixed))}"
        )
    return ModelLora(read.adapters, fixed, foreign)


def with_lora(
    patcher: comfy.model_patcher.ModelPatcher, tensors: Mapping[str, Tensor]
) -> comfy.model_patcher.ModelPatcher:
    """The model with a LoRA applied to its weights by ComfyUI's own loader."""
    patched: Any = comfy.sd.load_lora_for_models(patcher, None, dict(tensors), 1.0, 0.0)[0]
    return patched


def with_training_adapter(
    patcher: comfy.model_patcher.ModelPatcher, lora: Mapping[str, Tensor]
) -> comfy.model_patcher.ModelPatcher:
    """The model with a LoRA that acts while training only, and undoes the distillation of a few-step model.

    Raises:
        ValueError: not all of it has its effect.
    """
    name, advice = type(patcher.model).__name__, "Choose the adapter made for this model"
    try:
        read = read_for_model(patcher, lora)
    except ValueError as error:
        raise ValueError(f"the training adapter does not belong to {name}: {error} {advice}") from error
    if read.foreign:
        raise ValueError(
            f"the training adapter does not belong to {name}: {len(read.foreign)} of its {len(lora)} keys do "
            f"not fit ({some(read.foreign)}). {advice}"
        )
    return with_lora(patcher, read.tensors())


def _in_known_keys(rest: Mapping[str, Mapping[str, Tensor]], key_map: KeyMap) -> dict[str, Tensor]:
    """Tensors by ComfyUI's names for their layers, or by their own where these stand for a part of one."""
    known: dict[str, Tensor] = {}
    for name, group in rest.items():
        rows = key_map.find(name)
        whole = rows is not None and rows.length is None and not rows.halves_swapped
        for key, tensor in group.items():
            suffix = split_key(key)[1] or key.rpartition(".")[2]
            known[f"{PREFIX}{rows.layer}.{suffix}" if rows and whole else key] = tensor
    return known


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
