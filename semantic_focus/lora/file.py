"""LoRA files on disk: complete or absent, and safetensors only."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from ..files import check_readable, write_safetensors


def save_lora(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write LoRA tensors with string metadata in the header, atomically."""
    write_safetensors(path, tensors, metadata)


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


def free_path(folder: Path, stem: str) -> Path:
    """`<folder>/<stem>_00001.safetensors` with the first number that is not taken."""
    number = 1
    while (path := folder / f"{stem}_{number:05}.safetensors").exists():
        number += 1
    return path


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such LoRA file")
    check_readable(path)
    return path
