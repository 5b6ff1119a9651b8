"""LoRA files on disk: complete or absent, and safetensors only."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from .atomic import write_atomically


def save_lora(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write LoRA tensors with string metadata in the header, atomically."""
    contiguous = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    write_atomically(Path(path), lambda temporary: save_file(contiguous, temporary, dict(metadata or {})))


def load_lora(path: str | Path) -> dict[str, Tensor]:
    """Read LoRA tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a complete safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such LoRA file")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from error


def free_path(folder: Path, stem: str) -> Path:
    """`<folder>/<stem>_00001.safetensors` with the first number that is not taken."""
    number = 1
    while (path := folder / f"{stem}_{number:05}.safetensors").exists():
        number += 1
    return path
