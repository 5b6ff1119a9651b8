"""Optimizers by name, each from a library that is kept by others."""

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from ..files.command_lines import to_install


@dataclass(frozen=True)
class OptimizerKind:
    """Where an optimizer comes from.

    Attributes:
        module, name: what is imported.
        package: what to install if it cannot be imported.
        about: one line for the user, with the usual learning rate.
        arguments: what differs from the library's defaults.
    """

    module: str
    name: str
    package: str
    about: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


OPTIMIZERS: Mapping[str, OptimizerKind] = {
    "adamw": OptimizerKind("torch.optim", "AdamW", "torch", "The usual one; 1e-4 to 4e-4."),
    "adamw8bit": OptimizerKind(
        "bitsandbytes.optim", "AdamW8bit", "bitsandbytes", "AdamW with a quarter of its memory; as AdamW."
    ),
    "adafactor": OptimizerKind("torch.optim", "Adafactor", "torch", "Little memory; 1e-3 to 1e-2."),
    "lion": OptimizerKind(
        "pytorch_optimizer", "Lion", "pytorch_optimizer", "Half of AdamW's memory; 1e-5 to 1e-4."
    ),
    "prodigy": OptimizerKind(
        "pytorch_optimizer", "Prodigy", "pytorch_optimizer", "Finds its rate: set 1 and a constant schedule."
    ),
    "came": OptimizerKind("pytorch_optimizer", "CAME", "pytorch_optimizer", "Little memory; 1e-4 to 4e-4."),
    "sgd": OptimizerKind("torch.optim", "SGD", "torch", "Plain; for comparisons.", {"momentum": 0.9}),
}
"""The optimizers that can be chosen."""


def make_optimizer(
    name: str, groups: Iterable[Mapping[str, Any]], learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """The named optimizer over parameter groups.

    Raises:
        ValueError: unknown name.
        ImportError: its library is not installed; the message says what to install.
    """
    kind = OPTIMIZERS.get(name)
    if kind is None:
        raise ValueError(f"optimizer {name!r}: choose one of {', '.join(OPTIMIZERS)}")
    try:
        make = getattr(importlib.import_module(kind.module), kind.name)
    except ImportError as error:
        raise ImportError(
            f"optimizer {name!r} needs the package {kind.package}, which cannot be imported ({error}). "
            f"Choose adamw, or install it:{to_install(kind.package)}"
        ) from error
    own_groups = [dict(group) for group in groups]
    return make(own_groups, lr=learning_rate, weight_decay=weight_decay, **kind.arguments)
