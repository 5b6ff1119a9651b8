"""[model] and [comfyui] of a config.toml: which model is trained, and how it is loaded."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .toml import Setting, Tables, flag, given, one_of, text, texts

MODEL_DTYPES = ("default", "bf16", "fp16", "fp32")
LOADERS = ("diffusion model", "checkpoint")
DEVICES = ("auto", "cpu")
GRAPH = ".json"
"""Ending of a file with the nodes of a graph that give a model, see `comfy/model_graph.py`."""


def _fingerprint(value: Any) -> str:
    if not isinstance(value, str) or re.fullmatch("[0-9a-f]{16}", value) is None:
        raise ValueError("it must be 16 hex digits in quotes")
    return value


MODEL = {
    "path": Setting(text, ("model.path",)),
    "dtype": Setting(one_of(MODEL_DTYPES), ("model.dtype",)),
    "device": Setting(one_of(DEVICES), ("model.device",)),
    "training_adapter": Setting(text, ("model.training_adapter",)),
    "comfyui": Setting(text, ("comfyui.path",)),
    "loader": Setting(one_of(LOADERS), ("model.loader",)),
    "fingerprint": Setting(_fingerprint, ("model.fingerprint",)),
    "arguments": Setting(texts, ("comfyui.arguments",)),
    "shard": Setting(flag, ("model.shard",)),
}
PATHS = ("path", "training_adapter", "comfyui")


@dataclass(frozen=True)
class ModelSettings:
    """[model] and [comfyui].

    Attributes:
        path: a .safetensors file with a diffusion model that ComfyUI knows, or a .json file with the nodes
            that give one.
        dtype: of its weights; "default": as ComfyUI chooses.
        device: "auto" takes the CPU where torch sees no accelerator.
        training_adapter: LoRA file that is active while training only.
        comfyui: ComfyUI's folder.
        loader: of ComfyUI, by its node: Load Diffusion Model or Load Checkpoint.
        fingerprint: of the only model that may be trained, see `comfy/fingerprint.py`; empty: any.
        arguments: of ComfyUI's own command line.
        shard: each of several processes holds a part of the weights only.
    """

    path: Path
    dtype: str = "default"
    device: str = "auto"
    training_adapter: Path | None = None
    comfyui: Path | None = None
    loader: str = LOADERS[0]
    fingerprint: str = ""
    arguments: tuple[str, ...] = ()
    shard: bool = False

    @property
    def is_graph(self) -> bool:
        """Whether the nodes of a graph give the model."""
        return self.path.suffix == GRAPH


def model_of(file: Tables) -> ModelSettings:
    """The model of a config.toml.

    Raises:
        ConfigError: it is missing, or a value that cannot be used.
    """
    values = file.with_paths(given(file, MODEL), *PATHS)
    if "path" not in values:
        raise file.error("model", "path", "is missing: give the .safetensors file of the diffusion model")
    return ModelSettings(**values)
