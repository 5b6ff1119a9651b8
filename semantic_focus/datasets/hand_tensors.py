"""Hand layers as tensors of a mask file, the same in both encodings, so that none changes by being kept.

Beside the usual tensors, which are hand and machine together, a file has `<category>_machine`, encoded as
these, for each region of the segmenter, and two PNG pictures for each region that a person changed:
`<category>_hand`, with 256 levels, and `<category>_said`, 255 where she decided.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..files.tensors import TensorFile
from ..regions.large import kept_as
from ..regions.layers import ByHand, HandLayer
from .mask_header import BY_HAND, EVERYWHERE, MACHINE_LABELS
from .mask_levels import put, to_png
from .mask_tensors import from_png
from .ownership import MaskFileError

MACHINE, VALUE, SAID = "_machine", "_hand", "_said"
"""Endings of the tensors' names."""


def as_kept(layers: Mapping[str, HandLayer]) -> dict[str, HandLayer]:
    """Hand layers as a file gives them back: values in whole steps of 1/255, 0 where nothing is decided."""
    found = {}
    for name, layer in layers.items():
        value = torch.empty(layer.value.shape, dtype=kept_as((layer.value.shape[0], layer.value.shape[1])))
        put(value, _steps(layer), in_blocks=False)
        found[name] = HandLayer(value, layer.said.cpu())
    return found


def hand_tensors(hand: ByHand) -> dict[str, Tensor]:
    """The layers' tensors by name."""
    found = {}
    for label, layer in hand.layers.items():
        found[f"{label}{VALUE}"] = to_png(_steps(layer))
        found[f"{label}{SAID}"] = to_png(layer.said.cpu().to(torch.uint8) * 255)
    return found


def hand_fields(hand: ByHand) -> dict[str, str]:
    """What the header says of them."""
    everywhere = [label for label, layer in hand.layers.items() if layer.everywhere]
    lists = {BY_HAND: list(hand.layers), EVERYWHERE: everywhere, MACHINE_LABELS: list(hand.machine_labels)}
    return {field: json.dumps(labels, ensure_ascii=False) for field, labels in lists.items()}


def read_layers(
    path: Path, labels: list[str], file: TensorFile, size: tuple[int, int]
) -> dict[str, HandLayer]:
    """The layers of these regions in a file that was checked.

    Raises:
        MaskFileError: a tensor is missing, or is no PNG of this size.
    """
    found = {}
    for label in labels:
        steps, said = (_decoded(path, f"{label}{ending}", file, size) for ending in (VALUE, SAID))
        value = torch.empty(size, dtype=kept_as(size))
        put(value, steps, in_blocks=False)
        found[label] = HandLayer(value, said >= 128)
    return found


def _decoded(path: Path, name: str, file: TensorFile, size: tuple[int, int]) -> Tensor:
    if name not in file.shapes:
        raise MaskFileError(path, f"it holds no tensor named {name}")
    return from_png(path, name, file.tensor(name), size)


def _steps(layer: HandLayer) -> Tensor:
    """uint8[H, W]: the values in 0..255, 0 where nothing is decided."""
    steps = (layer.value.float().cpu() * 255).round().to(torch.uint8)
    return torch.where(layer.said.cpu(), steps, 0)
