"""LoRA files on disk: complete or absent, and safetensors only."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from torch import Tensor

from ..files import DamagedFileError, TensorFile, not_finite, write_safetensors

T = TypeVar("T")


def save_lora(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write LoRA tensors with string metadata in the header, atomically."""
    write_safetensors(path, tensors, metadata)


def load_lora(path: str | Path) -> dict[str, Tensor]:
    """Read LoRA tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, or not a complete safetensors file, or with values that are no finite numbers.
    """
    tensors = _opened(path, lambda file: file.tensors())
    if (name := not_finite(tensors)) is not None:
        raise ValueError(
            f"{path}: {name} has values that are no finite numbers: the training that made it diverged, or "
            "the file is damaged. Take the LoRA of an earlier step, or a copy"
        )
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


def free_path(folder: Path, stem: str) -> Path:
    """`<folder>/<stem>_00001.safetensors` with the first number that is not taken."""
    number = 1
    while (path := folder / f"{stem}_{number:05}.safetensors").exists():
        number += 1
    return path
