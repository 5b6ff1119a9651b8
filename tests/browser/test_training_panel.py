"""The training panel: curves of a real training, in its node, in other tabs, after reloads and stops."""

import copy
import json
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Locator, Page, expect

if TYPE_CHECKING:
    from conftest import Editor

    from host.serve import ComfyServer

CHECKPOINT, DATASET, FIT, OBJECTIVE, TRAIN, SAVE = 1, 2, 4, 8, 9, 10
SEED, RUN_NAME = 8, 11
"""Places among the values of the training node."""
TO_THE_LORA = range(CHECKPOINT, SAVE + 1)
RUNS = "/extensions/ComfyUI-SemanticFocus/training/runs.mjs"
SHOWN = """async ([module, id]) => {
    const run = (await import(module)).runOf(app.graph.getNodeById(id));
    return run && {...run, points: JSON.parse(JSON.stringify(run.points))};
}"""
LONG = 3000
"""Steps that no test waits for."""


@pytest.fixture
def training(
    workflow: dict[str, Any],
    dataset: Path,
    stand_in_model: Path,
    part_of: Callable[..., dict[str, Any]],
    request: pytest.FixtureRequest,
) -> dict[str, Any]:
    """The shared workflow up to the saved LoRA, with a run name and a seed that no other test has."""
    part = part_of(workflow, *TO_THE_LORA)
    checkpoint = node_of(part, CHECKPOINT)
    checkpoint.update(type="SemanticFocusDemoCheckpoint", inputs=[], widgets_values=[stand_in_model.name])
    node_of(part, DATASET)["widgets_values"][0] = str(dataset)
    node_of(part, FIT)["widgets_values"][:] = [128, 16, ""]
    values = node_of(part, TRAIN)["widgets_values"]
    values[:6] = [40, 1, 1e-3, "cosine", 4, 4.0]
    values[SEED] = zlib.crc32(request.node.name.encode())
    values[RUN_NAME] = re.sub(r"\W+", "_", request.node.name)[:60].strip("_")
    top, left = node_of(part, TRAIN)["pos"][1], node_of(part, TRAIN)["pos"][0]
    part["extra"] = {"ds": {"scale": 0.9, "offset": [400 - left, 100 - top]}}
    part["id"] = f"00000000-0000-4000-8000-{values[SEED]:012d}"
    return part


def node_of(workflow: dict[str, Any], node: int) -> dict[str, Any]:
    return next(it for it in workflow["nodes"] if it["id"] == node)


def set_steps(workflow: dict[str, Any], steps: int) -> None:
    node_of(workflow, TRAIN)["widgets_values"][0] = steps


def panel(page: Page) -> Locator:
    return page.locator(".sf-training").locator("visible=true")


def shown(page: Page, node: int = TRAIN) -> dict[str, Any]:
    """The training that the node shows; JSON has made null of NaN."""
    return page.evaluate(SHOWN, [RUNS, node])


def wait_for_state(page: Page, state: str, seconds: float = 60) -> None:
    expect(panel(page)).to_have_attribute("data-state", state, timeout=seconds * 1000)


def wait_for_step(page: Page, step: int) -> None:
    """Wait until the chart has this step."""
    reached = "step => Number(document.querySelector('.sf-training canvas')?.ariaValueMax) >= step"
    page.wait_for_function(reached, arg=step, timeout=90_000)


def press_run(page: Page) -> None:
    page.get_by_test_id("queue-button").locator("visible=true").first.click()


def press_stop(page: Page) -> None:
    panel(page).get_by_role("button", name="Stop and save").click()
    wait_for_state(page, "stopped")


def folder_of(server: "ComfyServer", page: Page) -> Path:
    """The run's folder that the panel names, which must be below ComfyUI's output folder."""
    folder = Path(shown(page)["folder"])
    assert folder.parent == server.base_directory / "output" / "semantic_focus"
    return folder


def written(folder: Path) -> list[dict[str, Any]]:
    """The run's curves on disk."""
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


def assert_same_curves(points: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """The page has what is on disk, to six digits."""
    assert points["step"] == [record["step"] for record in records]
    columns = {name: (points[name], [record[name] for record in records]) for name in ("total", "prior")}
    for name, values in points["regions"].items():
        columns[name] = values, [record["regions"][name] for record in records]
    for name, (ours, theirs) in columns.items():
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None), name
            assert one is None or math.isclose(one, other, rel_tol=1e-5), name
    assert {"face", "hair", "clothing", "background"} <= points["regions"].keys()


def server_of(editor: "Editor", request: pytest.FixtureRequest) -> "ComfyServer":
    return request.getfixturevalue("newer_server" if editor.newer else "server")


def value_of(page: Page, curve: str) -> str:
    return panel(page).locator(f"[data-curve={curve}] .sf-training-value").inner_text()


def test_the_curves_are_those_on_disk_and_the_crosshair_tells_their_values(
    anywhere: "Editor", training: dict[str, Any], request: pytest.FixtureRequest
):
    page = anywhere.page
    node_of(training, TRAIN)["properties"]["semantic_focus_training"] = {"smoothing": 0}
    anywhere.load(training)
    wait_for_state(page, "waiting")
    size = node_of(anywhere.workflow(), TRAIN)["size"]
    press_run(page)
    wait_for_state(page, "finished", 120)
    wait_for_step(page, 40)
    records = written(folder_of(server_of(anywhere, request), page))
    assert len(records) == 40
    assert_same_curves(shown(page)["points"], records)

    chart = panel(page).get_by_role("slider", name="Loss curves")
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(chart).to_have_attribute("aria-valuenow", "2")
    assert float(value_of(page, "total")) == pytest.approx(records[1]["total"], abs=1e-4)
    assert float(value_of(page, "face")) == pytest.approx(records[1]["regions"]["face"], abs=1e-4)
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    expect(chart).to_have_attribute("aria-valuenow", "40")
    assert float(value_of(page, "face")) == pytest.approx(records[39]["regions"]["face"], abs=1e-4)

    assert node_of(anywhere.workflow(), TRAIN)["size"] == size
    assert "semantic_focus_training" not in anywhere.prompt()[str(TRAIN)]["inputs"]
    assert anywhere.violations(".sf-training") == []
    assert anywhere.errors == []


def test_the_button_stops_and_keeps_the_state_and_run_goes_on_with_the_same_curves(
    anywhere: "Editor", training: dict[str, Any], request: pytest.FixtureRequest
):
    page = anywhere.page
    set_steps(training, 150)
    anywhere.load(training)
    stop = panel(page).get_by_role("button", name="Stop and save")
    expect(stop).to_be_disabled()
    press_run(page)
    wait_for_step(page, 5)
    press_stop(page)
    expect(stop).to_be_disabled()
    folder = folder_of(server_of(anywhere, request), page)
    records = written(folder)
    step = records[-1]["step"]
    assert 5 <= step < 150
    said = panel(page).get_by_role("log").inner_text()
    state = f"state_{step:06}.safetensors"
    assert f"output/semantic_focus/{folder.name}/{state}" in said and "Press Run" in said
    assert (folder / state).is_file()
    assert_same_curves(shown(page)["points"], records)

    press_run(page)
    wait_for_state(page, "finished", 120)
    assert folder_of(server_of(anywhere, request), page) == folder
    again = written(folder)
    assert again[:step] == records
    assert [record["step"] for record in again] == list(range(1, 151))
    assert_same_curves(shown(page)["points"], again)
    assert anywhere.errors == []


@pytest.mark.parametrize("vue", [False, True], ids=["canvas", "vue"])
def test_a_reload_and_other_tabs_show_the_steps_so_far_but_no_other_workflow_does(
    open_editor: "Callable[..., Editor]",
    training: dict[str, Any],
    server: "ComfyServer",
    request: pytest.FixtureRequest,
    vue: bool,
):
    request.addfinalizer(server.interrupt)
    settings = {"Comfy.VueNodes.Enabled": vue}
    editor = open_editor(settings)
    page = editor.page
    set_steps(training, LONG)
    editor.load(training)
    press_run(page)
    wait_for_step(page, 5)

    second = open_editor(settings)
    second.load(training)
    wait_for_step(second.page, 5)
    second.until(BEGINS_AT_1, [RUNS, TRAIN])
    reached = shown(second.page)["step"]
    wait_for_step(second.page, reached + 5)

    other = copy.deepcopy(training)
    other["id"] = "11111111-0000-4000-8000-000000000000"
    third = open_editor(settings)
    third.load(other)
    wait_for_state(third.page, "waiting")
    third.page.evaluate(LISTEN)
    third.page.wait_for_function("() => window.heard >= 3")
    third.settle()
    wait_for_state(third.page, "waiting")

    kept = "id => Object.entries(sessionStorage).some(([key, value]) => value.includes(id))"
    page.wait_for_function(kept, arg=training["id"])
    page.reload()
    wait_for_step(page, shown(second.page)["step"])
    press_stop(second.page)  # by the tab that did not start it
    wait_for_state(page, "stopped")
    records = written(folder_of(server, page))
    for one in (page, second.page):
        assert_same_curves(shown(one)["points"], records)
    assert editor.own_errors() == second.own_errors() == third.own_errors() == []


BEGINS_AT_1 = """async ([module, id]) =>
    (await import(module)).runOf(app.graph.getNodeById(id))?.points.step[0] === 1"""
LISTEN = """() => {
    window.heard = 0;
    window.comfyAPI.api.api.addEventListener("semantic_focus.training", () => window.heard++);
}"""


def test_a_run_from_the_cache_shows_its_curves_also_in_a_copy_of_the_workflow(
    editor: "Editor", training: dict[str, Any], server: "ComfyServer"
):
    editor.load(training)
    editor.run()
    wait_for_state(editor.page, "finished")
    records = written(folder_of(server, editor.page))
    copied = copy.deepcopy(training)
    copied["id"] = "22222222-0000-4000-8000-000000000000"
    editor.load(copied)
    wait_for_state(editor.page, "waiting")
    node_of(copied, SAVE)["widgets_values"][0] += "_again"
    editor.load(copied)
    editor.run()
    wait_for_state(editor.page, "finished")
    assert_same_curves(shown(editor.page)["points"], records)
    assert written(folder_of(server, editor.page)) == records


def test_the_table_says_what_the_text_of_the_node_says(editor: "Editor", training: dict[str, Any]):
    editor.load(training)
    editor.run()
    wait_for_state(editor.page, "finished")
    panel(editor.page).get_by_role("button", name="Regions").click()
    rows = panel(editor.page).locator("tbody tr")
    read = {
        row.get_attribute("data-region"): re.findall(r"[\d.]+", row.inner_text().replace("→", " "))
        for row in rows.all()
    }
    (text,) = editor.page.evaluate("id => app.nodeOutputs[id].text", TRAIN)
    said = re.findall(r"^(\w+): ([\d.]+) → ([\d.]+), gradient (\d+)%, cover (\d+)%$", text, re.MULTILINE)
    assert len(said) == len(read) >= 4
    for region, *numbers in said:
        ours = [float(number) for number in read[region]]
        assert ours[:2] == [float(number) for number in numbers[:2]]
        for one, other in zip(ours[2:], numbers[2:], strict=True):
            assert abs(one - float(other)) <= 0.5


def test_how_the_curves_are_looked_at_is_kept_and_can_be_undone(editor: "Editor", training: dict[str, Any]):
    page = editor.page
    editor.load(training)
    editor.run()
    wait_for_state(page, "finished")
    log = panel(page).get_by_role("button", name="log")
    hair = panel(page).locator("[data-curve=hair]")
    picture = "() => document.querySelector('.sf-training canvas').toDataURL()"
    before = page.evaluate(picture)
    hair.click()
    expect(hair).to_have_attribute("aria-pressed", "false")
    editor.settle()
    without = page.evaluate(picture)
    log.click()
    expect(log).to_have_attribute("aria-pressed", "true")
    editor.settle()
    assert len({before, without, page.evaluate(picture)}) == 3
    view = node_of(editor.workflow(), TRAIN)["properties"]["semantic_focus_training"]
    assert (view["hidden"], view["log"]) == (["hair"], True)
    editor.command("Comfy.Undo")
    expect(log).to_have_attribute("aria-pressed", "false")
    expect(hair).to_have_attribute("aria-pressed", "false")
    editor.command("Comfy.Undo")
    expect(hair).to_have_attribute("aria-pressed", "true")
    panel(page).get_by_title("Show the curves large").click()
    expect(page.locator(".sf-dialog [data-curve=face]")).to_be_visible()
    assert editor.violations(".sf-dialog") == []
    page.keyboard.press("Escape")
    expect(page.locator(".sf-dialog")).to_have_count(0)


def test_samples_are_shown_and_open_large(editor: "Editor", training: dict[str, Any], server: "ComfyServer"):
    page = editor.page
    editor.load(training)
    size = node_of(editor.workflow(), TRAIN)["size"]
    page.evaluate(ADD_PREVIEW, TRAIN)
    press_run(page)
    wait_for_state(page, "finished")
    sample = panel(page).get_by_role("button", name="Sample of step 40")
    source = sample.locator("img").get_attribute("src")
    assert source and "step_000040.png" in source
    width = "image => image.complete && image.naturalWidth"
    page.wait_for_function(width, arg=sample.locator("img").element_handle())
    file = folder_of(server, page) / "previews" / "step_000040.png"
    assert page.request.get(f"{server.url}{source}").body() == file.read_bytes()
    sample.click()
    expect(page.locator(".sf-dialog img")).to_be_visible()
    page.keyboard.press("Escape")
    assert node_of(editor.workflow(), TRAIN)["size"] == size
    assert editor.errors == []


ADD_PREVIEW = """id => {
    const train = app.graph.getNodeById(id);
    const options = LiteGraph.createNode("SemanticFocusPreviewOptions");
    app.graph.add(options);
    options.pos = [train.pos[0] - 800, train.pos[1]];
    const text = app.graph.nodes.find(node => node.type === "CLIPTextEncode");
    for (const name of ["positive", "negative"]) text.connect(0, options, options.findInputSlot(name));
    for (const [name, value] of Object.entries({every: 20, steps: 2, cfg: 1})) {
        options.widgets.find(widget => widget.name === name).value = value;
    }
    options.connect(0, train, train.findInputSlot("preview"));
}"""


def test_an_error_is_told_in_the_node(editor: "Editor", training: dict[str, Any]):
    training_node = node_of(training, TRAIN)
    training_node["widgets_values"][RUN_NAME] = "not/a/folder"
    editor.load(training)
    press_run(editor.page)
    wait_for_state(editor.page, "failed")
    expect(panel(editor.page).get_by_role("log")).to_contain_text(
        "give a plain folder name, such as my_person"
    )
    expect(panel(editor.page).get_by_role("button", name="Stop and save")).to_be_disabled()


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


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_in_chinese_and_in_both_themes(
    open_editor: "Callable[..., Editor]", training: dict[str, Any], theme: str
):
    editor = open_editor({"Comfy.Locale": "zh", "Comfy.ColorPalette": theme})
    page = editor.page
    editor.load(training)
    expect(panel(page)).to_contain_text("尚未训练")
    press_run(page)
    wait_for_state(page, "finished")
    expect(panel(page)).to_contain_text("已完成")
    expect(panel(page).locator("[data-curve=face]")).to_contain_text("人脸")
    assert editor.violations(".sf-training") == []
    panel(page).get_by_role("button", name="区域").click()
    expect(panel(page).locator("tbody tr").first).to_be_visible()
    assert editor.violations(".sf-training") == []
    assert editor.errors == []
