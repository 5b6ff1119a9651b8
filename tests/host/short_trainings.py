"""Trainings of two updates on tiny models, to the last bit: measure_memory.py compares them. Imported after
ComfyUI's arguments are set.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from tiny_models import FAMILIES, conditioning
from torch import Tensor
from weight_kinds import stored_as

from semantic_focus.comfy.model import ComfyVelocityModel, velocity_model
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import LAYER_CHOICES, linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.memory import MemorySetting
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.trainer import Trainer

SETTINGS = {
    "all on the device": MemorySetting(0.0),
    "half in RAM": MemorySetting(0.5),
    "all in RAM": MemorySetting(1.0, inputs=True),
}

OPTIONS: dict[str, Any] = {"batch_size": 1, "accumulation": 2, "ema_decay": 0.9, "learning_rate": 0.01}


def snapshot(model: Any) -> dict[str, Any]:
    """The bytes of its weights, and what its layers have beside them (but for ComfyUI's own marks)."""
    return {
        "weights": {
            key: value.as_subclass(Tensor).contiguous().view(torch.uint8).clone()
            for key, value in model.named_parameters()
            if value.ndim
        },
        "attributes": {
            name: sorted(key for key in vars(module) if "comfy" not in key and not key.endswith("_function"))
            for name, module in model.named_modules()
        },
        "hooks": [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()],
    }


def as_it_was(model: Any, before: dict[str, Any]) -> bool:
    after = snapshot(model)
    return all(after[part] == before[part] for part in ("attributes", "hooks")) and all(
        torch.equal(value, before["weights"][key]) for key, value in after["weights"].items()
    )


@dataclass(frozen=True)
class Case:
    """A training of two updates.

    Attributes:
        inference: the model is made in inference mode, as ComfyUI's nodes make it.
        base: the base model's own prediction before them too.
        between: done after the first of them.
    """

    name: str
    kind: str = "fp32"
    checkpointing: bool = True
    memory: MemorySetting = MemorySetting(0.0)
    inference: bool = True
    prior: float = 2.0
    base: bool = True
    between: Callable[[ComfyVelocityModel, Any], None] = lambda _velocity, _prompts: None
    layers: str = next(iter(LAYER_CHOICES))


def trained(case: Case, found: dict[str, Any] | None = None) -> dict[str, Any]:
    """What comes of it.

    Args:
        found: takes "as found", also after an error.
    """
    found = {} if found is None else found
    family = FAMILIES[case.name]
    with torch.inference_mode(case.inference):
        patcher = stored_as(family.build(), case.kind)
        prompts = [conditioning(family, 8, 1), conditioning(family, 8, 2)]
    before = snapshot(patcher.model)
    try:
        return _trained(case, patcher, prompts)
    finally:
        found["as found"] = as_it_was(patcher.model, before)


def _trained(case: Case, patcher: Any, prompts: Any) -> dict[str, Any]:
    grid = FAMILIES[case.name].grid
    latents = tuple(torch.randn(2, *grid, generator=torch.Generator().manual_seed(4)).unbind())
    mask = (torch.arange(grid[-1]) < 4).float().expand(1, *grid[-2:])
    with velocity_model(patcher, prompts, case.checkpointing, memory=case.memory) as velocity:
        layers = linear_layers(velocity.network, case.layers)
        adapters = LoraAdapters(layers, AdapterSettings(rank=2, alpha=2.0, dropout=0.2), 0, velocity.device)
        data = TrainingPictures(latents, (mask, mask), ("face",), device=velocity.device)
        objective = Objective(weights={"face": 1.0}, prior_weight=case.prior)
        trainer = Trainer(velocity, adapters, data, objective, TrainingSettings(steps=2, **OPTIONS))
        with adapters.attached():
            base = torch.zeros(())
            if case.base:
                noisy, sigma, _ = velocity.corrupt(latents[0][None], latents[1][None], torch.tensor([0.6]))
                with torch.no_grad(), adapters.disabled():
                    base = velocity.predict(noisy, sigma, [0])
            records = [trainer.step()]
            case.between(velocity, prompts)
            records.append(trainer.step())
        lora = trainer.lora()
    return {
        "base": base,
        "losses": torch.tensor([record.total for record in records]),
        "gradients": torch.tensor([record.gradient_norm for record in records]),
        **lora,
    }


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())
