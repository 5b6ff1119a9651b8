"""A LoRA as one of ComfyUI's models takes it: what is trained on, what is only applied, what is foreign."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import comfy.lora_convert
import comfy.model_patcher
import comfy.sd
import torch
from torch import Tensor

from ..files.text import some
from ..lora.adapters import Adapter
from ..lora.keys import PREFIX, KeyMap, LayerRows, generic_tensors, split_key
from ..lora.layers import adaptable_layers
from ..lora.reading import read_lora
from .key_map import comfy_key_map, loaders_names
from .lora_loader import keys_without_effect

LARGEST_FOREIGN_SHARE = 0.1
"""Of the names in a file: more belong to another base model, fewer to something beside the network."""


@dataclass(frozen=True)
class ModelLora:
    """A LoRA as a model takes it. Each of its keys is in one of `trained`, `fixed`, `foreign` and
    `text_encoder`.

    Attributes:
        adapters: what can be trained on, by the names of the model's layers.
        fixed: what ComfyUI's loader applies to weights and no adapter can hold (larger convolutions, norms,
            biases, DoRA, OFT), under keys that this loader knows.
        trained: keys that the adapters were read from.
        foreign: keys that have no effect on the model.
        text_encoder: keys of text encoders.
    """

    adapters: Mapping[str, Adapter]
    fixed: Mapping[str, Tensor]
    trained: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    text_encoder: tuple[str, ...] = ()

    @property
    def kept_as_it_is(self) -> str:
        """A sentence about what cannot be trained on; empty where there is nothing such."""
        if not self.fixed:
            return ""
        keys = len(self.trained) + len(self.fixed) + len(self.foreign) + len(self.text_encoder)
        return (
            f"{len(self.fixed)} of the {keys} keys of this LoRA cannot be trained on; they stay as they are: "
            f"{some(self.fixed)}"
        )

    def tensors(self) -> dict[str, Tensor]:
        """All that has an effect, for ComfyUI's loader."""
        return {**generic_tensors(self.adapters), **self.fixed}

    def trainable(self) -> "ModelLora":
        """The same.

        Raises:
            ValueError: there is nothing in it that can be trained on, or its alpha is 0.
        """
        if not self.adapters:
            raise ValueError(
                f"nothing in this LoRA can be trained on: {some(list(self.fixed))}. Apply it to the model "
                "with Load LoRA, and train a new one on that"
            )
        if not any(adapter.alpha for adapter in self.adapters.values()):
            raise ValueError(
                f"alpha is 0 in all {len(self.adapters)} layers of this LoRA: it has no effect, and would "
                "learn nothing. Take another one, or train a new one"
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
    name, key_map = type(model).__name__, comfy_key_map(patcher)
    lora = comfy.lora_convert.convert_lora(dict(lora))
    if resized := [key for key in lora if key.endswith(".reshape_weight")]:
        raise ValueError(
            f"this LoRA changes the size of a layer ({some(resized)}): it controls the model by a picture, "
            "and cannot be used in a training"
        )
    read = read_lora(lora, adaptable_layers(model.diffusion_model), key_map)
    spelled = _in_known_keys(read.rest, key_map, loaders_names(model))
    without = keys_without_effect(model, {known: tensor for known, (_, tensor) in spelled.items()})
    fixed = {known: tensor for known, (_, tensor) in spelled.items() if known not in without}
    foreign = tuple(key for known, (key, _) in spelled.items() if known in without)
    if not read.trained and not spelled:
        raise ValueError("this LoRA has no key for the diffusion model: is it one of a text encoder?")
    strange = {split_key(key)[0] for key in foreign}
    strange = {layer for layer in strange if key_map.find(layer) is None}
    names = len({split_key(key)[0] for key in (*read.trained, *(key for key, _ in spelled.values()))})
    if len(strange) > LARGEST_FOREIGN_SHARE * names:
        raise ValueError(
            f"{len(strange)} of {names} names in this LoRA mean nothing to {name}: {some(foreign)}. "
            "Is it of another base model?"
        )
    if not read.adapters and not fixed:
        raise ValueError(
            f"nothing in this LoRA has an effect on {name}: ComfyUI's loader does not read {some(foreign)}"
        )
    if foreign:
        logging.warning(
            f"{len(foreign)} keys of this LoRA have no effect on {name} in ComfyUI's loader, and are left "
            f"out: {some(foreign)}"
        )
    found = ModelLora(read.adapters, fixed, read.trained, foreign, read.text_encoder)
    if fixed:
        logging.info(found.kept_as_it_is)
    return found


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


def _in_known_keys(
    rest: Mapping[str, Mapping[str, Tensor]], key_map: KeyMap, loaders: Mapping[str, LayerRows]
) -> dict[str, tuple[str, Tensor]]:
    """The file's keys and their tensors, by ComfyUI's keys for the same thing, or their own if it has none.

    Raises:
        ValueError: two keys mean the same.
    """
    names = {rows: name for name, rows in reversed({**loaders}.items())}
    names |= {rows: PREFIX + rows.layer for rows in names if rows == LayerRows(rows.layer)}
    known: dict[str, tuple[str, Tensor]] = {}
    for name, group in rest.items():
        rows = key_map.find(name)
        own = names.get(rows, name) if rows else name
        for key, tensor in group.items():
            same = f"{own}.{split_key(key)[1] or key.removeprefix(name + '.')}" if own != name else key
            if same in known:
                raise ValueError(f"{known[same][0]}, {key}: the same thing twice: which of them is meant?")
            known[same] = (key, tensor)
    return known
