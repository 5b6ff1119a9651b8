"""A model file's MODEL without its weights: only the header is read, and what is small."""

from pathlib import Path
from typing import Any

import comfy.model_base
import comfy.model_patcher
import comfy.sd
import torch
from safetensors import safe_open
from torch import Tensor

from ...files.tensors import utf8_name
from .counted import DEVICE, LiveBytes

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""By the names of safetensors headers."""
READ = 1024
"""Elements; smaller tensors are read: ComfyUI looks at the values of some to know the model."""


class _StaysOnMeta(LiveBytes):
    """What would be brought to the CPU stays where it takes no memory."""

    def _on_cpu(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        if tensor.numel() <= READ:
            return torch.ones(tensor.shape, dtype=dtype)
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=dtype, device=DEVICE)


def model_of_file(path: Path, options: dict[str, Any]) -> comfy.model_patcher.ModelPatcher:
    """The MODEL that ComfyUI makes of a .safetensors file on this machine, on the meta device.

    Args:
        options: of ComfyUI's loader.

    Raises:
        ValueError: no model that ComfyUI knows. And whatever ComfyUI raises of one that it half knows.
    """
    tensors: dict[str, Tensor] = {}
    with utf8_name(path) as name, safe_open(name, framework="pt") as file:
        metadata = file.metadata()
        for key in file.keys():  # noqa: SIM118 (not a mapping)
            part = file.get_slice(key)
            shape = part.get_shape()
            small = torch.Size(shape).numel() <= READ
            kind = TYPES.get(part.get_dtype())
            if small or kind is None:
                tensors[key] = file.get_tensor(key)
            else:
                tensors[key] = torch.empty(shape, dtype=kind, device=DEVICE)
    with _StaysOnMeta(), torch.device(DEVICE):
        patcher = comfy.sd.load_diffusion_model_state_dict(tensors, options, metadata)
    if patcher is None:
        raise ValueError("it knows no such model")
    model: Any = patcher.model
    model.model_sampling = comfy.model_base.model_sampling(model.model_config, model.model_type)
    return patcher
