"""Whose a prompt is, and what becomes of one that the server has forgotten."""

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from .dataset_ui import CACHER, graph, only, panel

if TYPE_CHECKING:
    from host.serve import ComfyServer

    from .editor import Editor

COUNT_STEPS = """() => {
    window.steps = 0;
    window.comfyAPI.api.api.addEventListener("progress_state", () => window.steps++);
}"""
DISPATCH = """events => {
    for (const [name, detail] of events) window.comfyAPI.api.api.dispatchCustomEvent(name, detail);
}"""
CANCEL, GENERATE = "Cancel", re.compile("Generate masks")


def test_what_a_program_queued_under_the_same_node_ids_is_not_taken_for_the_tabs_own(
    editor: "Editor", folder: Path, server: "ComfyServer"
):
    for number in range(7):
        shutil.copy(folder / "two.png", folder / f"more {number}.png")
    editor.load(only(graph(folder), CACHER))
    expect(panel(editor).get_by_role("button", name=GENERATE)).to_be_visible()
    prompt = editor.prompt()
    editor.page.evaluate(COUNT_STEPS)
    queued = server.queue(prompt)
    editor.page.wait_for_function("() => window.steps >= 5")  # every tab is told of it
    editor.settle()
    expect(panel(editor).get_by_role("button", name=GENERATE)).to_be_visible()
    expect(panel(editor).get_by_role("button", name=CANCEL)).to_be_hidden()
    server.wait(queued)
    expect(editor.page.get_by_text("masks are ready")).to_have_count(0)
    assert editor.errors == []


def test_a_run_that_the_server_does_not_know_any_more_is_given_up(editor: "Editor", folder: Path):
    editor.load(only(graph(folder), CACHER))
    expect(panel(editor).get_by_role("button", name=GENERATE)).to_be_visible()
    node = {"state": "running", "value": 3, "max": 5}
    begun = ("execution_start", {"prompt_id": "gone"})
    editor.page.evaluate(
        DISPATCH, [begun, ("progress_state", {"prompt_id": "gone", "nodes": {CACHER: node}})]
    )
    expect(panel(editor)).to_contain_text("3 of 5")
    expect(panel(editor).get_by_role("button", name=GENERATE)).to_be_hidden()
    editor.page.evaluate(DISPATCH, [("reconnected", None)])
    expect(panel(editor).get_by_role("button", name=GENERATE)).to_be_visible()
    expect(panel(editor).get_by_role("button", name=CANCEL)).to_be_hidden()
    assert editor.errors == []
