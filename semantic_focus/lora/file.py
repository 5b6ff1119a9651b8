"""LoRA files on disk: complete or absent, and safetensors only."""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from ..files.tensors import DamagedFileError, TensorFile, not_finite, write_safetensors
from ..files.writing import nothing_is_there, others_aside
from .metadata import made_by_us

SAFETENSORS = ".safetensors"
NOT_FINITE = (
    "{} has values that are no finite numbers: the training that made it diverged, or the file is damaged. "
    "Take the LoRA of an earlier step, or a copy"
)
T = TypeVar("T")


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
        ValueError: damaged, or not a complete safetensors file, or with values that are no finite numbers.
    """
    tensors = _opened(path, lambda file: file.tensors())
    if (name := not_finite(tensors)) is not None:
        raise ValueError(f"{path}: {NOT_FINITE.format(name)}")
    return tensors


def load_metadata(path: str | Path) -> dict[str, str]:
    """Read the strings in the header of a LoRA file; errors as of `load_lora`."""
    return _opened(path, lambda file: file.metadata)


def _opened(path: str | Path, read: Callable[[TensorFile], T]) -> T:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such LoRA file")
    try:
        return read(TensorFile(path))
    except DamagedFileError as error:
        raise ValueError(f"{path}: {error}. Take a copy of it, or the LoRA of an earlier step") from error


def numbered(folder: Path, stem: str) -> Iterator[Path]:
    """`<folder>/<stem>_00001.safetensors` and so on without end."""
    return (folder / f"{stem}_{number:05}{SAFETENSORS}" for number in itertools.count(1))
