"""The weights panel of Semantic Cosine Loss, in every editor and renderer that ComfyUI's users have."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from playwright.sync_api import expect

from .weights_ui import (
    FAINTEST,
    MOST,
    OBJECTIVE,
    STRONGEST,
    drag,
    expected,
    inputs,
    node_of,
    number,
    panel,
    pixels,
    preview,
    row,
    shown_weights,
    slider,
    true_weights,
    weights_of,
)

if TYPE_CHECKING:
    from conftest import Editor


def test_what_the_panel_does_is_what_the_inputs_have(shared_anywhere: "Editor", weighted: dict[str, Any]):
    shared_anywhere.load(weighted)
    assert inputs(shared_anywhere) == expected()
    drag(shared_anywhere, "face", 0.4)
    assert inputs(shared_anywhere) == expected(face_weight=0.8)
    assert number(shared_anywhere, "face").input_value() == "0.80"

    number(shared_anywhere, "hair").fill("1,234")
    number(shared_anywhere, "hair").press("Enter")
    assert inputs(shared_anywhere) == expected(face_weight=0.8, hair_weight=1.234)
    slider(shared_anywhere, "body").focus()
    slider(shared_anywhere, "body").press("ArrowRight")
    slider(shared_anywhere, "body").press("ArrowUp")
    assert inputs(shared_anywhere) == expected(face_weight=0.8, hair_weight=1.234, body_weight=0.4)
    assert slider(shared_anywhere, "body").get_attribute("aria-valuetext") == "0.40"
    slider(shared_anywhere, "global_fallback").press("Home")
    panel(shared_anywhere).get_by_role("switch").click()
    changed = expected(face_weight=0.8, hair_weight=1.234, body_weight=0.4, global_fallback=0, enabled=False)
    assert inputs(shared_anywhere) == changed

    panel(shared_anywhere).get_by_role("combobox").select_option("outfit")
    changed |= {"preset": "outfit", **weights_of("outfit")}
    assert inputs(shared_anywhere) == changed
    drag(shared_anywhere, "face", 0.75)
    assert inputs(shared_anywhere) == {**changed, "preset": "custom", "face_weight": 1.5}
    assert "semantic_focus_weights" not in inputs(shared_anywhere)
    assert shared_anywhere.errors == []


def test_one_drag_is_one_step_of_undo_also_with_the_keys(shared_anywhere: "Editor", weighted: dict[str, Any]):
    shared_anywhere.load(weighted)
    size = node_of(shared_anywhere.workflow(), OBJECTIVE)["size"]
    drag(shared_anywhere, "face", 0.4)
    drag(shared_anywhere, "body", 0.5)
    shared_anywhere.page.keyboard.press("Control+z")
    expect(number(shared_anywhere, "body")).to_have_value("0.30")
    assert inputs(shared_anywhere) == expected(face_weight=0.8)
    shared_anywhere.command("Comfy.Undo")
    expect(number(shared_anywhere, "face")).to_have_value("1.40")
    assert inputs(shared_anywhere) == expected()
    shared_anywhere.command("Comfy.Redo")
    expect(number(shared_anywhere, "face")).to_have_value("0.80")
    assert inputs(shared_anywhere) == expected(face_weight=0.8)
    drag(shared_anywhere, "hair", 0.5)
    assert inputs(shared_anywhere) == expected(face_weight=0.8, hair_weight=1)
    assert node_of(shared_anywhere.workflow(), OBJECTIVE)["size"] == size
    assert shared_anywhere.errors == []


def test_the_miniature_shows_the_weight_of_every_pixel(shared_anywhere: "Editor", weighted: dict[str, Any]):
    node_of(weighted, OBJECTIVE)["widgets_values"][7] = 0.4  # lighting
    shared_anywhere.load(weighted)
    preview(shared_anywhere)
    weights = {"face": 1.4, "body": 0.3, "clothing": 0.2, "hair": 0.65, "background": 0.05, "lighting": 0.4}
    step = MOST / (255 * (STRONGEST - FAINTEST))  # of the 8 bits of the opacity
    truth = true_weights(shared_anywhere, weights, rest=0.15)
    assert np.abs(shown_weights(shared_anywhere) - truth).max() <= step

    drag(shared_anywhere, "background", 0)
    drag(shared_anywhere, "lighting", 0)
    drag(shared_anywhere, "face", 1)
    truth = true_weights(shared_anywhere, weights | {"background": 0, "lighting": 0, "face": 2}, rest=0.15)
    shown = shown_weights(shared_anywhere)
    assert np.abs(shown - truth).max() <= step
    assert ((shown == 0) == (truth == 0)).all()
    hatching = pixels(shared_anywhere)[..., 3][truth == 0]
    assert len(np.unique(hatching)) == 2

    panel(shared_anywhere).get_by_label("next picture").click()
    panel(shared_anywhere).get_by_text("2/2").wait_for()
    assert pixels(shared_anywhere).shape == (480, 360, 4)
    assert not shared_anywhere.own_errors()


def test_a_linked_input_says_so_and_its_native_widget_shows_the_link(
    shared_anywhere: "Editor", weighted: dict[str, Any]
):
    add_number(weighted, 1.7)
    shared_anywhere.load(weighted)
    expect(slider(shared_anywhere, "face")).to_be_disabled()
    expect(number(shared_anywhere, "face")).to_have_value("1.70")
    expect(slider(shared_anywhere, "body")).to_be_enabled()
    hidden = "name => app.graph.getNodeById(8).widgets.find(w => w.name === name).options.hidden"
    assert shared_anywhere.page.evaluate(hidden, "face_weight") is False
    assert shared_anywhere.page.evaluate(hidden, "body_weight") is True
    shared_anywhere.page.evaluate(PUT_REROUTE_BETWEEN, [NUMBER, OBJECTIVE, 2])
    shared_anywhere.settle()
    expect(number(shared_anywhere, "face")).to_have_value("1.70")
    expect(slider(shared_anywhere, "face")).to_be_disabled()
    assert inputs(shared_anywhere) == expected(face_weight=[str(NUMBER), 0])
    panel(shared_anywhere).get_by_role("combobox").select_option("outfit")
    panel(shared_anywhere).get_by_role("combobox").select_option("custom")
    panel(shared_anywhere).get_by_label("reset all values").click()
    assert inputs(shared_anywhere)["face_weight"] == [str(NUMBER), 0]

    shared_anywhere.page.evaluate("() => app.graph.getNodeById(8).disconnectInput(2)")
    expect(slider(shared_anywhere, "face")).to_be_enabled()
    assert shared_anywhere.page.evaluate(hidden, "face_weight") is True
    assert shared_anywhere.errors == []


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_nothing_stands_in_the_way_of_keyboard_and_reader(
    open_editor: "Callable[..., Editor]", weighted: dict[str, Any], palette: str
):
    editor = open_editor({"Comfy.ColorPalette": palette})
    editor.load(weighted)
    preview(editor)
    panel(editor).locator("summary").click()
    panel(editor).get_by_role("button", name="category").click()
    panel(editor).get_by_label("name of the category").wait_for()
    assert editor.violations(".sf-weights") == []
    row(editor, "face").get_by_role("button", name="face: set to 0").focus()
    reached = []
    for _ in range(3):
        editor.page.keyboard.press("Tab")
        reached.append(editor.page.evaluate("() => document.activeElement.getAttribute('aria-label')"))
    assert reached == ["face", "face, typed", "face: reset to the default"]
    assert editor.errors == []


def test_a_reload_and_a_copy_keep_the_values(editor: "Editor", weighted: dict[str, Any]):
    editor.load(weighted)
    drag(editor, "face", 0.25)
    kept = "() => Object.values(sessionStorage).some(value => value.includes('\"custom\",0.5,0.3'))"
    editor.page.wait_for_function(kept)
    editor.page.reload()
    number(editor, "face").wait_for()
    expect(number(editor, "face")).to_have_value("0.50")
    assert inputs(editor) == expected(face_weight=0.5)

    editor.page.evaluate("() => app.canvas.selectItems([app.graph.getNodeById(8)])")
    editor.page.evaluate("() => { app.canvas.copyToClipboard(); app.canvas.pasteFromClipboard(); }")
    editor.settle()
    copies = "() => app.graph.nodes.filter(n => n.type === 'SemanticFocusCosineLoss').map(n => n.id)"
    editor.page.wait_for_function(f"() => ({copies})().length === 2")
    new = next(node for node in editor.page.evaluate(copies) if node != OBJECTIVE)
    place = "id => app.graph.getNodeById(id).widgets.map(w => w.value).slice(0, 13)"
    assert editor.page.evaluate(place, new) == list(expected(face_weight=0.5).values())
    handles = editor.page.locator('.sf-weights [data-weight="face"] input.sf-number')
    expect(handles).to_have_count(2)
    handles.nth(1).fill("0.9")
    handles.nth(1).press("Enter")
    assert sorted([editor.widget(OBJECTIVE, "face_weight"), editor.widget(new, "face_weight")]) == [0.5, 0.9]


def test_the_panel_speaks_chinese(open_editor: "Callable[..., Editor]", weighted: dict[str, Any]):
    editor = open_editor({"Comfy.Locale": "zh"})
    editor.load(weighted)
    panel(editor).get_by_role("button", name="预览分割").wait_for()
    expect(row(editor, "face").locator(".sf-name")).to_have_text("人脸")
    expect(panel(editor).get_by_role("combobox")).to_have_text("自定义人物服装画风")


NUMBER = 70
PUT_REROUTE_BETWEEN = """([from, to, slot]) => {
    const reroute = LiteGraph.createNode("Reroute");
    app.graph.add(reroute);
    app.graph.getNodeById(from).connect(0, reroute, 0);
    reroute.connect(0, app.graph.getNodeById(to), slot);
}"""


def add_number(workflow: dict[str, Any], value: float) -> None:
    """Link face_weight to a node with a number."""
    workflow["nodes"].append(
        {
            "id": NUMBER,
            "type": "PrimitiveFloat",
            "pos": [20, 150],
            "size": [270, 60],
            "flags": {},
            "order": 0,
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": "FLOAT", "type": "FLOAT", "links": [170]}],
            "properties": {},
            "widgets_values": [value],
        }
    )
    workflow["links"].append([170, NUMBER, 0, OBJECTIVE, 2, "FLOAT"])
    node_of(workflow, OBJECTIVE)["inputs"][2]["link"] = 170
