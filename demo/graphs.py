"""The graphs that the demo queues: the shared workflow, and what the demo adds to look at its result."""

import copy
import json
from pathlib import Path
from typing import Any

Graph = dict[str, dict[str, Any]]

CHECKPOINT, DATASET, SEGMENT, FIT, ENCODE, LATENT_MASKS, CAPTIONS, OBJECTIVE, TRAIN, SAVE = map(
    str, range(1, 11)
)
REPORT, APPLY_LORA, PROMPT, NEGATIVE, EMPTY, SAMPLE, DECODE, SHOW = map(str, range(11, 19))
"""Node ids of the shared workflow."""

HELD_OUT = "held_out_"
"""Prefix of the nodes that prepare the pictures that are not trained on."""

COMPARE = "compare"


def load_workflow(path: Path) -> Graph:
    """A graph in ComfyUI's API form."""
    return json.loads(path.read_text(encoding="utf-8"))


def with_stand_ins(graph: Graph, model_file: str) -> Graph:
    """The graph with the demo's stand-in in the place of Load Checkpoint; nothing else changes."""
    swapped = copy.deepcopy(graph)
    swapped[CHECKPOINT] = {"class_type": "SemanticFocusDemoCheckpoint", "inputs": {"model_file": model_file}}
    return swapped


def with_inputs(graph: Graph, changes: dict[str, dict[str, Any]]) -> Graph:
    """The graph with other widget values: node id -> input -> value.

    Raises:
        KeyError: the graph has no such node or input.
    """
    changed = copy.deepcopy(graph)
    for node, inputs in changes.items():
        for name, value in inputs.items():
            if name not in changed[node]["inputs"]:
                raise KeyError(f"node {node} ({changed[node]['class_type']}) has no input {name!r}")
            changed[node]["inputs"][name] = value
    return changed


def with_comparison(graph: Graph, held_out: Path) -> Graph:
    """The graph with a second branch that prepares held-out pictures and measures the LoRA on them."""
    extended = copy.deepcopy(graph)
    branch = (DATASET, SEGMENT, FIT, ENCODE, LATENT_MASKS, CAPTIONS)
    for node in branch:
        twin = copy.deepcopy(graph[node])
        for name, value in twin["inputs"].items():
            if isinstance(value, list) and value[0] in branch:
                twin["inputs"][name] = [HELD_OUT + value[0], value[1]]
        extended[HELD_OUT + node] = twin
    extended[HELD_OUT + DATASET]["inputs"]["folder"] = str(held_out)
    extended[COMPARE] = {
        "class_type": "SemanticFocusCompare",
        "inputs": {
            "model": [CHECKPOINT, 0],
            "lora": [TRAIN, 0],
            "latents": [HELD_OUT + ENCODE, 0],
            "conditioning": [HELD_OUT + CAPTIONS, 0],
            "latent_masks": [HELD_OUT + LATENT_MASKS, 0],
        },
    }
    return extended


def overlay_graph(graph: Graph, folder: Path, prefix: str) -> Graph:
    """Segment the pictures of a folder as the workflow does, and save each with its regions drawn over it."""
    kept = {node: copy.deepcopy(graph[node]) for node in (DATASET, SEGMENT)}
    kept[DATASET]["inputs"].update(folder=str(folder), default_caption="people")
    kept[SHOW] = {
        "class_type": "SemanticFocusPreview",
        "inputs": {"images": [DATASET, 0], "masks": [SEGMENT, 0], "opacity": 0.55},
    }
    kept[SAVE] = {"class_type": "SaveImage", "inputs": {"images": [SHOW, 0], "filename_prefix": prefix}}
    return kept
