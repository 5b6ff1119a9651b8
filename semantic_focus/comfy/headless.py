"""ComfyUI and a model without a server. Importing this file does not import ComfyUI."""

import gc
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..files.text import in_short, shortened
from ..segmenters.damage import damage
from ..settings.model import ModelSettings
from .arguments import other_arguments
from .model_graph import read_model_graph, run_model_graph

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
VARIABLE = "COMFYUI_PATH"
RUNS = "runs"
"""Folder of the runs, below the output folder."""


class ComfyUINotFoundError(ValueError):
    """There is no ComfyUI to import; the message says where was looked and what to give."""


class LoraNotWrittenError(RuntimeError):
    """A training that is done, whose LoRA is only in the run's folder; the message says where."""


def find_comfyui(argument: Path | None, config: Path | None) -> Path:
    """ComfyUI's folder: the command line's, else that of the variable COMFYUI_PATH, else the config's.

    Raises:
        ComfyUINotFoundError: none is given, or the first that is given is no ComfyUI.
    """
    variable = os.environ.get(VARIABLE)
    given = (
        ("--comfyui", argument),
        (VARIABLE, Path(variable) if variable else None),
        ("[comfyui] path", config),
    )
    for name, folder in given:
        if folder is not None:
            folder = folder.expanduser().resolve()
            if not (folder / "comfy" / "cli_args.py").is_file():
                raise ComfyUINotFoundError(f"{name} {folder}: no ComfyUI there (it has no comfy/cli_args.py)")
            return folder
    raise ComfyUINotFoundError(
        f"where is ComfyUI? Give its folder with --comfyui PATH, in the variable {VARIABLE}, or as path in "
        "the section [comfyui] of the config"
    )


def import_comfyui(
    folder: Path, device: str = "auto", arguments: Sequence[str] = (), packs: Sequence[Path] = ()
) -> None:
    """Import the package `comfy`, with its default settings whatever the command line of this process.

    Args:
        device: "cpu", or "auto" for the CPU only where torch sees no accelerator: ComfyUI itself gives up
            there.
        arguments: of its own command line.
        packs: folders with packs of nodes besides its own.

    Raises:
        ComfyUINotFoundError: it cannot be imported, because its requirements are not installed, say.
        ValueError: arguments that it does not take.
    """
    if sys.path[:1] != [os.fspath(folder)]:  # first, as for its own main.py: `nodes` is a common name
        sys.path.insert(0, os.fspath(folder))
    try:
        args = _parsed(arguments)
        args.cpu = device == "cpu" or not _has_accelerator()
        import comfy.model_management  # noqa: F401 (decides on the device)
        import comfy.sd  # noqa: F401
        import folder_paths
    except ImportError as error:
        raise ComfyUINotFoundError(
            f"{folder}: ComfyUI cannot be imported ({error}). Run this program with ComfyUI's own Python: "
            f"{sys.executable} does not have what it requires"
        ) from error
    for packs_folder in packs:
        folder_paths.add_model_folder_path("custom_nodes", os.fspath(packs_folder.resolve()))


def _parsed(arguments: Sequence[str]) -> Any:
    """ComfyUI's arguments, which it reads when it is imported, and from this program's own command line.

    A later call finds those of the first one, and what was set in them since.
    """
    if (known := sys.modules.get("comfy.cli_args")) is not None:
        return known.args
    import comfy.options

    comfy.options.enable_args_parsing(bool(arguments))
    own, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        from comfy.cli_args import args
    except SystemExit:
        raise ValueError(
            f"[comfyui] arguments {shortened(list(arguments))}: this ComfyUI does not take them, see above"
        ) from None
    finally:
        sys.argv = own
        comfy.options.enable_args_parsing(False)
    if others := other_arguments():
        del sys.modules["comfy.cli_args"]
        raise ValueError(
            f"[comfyui] arguments: {', '.join(others)}: only those that decide about weights are taken, such "
            "as --fp32-unet or --lowvram"
        )
    return args


def _has_accelerator() -> bool:
    if hasattr(torch, "accelerator"):  # from torch 2.6 on
        return torch.accelerator.is_available()
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def check_model_file(settings: ModelSettings) -> None:
    """Raise ValueError unless there is a .safetensors file that is not damaged, or a graph; this needs no
    ComfyUI.
    """
    path = settings.path
    if settings.is_graph:
        read_model_graph(path)
        return
    if path.is_dir():
        raise ValueError(f"[model] path {path}: a folder. Give the .safetensors file in it")
    if not path.is_file():
        raise ValueError(f"[model] path {path}: no such file")
    if path.suffix != ".safetensors":
        raise ValueError(f"[model] path {path}: only .safetensors files are read")
    if fault := damage(path):
        raise ValueError(f"[model] path {path} {fault}: download the file again")


def loader_options(settings: ModelSettings) -> dict[str, Any]:
    """What ComfyUI's loader is told."""
    return {"dtype": DTYPES[settings.dtype]} if settings.dtype in DTYPES else {}


def load_model(settings: ModelSettings) -> "ModelPatcher":
    """The MODEL of a file, as ComfyUI's node Load Diffusion Model or Load Checkpoint gives it, or of a graph.

    Raises:
        ValueError: not a .safetensors file, no model that ComfyUI knows, nodes that give none, or a model of
            another fingerprint.
    """
    patcher = _loaded(settings)
    if settings.fingerprint:
        from .fingerprint import model_fingerprint

        if (found := model_fingerprint(patcher)) != settings.fingerprint:
            raise ValueError(
                f"[model] path {settings.path}: its fingerprint is {found}, not {settings.fingerprint}: it "
                "has other weights, or another precision. Give the model that the config was made for, or "
                "take out the fingerprint"
            )
    return patcher


def _loaded(settings: ModelSettings) -> "ModelPatcher":
    check_model_file(settings)
    if settings.is_graph:
        return run_model_graph(settings.path)
    import comfy.sd

    options = loader_options(settings)
    with loading(settings.path), mapped() if settings.shard else nullcontext():
        if settings.loader == "checkpoint":
            found: Any = comfy.sd.load_checkpoint_guess_config(
                str(settings.path), output_vae=False, output_clip=False, model_options=options
            )
            return found[0]
        return comfy.sd.load_diffusion_model(str(settings.path), model_options=options)


def file_name(settings: ModelSettings) -> str:
    """Of the model, for people and for what is told by names."""
    return read_model_graph(settings.path)["name"] if settings.is_graph else settings.path.name


class LastModel:
    """The model that was loaded last: the next training of the same file need not load it. That of a graph is
    always made anew: what its nodes read is not known here.

    Attributes:
        loads: how many were loaded so far.
    """

    def __init__(self):
        self._key: object = None
        self._patcher: ModelPatcher | None = None
        self.loads = 0

    def load(self, settings: ModelSettings) -> "ModelPatcher":
        """As `load_model`; of a file that is the same as before the model that there is."""
        status = settings.path.stat() if settings.path.is_file() else None
        same = status and (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        key = replace(settings, path=settings.path.resolve(), training_adapter=None, comfyui=None), same
        if self._patcher is None or key != self._key or settings.is_graph:
            self.forget()
            self._patcher, self._key = load_model(settings), key
            self.loads += 1
        return self._patcher

    def forget(self) -> None:
        """Give its memory back."""
        self._patcher = None
        tidy()


def tidy() -> None:
    """Give memory back that nothing needs any more."""
    import comfy.model_management

    gc.collect()
    comfy.model_management.cleanup_models()
    comfy.model_management.soft_empty_cache()


@contextmanager
def mapped() -> Iterator[None]:
    """Let ComfyUI's loader take a file's tensors as they are, in the place of copies: they are read when they
    are asked for, and processes on one machine have them in RAM once.
    """
    kind: Any = nn.Module
    own = kind.load_state_dict

    def load(module: nn.Module, tensors: Mapping[str, Tensor], *args: Any, **kwargs: Any) -> Any:
        there = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        kinds = {name: tensor.dtype for name, tensor in there.items()}
        as_wanted = {name: tensor.to(kinds.get(name, tensor.dtype)) for name, tensor in tensors.items()}
        return own(module, as_wanted, *args[:1], **{**kwargs, "assign": True})

    kind.load_state_dict = load
    try:
        yield
    finally:
        kind.load_state_dict = own


@contextmanager
def loading(path: Path) -> Iterator[None]:
    """Turn what ComfyUI's loader raises into a ValueError that names the file.

    It knows a model by a few of its keys, and trips over those that are not there in many ways.
    """
    try:
        yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ValueError(
            f"[model] path {path}: ComfyUI cannot load it ({in_short(error)}). Is it a diffusion model, and "
            "whole?"
        ) from error
