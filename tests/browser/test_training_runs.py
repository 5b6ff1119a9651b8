"""Which training the panel shows: after stops and reloads, in other tabs and workflows, from the cache."""

import copy
import uuid
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Page, expect

from .editor import EACH_ONCE, cells
from .training_ui import (
    RUNS,
    SAVE,
    TRAIN,
    assert_same_curves,
    folder_of,
    node_of,
    panel,
    shown,
    wait_for_state,
    wait_for_step,
    written,
)

if TYPE_CHECKING:
    from host.serve import ComfyServer

    from .editor import Editor

LONG = 3000
"""Steps that no test waits for."""
BEGINS_AT_1 = """async ([module, id]) =>
    (await import(module)).runOf(app.graph.getNodeById(id))?.points.step[0] === 1"""
COUNT_REPORTS = """() => {
    window.heard = 0;
    window.comfyAPI.api.api.addEventListener("semantic_focus.training", () => window.heard++);
}"""


def set_steps(workflow: dict[str, Any], steps: int) -> None:
    node_of(workflow, TRAIN)["widgets_values"][0] = steps


def press_stop(page: Page) -> None:
    panel(page).get_by_role("button", name="Stop and save").click()
    wait_for_state(page, "stopped")


@EACH_ONCE
def test_the_button_stops_and_keeps_the_state_and_run_goes_on_with_the_same_curves(
    anywhere: "Editor", training: dict[str, Any]
):
    page = anywhere.page
    set_steps(training, 150)
    anywhere.load(training)
    stop = panel(page).get_by_role("button", name="Stop and save")
    expect(stop).to_be_disabled()
    anywhere.press_run()
    wait_for_step(page, 5)
    press_stop(page)
    expect(stop).to_be_disabled()
    folder = folder_of(anywhere.server, page)
    records = written(folder)
    step = records[-1]["step"]
    assert 5 <= step < 150
    said = panel(page).get_by_role("log").inner_text()
    state = f"state_{step:06}.safetensors"
    assert f"step {step} are kept in output/semantic_focus/{folder.name}. Press Run" in said
    assert (folder / state).is_file()
    assert_same_curves(shown(page)["points"], records)

    anywhere.press_run()
    wait_for_state(page, "finished")
    expect(panel(page).get_by_role("log")).to_contain_text(f"Resumed at step {step}.")
    assert folder_of(anywhere.server, page) == folder
    again = written(folder)
    assert again[:step] == records
    assert [record["step"] for record in again] == list(range(1, 151))
    assert_same_curves(shown(page)["points"], again)
    assert anywhere.errors == []


@cells("canvas-pinned", "vue-pinned")
def test_a_reload_and_other_tabs_show_the_steps_so_far_but_no_other_workflow_does(
    anywhere: "Editor", training: dict[str, Any], another_tab: "Editor"
):
    page = anywhere.page
    set_steps(training, LONG)
    anywhere.load(training)
    anywhere.press_run()
    wait_for_step(page, 5)

    other = copy.deepcopy(training)
    other["id"] = str(uuid.uuid4())
    another_tab.load(other)
    wait_for_state(another_tab.page, "waiting")
    another_tab.page.evaluate(COUNT_REPORTS)
    another_tab.page.wait_for_function("() => window.heard >= 3")
    another_tab.settle()
    wait_for_state(another_tab.page, "waiting")

    another_tab.load(training)
    wait_for_step(another_tab.page, 5)
    another_tab.until(BEGINS_AT_1, [RUNS, TRAIN])
    reached = shown(another_tab.page)["step"]
    wait_for_step(another_tab.page, reached + 5)

    kept = "id => Object.entries(sessionStorage).some(([key, value]) => value.includes(id))"
    page.wait_for_function(kept, arg=training["id"])
    anywhere.reload()
    wait_for_step(page, shown(another_tab.page)["step"])
    press_stop(another_tab.page)  # by the tab that did not start it
    wait_for_state(page, "stopped")
    records = written(folder_of(anywhere.server, page))
    for one in (page, another_tab.page):
        assert_same_curves(shown(one)["points"], records)
    assert anywhere.own_errors() == another_tab.own_errors() == []


def test_a_run_from_the_cache_shows_its_curves_also_in_a_copy_of_the_workflow(
    editor: "Editor", training: dict[str, Any], server: "ComfyServer"
):
    editor.load(training)
    editor.run()
    wait_for_state(editor.page, "finished")
    records = written(folder_of(server, editor.page))
    copied = copy.deepcopy(training)
    copied["id"] = str(uuid.uuid4())
    editor.load(copied)
    wait_for_state(editor.page, "waiting")
    node_of(copied, SAVE)["widgets_values"][0] += "_again"
    editor.load(copied)
    editor.run()
    wait_for_state(editor.page, "finished")
    assert_same_curves(shown(editor.page)["points"], records)
    assert written(folder_of(server, editor.page)) == records


def test_the_curves_go_with_the_node_into_a_subgraph(editor: "Editor", training: dict[str, Any]):
    page = editor.page
    editor.load(training)
    editor.run()
    wait_for_state(page, "finished")
    steps = shown(page)["points"]["step"]
    page.evaluate(
        """id => {
            app.canvas.selectItems([app.graph.getNodeById(id)]);
            const {node} = app.canvas.graph.convertToSubgraph(app.canvas.selectedItems);
            app.canvas.openSubgraph(node.subgraph, node);
        }""",
        TRAIN,
    )
    wait_for_state(page, "finished")
    run = page.evaluate(
        """async module => {
            const inner = app.canvas.graph.nodes.find(node => node.type === "SemanticFocusTrain");
            return (await import(module)).runOf(inner)?.points.step;
        }""",
        RUNS,
    )
    assert run == steps
    assert editor.own_errors() == []
