"""The shared workflow in the graph editor: it opens, it is what the API file says, and Run trains a LoRA."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Editor

CHECKPOINT, DATASET, FIT, TRAIN, REPORT, EMPTY, SAMPLE, SHOW = 1, 2, 4, 9, 11, 15, 16, 18
SEED = 8
"""Place of the seed among the values of the training node."""

UNKNOWN_NODES = """() => {
    const types = app.graph.nodes.map(node => node.type);
    return types.filter(type => !(type in LiteGraph.registered_node_types));
}"""
OVERLAPS = """() => {
    const boxes = app.graph.nodes.map(n => [n.title, ...n.boundingRect]);
    const apart = (a, b) =>
        a[1] + a[3] <= b[1] || b[1] + b[3] <= a[1] || a[2] + a[4] <= b[2] || b[2] + b[4] <= a[2];
    return boxes.flatMap((a, i) => boxes.slice(i + 1).filter(b => !apart(a, b)).map(b => [a[0], b[0]]));
}"""
OUTSIDE_GROUPS = """() => {
    const inside = (from, length, start, whole) => start <= from && from + length <= start + whole;
    const holds = (g, n) => inside(n[0], n[2], g[0], g[2]) && inside(n[1], n[3], g[1], g[3]);
    const groups = app.graph.groups.map(group => [...group._bounding]);
    return app.graph.nodes.filter(n => !groups.some(g => holds(g, n.boundingRect))).map(n => n.title);
}"""


@pytest.mark.parametrize("newer", [False, True], ids=["pinned", "newer"])
@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_the_shared_workflow_opens_and_is_what_its_api_file_says(
    open_editor: "Callable[..., Editor]", repo: Path, workflow: dict[str, Any], vue: bool, newer: bool
):
    editor = open_editor({"Comfy.VueNodes.Enabled": vue}, newer=newer)
    editor.load(workflow)
    assert len(editor.workflow()["nodes"]) == len(workflow["nodes"])
    assert editor.page.locator("[data-node-id]").count() == (len(workflow["nodes"]) if vue else 0)
    assert editor.page.evaluate(UNKNOWN_NODES) == []
    api = json.loads((repo / "workflows" / "api" / "train_person_lora.json").read_text(encoding="utf-8"))
    assert without_titles(editor.prompt()) == without_titles(api)
    assert editor.errors == []


def without_titles(prompt: dict[str, Any]) -> dict[str, Any]:
    return {node: {"class_type": it["class_type"], "inputs": it["inputs"]} for node, it in prompt.items()}


def test_no_node_covers_another_or_sticks_out_of_its_group(editor: "Editor", workflow: dict[str, Any]):
    editor.load(workflow)
    assert editor.page.evaluate(OVERLAPS) == []
    assert editor.page.evaluate(OUTSIDE_GROUPS) == []


def test_run_trains_and_shows_regions_curves_and_a_picture_and_a_second_run_keeps_the_first_lora(
    editor: "Editor", workflow: dict[str, Any], dataset: Path, stand_in_model: Path, server: Any
):
    trained = small(workflow, dataset, stand_in_model)
    editor.load(trained)
    editor.run()
    regions = editor.page.locator(".semantic-focus-overlay")
    regions.get_by_text("1/2 · 1 person").wait_for()
    for region in ("face", "hair", "clothing"):
        label = regions.locator(f"[data-region={region}]").inner_text()
        assert float(label.removeprefix(region).removesuffix("%")) > 0
    assert sorted(path.name for path in dataset.glob("*.safetensors")) == [
        "one_zi_masks.safetensors",
        "two_zi_masks.safetensors",
    ]
    for node in (REPORT, SHOW):
        editor.page.wait_for_function("id => app.graph.getNodeById(id).imgs?.length", arg=node)

    widgets(trained, TRAIN)[SEED] += 1
    editor.load(trained)
    editor.run()
    loras = list((server.base_directory / "output" / "loras").glob("my_person_*"))
    assert len({lora.read_bytes() for lora in loras}) == 2
    assert editor.errors == []


def widgets(workflow: dict[str, Any], node: int) -> list[Any]:
    """The values of a node's widgets, to be changed."""
    return next(it for it in workflow["nodes"] if it["id"] == node)["widgets_values"]


def small(workflow: dict[str, Any], dataset: Path, model: Path) -> dict[str, Any]:
    """The workflow on `dataset`, with the stand-in for Load Checkpoint and sizes that run in seconds."""
    checkpoint = next(it for it in workflow["nodes"] if it["id"] == CHECKPOINT)
    checkpoint.update(type="SemanticFocusDemoCheckpoint", inputs=[], widgets_values=[model.name])
    widgets(workflow, DATASET)[0] = str(dataset)
    widgets(workflow, FIT)[:] = [128, 16, ""]
    widgets(workflow, TRAIN)[:6] = [3, 1, 1e-3, "cosine", 4, 4.0]
    widgets(workflow, EMPTY)[:] = [128, 128, 1]
    widgets(workflow, SAMPLE)[2:4] = [2, 1.0]
    return workflow
