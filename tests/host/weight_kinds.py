"""Tiny models with their weights kept in the ways that people's files have them."""

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import comfy.ops
import torch
from torch import Tensor, nn

FP8 = torch.float8_e4m3fn
GROUP = 32
"""Values with one scale in the stand-in of GGUF's Q8_0."""


class CodedTensor(Tensor):
    """Quantised bytes with the habits of GGUF loaders' tensors: `clone` and `detach` give the tensor itself,
    so that it stays an inference tensor; `shape` is that of the numbers, not of the bytes.
    """

    tensor_shape: torch.Size

    def clone(self, *_arguments: Any, **_options: Any) -> Tensor:
        return self

    def detach(self) -> Tensor:
        return self

    def to(self, *arguments: Any, **options: Any) -> Any:
        moved: Any = super().to(*arguments, **options)
        moved.tensor_shape = self.tensor_shape
        return moved

    @property
    def shape(self) -> Any:  # type: ignore[override]
        return self.tensor_shape


def coded(weight: Tensor) -> CodedTensor:
    """Signed bytes in groups, each after the two bytes of its scale, as Q8_0 has them."""
    groups = weight.reshape(-1, GROUP).float()
    scales = (groups.abs().amax(1, keepdim=True) / 127).to(torch.float16)
    codes = (groups / scales.float().clamp_min(1e-12)).round().clamp(-127, 127).to(torch.int8)
    stored: Any = torch.cat([scales.view(torch.uint8), codes.view(torch.uint8)], 1).as_subclass(CodedTensor)
    stored.tensor_shape = weight.shape
    return stored


class CodedLinear(comfy.ops.manual_cast.Linear):
    """A layer as a GGUF loader makes it: it restores its weight by a method of its own."""

    def cast_bias_weight(
        self, input: Tensor | None = None, dtype: Any = None, device: Any = None, bias_dtype: Any = None
    ) -> tuple[Tensor, Tensor | None]:
        if input is not None:
            dtype, device = input.dtype, input.device
        stored: Any = self.weight.to(device)
        plain = stored.as_subclass(Tensor)
        scales = plain[:, :2].contiguous().view(torch.float16).to(dtype)
        weight = (plain[:, 2:].view(torch.int8).to(dtype) * scales).reshape(stored.tensor_shape)
        return weight, None if self.bias is None else self.bias.to(device=device, dtype=dtype)

    def forward_comfy_cast_weights(self, input: Tensor) -> Tensor:
        weight, bias = self.cast_bias_weight(input)
        return nn.functional.linear(input, weight, bias)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """For accounting only: nothing to read."""
        destination[f"{prefix}weight"] = torch.empty(self.weight.numel(), device="meta", dtype=torch.uint8)
        if self.bias is not None:
            destination[f"{prefix}bias"] = torch.empty_like(self.bias, device="meta")


def _as(layer: nn.Linear, kind: type, weight: Tensor) -> Any:
    made: Any = kind(layer.in_features, layer.out_features, bias=layer.bias is not None)
    made.weight = nn.Parameter(weight, requires_grad=False)
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    return made.eval()


def _fp8(layer: nn.Linear) -> Any:
    return _as(layer, comfy.ops.manual_cast.Linear, layer.weight.detach().to(FP8))


def _fast_fp8(layer: nn.Linear) -> Any:
    """Of the kind that multiplies in fp8 where the card can."""
    made = _as(layer, comfy.ops.fp8_ops.Linear, layer.weight.detach().to(FP8))
    made.scale_weight = made.scale_input = None
    return made


def _scaled_fp8(layer: nn.Linear) -> Any:
    """ComfyUI 0.28 has such files as quantised tensors."""
    if not hasattr(comfy.ops, "scaled_fp8_ops"):
        return _quantised(layer)
    weight = layer.weight.detach()
    scale = weight.abs().amax().float() / 448
    made = _as(layer, comfy.ops.scaled_fp8_ops().Linear, (weight / scale).to(FP8))
    made.scale_weight = nn.Parameter(scale, requires_grad=False)
    return made


RESTORED: ContextVar[bool] = ContextVar("restored", default=False)
"""Whether quantised layers are made as plain ones of the numbers that they stand for: what they should
multiply with. Their own product rounds the activations, or from ComfyUI 0.28 on sums in another order.
"""


def _quantised(layer: nn.Linear) -> Any:
    """ComfyUI's own quantised tensors, fp8 with a scale."""
    import comfy.quant_ops as quant_ops

    options = ({},) if hasattr(comfy.ops, "scaled_fp8_ops") else ()
    kind = comfy.ops.mixed_precision_ops(*options, compute_dtype=torch.float32).Linear
    layout = quant_ops.QUANT_ALGOS["float8_e4m3fn"]["comfy_tensor_layout"]
    weight = layer.weight.detach().clone()
    scale = weight.abs().amax().float() / 448
    quantised = quant_ops.QuantizedTensor.from_float(weight, layout, scale=scale)
    if RESTORED.get():
        return _as(layer, comfy.ops.manual_cast.Linear, quantised.dequantize())
    made: Any = kind(layer.in_features, layer.out_features, bias=layer.bias is not None)
    made.weight = nn.Parameter(quantised, requires_grad=False)
    made.layout_type, made.quant_format = layout, "float8_e4m3fn"
    if layer.bias is not None:
        made.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    return made.eval()


def _gguf(layer: nn.Linear) -> Any:
    if layer.weight.numel() % GROUP:
        return None
    return _as(layer, CodedLinear, coded(layer.weight.detach()))


LAYERS: dict[str, Callable[[nn.Linear], Any]] = {
    "fp8": _fp8,
    "fast fp8": _fast_fp8,
    "scaled fp8": _scaled_fp8,
    "quantised": _quantised,
    "gguf": _gguf,
}

KINDS = ("fp32", "bf16", *LAYERS)


def stored_as(patcher: Any, kind: str) -> Any:
    """The model with the weights of its linear layers kept in another way; biases and norms stay."""
    network: Any = patcher.model.diffusion_model
    if kind == "bf16":
        network.to(torch.bfloat16)
        if hasattr(network, "patch_embedding"):
            network.patch_embedding.float()  # Wan's stays so, whatever the file has
        network.dtype = torch.bfloat16
        for module in network.modules():
            if isinstance(getattr(module, "dtype", None), torch.dtype):
                module.dtype = torch.bfloat16
    elif kind != "fp32":
        for name, layer in list(network.named_modules()):
            if isinstance(layer, nn.Linear) and (made := LAYERS[kind](layer)) is not None:
                parent, _, own = name.rpartition(".")
                setattr(network.get_submodule(parent), own, made)
    return patcher
