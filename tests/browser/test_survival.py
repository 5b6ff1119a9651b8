"""The panels of all our nodes live through whatever an editor does to nodes, in every editor and renderer.

What a panel does is tested beside it; here it counts that each node has its one living panel, that it shows
what belongs to its node, that no value is lost, that nothing grows, and that the console stays silent.
"""

import copy
import re
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .editor import LIMIT, cells

if TYPE_CHECKING:
    from .editor import Editor

DATASET, SEGMENT, OBJECTIVE, TRAIN, REPORT = 2, 3, 8, 9, 11
OF_THE_OBJECTIVE = {
    "face": 1.35,
    "body": 0.25,
    "clothing": 0.15,
    "hair": 0.65,
    "background": 0.05,
    "lighting": 0.4,
    "more_weights.tattoo": 0.85,
    "global_fallback": 0.1,
}
"""Nobody's defaults, as the rows of the weights panel name them."""

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
IN_THE_DOCUMENT = "() => document.querySelectorAll('.sf-panel').length"
CONTENT = """() => {
    const all = (root, selector) => [...root.querySelectorAll(selector)];
    const pressed = button => button.getAttribute("aria-pressed") === "true";
    const read = {
        semantic_focus_weights: panel => ({
            rows: Object.fromEntries(all(panel, "[data-weight]").map(
                row => [row.dataset.weight, Number(row.querySelector("input.sf-number").value)])),
            preset: panel.querySelector("select").value,
            enabled: panel.querySelector("[role=switch]").ariaChecked,
        }),
        semantic_focus_overlay: panel => ({
            regions: all(panel, "[data-region]").filter(chip => chip.checkVisibility())
                .map(chip => [chip.dataset.region, pressed(chip)]),
            outline: all(panel, "button").filter(it => it.textContent === "outline").map(pressed),
        }),
        semantic_focus_dataset: panel =>
            all(panel, "[role=option]").map(tile => tile.ariaLabel.split(";")[0]),
        semantic_focus_training: panel => ({
            state: panel.dataset.state,
            log: all(panel, "button").filter(it => it.textContent === "log").map(pressed),
            smoothing: Number(panel.querySelector("input[type=range]").value),
        }),
    };
    return app.canvas.graph.nodes.flatMap(node => (node.widgets ?? [])
        .filter(widget => widget.name in read && widget.element)
        .map(widget => [widget.name, read[widget.name](widget.element)]));
}"""

HOLD_AS_SUBGRAPH = """ids => {
    const nodes = ids.map(id => app.graph.getNodeById(id));
    window.holders = [app.graph.convertToSubgraph(new Set(nodes)).node.id];
}"""
ENTER = """() => {
    let graph = app.rootGraph ?? app.graph;
    for (const id of window.holders) graph = graph.getNodeById(id).subgraph;
    app.canvas.setGraph(graph);
}"""
LEAVE = "() => app.canvas.setGraph(app.rootGraph ?? app.graph)"
RUN_SEGMENTATION = """() => {
    const ids = window.holders ?? [];
    const inside = app.canvas.graph.nodes.find(node => node.type === "SemanticFocusSegment").id;
    return app.queuePrompt(0, 1, [[...ids, inside].join(":")]);
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
    """The shared workflow on `dataset`, with values and views of nobody's default, all of it in view."""
    changed = copy.deepcopy(workflow)
    nodes = {node["id"]: node for node in changed["nodes"]}
    nodes[DATASET]["widgets_values"][0] = str(dataset)
    nodes[SEGMENT]["properties"].update(
        semantic_focus_hidden=["hair", "lighting"], semantic_focus_outline=True
    )
    *weights, own, fallback = OF_THE_OBJECTIVE.values()
    nodes[OBJECTIVE]["widgets_values"][1:9] = ["custom", *weights, fallback]
    nodes[OBJECTIVE]["widgets_values"][-1] = f"tattoo: {own}"
    nodes[TRAIN]["widgets_values"][2] = 0.0003
    nodes[TRAIN]["properties"]["semantic_focus_training"] = {"log": True, "smoothing": 0.35}
    changed["extra"] = {"ds": {"scale": 0.5, "offset": [20, 20]}}
    return changed


REGIONS = ("face", "body", "clothing", "hair", "background", "lighting")
LEGEND = {"regions": [[name, name not in ("hair", "lighting")] for name in REGIONS], "outline": [True]}
NOT_RUN = {"regions": [], "outline": []}


def content(overlay: dict[str, Any]) -> list[tuple[str, Any]]:
    """What the panels of `graph` show; the overlay's part depends on whether it ran."""
    return [
        ("semantic_focus_dataset", ["one.png", "two.png"]),
        ("semantic_focus_overlay", overlay),
        ("semantic_focus_training", {"state": "waiting", "log": [True], "smoothing": 0.35}),
        ("semantic_focus_weights", {"rows": OF_THE_OBJECTIVE, "preset": "custom", "enabled": "true"}),
    ]


def assert_content(editor: "Editor", *expected: tuple[str, Any]) -> None:
    """Wait until the panels show this, in any order, and fail with the difference if they do not."""

    def found() -> list[str]:
        return sorted(str((name, shown)) for name, shown in editor.page.evaluate(CONTENT))

    wanted = sorted(map(str, expected))
    deadline = time.monotonic() + LIMIT
    while found() != wanted and time.monotonic() < deadline:
        editor.settle()
    assert found() == wanted


def load_and_segment(editor: "Editor", graph: dict[str, Any]) -> None:
    editor.load(graph)
    editor.page.evaluate("() => { window.holders = []; }")
    editor.page.evaluate(RUN_SEGMENTATION)
    shown = "() => document.querySelector('.semantic-focus-overlay [data-region]')"
    editor.page.wait_for_function(shown)
    assert_content(editor, *content(LEGEND))


def sizes(editor: "Editor") -> dict[str, tuple[float, float]]:
    return {str(node["id"]): tuple(node["size"]) for node in editor.workflow()["nodes"]}


def grown(
    before: dict[str, tuple[float, float]], after: dict[str, tuple[float, float]], workflow: dict[str, Any]
) -> list[Any]:
    """Our nodes that grew by more than ComfyUI's own did: the Vue nodes of 1.32 all change."""
    ours = {str(node["id"]) for node in workflow["nodes"] if node["type"].startswith("SemanticFocus")}
    change = {
        node: max(new - old for old, new in zip(before[node], after[node], strict=True)) for node in before
    }
    usual = max(change[node] for node in before.keys() - ours)
    return [(node, before[node], after[node]) for node in before.keys() & ours if change[node] > usual + 1]


def test_undo_and_redo(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    load_and_segment(editor, graph)
    there, kept, before = panels(editor), values(editor), sizes(editor)
    editor.page.evaluate(
        """ids => {
            app.canvas.emitBeforeChange();
            for (const id of ids) app.graph.remove(app.graph.getNodeById(id));
            app.canvas.emitAfterChange();
        }""",
        [SEGMENT, OBJECTIVE],
    )
    editor.page.wait_for_function("id => !app.graph.getNodeById(id)", arg=SEGMENT)
    without = panels(editor)
    assert len(without) == len(there) - 2
    editor.command("Comfy.Undo")
    editor.page.wait_for_function("id => app.graph.getNodeById(id)", arg=SEGMENT)
    assert panels(editor) == there
    assert values(editor) == kept
    assert_content(editor, *content(LEGEND))
    assert grown(before, sizes(editor), graph) == []
    editor.command("Comfy.Redo")
    editor.page.wait_for_function("id => !app.graph.getNodeById(id)", arg=SEGMENT)
    assert panels(editor) == without
    assert_content(editor, *(it for it in content(LEGEND) if not re.search("overlay|weights", it[0])))
    assert editor.own_errors() == []


def test_copy_and_paste(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    load_and_segment(editor, graph)
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
    assert_content(editor, *content(LEGEND), *content(NOT_RUN))
    assert editor.own_errors() == []


def test_no_panel_is_left_over_from_undone_changes_and_copies(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    editor.load(graph)
    there = panels(editor)
    count = editor.page.evaluate(IN_THE_DOCUMENT)
    for title in "abcde":
        editor.page.evaluate(
            """([id, title]) => {
                app.canvas.emitBeforeChange();
                app.graph.getNodeById(id).title = title;
                app.canvas.emitAfterChange();
            }""",
            [OBJECTIVE, title],
        )
        editor.command("Comfy.Undo")
        editor.page.wait_for_function(
            "([id, title]) => app.graph.getNodeById(id)?.title !== title", arg=[OBJECTIVE, title]
        )
    assert panels(editor) == there
    editor.page.wait_for_function(f"count => ({IN_THE_DOCUMENT})() === count", arg=count)
    for _ in range(5):
        editor.page.evaluate(
            "() => { app.canvas.selectItems(app.graph.nodes); app.canvas.copyToClipboard(); }"
        )
        editor.settle()
    assert panels(editor) == there
    editor.page.wait_for_function(f"count => ({IN_THE_DOCUMENT})() === count", arg=count)
    assert_content(editor, *content(NOT_RUN))
    assert editor.own_errors() == []


@pytest.mark.parametrize("depth", [1, 2], ids=["once", "nested"])
def test_into_a_subgraph_and_out_again(anywhere: "Editor", graph: dict[str, Any], depth: int):
    editor = anywhere
    load_and_segment(editor, graph)
    there, kept = panels(editor), values(editor)
    editor.page.evaluate(HOLD_AS_SUBGRAPH, [DATASET, SEGMENT, OBJECTIVE, TRAIN, REPORT])
    if depth == 2:
        editor.page.evaluate(
            """() => {
                const inner = app.graph.getNodeById(window.holders[0]);
                const {node, subgraph} = app.graph.convertToSubgraph(new Set([inner]));
                window.holders = [node.id, subgraph.nodes[0].id];
            }"""
        )
    assert panels(editor) == []
    assert sorted(map(str, values(editor).values())) == sorted(map(str, kept.values()))
    editor.page.evaluate(ENTER)
    assert panels(editor) == there
    editor.page.evaluate(RUN_SEGMENTATION)
    assert_content(editor, *content(LEGEND))
    editor.page.evaluate(
        """() => {
            const root = app.rootGraph ?? app.graph;
            app.canvas.setGraph(root);
            while (true) {
                const holder = root.nodes.find(node => node.subgraph);
                if (!holder) break;
                root.unpackSubgraph(holder);
            }
            window.holders = [];
        }"""
    )
    assert panels(editor) == there
    assert sorted(map(str, values(editor).values())) == sorted(map(str, kept.values()))
    editor.page.evaluate(RUN_SEGMENTATION)
    assert_content(editor, *content(LEGEND))
    assert editor.own_errors() == []


def test_a_subgraph_that_is_there_twice(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    editor.load(graph)
    there = panels(editor)
    editor.page.evaluate(HOLD_AS_SUBGRAPH, [DATASET, SEGMENT, OBJECTIVE, TRAIN, REPORT])
    editor.page.evaluate(
        """() => {
            const {subgraph} = app.graph.getNodeById(window.holders[0]);
            const again = LiteGraph.createNode(subgraph.id);
            app.graph.add(again);
            again.pos = [100, 2500];
        }"""
    )
    twins = "() => app.graph.nodes.filter(node => node.subgraph).map(node => String(node.id))"
    first, second = editor.page.evaluate(twins)
    segment = next(key for key in editor.prompt() if re.fullmatch(rf"{first}:\d+", key))
    assert f"{second}:{segment.partition(':')[2]}" in editor.prompt()
    editor.page.evaluate(ENTER)
    assert panels(editor) == there
    editor.page.evaluate(RUN_SEGMENTATION)
    assert_content(editor, *content(LEGEND))
    editor.page.evaluate(LEAVE)
    assert panels(editor) == []
    editor.page.evaluate("id => { window.holders = [id]; }", second)
    editor.page.evaluate(ENTER)
    assert panels(editor) == there
    assert_content(editor, *content(LEGEND))
    assert editor.own_errors() == []


def test_the_renderer_is_switched_while_the_graph_is_open(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    load_and_segment(editor, graph)
    there, kept = panels(editor), values(editor)
    for on in (not editor.vue, editor.vue):
        editor.set("Comfy.VueNodes.Enabled", on)
        drawn_by_vue = "on => (document.querySelectorAll('[data-node-id]').length > 0) === on"
        editor.page.wait_for_function(drawn_by_vue, arg=on)
        assert panels(editor) == there
        assert values(editor) == kept
        assert_content(editor, *content(LEGEND))
    assert editor.own_errors() == []


def test_reload_and_a_saved_file(anywhere: "Editor", graph: dict[str, Any]):
    editor = anywhere
    load_and_segment(editor, graph)
    there, kept, before = panels(editor), values(editor), sizes(editor)
    saved = editor.workflow()
    editor.command("Comfy.NewBlankWorkflow")
    editor.page.wait_for_function("() => app.graph.nodes.length === 0")
    assert panels(editor) == []
    editor.load({**saved, "id": str(uuid.uuid4())})
    assert panels(editor) == there
    assert values(editor) == kept
    assert_content(editor, *content(NOT_RUN))
    assert grown(before, sizes(editor), graph) == []
    stored = """parts => [sessionStorage, localStorage].flatMap(Object.values)
        .some(it => parts.every(part => it.includes(part)))"""
    editor.page.wait_for_function(stored, arg=[editor.workflow()["id"], "tattoo: 0.85"])
    editor.reload()
    editor.page.wait_for_function("id => window.app?.graph?.getNodeById(id)", arg=OBJECTIVE)
    assert panels(editor) == there
    assert values(editor) == kept
    assert_content(editor, *content(NOT_RUN))
    assert grown(before, sizes(editor), graph) == []
    editor.page.evaluate(RUN_SEGMENTATION)
    assert_content(editor, *content(LEGEND))
    assert editor.own_errors() == []


ONE_PANEL_EACH = (
    "Segment",
    "CosineLoss",
    "Train",
    "LoadDataset",
    "CacheDataset",
    "Compare",
)


@cells("canvas-pinned", "vue-pinned", "vue-newer")
def test_twenty_of_each_at_once(anywhere: "Editor"):
    editor = anywhere
    editor.command("Comfy.NewBlankWorkflow")
    editor.page.evaluate(
        """types => {
            app.canvas.ds.scale = 0.15;
            app.canvas.ds.offset = [50, 50];
            types.forEach((type, row) => {
                for (let column = 0; column < 20; column++) {
                    const node = LiteGraph.createNode(`SemanticFocus${type}`);
                    app.graph.add(node);
                    node.pos = [column * 500, row * 1100];
                }
            });
            app.canvas.setDirty(true, true);
        }""",
        ONE_PANEL_EACH,
    )
    editor.page.wait_for_function("count => app.graph.nodes.length === count", arg=20 * len(ONE_PANEL_EACH))
    nodes = [panel.split()[0] for panel in panels(editor)]
    assert nodes == sorted(f"SemanticFocus{kind}" for kind in ONE_PANEL_EACH * 20)
    before = sizes(editor)
    for _ in range(10):
        editor.settle()
    assert sizes(editor) == before
    assert editor.own_errors() == []
