"""Everything a training needs to go on as if it had never stopped, in memory and as one safetensors file."""

import json
import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files.tensors import DamagedFileError, TensorFile, not_finite, write_safetensors
from ..files.writing import others_aside

FORMAT = 1
CHOSEN = ("weight_decay",)
HEADER_KEY = "semantic_focus_train_state"
FIELDS = {"step": int, "values": dict, "identity": dict}
MOST_STEPS = 10**9


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
    """Write a state, complete or not at all; what is there and no state gets another name."""
    header = {
        "format": FORMAT,
        "step": state.step,
        "values": state.values,
        "identity": state.identity,
    }
    content = {HEADER_KEY: json.dumps(header, sort_keys=True)}
    write_safetensors(path, state.tensors, content, others_aside(path, is_train_state))


def is_train_state(path: Path) -> bool:
    """Whether a file is a training state of this pack, by its header."""
    try:
        return HEADER_KEY in TensorFile(path).metadata
    except (DamagedFileError, OSError):
        return False


def load_train_state(path: str | Path) -> TrainState:
    """Read a state.

    Raises:
        FileNotFoundError: no such file.
        TrainStateError: the file is damaged, cannot be read, is no training state, or of a newer format.
    """
    path = Path(path)
    file, state = _opened(path)
    try:
        tensors = file.tensors()
    except (DamagedFileError, OSError) as error:
        raise _damaged(path, error) from error
    if (name := not_finite(tensors)) is not None:
        raise _damaged(path, f"{name} has values that are no finite numbers")
    return replace(state, tensors=tensors)


def load_train_header(path: str | Path) -> TrainState:
    """A state without its tensors; quick. Raises as `load_train_state`."""
    return _opened(Path(path))[1]


def _opened(path: Path) -> tuple[TensorFile, TrainState]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such training state")
    try:
        file = TensorFile(path)
        header = json.loads(file.metadata[HEADER_KEY])
    except KeyError:
        raise TrainStateError(
            f"{path}: no training state of this pack (a LoRA is continued with its own loader)"
        ) from None
    except (DamagedFileError, ValueError, RecursionError, OSError) as error:
        raise _damaged(path, error) from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        found = reprlib.repr(header.get("format") if isinstance(header, dict) else header)
        raise TrainStateError(f"{path}: its format is {found}, this version reads {FORMAT}: update the pack")
    for name, kind in FIELDS.items():
        if type(header.get(name)) is not kind:
            raise _damaged(path, f"its header has no usable {name}")
    if not 0 <= header["step"] < MOST_STEPS:
        raise _damaged(path, f"its step is {reprlib.repr(header['step'])}")
    return file, TrainState(header["step"], {}, header["values"], header["identity"])


def _damaged(path: Path, why: object) -> TrainStateError:
    return TrainStateError(f"{path}: damaged, use the state before it ({why})")


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

    Raises:
        ValueError: numbers that are not finite, where those of the optimizer are.
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
    for entries in state.values():
        _check_finite(entries, {})
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        _check_finite(group, own)
        for name, value in group.items():
            if isinstance(value, list) and isinstance(own.get(name), tuple):
                group[name] = tuple(value)
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for group, own in zip(optimizer.param_groups, chosen, strict=True):
        group.update(own)


def _check_finite(values: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    for name, value in values.items():
        # some optimizers have an infinite limit that means none
        if not _is_finite(value) and _is_finite(own.get(name)):
            raise ValueError(f"the optimizer's {name} is {value}, no finite number")


def _is_finite(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
