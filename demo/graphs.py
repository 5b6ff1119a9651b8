"""The graphs that the demo queues: the shared workflow with other values, and overlays of photographs."""

import copy
import json
from pathlib import Path
from typing import Any

Graph = dict[str, dict[str, Any]]
Changes = dict[str, dict[str, Any]]
"""Node id -> input -> value."""

CHECKPOINT, DATASET, SEGMENT, FIT, ENCODE, LATENT_MASKS, CAPTIONS, OBJECTIVE, TRAIN, SAVE = map(
    str, range(1, 11)
)
REPORT, APPLY_LORA, PROMPT, NEGATIVE, EMPTY, SAMPLE, DECODE, SHOW = map(str, range(11, 19))
"""Node ids of the shared workflow."""

OPTIONS, ASKED, NOISES = "objective_options", "asked_for", "noises"
"""Node ids of what is added to it."""

SAMPLING = {CHECKPOINT, ASKED, PROMPT, NEGATIVE, EMPTY, NOISES, SAMPLE, DECODE, SHOW}
"""What a picture without a LoRA needs."""


def load_workflow(path: Path) -> Graph:
    """A graph in ComfyUI's API form."""
    return json.loads(path.read_text(encoding="utf-8"))


def with_world(graph: Graph, model_file: str) -> Graph:
    """The graph with the demo's stand-in in the place of Load Checkpoint; nothing else changes."""
    swapped = copy.deepcopy(graph)
    swapped[CHECKPOINT] = {"class_type": "SemanticFocusWorldCheckpoint", "inputs": {"model_file": model_file}}
    return swapped


def with_inputs(graph: Graph, changes: Changes) -> Graph:
    """The graph with other widget values.

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


def with_base_loss(graph: Graph, mask_floor: float) -> Graph:
    """The graph with Objective Options after its objective: a plain squared error, in the surroundings of the
    weighted regions `mask_floor` of it.
    """
    extended = copy.deepcopy(graph)
    extended[OPTIONS] = {
        "class_type": "SemanticFocusObjectiveOptions",
        "inputs": {
            "objective": [OBJECTIVE, 0],
            "base_weight": 1.0,
            "base_loss": "mse",
            "base_mask_floor": mask_floor,
            "cosine": "region",
            "normalise": "present",
            "area_shrinkage": 4.0,
            "snr_gamma": 0.0,
            "prior_every": 1,
        },
    }
    extended[TRAIN]["inputs"]["objective"] = [OPTIONS, 0]
    return extended


def with_prompts(graph: Graph, folder: Path, count: int) -> Graph:
    """The graph with a sample for each caption of a folder of `count` pictures, each from its own noise."""
    extended = copy.deepcopy(graph)
    extended[ASKED] = copy.deepcopy(graph[DATASET])
    extended[ASKED]["inputs"]["folder"] = str(folder)
    extended[PROMPT]["inputs"]["text"] = [ASKED, 1]
    extended[EMPTY]["inputs"]["batch_size"] = count
    extended[NOISES] = {
        "class_type": "RebatchLatents",
        "inputs": {"latents": [EMPTY, 0], "batch_size": 1},
    }
    extended[SAMPLE]["inputs"]["latent_image"] = [NOISES, 0]
    return extended


def without_lora(graph: Graph) -> Graph:
    """The part of the graph that samples, with the model as it is; nothing is trained."""
    kept = {node: copy.deepcopy(graph[node]) for node in graph if node in SAMPLING}
    kept[SAMPLE]["inputs"]["model"] = [CHECKPOINT, 0]
    return kept


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
