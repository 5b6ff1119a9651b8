"""How the dataset browser reads the graph: folder and settings are followed wherever they come from."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from semantic_focus.datasets.mask_file import mask_path

from .dataset_ui import LOADER, SEGMENTER, graph, only, panel, set_widget, shows, widget
from .editor import EACH_ONCE, cells

if TYPE_CHECKING:
    from .editor import Editor

COUNT_PROMPTS = """() => {
    const made = app.graphToPrompt;
    window.promptsMade = 0;
    app.graphToPrompt = function (...rest) { window.promptsMade++; return made.apply(this, rest); };
}"""
LIVING = """async () =>
    (await import("/extensions/ComfyUI-SemanticFocus/dataset/panel.mjs")).panels.size"""


@EACH_ONCE
def test_the_folder_and_the_settings_are_followed(
    anywhere: "Editor", folder: Path, tmp_path: Path, make_masks: "Callable[[Editor, Path], None]"
):
    editor = anywhere
    make_masks(editor, folder)
    editor.load(graph(tmp_path / "nowhere"))
    expect(panel(editor)).to_contain_text("There is no such folder")
    set_widget(editor, LOADER, "folder", str(folder))
    shows(editor, {"one.png": "ok"})
    set_widget(editor, SEGMENTER, "refine", "fast")
    shows(editor, {"one.png": "stale", "two.png": "stale"})
    (tmp_path / "empty").mkdir()
    set_widget(editor, LOADER, "folder", str(tmp_path / "empty"))
    expect(panel(editor)).to_contain_text("No picture is in this folder")
    assert editor.errors == []


@cells("vue-newer")
def test_a_folder_that_was_typed_is_looked_at_though_the_next_field_has_the_focus(
    anywhere: "Editor", folder: Path
):
    editor = anywhere
    editor.load(graph("/nowhere/at all"))
    expect(panel(editor)).to_contain_text("There is no such folder")
    field = editor.page.locator(f"[data-node-id='{LOADER}']").get_by_role("textbox").first
    field.fill(str(folder))
    field.press("Tab")
    assert editor.page.evaluate("() => document.activeElement.matches('input, textarea')")
    shows(editor, {"one.png": "missing"})


def test_a_folder_from_another_node_is_read_from_it(editor: "Editor", folder: Path):
    part = only(graph("", connected=False), LOADER)
    text = {"id": 9, "type": "PrimitiveString", "pos": [40, 600], "size": [300, 60], "flags": {}, "order": 0}
    text |= {
        "mode": 0,
        "inputs": [widget("value", "STRING")],
        "properties": {},
        "widgets_values": [str(folder)],
    }
    part["nodes"].append({**text, "outputs": [{"name": "STRING", "type": "STRING", "links": [7]}]})
    part["nodes"][0]["inputs"][0]["link"] = 7
    part["links"] = [[7, 9, 0, LOADER, 0, "STRING"]]
    editor.load(part)
    shows(editor, {"one.png": "missing", "drei 好.JPG": "missing"})


def test_the_graph_is_read_without_making_a_prompt_of_it(editor: "Editor", folder: Path):
    """Making one lets nodes of other packs record, upload or complain."""
    editor.load(graph("/nowhere/at all"))
    expect(panel(editor)).to_contain_text("There is no such folder")
    editor.patch(COUNT_PROMPTS)
    set_widget(editor, LOADER, "folder", str(folder))
    set_widget(editor, SEGMENTER, "refine", "fast")
    shows(editor, {"one.png": "missing"})
    assert editor.page.evaluate("() => window.promptsMade") == 0


def test_settings_are_read_past_reroutes_bypassed_nodes_and_borders_of_subgraphs(
    editor: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    make_masks(editor, folder)
    mask_path(folder / "two.png").unlink()
    part = only(graph(folder, connected=False), LOADER, SEGMENTER)
    for number, kind in ((20, "Reroute"), (21, "Reroute")):
        slots = {"inputs": [{"name": "", "type": "*", "link": number}]}
        slots |= {"outputs": [{"name": "", "type": "STRING", "links": [number + 1]}]}
        place = {"pos": [400 + 20 * number, 700], "size": [75, 26], "flags": {}, "order": 0, "mode": 0}
        part["nodes"].append({"id": number, "type": kind, **place, **slots, "properties": {}})
    nodes = {node["id"]: node for node in part["nodes"]}
    nodes[LOADER]["outputs"][2]["links"] = [20]
    nodes[SEGMENTER]["inputs"][4]["link"] = 22
    part["links"] = [
        [20, LOADER, 2, 20, 0, "*"],
        [21, 20, 0, 21, 0, "*"],
        [22, 21, 0, SEGMENTER, 4, "STRING"],
    ]
    editor.load(part)
    shows(editor, {"one.png": "ok", "two.png": "missing"})
    wrap = """id => {
        const node = app.graph.getNodeById(id);
        return app.graph.convertToSubgraph(new Set([node])).node.id;
    }"""
    outer = editor.page.evaluate(wrap, SEGMENTER)
    editor.page.evaluate(
        """id => {
            const {subgraph} = app.graph.getNodeById(id);
            const [segmenter] = subgraph.nodes;
            segmenter.widgets.find(({name}) => name === "refine").value = "fast";
        }""",
        outer,
    )
    panel(editor).get_by_role("button", name="look at the folder again").click()
    shows(editor, {"one.png": "stale", "two.png": "missing"})
    editor.page.evaluate("id => { app.graph.getNodeById(id).mode = 4; }", outer)
    panel(editor).get_by_role("button", name="look at the folder again").click()
    expect(panel(editor).get_by_role("button", name="Connect SAM Semantic Segment")).to_be_disabled()


@EACH_ONCE
def test_copies_and_undo_leave_no_panel_behind(anywhere: "Editor", folder: Path):
    editor = anywhere
    editor.load(graph(folder))
    editor.page.evaluate(
        """id => {
            app.canvas.emitBeforeChange();
            app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
            app.canvas.emitAfterChange();
        }""",
        LOADER,
    )
    shows(editor, {"one.png": "missing"})
    assert editor.page.evaluate(LIVING) == 2
    for _ in range(5):
        editor.page.evaluate("() => app.canvas.selectItems(app.graph.nodes)")
        editor.page.evaluate("() => app.canvas.copyToClipboard()")
    editor.settle()
    assert editor.page.evaluate(LIVING) == 2
    editor.page.evaluate("() => app.canvas.deselectAll()")
    for _ in range(5):
        panel(editor).get_by_label("which pictures to show").select_option("missing")
        editor.command("Comfy.Undo")
        expect(panel(editor).get_by_label("which pictures to show")).to_have_value("all")
    assert editor.page.evaluate(LIVING) == 2
    editor.load(graph(folder))
    shows(editor, {"one.png": "missing"})
    assert editor.page.evaluate(LIVING) == 2
