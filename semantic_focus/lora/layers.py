"""Which layers of a network get an adapter."""

import difflib
import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from torch import nn

from .patterns import LayerPattern, layer_patterns


@dataclass(frozen=True)
class LayerChoice:
    """Layers whose name matches any pattern of `include` and none of `exclude`."""

    include: tuple[str, ...] = ("",)
    exclude: tuple[str, ...] = ()


NOT_IN_BLOCKS = (
    r"modulation",
    r"(^|[._])(ada(ln[a-z]*)?|mod(c|x|cx|f)?|emb(ed[a-z]*)?)([._]|$)",
    r"(^|[._])(time|label|pooled|guidance|vector|txtfusion)[a-z]*([._]|$)",
    r"_(embed|embedder|embedding|in)([._]|$)",
    r"(^|[._])(final_layer|norm_out|proj_out|head|img_in|txt_in)([._]|$)",
)
"""Modulation, embedders, and what enters and leaves the network."""

LAYER_CHOICES: Mapping[str, LayerChoice] = {
    "attention + feed-forward": LayerChoice(exclude=NOT_IN_BLOCKS),
    # Flux keeps q, k and v of its single blocks in linear1, together with a part of the feed-forward
    "attention only": LayerChoice(
        (r"attn", r"attention", r"single_blocks\.\d+\.linear1$"), (*NOT_IN_BLOCKS, r"mlp")
    ),
    "all linear layers": LayerChoice(),
    "SD3: image stream": LayerChoice((r"joint_blocks\.\d+\.x_block\.(attn2?|mlp)\.",)),
    "Flux: double blocks": LayerChoice((r"double_blocks\.\d+\.(img|txt)_(attn|mlp)\.",)),
    "Flux: single blocks": LayerChoice((r"single_blocks\.\d+\.linear[12]$",)),
    "Z-Image / Lumina 2: without refiners": LayerChoice((r"(^|\.)layers\.\d+\.(attention|feed_forward)\.",)),
    "Qwen-Image: image stream": LayerChoice(
        (r"transformer_blocks\.\d+\.(attn\.to_(q|k|v|out\.0)$|img_mlp\.)",)
    ),
    "Wan: self-attention + feed-forward": LayerChoice((r"blocks\.\d+\.(self_attn|ffn)\.",)),
    "SD1.5 / SDXL: cross-attention": LayerChoice((r"transformer_blocks\.\d+\.attn2\.",)),
    "SD1.5 / SDXL: transformer blocks": LayerChoice(
        (r"(input|middle|output)_block.*\.transformer_blocks\.",)
    ),
}
"""Regular expressions of `patterns.py`, searched in dotted layer names without regard to case."""


def is_linear(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether an adapter can go on a module: linear layers, also quantised ones that are no `nn.Linear`."""
    return isinstance(module, nn.Linear) or (
        type(module).__name__ == "Linear"
        and hasattr(module, "weight")
        and hasattr(module, "in_features")
        and hasattr(module, "out_features")
    )


def is_pointwise(module: nn.Module) -> bool:
    """Whether a module is a linear map of the channels at each place: a convolution with a 1x1 kernel."""
    convolution: Any = module
    return (
        isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d)
        and {*convolution.kernel_size, *convolution.stride, convolution.groups} == {1}
        and set(convolution.padding) == {0}
    )


def size_of(layer: nn.Module) -> tuple[int, int]:
    """Outputs and inputs of a layer that an adapter can go on."""
    of: Any = layer
    return (of.out_channels, of.in_channels) if is_pointwise(layer) else (of.out_features, of.in_features)


def all_linear_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """Every linear layer of a model, by dotted name."""
    return {name: module for name, module in model.named_modules() if is_linear(module)}


def adaptable_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every layer that an adapter can go on, by dotted name: linear ones and 1x1 convolutions."""
    modules = model.named_modules()
    return {name: module for name, module in modules if is_linear(module) or is_pointwise(module)}


def linear_layers(
    model: nn.Module,
    choice: str = "attention + feed-forward",
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> dict[str, nn.Linear]:
    """The linear layers of a model to train, by dotted name.

    Args:
        choice: one of `LAYER_CHOICES`.
        include: patterns, see `patterns.py`; any of them take the place of the choice.
        exclude: patterns of layers to leave alone in either case.

    Raises:
        ValueError: unknown choice, no pattern, one that matches no layer, or no layer left.
    """
    if choice not in LAYER_CHOICES:
        raise ValueError(f"layers {choice!r}: choose one of {', '.join(LAYER_CHOICES)}")
    layers = all_linear_layers(model)
    wanted, unwanted = layer_patterns(include), layer_patterns(exclude)
    for pattern in (*wanted, *unwanted):
        if not any(map(pattern.found_in, layers)):
            raise ValueError(
                f"layer pattern '{pattern.text}' matches no linear layer of {type(model).__name__}; "
                f"near: {_near(pattern.text, layers)}"
            )
        _say_if_ambiguous(pattern, layers)
    preset = LAYER_CHOICES[choice]
    if not wanted:
        wanted, unwanted = layer_patterns(preset.include), [*unwanted, *layer_patterns(preset.exclude)]
    chosen = {
        name: module
        for name, module in layers.items()
        if any(pattern.found_in(name) for pattern in wanted)
        and not any(pattern.found_in(name) for pattern in unwanted)
    }
    if not chosen:
        what = "these patterns" if include else repr(choice)
        raise ValueError(
            f"{type(model).__name__} has no linear layer that {what} would train; "
            f"it has: {_near(' '.join(preset.include), layers)}"
        )
    return chosen


def _say_if_ambiguous(pattern: LayerPattern, names: Iterable[str]) -> None:
    """Log how a pattern was read, where its other reading would take other layers."""
    if (other := pattern.read_otherwise()) is None:
        return
    names = list(names)
    taken = sum(map(pattern.found_in, names))
    if any(pattern.found_in(name) != other.found_in(name) for name in names):
        kinds = ("wildcards", "a regular expression")
        this, that = kinds if pattern.is_wildcard else reversed(kinds)
        logging.warning(
            f"layer pattern '{pattern.text}' is read as {this} and takes {taken} layers; as {that} it would "
            f"take {sum(map(other.found_in, names))}. To say which is meant: 're:{pattern.text}' is a "
            f"regular expression, '*{pattern.text}' has wildcards"
        )


def _near(pattern: str, names: Iterable[str]) -> str:
    """Up to 5 kinds of layers whose names, numbers aside, are most like a pattern."""
    kinds = {re.sub(r"\d+", "0", name): name for name in reversed(list(names))}
    plain = " ".join(re.findall(r"[a-z_]{2,}", pattern.lower()))
    near = sorted(kinds, key=lambda kind: -difflib.SequenceMatcher(None, plain, kind.lower()).ratio())
    return ", ".join(kinds[kind] for kind in near[:5]) or "it has none"
