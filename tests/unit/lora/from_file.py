"""Adapters from the tensors of a LoRA file, for tests of several files."""

from collections.abc import Mapping

from torch import Tensor, nn

from semantic_focus.lora.keys import KeyMap
from semantic_focus.lora.layers import adaptable_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.lora.reading import read_lora


def adapters_from(
    model: nn.Module, tensors: Mapping[str, Tensor], key_map: KeyMap | None = None
) -> LoraAdapters:
    """Adapters on a model that do what a file says; what no adapter can hold is left out."""
    layers = adaptable_layers(model)
    read = read_lora(tensors, layers, key_map or KeyMap.of_layers(layers))
    return LoraAdapters.of_adapters(model, read.adapters)
