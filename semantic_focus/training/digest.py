"""What a training was made from, in a few hex digits."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def digest(value: Any) -> str:
    """16 hex digits that change with any number, text or tensor element in a nested value.

    Dictionaries count by their keys' order of the alphabet, tensors and arrays by dtype, shape and bytes,
    objects by class and attributes, anything else by its repr.
    """
    found = hashlib.sha256()
    _feed(found, value)
    return found.hexdigest()[:16]


def _feed(found: "hashlib._Hash", value: Any) -> None:
    if torch.is_tensor(value):
        tensor = value.detach().cpu().contiguous()
        found.update(f"tensor {tensor.dtype} {list(tensor.shape)}:".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, Mapping):
        found.update(f"map {len(value)}:".encode())
        for key in sorted(value, key=str):
            _feed(found, key)
            _feed(found, value[key])
    elif isinstance(value, list | tuple):
        found.update(f"list {len(value)}:".encode())
        for item in value:
            _feed(found, item)
    elif isinstance(value, np.ndarray):
        found.update(f"array {value.dtype} {value.shape}:".encode() + np.ascontiguousarray(value).tobytes())
    elif hasattr(value, "__dict__"):
        found.update(f"object {type(value).__qualname__}:".encode())
        _feed(found, vars(value))
    else:
        found.update(f"{value!r};".encode())
