"""Runs that make masks: they wait, are cancelled, and stay with their node and workflow."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from .dataset_ui import CACHER, LOADER, MANY, SEGMENTER, graph, only, panel, set_widget

if TYPE_CHECKING:
    from .editor import Editor

STEP = re.compile(rf"[1-9]\d? of {MANY}")
COUNT_PROGRESS = """() => {
    window.heard = 0;
    window.comfyAPI.api.api.addEventListener("progress_state", () => { window.heard++; });
}"""


def cancelled(editor: "Editor", folder: Path) -> None:
    """The run that the panel shows ends at Cancel."""
    panel(editor).get_by_role("button", name="Cancel").click()
    again = panel(editor).get_by_role("button", name=re.compile(r"Generate masks \(\d+\)"))
    expect(again).to_be_visible()
    assert 0 < len(list(folder.glob("*_zi_masks.safetensors"))) < MANY


def test_cancel_stops_between_pictures(editor: "Editor", many: Path):
    editor.load(only(graph(many), LOADER, SEGMENTER))
    panel(editor).get_by_role("button", name=f"Generate masks ({MANY})").click()
    expect(panel(editor)).to_contain_text(STEP)
    panel(editor).get_by_role("button", name="Cancel").click()
    again = panel(editor).get_by_role("button", name=re.compile(r"Generate masks \(\d+\)"))
    expect(again).to_be_visible()
    made = list(many.glob("*_zi_masks.safetensors"))
    assert 0 < len(made) < MANY
    expect(again).to_have_text(f"Generate masks ({MANY - len(made)})")
    assert editor.errors == []


@pytest.mark.parametrize("change", ["undo", "reload", "tab"])
def test_a_run_stays_with_its_node(editor: "Editor", many: Path, change: str):
    editor.load(only(graph(many), LOADER, SEGMENTER))
    panel(editor).get_by_role("button", name=f"Generate masks ({MANY})").click()
    expect(panel(editor)).to_contain_text(STEP)
    if change == "undo":
        panel(editor).get_by_label("which pictures to show").select_option("ok")
        editor.command("Comfy.Undo")
    elif change == "tab":
        shown = editor.workflow()
        editor.load(only(graph(many), LOADER, SEGMENTER))
        button = panel(editor).get_by_role("button", name=re.compile(r"Generate masks"))
        expect(button).to_be_visible()
        expect(panel(editor).get_by_role("button", name="Cancel")).to_be_hidden()
        editor.load(shown)
    else:
        editor.reload()
    expect(panel(editor)).to_contain_text(STEP)
    cancelled(editor, many)


def test_a_run_that_waits_is_not_lost_to_the_one_before_it(editor: "Editor", many: Path):
    """The first makes masks too, in a node that the panel watches."""
    editor.load(only(graph(many), LOADER, SEGMENTER, CACHER))
    set_widget(editor, LOADER, "default_caption", "a woman")
    editor.page.evaluate(f"() => app.queuePrompt(0, 1, ['{CACHER}'])")
    expect(panel(editor, 1)).to_contain_text(STEP)
    panel(editor).get_by_role("button", name=re.compile("Generate masks")).click()
    expect(panel(editor)).to_contain_text("waiting")
    panel(editor, 1).get_by_role("button", name="Cancel").click()
    expect(panel(editor)).to_contain_text(re.compile(rf"\d+ of {MANY}"))
    cancelled(editor, many)


def test_a_run_of_another_workflow_is_not_shown(editor: "Editor", many: Path):
    editor.load(only(graph(many), CACHER))
    editor.page.evaluate(f"() => app.queuePrompt(0, 1, ['{CACHER}'])")
    expect(panel(editor)).to_contain_text(STEP)
    shown = editor.workflow()
    editor.load(only(graph(many), CACHER))
    button = panel(editor).get_by_role("button", name=re.compile("Generate masks"))
    expect(button).to_be_visible()
    editor.page.evaluate(COUNT_PROGRESS)
    editor.page.wait_for_function("() => window.heard >= 3")
    expect(button).to_be_visible()
    expect(panel(editor).get_by_role("button", name="Cancel")).to_be_hidden()
    editor.load(shown)
    expect(panel(editor).get_by_role("button", name="Cancel")).to_be_visible()
    cancelled(editor, many)


def test_a_waiting_run_is_taken_out_of_the_queue(editor: "Editor", many: Path):
    editor.load(only(graph(many), LOADER, SEGMENTER, CACHER))
    editor.page.evaluate(f"() => app.queuePrompt(0, 1, ['{CACHER}'])")
    expect(panel(editor, 1)).to_contain_text(STEP)
    panel(editor).get_by_role("button", name=re.compile("Generate masks")).click()
    expect(panel(editor)).to_contain_text("waiting")
    editor.page.route("**/api/queue", lambda route: route.abort())  # the server is away
    panel(editor).get_by_role("button", name="Cancel").click()
    expect(editor.page.get_by_text("ComfyUI's server does not answer")).to_be_visible()
    assert not [error for error in editor.own_errors() if "Failed to fetch" in error]
    editor.page.unroute("**/api/queue")
    panel(editor).get_by_role("button", name="Cancel").click()
    expect(panel(editor).get_by_role("button", name="Cancel")).to_be_hidden()
    expect(panel(editor, 1).get_by_role("button", name="Cancel")).to_be_visible()
    panel(editor, 1).get_by_role("button", name="Cancel").click()
    expect(panel(editor, 1).get_by_role("button", name="Cancel")).to_be_hidden()


def test_the_report_stays_through_undo_and_reload(editor: "Editor", folder: Path):
    editor.load(only(graph(folder, connected=False), CACHER))
    panel(editor).get_by_role("button", name="Generate masks (3)").click()
    report = panel(editor).get_by_role("button", name="Report")
    expect(report).to_be_visible()
    panel(editor).get_by_label("which pictures to show").select_option("missing")
    editor.command("Comfy.Undo")
    expect(report).to_be_visible()
    editor.reload()
    expect(report).to_be_visible()
