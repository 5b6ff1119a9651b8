"""The coloured regions over the picture, in every editor and renderer that ComfyUI's users have."""

import base64
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

    from host.serve import ComfyServer

DATASET, SEGMENT = 2, 3
PREVIEW = 40
PLACES = {"face": (160, 110), "hair": (160, 40), "clothing": (60, 300), "background": (10, 10)}
"""A pixel (x, y) of each region in the first picture of `dataset`."""

OPACITY = 0.6
TIP = ".sf-overlay-tip:not(.sf-hidden)"
NOTICE = ".sf-overlay-notice:not(.sf-hidden)"

NOISE = """() => {
    const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
    OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...box) {
        const pixels = read.apply(this, box);
        pixels.data.forEach((value, at) => { if (at % 4 < 3) pixels.data[at] = value + at % 3 - 1; });
        return pixels;
    };
}"""
"""What browsers do to the pixels that a page reads when they hide who uses them: one level more or less."""


@pytest.fixture
def segment_folder(
    workflow: dict[str, Any], part_of: Callable[..., dict[str, Any]]
) -> Callable[[Path], dict[str, Any]]:
    """The part of the shared workflow that segments, for a folder."""

    def part(folder: Path) -> dict[str, Any]:
        nodes = part_of(workflow, DATASET, SEGMENT)
        nodes["extra"] = {"ds": {"scale": 1, "offset": [0, 0]}}
        loader, segment = (next(n for n in nodes["nodes"] if n["id"] == i) for i in (DATASET, SEGMENT))
        loader["widgets_values"] = [str(folder), "somebody"]
        loader["pos"] = [80, 120]
        segment.update(pos=[460, 120], size=[440, 700])
        return nodes

    return part


@pytest.fixture
def segmentation(segment_folder: Callable[[Path], dict[str, Any]], dataset: Path) -> dict[str, Any]:
    return segment_folder(dataset)


@pytest.fixture
def two_men(
    segment_folder: Callable[[Path], dict[str, Any]], photographs: Path, tmp_path: Path
) -> dict[str, Any]:
    """Two men side by side, to be segmented."""
    with Image.open(photographs / "zidane.jpg") as picture:
        picture.resize((640, 360)).save(tmp_path / "two_men.png")
    return segment_folder(tmp_path)


def panel(editor: "Editor") -> Locator:
    """The one overlay panel that can be seen."""
    return editor.page.locator(".semantic-focus-overlay").locator("visible=true")


def dialog(editor: "Editor") -> Locator:
    return editor.page.get_by_role("dialog", name="SAM Semantic Segment")


def chip(where: Locator, region: str) -> Locator:
    return where.locator(f"[data-region={region}]")


def shown_regions(where: Locator) -> set[str]:
    chips = where.locator("[data-region][aria-pressed=true]")
    return set(chips.evaluate_all("chips => chips.map(chip => chip.dataset.region)"))


def painted(editor: "Editor") -> np.ndarray:
    """uint8[H, W, 3]: what the panel shows."""
    url = panel(editor).locator("canvas").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def picture(dataset: Path, name: str = "one.png") -> np.ndarray:
    """uint8[H, W, 3]: a picture of the dataset."""
    return np.asarray(Image.open(dataset / name).convert("RGB"))


def colour(region: str) -> np.ndarray:
    return np.array(SEMANTIC_CATEGORIES[region].colour, float)


def expected_at(dataset: Path, region: str, share: float) -> np.ndarray:
    """Float[3]: the picture's colour at the region's place, moved towards the region's colour."""
    x, y = PLACES[region]
    below = picture(dataset)[y, x].astype(float)
    return below + (colour(region) - below) * share


def at(pixels: np.ndarray, region: str) -> np.ndarray:
    x, y = PLACES[region]
    return pixels[y, x].astype(float)


def close(a: np.ndarray, b: np.ndarray, levels: int = 1) -> bool:
    return bool(np.abs(a - b).max() <= levels)


def spot(canvas: Locator, x: float, y: float) -> tuple[float, float]:
    """Where on the page a picture's pixel is."""
    box = canvas.bounding_box()
    assert box
    width, height = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    return box["x"] + (x + 0.5) / width * box["width"], box["y"] + (y + 0.5) / height * box["height"]


def run_until_shown(editor: "Editor", text: str) -> None:
    editor.run()
    panel(editor).get_by_text(text).first.wait_for()


def index_map(editor: "Editor", server: "ComfyServer", page: int = 0) -> tuple[np.ndarray, dict[str, Any]]:
    """Int[H, W]: the number of each pixel's region, 1 the first, 0 none; and what the node reported."""
    preview = editor.page.evaluate(
        "([id, page]) => app.nodeOutputs[id].semantic_focus[page]", [SEGMENT, page]
    )
    pixels = np.asarray(Image.open(io.BytesIO(server.view(preview["map"]))))
    return pixels[..., 0] // (255 // len(preview["regions"])), {**preview, "pixels": pixels}


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
    panel(editor).get_by_text("1/2 · 1 person").wait_for(timeout=60_000)
    editor.page.evaluate(
        """() => {
            const node = app.canvas.graph.nodes.find(node => node.type === "SemanticFocusSegment");
            node.widgets.find(widget => widget.name === "backend").value = "sam3";
            app.queuePrompt(0, 1);
        }"""
    )
    failure = panel(editor).locator(NOTICE)
    expect(failure).to_contain_text("The last run failed", timeout=60_000)
    expect(failure).to_contain_text("sam3")
    panel(editor).get_by_text("1/2 · 1 person").wait_for()
    editor.page.evaluate(
        """() => {
            const node = app.canvas.graph.nodes.find(node => node.type === "SemanticFocusSegment");
            node.widgets.find(widget => widget.name === "backend").value = "auto";
            app.queuePrompt(0, 1);
        }"""
    )
    expect(failure).to_have_count(0, timeout=60_000)


def test_every_pixel_has_the_colour_of_its_region_and_the_slider_sets_how_much_of_it(
    editor: "Editor", segmentation: dict[str, Any], dataset: Path, server: "ComfyServer"
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    chip(panel(editor), "lighting").click()
    editor.page.mouse.move(0, 0)
    indices, preview = index_map(editor, server)
    expected = picture(dataset).astype(float)
    for index, region in enumerate(preview["regions"], 1):
        inside = indices == index
        share = OPACITY / 2 if region["name"] == "background" else OPACITY
        expected[inside] += (colour(region["name"]) - expected[inside]) * share
    strength = preview["pixels"][..., 1:2] / 255 * OPACITY
    expected += (colour("lighting") - expected) * strength
    assert np.abs(painted(editor) - expected).max() <= 1

    chip(panel(editor), "lighting").click()
    slider = panel(editor).get_by_label("opacity")
    editor.page.mouse.move(0, 0)
    slider.fill("0")
    assert (painted(editor) == picture(dataset)).all()
    slider.fill("1")
    assert tuple(at(painted(editor), "face")) == SEMANTIC_CATEGORIES["face"].colour
    properties = {node["id"]: node["properties"] for node in editor.workflow()["nodes"]}
    assert properties[SEGMENT]["semantic_focus_opacity"] == 1


def test_the_outline_is_the_border_of_each_region_and_nothing_else(
    editor: "Editor", segmentation: dict[str, Any], dataset: Path, server: "ComfyServer"
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    chip(panel(editor), "background").click()
    panel(editor).get_by_role("button", name="outline").click()
    editor.page.mouse.move(0, 0)
    indices, preview = index_map(editor, server)
    names = [region["name"] for region in preview["regions"]]
    drawn, below = painted(editor), picture(dataset)
    # the picture is drawn larger than it is, so a line is one pixel wide
    border = np.zeros(indices.shape, bool)
    for axis in (0, 1):
        differs = np.diff(indices, axis=axis) != 0
        nothing = ((0, 1), (0, 0)) if axis == 0 else ((0, 0), (0, 1))
        border |= np.pad(differs, nothing) | np.pad(differs, [side[::-1] for side in nothing])
    for index, name in enumerate(names, 1):
        inside = indices == index
        hidden = name in ("background", "lighting")
        line = colour(name) if not hidden else below[inside & border]
        assert (drawn[inside & border] == line).all(), name
        assert (drawn[inside & ~border] == below[inside & ~border]).all(), name
    assert panel(editor).get_by_label("opacity").is_disabled()


def test_several_persons_are_numbered_from_the_left_with_a_line_around_each(
    editor: "Editor", two_men: dict[str, Any], server: "ComfyServer"
):
    editor.load(two_men)
    run_until_shown(editor, "2 persons")
    marks = panel(editor).locator(".sf-overlay-person")
    assert marks.all_inner_texts() == ["1", "2"]
    _, preview = index_map(editor, server)
    numbers = preview["pixels"][..., 2] // (255 // 2)
    canvas = panel(editor).locator("canvas")
    box = canvas.bounding_box()
    assert box
    for number, mark in enumerate(marks.all(), 1):
        place = mark.bounding_box()
        assert place
        x = (place["x"] + place["width"] / 2 - box["x"]) / box["width"]
        y = (place["y"] + place["height"] / 2 - box["y"]) / box["height"]
        rows, columns = np.nonzero(numbers == number)
        assert numbers[int(y * 360), int(x * 640)] == number
        assert abs(x * 640 - columns.mean()) < 32 and abs(y * 360 - rows.mean()) < 32

    # the face of the man on the right
    indices, preview = index_map(editor, server)
    face = [region["name"] for region in preview["regions"]].index("face") + 1
    rows, columns = np.nonzero((indices == face) & (numbers == 2))
    editor.page.mouse.move(*spot(canvas, np.median(columns), np.median(rows)))
    expect(panel(editor).locator(TIP)).to_have_text("face · person 2")
    editor.page.mouse.move(0, 0)

    # a person's own pixels beside pixels of nobody are white
    edge = (numbers[:, 1:] > 0) & (numbers[:, :-1] == 0)
    assert (painted(editor)[:, 1:][edge] == 255).all()
    panel(editor).get_by_role("button", name="persons").click()
    assert marks.first.is_hidden()
    assert (painted(editor)[:, 1:][edge] == 255).mean() < 0.1


def test_alt_click_shows_one_region_only_and_all_and_none_do_what_they_say(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    where = panel(editor)
    assert shown_regions(where) == set(SEMANTIC_CATEGORIES) - {"lighting"}
    chip(where, "hair").click(modifiers=["Alt"])
    assert shown_regions(where) == {"hair"}
    chip(where, "hair").click(modifiers=["Shift"])
    assert shown_regions(where) == set(SEMANTIC_CATEGORIES)
    where.get_by_role("button", name="none", exact=True).click()
    assert shown_regions(where) == set()
    canvas = where.locator("canvas")
    editor.page.keyboard.down("Alt")
    editor.page.mouse.click(*spot(canvas, *PLACES["face"]))
    editor.page.keyboard.up("Alt")
    assert shown_regions(where) == {"face"}
    where.get_by_role("button", name="all", exact=True).click()
    assert shown_regions(where) == set(SEMANTIC_CATEGORIES)


def test_everything_can_be_done_with_the_keyboard(editor: "Editor", segmentation: dict[str, Any]):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    press = editor.page.keyboard.press
    panel(editor).get_by_role("group", name="arrow keys").focus()
    for key, place in (("ArrowRight", "2/2"), ("ArrowRight", "1/2"), ("End", "2/2"), ("Home", "1/2")):
        press(key)
        panel(editor).get_by_text(place).wait_for()
    press("Tab")
    expect(panel(editor).get_by_label("enlarge")).to_be_focused()
    press("Tab")
    expect(chip(panel(editor), "face")).to_be_focused()
    expect(chip(panel(editor), "face")).to_have_class("sf-button sf-overlay-chip sf-overlay-pointed")
    press("Space")
    expect(chip(panel(editor), "face")).to_have_attribute("aria-pressed", "false")
    expect(chip(panel(editor), "face")).to_be_focused()
    ring = chip(panel(editor), "face").evaluate("chip => getComputedStyle(chip).outlineStyle")
    assert ring == "solid"
    assert {node["id"] for node in editor.workflow()["nodes"]} == {DATASET, SEGMENT}


def test_the_legend_says_how_much_how_sure_and_what_is_missing(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    editor.page.evaluate(
        """id => {
            const [preview] = structuredClone(app.nodeOutputs[id].semantic_focus);
            const put = (name, values) => {
                Object.assign(preview.regions.find(region => region.name === name), values);
            };
            put("face", {coverage: 0.0734, score: 0.914, certainty: 0.987});
            put("hair", {coverage: 0, score: 0, certainty: null});
            put("clothing", {coverage: 0.3366, score: null, certainty: 0.9});
            Object.assign(preview, {backend: "sam3", seconds: 2.345, cache: "0/1"});
            const output = {semantic_focus: [preview]};
            window.comfyAPI.api.api.dispatchCustomEvent("executed", {node: String(id), output});
        }""",
        SEGMENT,
    )
    panel(editor).get_by_text("1 person · sam3 · 2.3 s · 320×320").wait_for()
    assert chip(panel(editor), "face").inner_text() == "face 7.3% · 0.91"
    assert chip(panel(editor), "hair").inner_text() == "hair not found"
    assert chip(panel(editor), "clothing").inner_text() == "clothing 34%"
    tip = chip(panel(editor), "face").get_attribute("title") or ""
    assert "detection score 0.91" in tip and "mean mask value inside the region 0.99" in tip
    assert panel(editor).get_by_label("next picture").is_hidden()


def test_colours_opacity_and_language_follow_the_settings(
    editor: "Editor", segmentation: dict[str, Any], dataset: Path
):
    change = "([id, value]) => app.extensionManager.setting.set(id, value)"
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    x, y = PLACES["face"]
    below = picture(dataset)[y, x].astype(float)
    vermilion = np.array([213, 94, 0])
    try:
        editor.page.evaluate(change, ["SemanticFocus.Palette", "colour-blind safe"])
        editor.settle()
        assert close(at(painted(editor), "face"), below + (vermilion - below) * OPACITY)
        editor.page.evaluate(change, ["SemanticFocus.Opacity", 0.2])
        editor.settle()
        assert close(at(painted(editor), "face"), below + (vermilion - below) * 0.2)
        editor.page.evaluate(change, ["Comfy.Locale", "zh"])
        expect(chip(panel(editor), "face")).to_contain_text("人脸")
        panel(editor).get_by_text("1/2 · 1 人").wait_for()
    finally:  # the server keeps them for the next test
        editor.page.evaluate(change, ["SemanticFocus.Palette", "standard"])
        editor.page.evaluate(change, ["SemanticFocus.Opacity", OPACITY])
        editor.page.evaluate(change, ["Comfy.Locale", "en"])
        expect(chip(panel(editor), "face")).to_contain_text("face")


def test_noise_in_the_pixels_that_a_page_reads_changes_no_region(
    editor: "Editor", segmentation: dict[str, Any], server: "ComfyServer"
):
    editor.page.evaluate(NOISE)
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    slider = panel(editor).get_by_label("opacity")
    slider.fill("1")
    panel(editor).get_by_role("button", name="all", exact=True).click()
    chip(panel(editor), "lighting").click()
    editor.page.mouse.move(0, 0)
    indices, preview = index_map(editor, server)
    drawn = painted(editor)
    for index, region in enumerate(preview["regions"], 1):
        if region["name"] not in ("background", "lighting"):
            assert (drawn[indices == index] == colour(region["name"])).all(), region["name"]


def test_after_a_reload_the_node_says_what_to_do_and_the_next_run_shows_the_regions(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    chip(panel(editor), "hair").click()
    kept = "name => Object.entries(sessionStorage).some(([key, value]) => value.includes(name))"
    editor.page.wait_for_function(kept, arg='"semantic_focus_hidden":["lighting","hair"]')
    editor.page.reload()
    panel(editor).get_by_text("Run the node").wait_for()
    run_until_shown(editor, "1/2")
    expect(chip(panel(editor), "hair")).to_have_attribute("aria-pressed", "false")


def test_the_preview_node_shows_the_regions_with_its_own_opacity_and_says_that_nobody_is_there(
    editor: "Editor", segmentation: dict[str, Any]
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


def test_select_persons_asks_for_the_pictures_that_it_would_draw_on(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor.load({**segmentation, "nodes": [], "links": []})
    editor.page.evaluate("() => app.graph.add(LiteGraph.createNode('SemanticFocusSelectPersons'))")
    panel(editor).get_by_text("Connect the pictures").wait_for()
    assert panel(editor).get_by_role("button", name="Run up to here").is_hidden()


def test_the_light_theme_reads_as_well(
    open_editor: "Callable[..., Editor]", segmentation: dict[str, Any], server: "ComfyServer"
):
    editor = open_editor({"Comfy.ColorPalette": "light"})
    # this page keeps it; the server must not, for the next test
    editor.page.request.post(f"{server.url}/api/settings", data={"Comfy.ColorPalette": "dark"})
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    panel(editor).get_by_role("button", name="outline").click()
    assert editor.violations(".semantic-focus-overlay") == []
    panel(editor).get_by_label("enlarge").click()
    dialog(editor).get_by_text("1/2").wait_for()
    assert editor.violations(".sf-dialog") == []


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
