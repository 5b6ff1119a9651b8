"""The rows of the weights panel: what may be typed, own categories, defaults."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from semantic_focus.categories import SEMANTIC_CATEGORIES

from .weights_ui import (
    OBJECTIVE,
    SEGMENT,
    drag,
    expected,
    inputs,
    node_of,
    number,
    panel,
    preview,
    row,
    slider,
)

if TYPE_CHECKING:
    from .editor import Editor


COMPOSE = """input => {
    for (const key of ["Enter", "Escape"])
        input.dispatchEvent(new KeyboardEvent("keydown", {key, isComposing: true, bubbles: true}));
}"""


def test_a_preset_has_nothing_to_reset_until_a_slider_leaves_it(editor: "Editor", weighted: dict[str, Any]):
    editor = editor
    node_of(weighted, OBJECTIVE)["widgets_values"][1] = "outfit"
    editor.load(weighted)
    for name in SEMANTIC_CATEGORIES:
        expect(row(editor, name).get_by_label("reset to the default")).to_be_disabled()
    row(editor, "face").locator(".sf-name").dblclick()
    assert inputs(editor)["preset"] == "outfit"
    drag(editor, "face", 0.75)
    assert inputs(editor)["preset"] == "custom"
    row(editor, "face").get_by_label("reset to the default").click()
    assert inputs(editor)["face_weight"] == SEMANTIC_CATEGORIES["face"].default_weight


def test_a_row_goes_back_to_its_default_and_to_zero_and_back(editor: "Editor", weighted: dict[str, Any]):
    editor = editor
    editor.load(weighted)
    row(editor, "face").get_by_label("reset to the default").click()
    assert inputs(editor) == expected(face_weight=1.0)
    row(editor, "hair").locator(".sf-name").dblclick()
    assert inputs(editor) == expected(face_weight=1.0, hair_weight=0.6)
    row(editor, "body").get_by_label("set to 0").click()
    assert inputs(editor)["body_weight"] == 0
    editor.load(editor.workflow())
    row(editor, "body").get_by_label("back to its weight before").click()
    assert inputs(editor) == expected(face_weight=1.0, hair_weight=0.6)
    panel(editor).get_by_label("reset all values").click()
    defaults = {name: category.default_weight for name, category in SEMANTIC_CATEGORIES.items()}
    assert inputs(editor) == {
        "enabled": True,
        "preset": "custom",
        **{f"{name}_weight": weight for name, weight in defaults.items()},
        "global_fallback": 0.1,
        "cosine_weight": 1.0,
        "magnitude_weight": 1.0,
        "prior_weight": 1.0,
        "more_weights": "",
    }
    editor.command("Comfy.Undo")
    expect(row(editor, "more_weights.tattoo")).to_be_visible()
    assert inputs(editor) == expected(face_weight=1.0, hair_weight=0.6)


def test_what_is_no_weight_is_refused_and_the_old_one_stays(editor: "Editor", weighted: dict[str, Any]):
    editor = editor
    editor.load(weighted)
    for typed in ("2.5", "-1", "much", ""):
        number(editor, "face").fill(typed)
        number(editor, "face").press("Enter")
        expect(number(editor, "face"), f"typed {typed!r}").to_have_value("1.40")
        told = f"“{typed}” is no number from 0 to 2"
        expect(panel(editor).get_by_role("status"), f"typed {typed!r}").to_contain_text(told)
    assert inputs(editor) == expected()


def test_categories_of_the_users_own_are_lines_of_more_weights(editor: "Editor", weighted: dict[str, Any]):
    editor = editor
    keywords = node_of(weighted, SEGMENT)["widgets_values"]
    keywords[2] += "\nscarf: scarf"
    editor.load(weighted)
    drag(editor, "more_weights.tattoo", 0.5)
    assert inputs(editor) == expected(more_weights="tattoo: 1")
    panel(editor).get_by_role("button", name="category").click()
    name = panel(editor).get_by_label("name of the category")
    name.fill("2 rings")
    name.press("Enter")
    expect(panel(editor).get_by_role("status")).to_contain_text("cannot be a name")
    for taken in ("tattoo", "Tattoo", "FACE"):
        name.fill(taken)
        name.press("Enter")
        expect(panel(editor).get_by_role("status")).to_contain_text(f"“{taken}” has a weight already")
    name.fill("hongse")
    name.evaluate(COMPOSE)  # the input method offers 红色
    assert inputs(editor) == expected(more_weights="tattoo: 1")
    expect(name).to_have_value("hongse")
    name.fill("红色 scarf-2")
    panel(editor).get_by_role("button", name="Add").click()
    assert inputs(editor) == expected(more_weights="tattoo: 1\n红色 scarf-2: 1")

    preview(editor)
    panel(editor).get_by_role("button", name="+ scarf").click()
    assert inputs(editor)["more_weights"] == "tattoo: 1\n红色 scarf-2: 1\nscarf: 1"
    expect(panel(editor).get_by_role("button", name="+ scarf")).to_have_count(0)
    row(editor, "more_weights.tattoo").get_by_label("remove").click()
    assert inputs(editor)["more_weights"] == "红色 scarf-2: 1\nscarf: 1"
    editor.command("Comfy.Undo")
    expect(row(editor, "more_weights.tattoo")).to_be_visible()
    assert inputs(editor)["more_weights"] == "tattoo: 1\n红色 scarf-2: 1\nscarf: 1"
    assert editor.errors == []


def test_a_line_of_more_weights_that_cannot_be_read_stays_and_is_named(
    editor: "Editor", weighted: dict[str, Any]
):
    editor = editor
    text = "a hat\ntattoo: 0.5\nface: 0.7"
    node_of(weighted, OBJECTIVE)["widgets_values"][-1] = text
    editor.load(weighted)
    expect(panel(editor).get_by_role("status")).to_contain_text("“a hat”")
    expect(number(editor, "more_weights.tattoo")).to_have_value("0.50")
    expect(slider(editor, "face")).to_be_disabled()
    expect(number(editor, "face")).to_have_value("0.70")
    assert inputs(editor)["more_weights"] == text


def test_a_new_node_is_as_low_as_the_native_widgets_were_and_all_of_it_is_seen(
    editor: "Editor", weighted: dict[str, Any]
):
    editor = editor
    node_of(weighted, OBJECTIVE).update(size=[260, 100])
    node_of(weighted, OBJECTIVE)["widgets_values"][-1] = ""
    editor.load(weighted)
    width, height = node_of(editor.workflow(), OBJECTIVE)["size"]
    assert (width, height) <= (260, 470)
    outside = """panel => {
        const frame = panel.getBoundingClientRect();
        return [...panel.querySelectorAll("button, input, select, summary, [role=status]")]
            .filter(part => part.checkVisibility())
            .map(part => [part.getBoundingClientRect(), part.outerHTML])
            .filter(([box]) => box.bottom > frame.bottom || box.right > frame.right || box.left < frame.left)
            .map(([, html]) => html);
    }"""
    assert panel(editor).evaluate(outside) == []


def test_a_workflow_that_an_earlier_version_saved_keeps_every_value(editor: "Editor"):
    editor = editor
    saved = Path(__file__).parent / "saved"
    for file in sorted(saved.glob("train_person_lora_*[0-9].json")):
        editor.load(file)
        api = json.loads(file.with_suffix(".api.json").read_text(encoding="utf-8"))
        assert inputs(editor) == api[str(OBJECTIVE)]["inputs"]
