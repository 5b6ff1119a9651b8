"""What holds for every panel alike: contrast and names, at every zoom, and life without our scripts."""

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .editor import cells
from .weights_ui import OBJECTIVE, expected

if TYPE_CHECKING:
    from .editor import Editor

CHECKPOINT, DATASET, SEGMENT, FIT, TRAIN, REPORT = 1, 2, 3, 4, 9, 11
PANELLED = (DATASET, SEGMENT, OBJECTIVE, TRAIN, REPORT)


LOOK_AT = """([id, scale]) => {
    const node = app.graph.getNodeById(id);
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset = [120 / scale - node.pos[0], 120 / scale - node.pos[1]];
    app.canvas.setDirty(true, true);
}"""
MEASURED = """id => {
    const node = app.graph.getNodeById(id);
    const panel = node.widgets.find(widget => widget.type === "SEMANTIC_FOCUS_PANEL").element;
    const {scale, offset} = app.canvas.ds;
    const canvas = app.canvas.canvas.getBoundingClientRect();
    const left = canvas.left + (node.pos[0] + offset[0]) * scale;
    const top = canvas.top + (node.pos[1] + offset[1]) * scale;
    const drawn = {left, top, right: left + node.size[0] * scale, bottom: top + node.size[1] * scale};
    const frame = panel.closest("[data-node-id]")?.getBoundingClientRect() ?? drawn;
    const scrolls = part => {
        for (let at = part.parentElement; at !== panel; at = at.parentElement) {
            if (/auto|scroll|hidden/.test(getComputedStyle(at).overflowY)) return true;
        }
        return false;
    };
    const outside = [...panel.querySelectorAll("button, input, select, summary, [role=status]")]
        .filter(part => part.checkVisibility() && !scrolls(part))
        .map(part => [part.getBoundingClientRect(), part.outerHTML.slice(0, 150)])
        .filter(([box]) => box.width > 0 && (box.left < frame.left - 1 || box.top < frame.top - 1
            || box.right > frame.right + 1 || box.bottom > frame.bottom + 1))
        .map(([, html]) => html);
    return {width: panel.getBoundingClientRect().width / scale, size: [...node.size], outside};
}"""
ADD_REPORTS = """ids => {
    const sources = {model: [1, 0], latents: [5, 0], conditioning: [7, 0], latent_masks: [6, 0]};
    const add = (id, type, pos, links) => {
        const node = LiteGraph.createNode(type);
        node.id = id;
        app.graph.add(node);
        node.pos = pos;
        for (const [input, [from, slot]] of Object.entries(links)) {
            app.graph.getNodeById(from).connect(slot, node, node.findInputSlot(input));
        }
    };
    add(ids[0], "SemanticFocusCompare", [0, 3000], {...sources, lora: [9, 0]});
    add(ids[1], "SemanticFocusDryRun", [500, 3000], {...sources, objective: [8, 0]});
    app.canvas.ds.scale = 0.4;
    app.canvas.ds.offset = [20, 20];
    app.canvas.setDirty(true, true);
}"""
NATIVE = """id => app.graph.getNodeById(id).widgets.map(
    widget => [widget.name, widget.value, Boolean(widget.hidden || widget.options?.hidden)])"""


@pytest.fixture
def everything(
    workflow: dict[str, Any], dataset: Path, stand_in_model: Path, part_of: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """The shared workflow up to its loss report, with sizes that run in seconds."""
    part = part_of(workflow, *range(CHECKPOINT, TRAIN + 1), REPORT)
    nodes = {node["id"]: node for node in part["nodes"]}
    nodes[CHECKPOINT].update(
        type="SemanticFocusStandInCheckpoint", inputs=[], widgets_values=[stand_in_model.name]
    )
    nodes[DATASET]["widgets_values"][0] = str(dataset)
    nodes[FIT]["widgets_values"][:] = [128, 16, ""]
    nodes[TRAIN]["widgets_values"][:6] = [4, 1, 1e-3, "cosine", 4, 4.0]
    return part


@cells("canvas-newer", "vue-newer")
def test_all_panels_are_accessible_in_both_themes(anywhere: "Editor", everything: dict[str, Any]):
    editor = anywhere
    editor.load(everything)
    editor.page.evaluate(ADD_REPORTS, [50, 51])
    empty = editor.violations()
    editor.run()
    editor.page.wait_for_function("() => document.querySelectorAll('.sf-report tbody').length === 3")
    editor.page.locator(".sf-training[data-state=finished]").wait_for()
    editor.page.locator(".semantic-focus-overlay [data-region]").first.wait_for()
    kinds = ("sf-overlay", "sf-weights", "sf-training", "sf-dataset", "sf-report")
    for kind in kinds:
        assert editor.page.locator(f".sf-panel.{kind}").locator("visible=true").count() > 0, kind
    found = {"before a run": empty, "dark": editor.violations()}
    editor.set("Comfy.ColorPalette", "light")
    editor.page.wait_for_function("() => !document.body.classList.contains('dark-theme')")
    found["light"] = editor.violations()
    assert {theme: wrong for theme, wrong in found.items() if wrong} == {}
    assert editor.own_errors() == []


def test_controls_stay_in_their_node_at_every_zoom_and_nothing_grows(
    anywhere: "Editor", workflow: dict[str, Any], dataset: Path
):
    editor = anywhere
    graph = copy.deepcopy(workflow)
    next(node for node in graph["nodes"] if node["id"] == DATASET)["widgets_values"][0] = str(dataset)
    editor.load(graph)
    is_scaled = f"""([id, width]) => Math.abs(({MEASURED})(id).width - width) < 0.02 * width"""
    for node in PANELLED:
        editor.page.evaluate(LOOK_AT, [node, 1])
        editor.settle()
        usual = editor.page.evaluate(MEASURED, node)
        assert usual["width"] > 100
        for scale in (0.5, 2):
            editor.page.evaluate(LOOK_AT, [node, scale])
            editor.settle()
            editor.page.wait_for_function(is_scaled, arg=[node, usual["width"]])
            seen = editor.page.evaluate(MEASURED, node)
            assert seen["outside"] == [], (node, scale)
            assert all(map(math.isclose, seen["size"], usual["size"])), (node, scale)
    assert editor.errors == []


@cells("canvas-pinned", "vue-newer")
def test_without_our_scripts_native_widgets_remain_and_the_prompt_is_the_same(
    anywhere: "Editor", weighted: dict[str, Any]
):
    anywhere.load(weighted)
    anywhere.settle()
    assert anywhere.page.locator(".sf-weights").count() == 1
    ours, hidden = anywhere.prompt(), anywhere.page.evaluate(NATIVE, OBJECTIVE)

    bare = anywhere
    bare.show(bare.server, bare.settings, without="**/extensions/ComfyUI-SemanticFocus/**")
    bare.load(weighted)
    assert bare.page.locator(".sf-panel").count() == 0
    assert bare.prompt()[str(OBJECTIVE)]["inputs"] == expected()
    assert bare.prompt() == ours
    widgets = {name: (value, hidden) for name, value, hidden in bare.page.evaluate(NATIVE, OBJECTIVE)}
    assert widgets == {name: (value, False) for name, value in expected().items()}
    assert all(is_hidden for name, _, is_hidden in hidden if name in expected())
    if bare.vue:
        node = bare.page.locator(f'[data-node-id="{OBJECTIVE}"]')
        numbers = node.locator("input").evaluate_all("inputs => inputs.map(input => Number(input.value))")
        assert {1.4, 0.3, 0.65} <= set(numbers)
