"""Low-rank adapters on the linear layers of a frozen model, and their file format.

An adapter adds ``scale · up(down(x))`` to the activations of its layer through a forward hook, so the model's
own weights are never rebuilt or touched (Hu et al. 2021, "LoRA").
"""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

LAYER_CHOICES: Mapping[str, tuple[str, ...]] = {
    "attention + feed-forward": (
        r"modulation",
        r"(^|[._])(ada(ln[a-z]*)?|mod(c|x|cx|f)?|emb(ed[a-z]*)?)([._]|$)",
        r"(^|[._])(time|label|pooled|guidance|vector|txtfusion)[a-z]*([._]|$)",
        r"_(embed|embedder|embedding|in)([._]|$)",
        r"(^|[._])(final_layer|norm_out|proj_out|head|img_in|txt_in)([._]|$)",
    ),
    "all linear layers": (),
}
"""Patterns of layer names that a choice leaves alone."""


def linear_layers(model: nn.Module, choice: str = "attention + feed-forward") -> dict[str, nn.Linear]:
    """The linear layers of a model that a choice of `LAYER_CHOICES` trains, by dotted name.

    Raises:
        ValueError: unknown choice, or no layer left.
    """
    if choice not in LAYER_CHOICES:
        raise ValueError(f"layers {choice!r}: choose one of {', '.join(LAYER_CHOICES)}")
    left_alone = [re.compile(pattern, re.IGNORECASE) for pattern in LAYER_CHOICES[choice]]
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not any(pattern.search(name) for pattern in left_alone)
    }
    if not layers:
        raise ValueError(f"{type(model).__name__} has no linear layer that {choice!r} would train")
    return layers


class LowRank(nn.Module):
    """The update of one linear layer.

    `down` is Float[rank, in], `up` Float[out, rank] and zero at the start, so that training starts at the
    base model.
    """

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, generator: torch.Generator):
        super().__init__()
        down = torch.empty(rank, layer.in_features)
        bound = 1 / math.sqrt(layer.in_features)
        down.uniform_(-bound, bound, generator=generator)
        device = layer.weight.device
        self.down = nn.Parameter(down.to(device))
        self.up = nn.Parameter(torch.zeros(layer.out_features, rank, device=device))
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Float[..., in] -> Float[..., out] in the adapter's own precision."""
        hidden = nn.functional.linear(x.to(self.down.dtype), self.down)
        return nn.functional.linear(hidden, self.up) * (self.alpha / len(self.down))


class LoraAdapters:
    """All adapters of one model. They act only inside ``with adapters.attached():``.

    Args:
        layers: dotted name -> linear layer, as from `linear_layers`; the names become the file's keys.
        rank: of every adapter, >= 1.
        alpha: the update is scaled by alpha / rank.
        seed: of the random initialisation of `down`.
    """

    def __init__(self, layers: Mapping[str, nn.Linear], rank: int, alpha: float, seed: int):
        if rank < 1:
            raise ValueError(f"rank is {rank}: it must be 1 or more")
        generator = torch.Generator().manual_seed(seed)
        self._layers = dict(layers)
        self._adapters = {name: LowRank(layer, rank, alpha, generator) for name, layer in layers.items()}
        self._enabled = True

    def parameters(self) -> list[nn.Parameter]:
        """The trainable tensors, in a fixed order."""
        return [p for adapter in self._adapters.values() for p in adapter.parameters()]

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Let the adapters act on the model; on leaving, also by an error, the model is as it was."""
        handles = [
            layer.register_forward_hook(self._hook(self._adapters[name]))
            for name, layer in self._layers.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Let the base model answer alone for a while."""
        self._enabled = False
        try:
            yield
        finally:
            self._enabled = True

    def _hook(self, adapter: LowRank):
        def add_update(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
            return output + adapter(inputs[0]).to(output.dtype) if self._enabled else None

        return add_update

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of all tensors under ComfyUI's generic LoRA keys, on the CPU.

        ``diffusion_model.<layer>.lora_up.weight``, ``….lora_down.weight`` and ``….alpha``.
        """
        tensors = {}
        for name, adapter in self._adapters.items():
            key = f"diffusion_model.{name}"
            tensors[f"{key}.lora_up.weight"] = adapter.up.detach().cpu().clone()
            tensors[f"{key}.lora_down.weight"] = adapter.down.detach().cpu().clone()
            tensors[f"{key}.alpha"] = torch.tensor(float(adapter.alpha))
        return tensors

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over the tensors that `state_dict` gave; all of them or, after an error, none.

        Raises:
            ValueError: a layer is missing or has another shape.
        """
        wanted = {
            f"diffusion_model.{name}.{part}.weight": parameter
            for name, adapter in self._adapters.items()
            for part, parameter in (("lora_up", adapter.up), ("lora_down", adapter.down))
        }
        for key, parameter in wanted.items():
            if key not in tensors or tensors[key].shape != parameter.shape:
                found = list(tensors[key].shape) if key in tensors else "missing"
                raise ValueError(
                    f"LoRA key {key} is {found}, the model needs {list(parameter.shape)}: "
                    "was it trained with another rank, layer choice or base model?"
                )
        with torch.no_grad():
            for key, parameter in wanted.items():
                parameter.copy_(tensors[key])
        for name, adapter in self._adapters.items():
            alpha = tensors.get(f"diffusion_model.{name}.alpha")
            adapter.alpha = float(len(adapter.down) if alpha is None else alpha)

    @classmethod
    def from_state_dict(cls, model: nn.Module, tensors: Mapping[str, Tensor]) -> "LoraAdapters":
        """Adapters for the layers of `model` that a LoRA in ComfyUI's generic keys holds.

        Raises:
            ValueError: a key names no linear layer of the model.
        """
        prefix, suffix = "diffusion_model.", ".lora_down.weight"
        names = [
            key.removeprefix(prefix).removesuffix(suffix)
            for key in tensors
            if key.startswith(prefix) and key.endswith(suffix)
        ]
        found = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        unknown = [name for name in names if name not in found]
        if unknown or not names:
            raise ValueError(
                f"this LoRA does not belong to {type(model).__name__}: "
                + (
                    f"no linear layer {unknown[0]!r} in it"
                    if unknown
                    else f"it has no keys {prefix}….lora_down.weight"
                )
            )
        rank = len(tensors[f"{prefix}{names[0]}{suffix}"])
        adapters = cls({name: found[name] for name in names}, rank, rank, seed=0)
        adapters.load_state_dict(tensors)
        return adapters
