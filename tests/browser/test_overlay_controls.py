"""What the controls of the mask overlay do, with the mouse and without."""

from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import expect

from semantic_focus.categories import SEMANTIC_CATEGORIES

from .overlay_ui import (
    DATASET,
    PLACES,
    SEGMENT,
    chip,
    dialog,
    painted,
    panel,
    run_until_shown,
    shown_regions,
    spot,
)

if TYPE_CHECKING:
    from .editor import Editor

READ_SECOND = """async node => {
    const {previewsOf, readPixels} = await import("/extensions/ComfyUI-SemanticFocus/lib/previews.mjs");
    const {picture, map} = previewsOf(app.graph.getNodeById(node))[1];
    await Promise.all([readPixels(picture), readPixels(map)]);
}"""


def test_alt_click_shows_one_region_only_and_all_and_none_do_what_they_say(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor = editor
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


def test_a_picture_that_comes_late_does_not_replace_the_one_that_was_turned_back_to(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    first = painted(editor)
    editor.page.route("**/view?*", lambda _: None)
    following = panel(editor).get_by_role("button", name="next picture")
    with editor.page.expect_request("**/view?*"):
        following.click()
    following.click()
    editor.page.unroute("**/view?*")  # lets go of those that are held
    editor.page.evaluate(READ_SECOND, SEGMENT)
    editor.settle()
    expect(panel(editor)).to_contain_text("1/2")
    assert np.array_equal(painted(editor), first)


def test_everything_can_be_done_with_the_keyboard(editor: "Editor", segmentation: dict[str, Any]):
    editor = editor
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
    editor = editor
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


def test_the_panel_says_what_was_made_by_hand_and_what_was_damaged(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    editor.page.evaluate(
        """id => {
            const [preview] = structuredClone(app.nodeOutputs[id].semantic_focus);
            const about = {absent: "hair, tattoo, background", left_out: "sword", aside: "/set/one.damaged"};
            Object.assign(preview, {backend: "by hand", seconds: null, cache: "1/1"}, about);
            const output = {semantic_focus: [preview]};
            window.comfyAPI.api.api.dispatchCustomEvent("executed", {node: String(id), output});
        }""",
        SEGMENT,
    )
    panel(editor).get_by_text("1 person · made by hand · mask file · 320×320").wait_for()
    for said in (
        "have no hair, tattoo: empty",
        "have no background: it is what the others leave",
        "sword of the masks made by hand",
        "kept as /set/one.damaged",
    ):
        expect(panel(editor).get_by_role("status").filter(has_text=said)).to_be_visible()


def test_after_a_reload_the_regions_are_there_again_and_so_they_are_after_the_next_run(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    chip(panel(editor), "hair").click()
    kept = "name => Object.entries(sessionStorage).some(([key, value]) => value.includes(name))"
    editor.page.wait_for_function(kept, arg='"semantic_focus_hidden":["lighting","hair"]')
    editor.reload()
    panel(editor).get_by_text("1/2").wait_for()
    expect(chip(panel(editor), "hair")).to_have_attribute("aria-pressed", "false")
    run_until_shown(editor, "1/2")
    expect(chip(panel(editor), "hair")).to_have_attribute("aria-pressed", "false")


def test_select_persons_asks_for_the_pictures_that_it_would_draw_on(
    editor: "Editor", segmentation: dict[str, Any]
):
    editor = editor
    editor.load({**segmentation, "nodes": [], "links": []})
    editor.page.evaluate("() => app.graph.add(LiteGraph.createNode('SemanticFocusSelectPersons'))")
    panel(editor).get_by_text("Connect the pictures").wait_for()
    assert panel(editor).get_by_role("button", name="Run up to here").is_hidden()


def test_the_light_theme_reads_as_well(editor: "Editor", segmentation: dict[str, Any]):
    editor.set("Comfy.ColorPalette", "light")
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    panel(editor).get_by_role("button", name="outline").click()
    assert editor.violations(".semantic-focus-overlay") == []
    panel(editor).get_by_label("enlarge").click()
    dialog(editor).get_by_text("1/2").wait_for()
    assert editor.violations(".sf-dialog") == []
