"""How another process gets the MODEL that comes into a node. To be asked while ComfyUI runs the node."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..files.writing import make_folder
from ..settings.model import LOADERS, ModelSettings
from .arguments import deciding_arguments
from .job import DATA
from .model_graph import CORE, CannotBeRunAgainError, classes, save_model_graph

LOADER_NODES = {
    "UNETLoader": ("unet_name", "diffusion_models", LOADERS[0], {"weight_dtype": "default"}),
    "CheckpointLoaderSimple": ("ckpt_name", "checkpoints", LOADERS[1], {}),
}
"""ComfyUI's own loaders: input with the file's name, kind of its folder, `ModelSettings.loader`, and values
of other inputs with which it does what that one does."""
MODEL_GRAPH = "model_graph.json"
PACKAGE = Path(__file__).resolve().parents[1]


def model_settings(
    prompt: Mapping[str, Any] | None, node_id: str | None, job: Path, name: str
) -> ModelSettings:
    """The [model] of a job: a file where one of ComfyUI's loaders gives the model, else the nodes that do,
    which are written into the job's folder.

    Args:
        prompt: the graph in ComfyUI's API form.
        node_id: of the node whose input `model` is meant.
        name: file name of the model, for people.

    Raises:
        CannotBeRunAgainError: nodes that no other process can run; the message names the node.
    """
    from comfy.cli_args import args

    link = ((prompt or {}).get(node_id or "", {}).get("inputs") or {}).get("model")
    if prompt is None or not isinstance(link, list):
        raise CannotBeRunAgainError(
            "another process cannot see in the graph where the model comes from: put the node into the graph "
            "itself, beside the one that loads the model"
        )
    settings: dict[str, Any] = {
        "device": "cpu" if args.cpu else "auto",
        "comfyui": comfyui_folder(),
        "arguments": deciding_arguments(),
    }
    if found := _file_of(prompt.get(str(link[0]), {}), link[1]):
        return ModelSettings(found[0], loader=found[1], **settings)
    path = job / DATA / MODEL_GRAPH
    make_folder(path.parent)
    save_model_graph(path, prompt, link, name)
    return ModelSettings(path, **settings)


def comfyui_folder() -> Path:
    """Of the ComfyUI that runs."""
    import folder_paths

    return Path(folder_paths.__file__).resolve().parent


def train_command(config: Path, *more: object) -> list[str]:
    """What trains a job with this Python, this ComfyUI and its packs of nodes."""
    import folder_paths

    own = comfyui_folder()
    packs = [Path(folder) for folder in folder_paths.get_folder_paths("custom_nodes")]
    folders = [
        word
        for folder in packs
        if folder.resolve() != own / "custom_nodes"
        for word in ("--custom-nodes", folder.resolve())
    ]
    isolated = ["-I"] if sys.flags.isolated else []
    return [
        str(word)
        for word in (sys.executable, *isolated, PACKAGE, "train", config, "--comfyui", own, *folders, *more)
    ]


def _file_of(node: Mapping[str, Any], output: int) -> tuple[Path, str] | None:
    """The file that one of ComfyUI's loaders reads, and which one it is; None for all other nodes."""
    import folder_paths

    kind, inputs = node.get("class_type", ""), node.get("inputs", {})
    if kind not in LOADER_NODES or output != 0:
        return None
    is_core = getattr(classes()[kind], "RELATIVE_PYTHON_MODULE", CORE) == CORE
    named, folder, loader, needed = LOADER_NODES[kind]
    if not is_core or any(inputs.get(key) != value for key, value in needed.items()):
        return None
    name = inputs.get(named)
    path = folder_paths.get_full_path(folder, name) if isinstance(name, str) else None
    if path is None or not path.endswith(".safetensors"):
        return None
    return Path(path).absolute(), loader
