"""Captions are changed where the picture is looked at large, and nobody else's words are lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Route, expect

from .dataset_ui import LOADER, graph, only, shows, tile
from .editor import EACH_ONCE

if TYPE_CHECKING:
    from .editor import Editor

PREPARER = 2


@EACH_ONCE
def test_a_caption_is_written_when_it_is_left_and_conflicts_are_asked_about(anywhere: "Editor", folder: Path):
    editor = anywhere
    editor.load(only(graph(folder), LOADER))
    shows(editor, {"one.png": "missing"})
    tile(editor, "drei 好.JPG").click()
    dialog = editor.page.get_by_role("dialog")
    field = dialog.get_by_label("Caption")
    expect(field).to_have_attribute("placeholder", "no caption yet: write what the picture shows")
    field.fill("an astronaut, 宇航员")
    editor.page.keyboard.press("ArrowRight")  # in the field, it is the field's
    expect(dialog.get_by_role("heading", name="drei 好.JPG")).to_be_visible()
    dialog.get_by_role("button", name="next picture").click()
    expect(dialog.get_by_role("heading", name="one.png")).to_be_visible()
    assert (folder / "drei 好.txt").read_text("utf-8") == "an astronaut, 宇航员\n"

    expect(field).to_have_value("a woman in an orange suit")
    (folder / "one.txt").write_text("their words")
    field.fill("my words")
    editor.page.keyboard.press("Control+s")
    expect(dialog).to_contain_text("Another program changed this caption meanwhile. It says: their words")
    editor.page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    assert editor.violations(".sf-dialog") == []
    dialog.get_by_role("button", name="Save mine").click()
    expect(dialog).to_contain_text("saved")
    assert (folder / "one.txt").read_text() == "my words\n"

    held: list[Route] = []  # a slow server: the user types on meanwhile
    editor.page.route("**/caption/save", lambda route: route.continue_() if held else held.append(route))
    field.fill("my words, and")
    with editor.page.expect_request("**/caption/save"):
        editor.page.keyboard.press("Control+s")
    field.fill("my words, and more")
    editor.page.keyboard.press("Control+s")
    held[0].continue_()
    dialog.get_by_label("Trigger word").fill("ohwx")
    (folder / "two.txt").write_text("OHWX in space")
    dialog.get_by_role("button", name="Put it before all").click()
    expect(dialog).to_contain_text("ohwx was put before the captions of 2 pictures.")
    expect(field).to_have_value("ohwx, my words, and more")
    assert (folder / "drei 好.txt").read_text("utf-8") == "ohwx, an astronaut, 宇航员\n"
    assert (folder / "two.txt").read_text() == "OHWX in space"
    editor.page.unroute("**/caption/save")
    editor.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(tile(editor, "drei 好.JPG")).not_to_have_attribute("title", "no caption")
    assert editor.errors == []


def test_a_node_with_a_trigger_word_says_what_a_picture_is_trained_with(
    editor: "Editor", folder: Path, repo: Path, part_of: Callable[..., dict[str, Any]]
):
    simple = json.loads((repo / "workflows" / "train_by_region_simple.json").read_text("utf-8"))
    part = part_of(simple, PREPARER)
    part["nodes"][0]["widgets_values"][:3] = [str(folder), "sks", "a photo"]
    (folder / "two.txt").write_text("")
    (folder / "one.txt").write_text("portrait of SKS")
    editor.load(part)
    shows(editor, {"two.png": "missing"})
    assert "without words" not in (tile(editor, "two.png").get_attribute("title") or "")
    dialog = editor.page.get_by_role("dialog")
    for name, trained in {"two.png": "sks", "drei 好.JPG": "sks, a photo", "one.png": None}.items():
        tile(editor, name).click()
        expect(dialog.get_by_role("heading", name=name)).to_be_visible()
        if trained:
            expect(dialog).to_contain_text(f"Trained as: {trained}")
        expect(dialog.get_by_text("Trained as:")).to_have_count(1 if trained else 0)
        expect(dialog.get_by_label("Trigger word")).to_have_count(0)
        editor.page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
    assert editor.errors == []
