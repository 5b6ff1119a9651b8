"""The weights panel of Semantic Cosine Loss, in every editor and renderer that ComfyUI's users have."""

from typing import TYPE_CHECKING, Any

import numpy as np
from playwright.sync_api import expect

from .editor import EACH_ONCE
from .weights_ui import (
    FAINTEST,
    MOST,
    OBJECTIVE,
    START,
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
    from .editor import Editor


def test_what_the_panel_does_is_what_the_inputs_have(anywhere: "Editor", weighted: dict[str, Any]):
    anywhere.load(weighted)
    assert inputs(anywhere) == expected()
    drag(anywhere, "face", 0.4)
    assert inputs(anywhere) == expected(face_weight=0.8)
    assert number(anywhere, "face").input_value() == "0.80"

    number(anywhere, "hair").fill("1,234")
    number(anywhere, "hair").press("Enter")
    assert inputs(anywhere) == expected(face_weight=0.8, hair_weight=1.234)
    slider(anywhere, "body").focus()
    slider(anywhere, "body").press("ArrowRight")
    slider(anywhere, "body").press("ArrowUp")
    assert inputs(anywhere) == expected(face_weight=0.8, hair_weight=1.234, body_weight=0.4)
    assert slider(anywhere, "body").get_attribute("aria-valuetext") == "0.40"
    slider(anywhere, "global_fallback").press("Home")
    panel(anywhere).get_by_role("switch").click()
    changed = expected(face_weight=0.8, hair_weight=1.234, body_weight=0.4, global_fallback=0, enabled=False)
    assert inputs(anywhere) == changed

    panel(anywhere).get_by_role("combobox").select_option("outfit")
    changed |= {"preset": "outfit", **weights_of("outfit")}
    assert inputs(anywhere) == changed
    drag(anywhere, "face", 0.75)
    assert inputs(anywhere) == {**changed, "preset": "custom", "face_weight": 1.5}
    assert "semantic_focus_weights" not in inputs(anywhere)
    assert anywhere.errors == []


def test_a_preset_for_whole_pictures_is_not_said_to_be_by_region(editor: "Editor", weighted: dict[str, Any]):
    editor.load(weighted)
    switch = panel(editor).get_by_role("switch")
    panel(editor).get_by_role("combobox").select_option("style")
    expect(switch).to_have_attribute("aria-checked", "false")
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "true")
    assert inputs(editor) == expected(**weights_of("style"))
    switch.click()
    expect(switch).to_have_attribute("aria-checked", "false")
    assert inputs(editor) == expected(**weights_of("style"), enabled=False)


def test_one_drag_is_one_step_of_undo_also_with_the_keys(anywhere: "Editor", weighted: dict[str, Any]):
    anywhere.load(weighted)
    size = node_of(anywhere.workflow(), OBJECTIVE)["size"]
    drag(anywhere, "face", 0.4)
    drag(anywhere, "body", 0.5)
    anywhere.page.keyboard.press("Control+z")
    expect(number(anywhere, "body")).to_have_value("0.30")
    assert inputs(anywhere) == expected(face_weight=0.8)
    anywhere.command("Comfy.Undo")
    expect(number(anywhere, "face")).to_have_value("1.40")
    assert inputs(anywhere) == expected()
    anywhere.command("Comfy.Redo")
    expect(number(anywhere, "face")).to_have_value("0.80")
    assert inputs(anywhere) == expected(face_weight=0.8)
    drag(anywhere, "hair", 0.5)
    assert inputs(anywhere) == expected(face_weight=0.8, hair_weight=1)
    assert node_of(anywhere.workflow(), OBJECTIVE)["size"] == size
    assert anywhere.errors == []


@EACH_ONCE
def test_the_miniature_shows_the_weight_of_every_pixel(anywhere: "Editor", weighted: dict[str, Any]):
    node_of(weighted, OBJECTIVE)["widgets_values"][7] = 0.4  # lighting
    anywhere.load(weighted)
    preview(anywhere)
    weights = {"face": 1.4, "body": 0.3, "clothing": 0.2, "hair": 0.65, "background": 0.05, "lighting": 0.4}
    step = MOST / (255 * (STRONGEST - FAINTEST))  # of the 8 bits of the opacity
    truth = true_weights(anywhere, weights, rest=0.15)
    assert np.abs(shown_weights(anywhere) - truth).max() <= step

    drag(anywhere, "background", 0)
    drag(anywhere, "lighting", 0)
    drag(anywhere, "face", 1)
    truth = true_weights(anywhere, weights | {"background": 0, "lighting": 0, "face": 2}, rest=0.15)
    shown = shown_weights(anywhere)
    assert np.abs(shown - truth).max() <= step
    assert ((shown == 0) == (truth == 0)).all()
    hatching = pixels(anywhere)[..., 3][truth == 0]
    assert len(np.unique(hatching)) == 2

    panel(anywhere).get_by_label("next picture").click()
    panel(anywhere).get_by_text("2/2").wait_for()
    assert pixels(anywhere).shape == (480, 360, 4)
    assert not anywhere.own_errors()


def test_a_linked_input_says_so_and_its_native_widget_shows_the_link(
    anywhere: "Editor", weighted: dict[str, Any]
):
    add_number(weighted, 1.7)
    anywhere.load(weighted)
    expect(slider(anywhere, "face")).to_be_disabled()
    expect(number(anywhere, "face")).to_have_value("1.70")
    expect(slider(anywhere, "body")).to_be_enabled()
    hidden = "name => app.graph.getNodeById(8).widgets.find(w => w.name === name).options.hidden"
    assert anywhere.page.evaluate(hidden, "face_weight") is False
    assert anywhere.page.evaluate(hidden, "body_weight") is True
    anywhere.page.evaluate(PUT_REROUTE_BETWEEN, [NUMBER, OBJECTIVE, 2])
    anywhere.settle()
    expect(number(anywhere, "face")).to_have_value("1.70")
    expect(slider(anywhere, "face")).to_be_disabled()
    assert inputs(anywhere) == expected(face_weight=[str(NUMBER), 0])
    panel(anywhere).get_by_role("combobox").select_option("outfit")
    panel(anywhere).get_by_role("combobox").select_option("custom")
    panel(anywhere).get_by_label("reset all values").click()
    assert inputs(anywhere)["face_weight"] == [str(NUMBER), 0]

    anywhere.page.evaluate("() => app.graph.getNodeById(8).disconnectInput(2)")
    expect(slider(anywhere, "face")).to_be_enabled()
    assert anywhere.page.evaluate(hidden, "face_weight") is True
    assert anywhere.errors == []


def test_nothing_stands_in_the_way_of_keyboard_and_reader(editor: "Editor", weighted: dict[str, Any]):
    editor.load(weighted)
    preview(editor)
    panel(editor).locator("summary").click()
    panel(editor).get_by_role("button", name="category").click()
    panel(editor).get_by_label("name of the category").wait_for()
    for palette in ("dark", "light"):
        editor.set("Comfy.ColorPalette", palette)
        assert editor.violations(".sf-weights") == [], palette
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
    editor.reload()
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


def test_what_is_connected_counts_and_what_a_preset_replaces_is_said(
    anywhere: "Editor", weighted: dict[str, Any]
):
    said = panel(anywhere).locator(".sf-overruled")
    node = node_of(weighted, OBJECTIVE)
    node["widgets_values"][1:8] = ["person", 0.2, 0.3, 0.0, 0.6, 0.0, 0.0]
    anywhere.load(weighted)
    expect(said).to_contain_text("person takes the place of what was set: face 0.20")
    expect(number(anywhere, "face")).to_have_value("1.00")

    add_number(weighted, 0.2)
    anywhere.load(weighted)
    expect(number(anywhere, "face")).to_have_value("0.20")
    expect(said).not_to_contain_text("takes the place")
    assert inputs(anywhere)["preset"] == "person"

    anywhere.page.evaluate("() => app.graph.getNodeById(8).disconnectInput(2)")
    anywhere.settle()
    connect = "([from, to]) => app.graph.getNodeById(from).connect(0, app.graph.getNodeById(to), 2)"
    anywhere.page.evaluate(connect, [NUMBER, OBJECTIVE])
    changed = {"preset": "custom", "face_weight": [str(NUMBER), 0]}
    assert inputs(anywhere) == expected(**weights_of("person"), **{"more_weights": START[-1]}) | changed
    assert anywhere.errors == []
