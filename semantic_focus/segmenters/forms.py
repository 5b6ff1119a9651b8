"""What lies in the folders of weights and is not taken: what it is, and what would make it usable."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..files.command_lines import to_run
from ..files.tensors import DamagedFileError, TensorFile
from .damage import SAFETENSORS, TORCH, WEIGHTS, damage, damaged_files

UNFINISHED = (".part", ".partial", ".incomplete", ".crdownload", ".download", ".aria2", ".tmp")
"""Endings that programs give to downloads under way."""
PACKED = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz")
FOREIGN = (".onnx", ".gguf", ".engine", ".pkl", ".h5", ".msgpack", ".mlpackage")
"""Endings of weights for other runtimes."""
OF_COMFYUI = ("detector.", "tracker.")
"""How tensors are named in a SAM 3 as ComfyUI reads it."""


def seen_instead(paths: Iterable[Path], wanted: str, names: Sequence[str]) -> list[str]:
    """What lies in the folders of a model and is not what is looked for, a line each.

    Args:
        paths: files and folders.
        wanted: what would be taken.
        names: of the models that are looked for, in the table of models.
    """
    paths = list(paths)
    saved = {path for path in paths if (path / "config.json").is_file()}
    lines = (_seen(path, wanted, names) for path in paths if path.parent not in saved)
    return [line for line in lines if line]


def _seen(path: Path, wanted: str, names: Sequence[str]) -> str | None:
    ending = path.suffix.lower()
    if path.is_dir():
        return _seen_folder(path)
    if ending in UNFINISHED:
        return f"{path} is an unfinished download: finish it, or delete it"
    if ending in PACKED:
        return f"{path} is an archive: unpack it there"
    if ending in FOREIGN:
        return f"{path} is made for another program, and no segmenter here reads it"
    if ending not in WEIGHTS:
        return None
    if fault := damage(path):
        return f"{path} {fault}"
    way = _way_to_use(path, names)
    return f"{path} is no {wanted}" + (f". {way}" if way else "")


def _way_to_use(file: Path, names: Sequence[str]) -> str:
    """What would make a whole weight file usable; empty where nothing is known."""
    if file.suffix.lower() in TORCH and not any(name.startswith("sam2") for name in names):
        return "PyTorch files are not read there, because they can hold programs: take the safetensors of it"
    if file.suffix.lower() != SAFETENSORS or not names:
        return ""
    if "sam3" in names and _tensor_names(file, OF_COMFYUI):
        return "It is SAM 3 in the form that ComfyUI reads (0.28 or newer): move it to models/checkpoints"
    renamed = "" if file.name == "model.safetensors" else "name it model.safetensors, and "
    brings = to_run("fetch", names[0], "--to", file.parent)
    return f"If it is {names[0]}, {renamed}this brings the config.json and the others that it lacks:{brings}"


def _tensor_names(file: Path, beginnings: tuple[str, ...]) -> bool:
    """Whether most tensors of a file have names that begin so."""
    try:
        names = list(TensorFile(file).shapes)
    except (DamagedFileError, OSError):
        return False
    return 2 * sum(name.startswith(beginnings) for name in names) > len(names)


def _seen_folder(folder: Path) -> str | None:
    if (folder / "model_index.json").is_file():
        return f"{folder} is a pipeline of diffusers, which makes pictures: no segmenter"
    if not (folder / "config.json").is_file():
        return None
    if faults := [f"{file} {fault}" for file, fault in damaged_files(folder)]:
        return "; ".join(faults)
    if any(folder.glob(f"*{SAFETENSORS}")):
        return f"{folder} is a model of another kind ({kind_of(folder)}), or has not all its files"
    others = ", ".join(sorted(file.name for file in folder.iterdir() if file.suffix.lower() in WEIGHTS))
    only = f" (only {others}): take the safetensors of it" if others else ""
    return f"{folder} has a config.json but no safetensors{only}"


def kind_of(folder: Path) -> str:
    """The kind of model that a folder's config.json names."""
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])[:40]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "its config.json does not say which"


def in_hub_cache(hubs: Mapping[str, str]) -> list[str]:
    """Models that other programs have fetched into the hub's own cache, a line each.

    Args:
        hubs: "owner/name" on the hub, by the name in the table of models.
    """
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    lines = []
    for name, hub in hubs.items():
        saved = cache.joinpath(f"models--{hub.replace('/', '--')}", "snapshots").glob("*/config.json")
        for config in sorted(saved)[:1]:
            lines.append(f"{config.parent} is {name} in the hub's cache: copy or link that folder")
    return lines
