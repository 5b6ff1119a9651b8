"""Graphs in API form for the host tier: built, run, and what they leave behind."""

import copy
import io
import json
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

if TYPE_CHECKING:
    from host.serve import ComfyServer

Graph = dict[str, dict[str, Any]]

PATIENCE = 300.0
"""Seconds after which what a test waits for is taken to be lost; nothing is measured by it."""

WEIGHTS = {"face": 1.0, "body": 0.3, "clothing": 0.0, "hair": 0.6, "background": 0.0, "lighting": 0.0}
"""Of the preset that the shared workflow uses."""

TRAINED = ("model", "latents", "conditioning", "latent_masks")
"""Inputs of LoRA Train Step that other nodes have as well."""

OPTIONS = {
    "optimizer": "adamw",
    "weight_decay": 0.01,
    "warmup": 0,
    "schedule_steps": 0,
    "max_grad_norm": 1.0,
    "accumulation": 1,
    "up_rate_ratio": 1.0,
    "ema_decay": 0.0,
    "caption_dropout": 0.0,
}
"""Training Options as they come, without a warmup."""


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    """A node in API form."""
    return {"class_type": class_type, "inputs": inputs}


def adapter_options(**changed: Any) -> dict[str, Any]:
    """Adapter Options with a plain LoRA, but for what is given."""
    values = {
        "kind": "lora",
        "rank": 16,
        "alpha": 16.0,
        "dropout": 0.0,
        "factor": 8,
        "include": "",
        "exclude": "",
    }
    return node("SemanticFocusAdapterOptions", **{**values, **changed})


def timestep_options(**changed: Any) -> dict[str, Any]:
    """Timestep Options with the middle of all noise levels, but for what is given."""
    values = {
        "kind": "logit_normal",
        "mean": 0.0,
        "std": 1.0,
        "shift": 3.0,
        "jitter": 0.02,
        "low": 0.0,
        "high": 1.0,
    }
    return node("SemanticFocusTimesteps", **{**values, **changed})


def on(graph: Graph, folder: Path) -> Graph:
    """The graph with all its datasets in one folder."""
    for it in graph.values():
        if "folder" in it["inputs"]:
            it["inputs"]["folder"] = str(folder)
    return graph


def up_to(graph: Graph, last: int) -> Graph:
    """A copy of the nodes 1 to `last`, without what others give them."""
    kept = copy.deepcopy({node: graph[node] for node in map(str, range(1, last + 1))})
    for it in kept.values():
        given = it["inputs"].items()
        it["inputs"] = {name: v for name, v in given if not isinstance(v, list) or v[0] in kept}
    return kept


def only(graph: Graph, *outputs: str) -> Graph:
    """The nodes that these outputs need."""
    needed: set[str] = set()

    def need(node: str) -> None:
        if node not in needed:
            needed.add(node)
            for value in graph[node]["inputs"].values():
                if isinstance(value, list):
                    need(value[0])

    for node in outputs:
        need(node)
    return {node: graph[node] for node in graph if node in needed}


def run_folder(server: "ComfyServer", name: str) -> Path:
    """Where the training `name` is kept."""
    return server.base_directory / "output" / "semantic_focus" / name


def train(server: "ComfyServer", graph: Graph, name: str, **inputs: Any) -> tuple[Path, dict[str, Any]]:
    """Run the graph with these inputs of LoRA Train Step, node 9: the run's folder, what the nodes show."""
    graph["9"]["inputs"].update(inputs, run_name=name)
    shown = server.run(graph)["outputs"]
    return run_folder(server, name), shown


def curves(folder: Path) -> list[dict[str, Any]]:
    """What a training wrote of each step."""
    file = folder / "curves.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def lora_of(folder: Path, step: int = 3) -> dict[str, torch.Tensor]:
    """The LoRA that a training kept after a step."""
    return load_file(folder / f"lora_{step:06}.safetensors")


def header_of(file: Path) -> dict[str, str]:
    """The metadata of a safetensors file."""
    with safe_open(file, framework="pt") as opened:
        return opened.metadata()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Bit for bit."""
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def picture(server: "ComfyServer", reference: dict[str, str]) -> Image.Image:
    """A picture that a node shows."""
    return Image.open(io.BytesIO(server.view(reference)))


def pixels(image: Image.Image) -> np.ndarray:
    """Int[H, W, 3]."""
    return np.asarray(image.convert("RGB")).astype(int)


def failure(server: "ComfyServer", comfy: ModuleType, graph: Graph) -> str:
    """What the graph is refused or fails with."""
    with pytest.raises((comfy.PromptFailed, comfy.PromptRejected)) as caught:
        server.run(graph)
    return str(getattr(caught.value, "exception", caught.value))


def measured_by(program: str, comfy: ModuleType) -> dict[str, Any]:
    """What a program beside this file prints as JSON in its last line, run with ComfyUI.

    One thread: on tensors this small, threads mostly wait for each other.
    """
    run = subprocess.run(
        [comfy.environment_python(), Path(__file__).with_name(program), comfy.comfyui_folder()],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout.splitlines()[-1])
