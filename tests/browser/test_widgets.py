"""The widgets of our nodes, in every editor and renderer that ComfyUI's users have."""

import base64
import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

from semantic_focus.categories import SEMANTIC_CATEGORIES

if TYPE_CHECKING:
    from conftest import Editor

EVERYWHERE = pytest.mark.parametrize(
    ("vue", "newer"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["canvas-pinned", "vue-pinned", "canvas-newer", "vue-newer"],
)
DATASET, SEGMENT, OBJECTIVE = 2, 3, 8
PREVIEW = 40
PLACES = {"face": (160, 110), "hair": (160, 40), "clothing": (60, 300), "background": (10, 10)}
"""A pixel (x, y) of each region in the first picture of `dataset`."""

OPACITY = 0.6


def only(workflow: dict[str, Any], *kept: int) -> dict[str, Any]:
    """The workflow with these nodes alone."""
    part = copy.deepcopy(workflow)
    part["groups"] = []
    part["nodes"] = [node for node in part["nodes"] if node["id"] in kept]
    part["links"] = [link for link in part["links"] if link[1] in kept and link[3] in kept]
    links = {link[0] for link in part["links"]}
    for node in part["nodes"]:
        for slot in node["inputs"]:
            slot["link"] = slot["link"] if slot["link"] in links else None
        for slot in node["outputs"]:
            slot["links"] = [link for link in slot["links"] or () if link in links]
    return part


@pytest.fixture
def segmentation(workflow: dict[str, Any], dataset: Path) -> dict[str, Any]:
    """The part of the shared workflow that segments `dataset`."""
    part = only(workflow, DATASET, SEGMENT)
    part["nodes"][0]["widgets_values"][0] = str(dataset)
    return part


@pytest.fixture
def objective(workflow: dict[str, Any]) -> dict[str, Any]:
    """The part of the shared workflow with the presets."""
    part = only(workflow, OBJECTIVE)
    part["nodes"][0]["pos"] = [400, 150]
    part["extra"] = {"ds": {"scale": 1, "offset": [0, 0]}}
    return part


def panel(editor: "Editor") -> Locator:
    """The one overlay panel that can be seen."""
    return editor.page.locator(".semantic-focus-overlay").locator("visible=true")


def painted(editor: "Editor") -> np.ndarray:
    """uint8[H, W, 3]: what the panel shows."""
    url = panel(editor).locator("canvas").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def picture(dataset: Path, name: str) -> np.ndarray:
    """uint8[H, W, 3]: a picture of the dataset."""
    return np.asarray(Image.open(dataset / name).convert("RGB"))


def expected_at(dataset: Path, region: str, share: float) -> np.ndarray:
    """Float[3]: the picture's colour at the region's place, moved towards the region's colour."""
    x, y = PLACES[region]
    below = picture(dataset, "one.png")[y, x].astype(float)
    return below + (np.array(SEMANTIC_CATEGORIES[region].colour) - below) * share


def at(pixels: np.ndarray, region: str) -> np.ndarray:
    x, y = PLACES[region]
    return pixels[y, x].astype(float)


def close(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.abs(a - b).max() <= 1)


def run_until_shown(editor: "Editor", text: str) -> None:
    editor.run()
    panel(editor).get_by_text(text).wait_for()


@EVERYWHERE
def test_regions_are_tinted_in_their_colours_and_can_be_switched_off(
    open_editor: "Callable[..., Editor]", segmentation: dict[str, Any], dataset: Path, vue: bool, newer: bool
):
    editor = open_editor({"Comfy.VueNodes.Enabled": vue}, newer=newer)
    editor.load(segmentation)
    assert panel(editor).get_by_text("Run the node").is_visible()
    sizes = {node["id"]: node["size"] for node in editor.workflow()["nodes"]}
    run_until_shown(editor, "1/2 · 1 person · mediapipe")

    pixels = painted(editor)
    for region in ("face", "hair", "clothing"):
        assert close(at(pixels, region), expected_at(dataset, region, OPACITY)), region
    assert close(at(pixels, "background"), expected_at(dataset, "background", OPACITY / 2))

    face = panel(editor).locator("[data-region=face]")
    face.click()
    assert face.get_attribute("aria-pressed") == "false"
    pixels = painted(editor)
    assert close(at(pixels, "face"), expected_at(dataset, "face", 0))
    assert close(at(pixels, "hair"), expected_at(dataset, "hair", OPACITY))
    face.click()
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", OPACITY))

    panel(editor).get_by_label("next picture").click()
    panel(editor).get_by_text("2/2 · 1 person").wait_for()
    assert painted(editor).shape == (480, 360, 3)
    assert {node["id"]: node["size"] for node in editor.workflow()["nodes"]} == sizes
    assert "semantic_focus_overlay" not in editor.prompt()[str(SEGMENT)]["inputs"]
    assert editor.errors == []


def test_every_pixel_has_the_colour_of_its_region_and_the_slider_sets_how_much_of_it(
    editor: "Editor", segmentation: dict[str, Any], dataset: Path, server: Any
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    panel(editor).locator("[data-region=lighting]").click()
    preview = editor.page.evaluate("id => app.nodeOutputs[id].semantic_focus[0]", SEGMENT)
    index_map = np.asarray(Image.open(io.BytesIO(server.view(preview["map"]))))
    names = [None, *(region["name"] for region in preview["regions"])]
    expected = picture(dataset, "one.png").astype(float)
    step = 255 // len(preview["regions"])
    for index in np.unique(index_map[..., 0]) // step:
        if names[index]:
            colour = np.array(SEMANTIC_CATEGORIES[names[index]].colour)
            share = OPACITY / 2 if names[index] == "background" else OPACITY
            inside = index_map[..., 0] == index * step
            expected[inside] += (colour - expected[inside]) * share
    strength = index_map[..., 1:2] / 255 * OPACITY
    expected += (np.array(SEMANTIC_CATEGORIES["lighting"].colour) - expected) * strength
    assert np.abs(painted(editor) - expected).max() <= 1

    panel(editor).locator("[data-region=lighting]").click()
    slider = panel(editor).get_by_label("opacity")
    slider.fill("0")
    assert (painted(editor) == picture(dataset, "one.png")).all()
    slider.fill("1")
    assert tuple(at(painted(editor), "face")) == SEMANTIC_CATEGORIES["face"].colour
    properties = {node["id"]: node["properties"] for node in editor.workflow()["nodes"]}
    assert properties[SEGMENT]["semantic_focus_opacity"] == 1


@EVERYWHERE
def test_the_overlay_is_there_again_after_undo_and_in_its_workflow_tab(
    open_editor: "Callable[..., Editor]", segmentation: dict[str, Any], dataset: Path, vue: bool, newer: bool
):
    editor = open_editor({"Comfy.VueNodes.Enabled": vue}, newer=newer)
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    panel(editor).locator("[data-region=face]").click()
    panel(editor).locator("[data-region=face][aria-pressed=false]").wait_for()
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", 0))

    editor.page.evaluate("() => app.extensionManager.command.execute('Comfy.Undo')")
    panel(editor).locator("[data-region=face][aria-pressed=true]").wait_for()
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", OPACITY))

    editor.page.evaluate("() => app.extensionManager.command.execute('Comfy.NewBlankWorkflow')")
    editor.page.wait_for_function("() => app.graph.nodes.length === 0")
    assert panel(editor).count() == 0
    editor.page.evaluate("() => app.extensionManager.command.execute('Workspace.PreviousOpenedWorkflow')")
    panel(editor).get_by_text("1/2").wait_for()
    assert close(at(painted(editor), "face"), expected_at(dataset, "face", OPACITY))
    panel(editor).locator("[data-region=hair]").click()
    assert close(at(painted(editor), "hair"), expected_at(dataset, "hair", 0))
    assert editor.errors == []


def test_after_a_reload_the_node_says_what_to_do_and_the_next_run_shows_the_regions(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    panel(editor).locator("[data-region=hair]").click()
    kept = "name => Object.entries(sessionStorage).some(([key, value]) => value.includes(name))"
    editor.page.wait_for_function(kept, arg='"semantic_focus_hidden":["lighting","hair"]')
    editor.page.reload()
    panel(editor).get_by_text("Run the node").wait_for()
    run_until_shown(editor, "1/2")
    assert panel(editor).locator("[data-region=hair]").get_attribute("aria-pressed") == "false"


def test_the_preview_node_shows_the_regions_with_its_own_opacity_and_says_that_nobody_is_there(
    editor: "Editor", segmentation: dict[str, Any], dataset: Path
):
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
    shown.get_by_text("no person found").nth(1).wait_for()
    assert shown.count() == 2
    assert shown.get_by_label("opacity").count() == 1
    own = shown.filter(has_not=editor.page.get_by_label("opacity of the regions"))
    colours = own.locator("canvas").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(5, 5, 1, 1).data]"
    )
    # the node's own opacity is 0.5, and background takes half of it
    assert close(
        np.array(colours[:3]), 0.75 * 128 + 0.25 * np.array(SEMANTIC_CATEGORIES["background"].colour)
    )
    assert own.locator("[data-region=face]").inner_text() == "face 0%"
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
    "pos": [900, 100],
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


def weights(editor: "Editor") -> dict[str, float]:
    """The weight per category that Run would send."""
    inputs = editor.prompt()[str(OBJECTIVE)]["inputs"]
    return {name: inputs[f"{name}_weight"] for name in SEMANTIC_CATEGORIES}


def click_on_canvas(editor: "Editor", widget: str, share: float) -> None:
    """Click on a widget of the objective that the canvas draws, at a share of the node's width."""
    where = editor.page.evaluate(
        """([id, name, share]) => {
            const node = app.graph.getNodeById(id);
            const {scale, offset} = app.canvas.ds;
            const canvas = app.canvas.canvas.getBoundingClientRect();
            const x = node.pos[0] + share * node.size[0];
            const y = node.pos[1] + node.widgets.find(widget => widget.name === name).y + 10;
            return [canvas.left + (x + offset[0]) * scale, canvas.top + (y + offset[1]) * scale];
        }""",
        [OBJECTIVE, widget, share],
    )
    editor.page.mouse.click(*where)
    editor.settle()


def choose_preset(editor: "Editor", name: str, *, vue: bool) -> None:
    if vue:
        editor.page.get_by_role("combobox", name="preset").click()
    else:
        click_on_canvas(editor, "preset", 0.5)
    choice = editor.page.get_by_role("option", name=name) if vue else editor.page.locator(".litemenu-entry")
    choice.get_by_text(name, exact=True).click()
    editor.settle()


@EVERYWHERE
def test_a_preset_moves_the_sliders_and_a_moved_slider_makes_it_custom(
    open_editor: "Callable[..., Editor]", objective: dict[str, Any], vue: bool, newer: bool
):
    # weights that are no preset's: loading must not replace them
    saved = [1.4, 0.3, 0.2, 0.6, 0.05, 0.0]
    objective["nodes"][0]["widgets_values"][1:8] = ["person", *saved]
    editor = open_editor({"Comfy.VueNodes.Enabled": vue}, newer=newer)
    editor.load(objective)
    assert editor.widget(OBJECTIVE, "preset") == "person"
    assert list(weights(editor).values()) == saved

    choose_preset(editor, "outfit", vue=vue)
    outfit = {"face": 0, "body": 0.5, "clothing": 1, "hair": 0, "background": 0, "lighting": 0}
    assert editor.prompt()[str(OBJECTIVE)]["inputs"]["preset"] == "outfit"
    assert weights(editor) == outfit
    if vue:
        slider = editor.page.get_by_role("spinbutton", name="face_weight")
        assert slider.input_value() == "0.00"
        slider.press("ControlOrMeta+a")
        slider.press_sequentially("1.5")
        slider.press("Enter")
        editor.settle()
        expect(editor.page.get_by_role("combobox", name="preset")).to_have_text("custom")
    else:
        click_on_canvas(editor, "face_weight", 0.5)
    assert editor.prompt()[str(OBJECTIVE)]["inputs"]["preset"] == "custom"
    moved = weights(editor)
    assert moved.pop("face") == (1.5 if vue else 1)
    assert moved == {name: weight for name, weight in outfit.items() if name != "face"}
    assert editor.errors == []
