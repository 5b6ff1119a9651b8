"""Masks that the dataset browser makes at a click: by which node, and what it says then."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from semantic_focus.datasets.mask_file import mask_path, read_masks

from .dataset_ui import CACHER, LOADER, SEGMENTER, graph, only, panel, set_widget, shows
from .editor import EACH_ONCE

if TYPE_CHECKING:
    from .editor import Editor


@EACH_ONCE
def test_masks_are_made_at_a_click(anywhere: "Editor", folder: Path):
    editor = anywhere
    editor.load(graph(folder))
    shows(editor, dict.fromkeys(("one.png", "two.png", "drei 好.JPG"), "missing"))
    summary = panel(editor).locator(".sf-dataset-summary")
    expect(summary).to_have_text("3 pictures · 3 without masks · 1 to look at")
    sizes = {node["id"]: node["size"] for node in editor.workflow()["nodes"]}

    panel(editor).get_by_role("button", name="Generate masks (3)").click()
    shows(editor, dict.fromkeys(("one.png", "two.png", "drei 好.JPG"), "ok"))
    expect(panel(editor).get_by_role("button", name="All masks made")).to_be_disabled()
    for name in ("one.png", "two.png", "drei 好.JPG"):
        masks = read_masks(mask_path(folder / name))
        assert masks.labels == ("face", "hair", "background")
        assert 0.01 < float(masks.region("face").mean()) < 0.3
    # the other node has the same folder and settings
    shows(editor, {"one.png": "ok", "drei 好.JPG": "ok"}, index=1)

    # the segmentation in the graph would make them alike: it has nothing left to do
    before = {name: mask_path(folder / name).stat().st_mtime_ns for name in ("one.png", "two.png")}
    set_widget(editor, LOADER, "default_caption", "a woman")
    editor.run()
    assert before == {name: mask_path(folder / name).stat().st_mtime_ns for name in before}
    assert {node["id"]: node["size"] for node in editor.workflow()["nodes"]} == sizes
    assert editor.errors == []


def test_without_a_segmentation_there_is_nothing_to_press(editor: "Editor", folder: Path):
    editor.load(only(graph(folder, connected=False), LOADER, SEGMENTER))
    shows(editor, {"one.png": "missing"})
    expect(panel(editor).get_by_role("button", name="Connect SAM Semantic Segment")).to_be_disabled()


def test_the_cache_node_makes_its_own_and_shows_its_report(editor: "Editor", folder: Path):
    editor.load(only(graph(folder, connected=False), CACHER))
    shows(editor, dict.fromkeys(("one.png", "two.png"), "missing"))
    panel(editor).get_by_role("button", name="Generate masks (3)").click()
    shows(editor, dict.fromkeys(("one.png", "two.png", "drei 好.JPG"), "ok"))
    expect(panel(editor)).to_contain_text("3 made (mediapipe)")
    told = editor.page.locator(".p-toast-message").filter(has_text="Cache Dataset Masks")
    expect(told).to_contain_text("3 made")
    panel(editor).get_by_role("button", name="Report").click()
    page = editor.page.frame_locator("dialog iframe")
    expect(page.get_by_role("heading")).to_contain_text(f"{folder.name}: 3 pictures")
    expect(editor.page.get_by_role("dialog")).to_contain_text("semantic_focus/masks_my pictures")
    assert editor.errors == []


def test_masks_are_made_inside_a_subgraph(editor: "Editor", folder: Path):
    editor.load(graph(folder))
    shows(editor, {"one.png": "missing"})
    editor.page.evaluate(
        """ids => {
            const nodes = new Set(ids.map(id => app.graph.getNodeById(id)));
            app.canvas.setGraph(app.graph.convertToSubgraph(nodes).subgraph);
        }""",
        [LOADER, SEGMENTER],
    )
    shows(editor, {"one.png": "missing"})
    panel(editor).get_by_role("button", name="Generate masks (3)").click()
    shows(editor, dict.fromkeys(("one.png", "two.png", "drei 好.JPG"), "ok"))
    assert editor.own_errors() == []


def test_masks_that_are_loaded_are_made_by_the_cache_node_of_the_folder(
    editor: "Editor", repo: Path, folder: Path, part_of: "Callable[..., dict[str, Any]]"
):
    workflow = json.loads((repo / "workflows" / "masks_only.json").read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        if node["type"] in ("SemanticFocusCacheDataset", "SemanticFocusLoadDataset"):
            node["widgets_values"][0] = str(folder)
    alone = part_of(workflow, 3, 4)
    editor.load(alone)
    shows(editor, {"one.png": "missing"})
    expect(panel(editor).get_by_role("button", name="Masks come from Load Mask Cache")).to_be_disabled()
    expect(panel(editor).locator(".sf-dataset-summary")).to_contain_text("1 to look at")
    editor.load(part_of(workflow, 1, 3, 4))
    shows(editor, {"one.png": "missing"}, index=1)
    # the other node's summary is its default caption
    expect(panel(editor, 1).locator(".sf-dataset-summary")).to_have_text("3 pictures · 3 without masks")
    panel(editor, 1).get_by_role("button", name="Generate masks (3)").click()
    for index in (0, 1):
        shows(editor, {"one.png": "ok", "two.png": "ok"}, index)
        expect(panel(editor, index)).to_contain_text("3 made (mediapipe)")
