"""What ComfyUI's own LoRA loader would make of keys, found out without touching a weight.

Runs with ComfyUI 0.3.75 and 0.28.
"""

from collections.abc import Mapping
from typing import Any

import comfy.lora
import torch
from torch import Tensor

from ..lora.keys import BIASES, split_key
from ..lora.layers import is_linear, size_of


def keys_without_effect(model: Any, tensors: Mapping[str, Tensor]) -> set[str]:
    """The keys that change no weight of a model: the loader does not know them, or they do not fit.

    Args:
        model: ComfyUI's model, as a MODEL has it.
        tensors: of a LoRA, in names that the loader may know.

    Raises:
        ValueError: a layer has only a part of what it needs.
    """
    known = comfy.lora.model_lora_keys_unet(model, {}) if tensors else {}
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        groups.setdefault(split_key(key)[0], {})[key] = tensor
    without: set[str] = set()
    for name, group in groups.items():
        without |= _without_effect(model, name, known[name], group) if name in known else group.keys()
    return without


def _without_effect(model: Any, name: str, target: Any, group: Mapping[str, Tensor]) -> set[str]:
    """Of the keys of one name, those that change neither the weight nor the bias of its layer."""
    read = _NotedReads({key: _shapeless(key, tensor) for key, tensor in group.items()})
    try:
        patches = comfy.lora.load_lora(read, {name: target}, log_missing=False)
    except KeyError as error:
        raise ValueError(f"{name} has no {error}: was the file cut?") from error
    changed = {key == target for key, patch in patches.items() if _changes(model, key, patch)}
    return {key for key in group if key not in read.taken or (not key.endswith(BIASES)) not in changed}


def _shapeless(key: str, tensor: Tensor) -> Tensor:
    """A tensor without its values; with those that decide what is computed, as harmless as they can be."""
    if key.endswith(".alpha"):
        return torch.zeros(())
    return tensor if key.endswith(".reshape_weight") else torch.empty_like(tensor, device="meta")


def _changes(model: Any, key: Any, patch: Any) -> bool:
    """Whether the loader's arithmetic gets through with tensors of these shapes."""
    of_weight, offset, function = (*(key if isinstance(key, tuple) else (key,)), None, None)[:3]
    shape = _shape(model, of_weight)
    if shape is None:
        return False
    weight = torch.empty(shape, device="meta")
    try:
        comfy.lora.calculate_weight([(1.0, patch, 1.0, offset, function)], weight, of_weight)
    except RuntimeError:
        return False
    return weight._version > 0


def _shape(model: Any, key: Any) -> tuple[int, ...] | None:
    """The shape of a weight as the loader sees it, whatever form it is stored in."""
    if not isinstance(key, str):
        return None
    path, _, name = key.rpartition(".")
    try:
        module = model.get_submodule(path)
    except AttributeError:
        return None
    if name == "weight" and is_linear(module):
        return size_of(module)
    tensor = getattr(module, name, None)
    return None if tensor is None else tuple(tensor.shape)


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
