"""What a frozen layer multiplies with: fetched anew for each pass, by the layer's own way of keeping it.

One protocol for all layers whose product is known: plain ones, those that ComfyUI casts, fp8, scaled fp8,
ComfyUI's quantised tensors, GGUF, each with patches that are applied on the way. Layers of any other kind
have a forward pass of their own and are left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import comfy.ops
import torch
from torch import Tensor, nn

from ...lora.layers import is_linear

KNOWN_MODULES = ("torch.nn.modules.linear", "torch.nn.modules.conv", "comfy.ops")
"""Where the products are defined that `operand` rebuilds."""


@dataclass(frozen=True)
class Operand:
    """What one product needs, in the type and on the device of its input.

    Attributes:
        weight: Float[out, in] or Float[out, in / groups, *kernel].
        bias: Float[out], if the layer has one.
        input_scale: the input is multiplied by it first (scaled fp8 with more weights than inputs).
    """

    weight: Tensor
    bias: Tensor | None
    input_scale: Tensor | None = None


Fetch = Callable[[Any, Tensor, int], Operand]
"""fetch(layer, like, inputs): for a pass in the type and on the device of `like` and so many input
elements.
"""


def fetch_for(layer: nn.Module) -> Fetch | None:
    """How a layer gives its weights; None for one whose product is not known."""
    if not (is_linear(layer) or isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)):
        return None
    if "forward" in vars(layer):
        return None  # somebody else's, put on this very layer
    if not is_linear(layer) and not _pads_with_zeros(layer):
        return None
    own: Any = type(layer)
    if hasattr(own, "cast_bias_weight"):
        return _its_own
    if own.forward.__module__ not in KNOWN_MODULES:
        return None
    cast = getattr(own, "forward_comfy_cast_weights", None)
    if cast is None:
        return _as_it_is
    if cast.__module__ != "comfy.ops":
        return None
    return _scaled if "scaled_fp8_op" in cast.__qualname__ else _cast


def _pads_with_zeros(convolution: Any) -> bool:
    """So many on each side, by numbers."""
    return convolution.padding_mode == "zeros" and not isinstance(convolution.padding, str)


def is_plain(layer: Any) -> bool:
    """Whether a layer's weight may be used as it is by some input: numbers of 16 bit or more, unpatched."""
    weight = layer.weight
    return (
        type(weight) in (nn.Parameter, Tensor)
        and weight.dtype.itemsize > 1
        and not getattr(layer, "weight_function", ())
        and not getattr(layer, "bias_function", ())
    )


def used_as_it_is(layer: Any, like: Tensor) -> bool:
    """Whether a layer's own forward pass keeps nothing but a reference to its weight, and may."""
    weight = layer.weight
    return (
        is_plain(layer)
        and weight.dtype == like.dtype
        and weight.device == like.device
        and not weight.is_inference()
    )


def _as_it_is(layer: Any, _like: Tensor, _inputs: int) -> Operand:
    return Operand(layer.weight, layer.bias)


def _cast(layer: Any, like: Tensor, _inputs: int) -> Operand:
    """By ComfyUI: moved, cast, patched; a quantised tensor is restored to numbers."""
    weight, bias = _cast_by_comfyui(layer, like)
    return Operand(_restored(weight, like), bias)


def _scaled(layer: Any, like: Tensor, inputs: int) -> Operand:
    """As ComfyUI's scaled fp8 layers multiply: the scale goes on what has fewer elements."""
    weight, bias = _cast_by_comfyui(layer, like)
    scale = layer.scale_weight.to(device=weight.device, dtype=weight.dtype)
    if weight.numel() < inputs:
        return Operand(weight * scale, bias)
    return Operand(weight, bias, scale)


def _its_own(layer: Any, like: Tensor, _inputs: int) -> Operand:
    """As layers of GGUF loaders give their weights."""
    weight, bias = layer.cast_bias_weight(like)
    return Operand(_restored(weight, like), bias)


def _cast_by_comfyui(layer: Any, like: Tensor) -> tuple[Tensor, Tensor | None]:
    cast: Any = comfy.ops.cast_bias_weight(layer, like)
    return cast


def _restored(weight: Tensor, like: Tensor) -> Tensor:
    if type(weight) in (nn.Parameter, Tensor):
        return weight
    dequantize = getattr(weight, "dequantize", None)
    if isinstance(weight, getattr(comfy.ops, "QuantizedTensor", ())) and dequantize is not None:
        return dequantize().to(like.dtype)
    return weight.as_subclass(torch.Tensor)
