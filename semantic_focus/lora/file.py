"""LoRA files on disk: complete or absent, and safetensors only."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..files import nothing_is_there, others_aside, write_safetensors
from .metadata import made_by_us

SAFETENSORS = ".safetensors"


def save_lora(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write LoRA tensors with string metadata in the header, atomically; for a place that a program chose.

    An older LoRA of ours is replaced; anything else that is there gets another name.
    """
    path = Path(path)
    write_safetensors(path, tensors, metadata, others_aside(path, is_ours))


def save_new_lora(
    places: Iterable[Path], tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write a LoRA to the first of many places where nothing is, whoever else writes there; the place."""
    for path in places:
        if os.path.lexists(path):
            continue
        try:
            write_safetensors(path, tensors, metadata, nothing_is_there(path))
        except FileExistsError:  # somebody was faster
            continue
        return path
    raise FileExistsError("something is there already in every place for the LoRA")


def is_ours(path: Path) -> bool:
    """Whether a file is a LoRA that this pack wrote."""
    try:
        return made_by_us(load_metadata(path))
    except (ValueError, OSError):
        return False


def load_lora(path: str | Path) -> dict[str, Tensor]:
    """Read LoRA tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a complete safetensors file.
    """
    path = _existing(path)
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from error


def load_metadata(path: str | Path) -> dict[str, str]:
    """Read the strings in the header of a LoRA file; errors as of `load_lora`."""
    path = _existing(path)
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from error


def numbered(folder: Path, stem: str) -> Iterator[Path]:
    """`<folder>/<stem>_00001.safetensors` and so on without end."""
    return (folder / f"{stem}_{number:05}{SAFETENSORS}" for number in itertools.count(1))


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such LoRA file")
    return path
