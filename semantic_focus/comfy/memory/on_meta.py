"""A copy of a MODEL on the meta device: the same modules, and weights of the same kinds without values."""

import copy
from typing import Any

import comfy.model_patcher
import torch
from torch import Tensor, nn

from .counted import DEVICE, CannotBeCounted

SHARED = ("current_patcher", "model_config", "latent_format")
"""What of a ComfyUI model the copy looks at only."""


def copy_on_meta(patcher: Any) -> comfy.model_patcher.ModelPatcher:
    """A MODEL that computes nothing; of the one given nothing is changed, moved or read.

    Raises:
        CannotBeCounted: something in it cannot be copied.
    """
    model = patcher.model
    known: dict[int, Any] = {}
    for name in SHARED:
        if (value := getattr(model, name, None)) is not None:
            known[id(value)] = value
    sampling = patcher.get_model_object("model_sampling")
    read = {id(tensor) for tensor in (*sampling.parameters(), *sampling.buffers())}
    for tensor in (*model.parameters(), *model.buffers()):
        if id(tensor) not in read:
            known[id(tensor)] = _without_values(tensor)
    try:
        with torch.inference_mode(False):
            alike = copy.deepcopy(model, known)
            alike.model_sampling = copy.deepcopy(sampling).to("cpu")
    except Exception as error:  # modules of other packs may hold anything
        raise CannotBeCounted(f"its modules cannot be copied ({type(error).__name__}: {error})") from error
    alike.device = DEVICE
    copied = comfy.model_patcher.ModelPatcher(alike, DEVICE, DEVICE)
    # to which the training prefers torch's own attention, as it does where others have no backward pass
    copied.model_options["transformer_options"] = {"optimized_attention_override": None}
    return copied


def _without_values(tensor: Tensor) -> Tensor:
    """A tensor of the same kind, type and shape on the meta device."""
    with torch.inference_mode(False):
        alike = _plain(tensor)
        return nn.Parameter(alike, requires_grad=False) if isinstance(tensor, nn.Parameter) else alike


def _plain(tensor: Any) -> Any:
    if type(tensor) in (Tensor, nn.Parameter):
        return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=DEVICE)
    if hasattr(tensor, "__tensor_flatten__"):
        names, context = tensor.__tensor_flatten__()
        parts = {name: _plain(getattr(tensor, name)) for name in names}
        return type(tensor).__tensor_unflatten__(parts, context, tensor.shape, tensor.stride())
    stored = tensor.as_subclass(Tensor)
    alike: Any = torch.empty(stored.shape, dtype=stored.dtype, device=DEVICE).as_subclass(type(tensor))
    vars(alike).update(vars(tensor))
    return alike
