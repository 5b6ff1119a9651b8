"""Which base model a LoRA was trained on, and what its pictures and captions were encoded with."""

import re
from collections.abc import Mapping
from typing import Any

import comfy.model_patcher
import torch
from torch import Tensor

from ..training.digest import digest

SAMPLED_VALUES = 16
"""How many values of each tensor count; they are spread evenly over it."""

ENCODER_SETTINGS = ("vae_dtype", "layer_idx", "use_clip_schedule", "tokenizer_options")
"""Attributes of a VAE or a CLIP that change what it gives."""

DISTILLED = re.compile(
    r"(?:(?<![a-z])|(?<=image)|(?-i:(?<=[a-z])(?=[A-Z])))"  # zimageturbo, ZImageTurbo
    r"(?<!de)(?<!un)(?<!non)(?<!(?<![a-z])(?:de|un)-)(?<!(?<![a-z])(?:non|not)-)"  # no de-distilled one
    r"(turbo|schnell|lightning|hyper|lcm|tcd|dmd2?|flash|pcm|distill(ed)?|few-?steps?|[1248]-?steps?)"
    r"(?![a-z])",
    re.IGNORECASE,
)


def looks_distilled(name: str) -> bool:
    """Whether the name of a model file says that it was distilled to sample in a few steps.

    Such a model loses the ability under plain training: use a training adapter, or watch few-step previews.
    """
    return DISTILLED.search(re.sub(r"[_\s]", "-", name)) is not None


def model_fingerprint(patcher: comfy.model_patcher.ModelPatcher) -> str:
    """16 hex digits of a MODEL's weights and of the LoRAs applied to it.

    From the names, shapes, types and a few values of every tensor: quick, the same in every session and
    however much of the model is loaded, and different for another checkpoint, precision or LoRA strength.
    Weights in a form of their own count by what is stored of them, placeholders by name and shape alone: no
    model is refused here.
    """
    sampling = patcher.get_model_object("model_sampling")
    kinds = [cls.__name__ for cls in (*type(patcher.model).__mro__, *type(sampling).__mro__)]
    return digest({**_weights(patcher, "diffusion_model"), "kinds": kinds})


def encoder_fingerprint(encoder: Any) -> str:
    """16 hex digits of a VAE's or CLIP's weights, of the LoRAs applied to it, and of how it encodes.

    As `model_fingerprint`. One that has no networks of ComfyUI's kind counts by its class and attributes.
    """
    patcher: Any = getattr(encoder, "patcher", None)
    if not isinstance(getattr(patcher, "model", None), torch.nn.Module):
        return digest(encoder)
    settings = {name: repr(getattr(encoder, name, None)) for name in ENCODER_SETTINGS}
    kinds = [type(patcher.model).__name__, type(getattr(encoder, "tokenizer", None)).__name__]
    return digest({**_weights(patcher), "kinds": kinds, "settings": settings})


def _weights(patcher: Any, part: str = "") -> dict[str, Any]:
    """What is known of a patcher's weights, or of those of a part of its model, and of what patches them."""
    weights = {
        name: _sampled(patcher.backup[name].weight if name in patcher.backup else tensor)
        for name, tensor in _tensors(patcher.model, part).items()
    }
    patches = {key: [_described(patch) for patch in applied] for key, applied in patcher.patches.items()}
    return {"weights": weights, "patches": patches}


def _tensors(model: torch.nn.Module, part: str) -> Mapping[str, Tensor]:
    """What state_dict() has of an ordinary network; quantised layers give other things there."""
    network: Any = getattr(model, part) if part else model
    found: dict[str, Tensor] = {}
    for path, module in network.named_modules(prefix=part, remove_duplicate=False):
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None and name not in module._non_persistent_buffers_set:
                found[f"{path}.{name}" if path else name] = tensor
    return found


def _sampled(tensor: Tensor) -> list[Any]:
    """Shape, type and evenly spread values; of a quantised tensor, those of its codes."""
    kind = [str(tensor.dtype), list(tensor.shape)]
    try:
        # a subclass may answer with more of its kind, whose shape is not that of what is stored
        stored = getattr(tensor, "_qdata", tensor).detach().as_subclass(Tensor)
        count = stored.numel()
        where = torch.linspace(0, max(count - 1, 0), min(count, SAMPLED_VALUES), dtype=torch.float64).long()
        return [*kind, str(stored.dtype), stored.reshape(-1)[where.to(stored.device)].cpu()]
    except (RuntimeError, NotImplementedError, TypeError):  # a placeholder, or stored out of our reach
        return [*kind, type(tensor).__qualname__]


def _described(value: Any) -> Any:
    """A patch as plain values: the same for equal patches in another session."""
    if torch.is_tensor(value):
        return _sampled(value)
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    if value is None or isinstance(value, str | int | float):
        return value
    weights = getattr(value, "weights", None)
    return [type(value).__qualname__, getattr(value, "__qualname__", ""), _described(weights)]
