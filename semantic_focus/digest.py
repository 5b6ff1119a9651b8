"""What a training was made from, in a few hex digits."""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch


def digest(value: Any) -> str:
    """16 hex digits that change with any number, text or tensor element in a nested value.

    Dictionaries count by their keys' order of the alphabet, tensors by dtype, shape and bytes; anything else
    by its repr.
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
    else:
        found.update(f"{value!r};".encode())
