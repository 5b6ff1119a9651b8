"""The coloured regions over the picture, in every editor and renderer that ComfyUI's users have."""

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import expect

from semantic_focus.categories import SEMANTIC_CATEGORIES

from .dataset_ui import KEYWORDS
from .editor import EACH_ONCE
from .overlay_ui import (
    DATASET,
    NOTICE,
    OPACITY,
    PLACES,
    SEGMENT,
    TIP,
    at,
    chip,
    close,
    colour,
    dialog,
    expected_at,
    painted,
    panel,
    run_until_shown,
    shown_regions,
    spot,
)

if TYPE_CHECKING:
    from .editor import Editor

PREVIEW = 40


def test_regions_are_tinted_in_their_colours_and_can_be_switched_off(
    anywhere: "Editor", segmentation: dict[str, Any], dataset: Path
):
    editor = anywhere
    editor.load(segmentation)
    assert panel(editor).get_by_text("Run the node").is_visible()
    sizes = {node["id"]: node["size"] for node in editor.workflow()["nodes"]}
    run_until_shown(editor, "1/2 · 1 person · mediapipe")

    pixels = painted(editor)
    for region in ("face", "hair", "clothing"):
        assert close(at(pixels, region), expected_at(dataset, region, OPACITY)), region
    assert close(at(pixels, "background"), expected_at(dataset, "background", OPACITY / 2))

    chip(panel(editor), "face").click()
    expect(chip(panel(editor), "face")).to_have_attribute("aria-pressed", "false")
    pixels = painted(editor)
    assert close(at(pixels, "face"), expected_at(dataset, "face", 0))
    assert close(at(pixels, "hair"), expected_at(dataset, "hair", OPACITY))
    chip(panel(editor), "face").click()
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", OPACITY))

    panel(editor).get_by_label("next picture").click()
    panel(editor).get_by_text("2/2 · 1 person").wait_for()
    assert painted(editor).shape == (480, 360, 3)
    assert {node["id"]: node["size"] for node in editor.workflow()["nodes"]} == sizes
    assert "semantic_focus_overlay" not in editor.prompt()[str(SEGMENT)]["inputs"]
    assert editor.violations(".semantic-focus-overlay") == []
    assert editor.errors == []


def test_the_pointer_names_the_region_and_a_click_switches_it(
    anywhere: "Editor", segmentation: dict[str, Any], dataset: Path
):
    editor = anywhere
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    places = [node["pos"] for node in editor.workflow()["nodes"]]
    canvas = panel(editor).locator("canvas")
    mouse = editor.page.mouse
    mouse.move(*spot(canvas, *PLACES["hair"]))
    expect(panel(editor).locator(TIP)).to_have_text("hair")
    expect(chip(panel(editor), "hair")).to_have_class("sf-button sf-overlay-chip sf-overlay-pointed")
    mouse.move(*spot(canvas, *PLACES["clothing"]))
    expect(panel(editor).locator(TIP)).to_have_text("clothing")
    mouse.click(*spot(canvas, *PLACES["clothing"]))
    expect(chip(panel(editor), "clothing")).to_have_attribute("aria-pressed", "false")
    expect(panel(editor).locator(TIP)).to_have_text("clothing (hidden)")
    mouse.move(*spot(canvas, *PLACES["background"]))
    assert close(at(painted(editor), "clothing"), expected_at(dataset, "clothing", 0))
    mouse.click(*spot(canvas, *PLACES["clothing"]))
    expect(chip(panel(editor), "clothing")).to_have_attribute("aria-pressed", "true")
    assert [node["pos"] for node in editor.workflow()["nodes"]] == places
    assert editor.errors == []


@EACH_ONCE
def test_it_opens_large_with_the_keyboard_and_the_editor_stays_as_it_is(
    anywhere: "Editor", segmentation: dict[str, Any]
):
    editor = anywhere
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    panel(editor).get_by_label("enlarge").click()
    dialog(editor).get_by_text("1/2 · 1 person").wait_for()
    small, large = (place.locator("canvas").bounding_box() for place in (panel(editor), dialog(editor)))
    assert small and large and large["height"] > 1.5 * small["height"]
    assert editor.violations(".sf-dialog") == []
    press = editor.page.keyboard.press
    press("ArrowRight")
    dialog(editor).get_by_text("2/2").wait_for()
    press("Home")
    dialog(editor).get_by_text("1/2").wait_for()
    chip(dialog(editor), "hair").click()
    expect(chip(panel(editor), "hair")).to_have_attribute("aria-pressed", "false")
    editor.page.evaluate("id => app.canvas.selectItems([app.graph.getNodeById(id)])", SEGMENT)
    press("Delete")
    press("Escape")
    expect(dialog(editor)).to_have_count(0)
    assert {node["id"] for node in editor.workflow()["nodes"]} == {DATASET, SEGMENT}
    assert editor.errors == []


def test_the_overlay_is_there_again_after_undo_and_in_its_workflow_tab(
    anywhere: "Editor", segmentation: dict[str, Any], dataset: Path
):
    editor = anywhere
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    chip(panel(editor), "face").click()
    expect(chip(panel(editor), "face")).to_have_attribute("aria-pressed", "false")
    editor.page.mouse.move(0, 0)
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", 0))

    editor.command("Comfy.Undo")
    panel(editor).locator("[data-region=face][aria-pressed=true]").wait_for()
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", OPACITY))

    editor.command("Comfy.NewBlankWorkflow")
    editor.page.wait_for_function("() => app.graph.nodes.length === 0")
    assert panel(editor).count() == 0
    editor.command("Workspace.PreviousOpenedWorkflow")
    panel(editor).get_by_text("1/2").wait_for()
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", OPACITY))
    chip(panel(editor), "hair").click()
    assert close(at(painted(editor), "hair"), expected_at(dataset, "hair", 0))
    assert editor.errors == []


def test_a_toggle_and_a_dragged_opacity_are_each_one_step_of_undo(
    anywhere: "Editor", segmentation: dict[str, Any], dataset: Path
):
    editor = anywhere
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    place = node_places(editor)
    chip(panel(editor), "face").click()
    expect(chip(panel(editor), "face")).to_have_attribute("aria-pressed", "false")
    slider = panel(editor).get_by_label("opacity")
    box = slider.bounding_box()
    assert box
    height = box["y"] + box["height"] / 2
    mouse = editor.page.mouse
    mouse.move(box["x"] + OPACITY * box["width"], height)
    mouse.down()
    mouse.move(box["x"] + 0.3 * box["width"], height, steps=6)
    share = float(slider.input_value())
    assert 0.2 < share < 0.4
    editor.settle()
    assert close(at(painted(editor), "hair"), expected_at(dataset, "hair", share))
    mouse.up()
    mouse.move(0, 0)
    assert node_places(editor) == place

    editor.command("Comfy.Undo")
    expect(panel(editor).get_by_label("opacity")).to_have_value(str(OPACITY))
    expect(chip(panel(editor), "face")).to_have_attribute("aria-pressed", "false")
    assert close(at(painted(editor), "hair"), expected_at(dataset, "hair", OPACITY))
    editor.command("Comfy.Undo")
    expect(chip(panel(editor), "face")).to_have_attribute("aria-pressed", "true")
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", OPACITY))
    editor.command("Comfy.Redo")
    expect(chip(panel(editor), "face")).to_have_attribute("aria-pressed", "false")
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", 0))
    editor.command("Comfy.Redo")
    expect(panel(editor).get_by_label("opacity")).to_have_value(str(share))
    assert close(at(painted(editor), "hair"), expected_at(dataset, "hair", share))
    assert editor.errors == []


def node_places(editor: "Editor") -> list[Any]:
    return [node["pos"] for node in editor.workflow()["nodes"]]


@EACH_ONCE
def test_a_run_that_ends_in_another_tab_shows_nothing_there_and_its_regions_in_its_own(
    anywhere: "Editor",
    segmentation: dict[str, Any],
    segment_folder: Callable[[Path], dict[str, Any]],
    make_dataset: Callable[[Path], Path],
    many: Path,
    tmp_path: Path,
):
    editor = anywhere
    editor.load(segment_folder(make_dataset(tmp_path / "new")))
    panel(editor).get_by_text("Run the node").wait_for()
    inputs = {"folder": str(many), "backend": "auto", "refine": "off", "keywords": KEYWORDS, "report": False}
    editor.server.queue({"1": {"class_type": "SemanticFocusCacheDataset", "inputs": inputs}})
    was_running = editor.page.evaluate(RUN_AND_SHOW_ANOTHER, {**segmentation, "id": str(uuid.uuid4())})
    assert was_running  # it waits for the one before it
    editor.server.interrupt()
    editor.page.wait_for_function("() => window.ended")
    editor.settle()
    expect(panel(editor)).to_have_count(1)
    assert panel(editor).get_by_text("Run the node").is_visible()
    assert shown_regions(panel(editor)) == set()

    editor.command("Workspace.PreviousOpenedWorkflow")
    panel(editor).get_by_text("1/2 · 1 person").wait_for()
    assert shown_regions(panel(editor)) == set(SEMANTIC_CATEGORIES) - {"lighting"}
    assert editor.errors == []


RUN_AND_SHOW_ANOTHER = """async other => {
    window.ended = false;
    const end = () => { window.ended = true; };
    window.comfyAPI.api.api.addEventListener("execution_success", end, {once: true});
    await app.queuePrompt(0, 1);
    await app.loadGraphData(other);
    return !window.ended;
}"""


@EACH_ONCE
def test_in_a_subgraph_it_runs_by_itself_and_says_why_a_run_failed(
    anywhere: "Editor", segmentation: dict[str, Any]
):
    editor = anywhere
    editor.load(segmentation)
    editor.page.evaluate(
        """() => {
            const {subgraph} = app.canvas.graph.convertToSubgraph(new Set(app.graph.nodes));
            app.canvas.setGraph(subgraph);
        }"""
    )
    inside = "() => app.canvas.graph.nodes.find(node => node.type === 'SemanticFocusSegment')"
    editor.page.wait_for_function(inside)
    panel(editor).get_by_role("button", name="Run up to here").click()
    panel(editor).get_by_text("1/2 · 1 person").wait_for()
    editor.page.evaluate(
        """() => {
            const node = app.canvas.graph.nodes.find(node => node.type === "SemanticFocusSegment");
            node.widgets.find(widget => widget.name === "backend").value = "sam3";
            app.queuePrompt(0, 1);
        }"""
    )
    failure = panel(editor).locator(NOTICE)
    expect(failure).to_contain_text("The last run failed")
    expect(failure).to_contain_text("sam3")
    panel(editor).get_by_text("1/2 · 1 person").wait_for()
    editor.page.evaluate(
        """() => {
            const node = app.canvas.graph.nodes.find(node => node.type === "SemanticFocusSegment");
            node.widgets.find(widget => widget.name === "backend").value = "auto";
            app.queuePrompt(0, 1);
        }"""
    )
    expect(failure.filter(has_text="failed")).to_have_count(0)


@EACH_ONCE
def test_the_preview_node_shows_the_regions_with_its_own_opacity_and_says_that_nobody_is_there(
    anywhere: "Editor", segmentation: dict[str, Any]
):
    editor = anywhere
    segment = next(node for node in segmentation["nodes"] if node["id"] == SEGMENT)
    segment["inputs"] = [slot for slot in segment["inputs"] if slot["name"] != "mask_file"]
    segment["outputs"][0]["links"] = [52]
    segmentation["nodes"] = [EMPTY_PICTURE, segment, PREVIEW_NODE]
    segmentation["links"] = [
        [51, 41, 0, SEGMENT, 0, "IMAGE"],
        [52, SEGMENT, 0, PREVIEW, 1, "SEMANTIC_MASKS"],
        [53, 41, 0, PREVIEW, 0, "IMAGE"],
    ]
    segment["inputs"][0]["link"] = 51
    editor.load(segmentation)
    editor.run()
    shown = editor.page.locator(".semantic-focus-overlay")
    expect(shown.locator(NOTICE).get_by_text("No person found in this picture.")).to_have_count(2)
    assert shown.get_by_label("opacity").count() == 1
    own = shown.filter(has_not=editor.page.get_by_label("opacity"))
    colours = own.locator("canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(5, 5, 1, 1).data]"
    )
    # the node's own opacity is 0.5, and background takes half of it
    assert close(np.array(colours[:3]), 0.75 * 128 + 0.25 * colour("background"))
    assert chip(own, "face").inner_text() == "face not found"
    assert editor.errors == []


EMPTY_PICTURE = {
    "id": 41,
    "type": "EmptyImage",
    "pos": [0, 100],
    "size": [270, 130],
    "flags": {},
    "order": 0,
    "mode": 0,
    "inputs": [],
    "outputs": [{"name": "IMAGE", "type": "IMAGE", "links": [51, 53]}],
    "properties": {},
    "widgets_values": [200, 150, 1, 0x808080],
}


PREVIEW_NODE = {
    "id": PREVIEW,
    "type": "SemanticFocusPreview",
    "pos": [950, 100],
    "size": [440, 600],
    "flags": {},
    "order": 2,
    "mode": 0,
    "inputs": [
        {"name": "images", "type": "IMAGE", "link": 53},
        {"name": "masks", "type": "SEMANTIC_MASKS", "link": 52},
    ],
    "outputs": [{"name": "overlay", "type": "IMAGE", "links": None}],
    "properties": {},
    "widgets_values": [0.5],
}
