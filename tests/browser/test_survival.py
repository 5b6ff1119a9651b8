"""The panels of all our nodes live through whatever an editor does to nodes, in every editor and renderer.

What a panel shows is tested beside it; here it counts that each node has its one living panel, that no value
is lost, that nothing grows, and that the console stays silent.
"""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Editor

DATASET, SEGMENT, OBJECTIVE, TRAIN = 2, 3, 8, 9

PANELS = """() => {
    const nodes = [...app.canvas.graph.nodes];
    return nodes.flatMap(node => (node.widgets ?? [])
        .filter(widget => widget.type === "SEMANTIC_FOCUS_PANEL")
        .map(widget => {
            const box = widget.element.getBoundingClientRect();
            const home = widget.element.closest("[data-node-id]");
            const shown = widget.element.isConnected && box.width > 20 && box.height > 20;
            const at = home === null || home.dataset.nodeId === String(node.id);
            return {node: node.type, name: widget.name, shown, at};
        }));
}"""
ALL_SHOWN = f"() => {{ const all = ({PANELS})(); return all.every(it => it.shown && it.at); }}"
MOUNTED = """() => [...document.querySelectorAll(".sf-panel")]
    .filter(panel => panel.getBoundingClientRect().width > 20).length"""
OPEN_SUBGRAPH = """() => {
    const node = app.graph.getNodeById(holder);
    app.canvas.openSubgraph(node.subgraph, node);
}"""


def panels(editor: "Editor") -> list[str]:
    """The panels of the shown graph's nodes, each seen in its own node and nowhere else."""
    editor.page.wait_for_function(ALL_SHOWN)
    found = editor.page.evaluate(PANELS)
    editor.page.wait_for_function(f"count => ({MOUNTED})() === count", arg=len(found))
    return sorted(f"{panel['node']} {panel['name']}" for panel in found)


def values(editor: "Editor") -> dict[str, dict[str, Any]]:
    """What Run would send, without links."""
    return {
        node: {name: value for name, value in it["inputs"].items() if not isinstance(value, list)}
        for node, it in editor.prompt().items()
    }


@pytest.fixture
def graph(workflow: dict[str, Any], dataset: Path) -> dict[str, Any]:
    """The shared workflow on `dataset`, with values that are nobody's defaults, all of it in view."""
    changed = copy.deepcopy(workflow)
    nodes = {node["id"]: node for node in changed["nodes"]}
    nodes[DATASET]["widgets_values"][0] = str(dataset)
    nodes[OBJECTIVE]["widgets_values"][1:8] = ["custom", 1.35, 0.25, 0.15, 0.65, 0.05, 0.4]
    nodes[OBJECTIVE]["widgets_values"][-1] = "tattoo: 0.85"
    nodes[TRAIN]["widgets_values"][2] = 0.0003
    changed["extra"] = {"ds": {"scale": 0.5, "offset": [20, 20]}}
    return changed


def sizes(editor: "Editor") -> dict[str, tuple[float, float]]:
    return {str(node["id"]): tuple(node["size"]) for node in editor.workflow()["nodes"]}


def grown(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]], workflow: dict[str, Any]
) -> list[str]:
    """Our nodes that changed their size by more than ComfyUI's own did; its Vue nodes of 1.32 all change."""
    ours = {str(node["id"]) for node in workflow["nodes"] if node["type"].startswith("SemanticFocus")}
    change = {
        node: max(abs(old - new) for old, new in zip(before[node], after[node], strict=True))
        for node in before
    }
    usual = max(change[node] for node in before.keys() - ours)
    return [node for node in before.keys() & ours if change[node] > usual + 1]


def test_undo_and_redo(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    editor.load(graph)
    there, kept, before = panels(editor), values(editor), sizes(editor)
    editor.page.evaluate(
        """id => {
            app.canvas.emitBeforeChange();
            app.graph.remove(app.graph.getNodeById(id));
            app.canvas.emitAfterChange();
        }""",
        SEGMENT,
    )
    editor.page.wait_for_function("id => !app.graph.getNodeById(id)", arg=SEGMENT)
    without = panels(editor)
    assert len(without) < len(there)
    editor.command("Comfy.Undo")
    editor.page.wait_for_function("id => app.graph.getNodeById(id)", arg=SEGMENT)
    assert panels(editor) == there
    assert values(editor) == kept
    assert grown(before, sizes(editor), graph) == []
    editor.command("Comfy.Redo")
    editor.page.wait_for_function("id => !app.graph.getNodeById(id)", arg=SEGMENT)
    assert panels(editor) == without
    assert editor.own_errors() == []


def test_copy_and_paste(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    editor.load(graph)
    there, kept = panels(editor), values(editor)
    editor.page.evaluate(
        """() => {
            app.canvas.selectItems(app.graph.nodes);
            app.canvas.copyToClipboard();
            app.canvas.pasteFromClipboard();
        }"""
    )
    assert panels(editor) == sorted(there * 2)
    assert sorted(map(str, values(editor).values())) == sorted([*map(str, kept.values())] * 2)
    assert editor.own_errors() == []


def test_into_a_subgraph_and_out_again(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    editor.load(graph)
    there, kept = panels(editor), values(editor)
    editor.page.evaluate(
        """ids => {
            const nodes = ids.map(id => app.graph.getNodeById(id));
            const {node} = app.graph.convertToSubgraph(new Set(nodes));
            window.holder = node.id;
        }""",
        [DATASET, SEGMENT, OBJECTIVE, TRAIN],
    )
    assert sorted(map(str, values(editor).values())) == sorted(map(str, kept.values()))
    editor.page.evaluate(OPEN_SUBGRAPH)
    editor.page.wait_for_function("() => app.canvas.graph !== app.graph || app.canvas.subgraph")
    assert panels(editor) == there
    editor.page.evaluate(
        """() => {
            const root = app.rootGraph ?? app.graph;
            app.canvas.setGraph(root);
            root.unpackSubgraph(root.getNodeById(holder));
        }"""
    )
    assert panels(editor) == there
    assert sorted(map(str, values(editor).values())) == sorted(map(str, kept.values()))
    assert editor.own_errors() == []


def test_the_renderer_is_switched_while_the_graph_is_open(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    editor.load(graph)
    there, kept = panels(editor), values(editor)
    switch = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
    for on in (not editor.vue, editor.vue):
        editor.page.evaluate(switch, on)
        drawn_by_vue = "on => (document.querySelectorAll('[data-node-id]').length > 0) === on"
        editor.page.wait_for_function(drawn_by_vue, arg=on)
        assert panels(editor) == there
        assert values(editor) == kept
    assert editor.own_errors() == []


def test_reload_and_a_saved_file(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    editor.load(graph)
    there, kept, before = panels(editor), values(editor), sizes(editor)
    saved = editor.workflow()
    editor.command("Comfy.NewBlankWorkflow")
    editor.page.wait_for_function("() => app.graph.nodes.length === 0")
    editor.load(saved)
    assert panels(editor) == there
    assert values(editor) == kept
    assert grown(before, sizes(editor), graph) == []
    stored = "text => [sessionStorage, localStorage].flatMap(Object.values).some(it => it.includes(text))"
    editor.page.wait_for_function(stored, arg="tattoo: 0.85")
    editor.page.reload()
    editor.page.wait_for_function("id => window.app?.graph?.getNodeById(id)", arg=OBJECTIVE)
    assert panels(editor) == there
    assert values(editor) == kept
    assert grown(before, sizes(editor), graph) == []
    assert editor.own_errors() == []


def test_twenty_of_each_at_once(anywhere: "Editor"):
    editor = anywhere
    editor.command("Comfy.NewBlankWorkflow")
    editor.page.evaluate(
        """types => {
            app.canvas.ds.scale = 0.15;
            app.canvas.ds.offset = [50, 50];
            types.forEach((type, row) => {
                for (let column = 0; column < 20; column++) {
                    const node = LiteGraph.createNode(type);
                    app.graph.add(node);
                    node.pos = [column * 500, row * 1100];
                }
            });
            app.canvas.setDirty(true, true);
        }""",
        ["SemanticFocusSegment", "SemanticFocusCosineLoss", "SemanticFocusTrain", "SemanticFocusLoadDataset"],
    )
    editor.page.wait_for_function("() => app.graph.nodes.length === 80")
    assert len(panels(editor)) >= 20
    before = sizes(editor)
    for _ in range(10):
        editor.settle()
    assert sizes(editor) == before
    assert editor.own_errors() == []
