"""The widgets of our nodes, in every editor and renderer that ComfyUI's users have."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from semantic_focus.categories import SEMANTIC_CATEGORIES

if TYPE_CHECKING:
    from conftest import Editor

EVERYWHERE = pytest.mark.parametrize(
    ("vue", "newer"),
    [(False, False), (True, False), (False, True), (True, True)],
    ids=["canvas-pinned", "vue-pinned", "canvas-newer", "vue-newer"],
)
OBJECTIVE = 8


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
def objective(workflow: dict[str, Any]) -> dict[str, Any]:
    """The part of the shared workflow with the presets."""
    part = only(workflow, OBJECTIVE)
    part["nodes"][0]["pos"] = [400, 150]
    part["extra"] = {"ds": {"scale": 1, "offset": [0, 0]}}
    return part


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
