"""Everything a training needs to go on as if it had never stopped, in memory and as one safetensors file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..files import check_readable, write_safetensors

FORMAT = 1
CHOSEN = ("weight_decay",)
HEADER_KEY = "semantic_focus_train_state"


class TrainStateError(ValueError):
    """A training state that cannot be used; the message says which file or setting, and the way out."""


@dataclass(frozen=True)
class TrainState:
    """A training between two steps.

    Attributes:
        step: updates done.
        tensors: adapters, optimizer, average and generator, by dotted name, on the CPU.
        values: the rest as plain numbers, strings and lists: sampler position, optimizer groups.
        identity: what was trained how (model, data, adapters, objective, settings), to compare before going
            on.
    """

    step: int
    tensors: Mapping[str, Tensor]
    values: Mapping[str, Any]
    identity: Mapping[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name starts with `prefix`, without it."""
        return {
            name.removeprefix(prefix): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(prefix)
        }


def save_train_state(path: Path, state: TrainState) -> None:
    """Write a state, complete or not at all."""
    header = {
        "format": FORMAT,
        "step": state.step,
        "values": state.values,
        "identity": state.identity,
    }
    write_safetensors(path, state.tensors, {HEADER_KEY: json.dumps(header, sort_keys=True)})


def load_train_state(path: str | Path) -> TrainState:
    """Read a state.

    Raises:
        FileNotFoundError: no such file.
        TrainStateError: the file is damaged, no training state, or of a newer format.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such training state")
    check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[HEADER_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except KeyError:
        raise TrainStateError(
            f"{path}: no training state of this pack (a LoRA is continued with its own loader)"
        ) from None
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise TrainStateError(f"{path}: damaged, use the state before it ({error})") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = header.get("format") if isinstance(header, dict) else header
        raise TrainStateError(f"{path}: its format is {found}, this version reads {FORMAT}: update the pack")
    try:
        return TrainState(header["step"], tensors, header["values"], header["identity"])
    except KeyError as error:
        raise TrainStateError(f"{path}: its header has no {error}, use the state before it") from None


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What two identities do not share, one line each: ``training.learning_rate: 0.0002, now 0.0001``."""
    before, after = _flat(old), _flat(new)
    return [
        f"{name}: {before.get(name, 'absent')}, now {after.get(name, 'absent')}"
        for name in sorted({*before, *after})
        if before.get(name, "absent") != after.get(name, "absent")
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping) and value:
        flat = {}
        for key, item in value.items():
            flat.update(_flat(item, f"{prefix}.{key}" if prefix else str(key)))
        return flat
    return {prefix: list(value) if isinstance(value, tuple) else value}


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors by name and plain values.

    Returns:
        tensors ``<parameter>.<name>``, and ``{"groups": ..., "scalars": ...}``. Numbers kept as tensors in a
        group come among the tensors as ``group.<n>.<name>``.
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entries in state["state"].items():
        for name, value in entries.items():
            if torch.is_tensor(value):
                tensors[f"{index}.{name}"] = value.detach().to("cpu", copy=True)
            else:
                scalars.setdefault(str(index), {})[name] = value
    groups = []
    for number, group in enumerate(state["param_groups"]):
        plain = {}
        for name, value in group.items():
            if torch.is_tensor(value):
                tensors[f"group.{number}.{name}"] = value.detach().to("cpu", copy=True)
            else:
                plain[name] = value
        groups.append(plain)
    return tensors, {"groups": groups, "scalars": scalars}


def same_groups(optimizer: torch.optim.Optimizer, values: Mapping[str, Any]) -> bool:
    """Whether an optimizer has groups of as many parameters as the one that `pack_optimizer` was given."""
    before = [len(group["params"]) for group in values["groups"]]
    return before == [len(group["params"]) for group in optimizer.param_groups]


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> None:
    """Put back what `pack_optimizer` gave for an optimizer of the same kind over the same parameters.

    The weight decay stays as it is now; the learning rate is set anew at every step.
    """
    chosen = [{name: group[name] for name in CHOSEN if name in group} for group in optimizer.param_groups]
    state: dict[int, dict[str, Any]] = {
        int(index): dict(entries) for index, entries in values["scalars"].items()
    }
    groups = [dict(group) for group in values["groups"]]
    for key, tensor in tensors.items():
        if key.startswith("group."):
            _, number, name = key.split(".", 2)
            groups[int(number)][name] = tensor.clone()
        else:
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = tensor.clone()
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        for name, value in group.items():
            if isinstance(value, list) and isinstance(own.get(name), tuple):
                group[name] = tuple(value)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for group, own in zip(optimizer.param_groups, chosen, strict=True):
        group.update(own)
