"""What can be read from the graph around a node."""

from collections.abc import Mapping
from typing import Any

MODEL_FILES = ("ckpt_name", "unet_name", "model_name", "model_file")
"""Inputs of loaders that hold the file of a model."""


def linked_inputs(prompt: Mapping[str, Any] | None, node_id: str | None) -> list[str]:
    """Names of a node's inputs that other nodes give.

    Args:
        prompt: the graph in ComfyUI's API form.
    """
    if not prompt or node_id is None:
        return []
    inputs = prompt.get(node_id, {}).get("inputs", {})
    return [name for name, value in inputs.items() if isinstance(value, list)]


def model_file(prompt: Mapping[str, Any] | None, node_id: str | None) -> str:
    """File name of the model that comes into the input `model` of a node; empty if it cannot be told.

    Args:
        prompt: the graph in ComfyUI's API form.
    """
    seen: set[str] = set()
    while prompt and node_id is not None and node_id not in seen:
        seen.add(node_id)
        inputs = prompt.get(node_id, {}).get("inputs", {})
        for name in MODEL_FILES:
            if isinstance(inputs.get(name), str):
                return inputs[name]
        link = inputs.get("model")
        node_id = str(link[0]) if isinstance(link, list) and link else None
    return ""
