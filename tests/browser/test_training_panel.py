"""What the training panel shows of a real training: curves, table, samples, errors, in both themes."""

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect

from .editor import EACH_ONCE
from .training_ui import (
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
from .weights_ui import OBJECTIVE, SEGMENT

if TYPE_CHECKING:
    from host.serve import ComfyServer

    from .editor import Editor

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


SHRINK = """id => {
    const node = app.graph.getNodeById(id);
    node.setSize([node.size[0], node.computeSize()[1]]);
}"""
REMEMBER_WORDS = """() => {
    window.said = [];
    const state = document.querySelector(".sf-training .sf-status");
    new MutationObserver(() => window.said.push(state.textContent)).observe(state, {childList: true});
}"""
TELL = "report => window.comfyAPI.api.api.dispatchCustomEvent('semantic_focus.training', report)"


def bottom(box: Any) -> float:
    return box["y"] + box["height"]


def value_of(page: Page, curve: str) -> str:
    return panel(page).locator(f"[data-curve={curve}] .sf-training-value").inner_text()


@EACH_ONCE
def test_the_curves_are_those_on_disk_and_the_crosshair_tells_their_values(
    anywhere: "Editor", training: dict[str, Any]
):
    page = anywhere.page
    node_of(training, TRAIN)["properties"]["semantic_focus_training"] = {"smoothing": 0}
    anywhere.load(training)
    wait_for_state(page, "waiting")
    size = node_of(anywhere.workflow(), TRAIN)["size"]
    anywhere.press_run()
    wait_for_state(page, "finished")
    wait_for_step(page, 40)
    records = written(folder_of(anywhere.server, page))
    assert len(records) == 40
    assert_same_curves(shown(page)["points"], records)

    chart = panel(page).get_by_role("slider", name="Loss curves")
    chart.focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(chart).to_have_attribute("aria-valuenow", "2")
    assert float(value_of(page, "total")) == pytest.approx(records[1]["total"], abs=5.1e-4)
    assert float(value_of(page, "face")) == pytest.approx(records[1]["regions"]["face"], abs=5.1e-4)
    box = chart.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] / 2)
    expect(chart).to_have_attribute("aria-valuenow", "40")
    assert float(value_of(page, "face")) == pytest.approx(records[39]["regions"]["face"], abs=5.1e-4)

    assert node_of(anywhere.workflow(), TRAIN)["size"] == size
    assert "semantic_focus_training" not in anywhere.prompt()[str(TRAIN)]["inputs"]
    assert anywhere.violations(".sf-training") == []
    assert anywhere.errors == []


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
    page.evaluate(SHRINK, TRAIN)
    size = node_of(editor.workflow(), TRAIN)["size"]
    page.evaluate(ADD_PREVIEW, TRAIN)
    editor.press_run()
    wait_for_state(page, "finished")
    sample = panel(page).get_by_role("button", name="Sample of step 40").first
    source = sample.locator("img").get_attribute("src")
    assert source and "step_000040.png" in source
    width = "image => image.complete && image.naturalWidth"
    page.wait_for_function(width, arg=sample.locator("img").element_handle())
    file = folder_of(server, page) / "previews" / "step_000040.png"
    assert page.request.get(f"{server.url}{source}").body() == file.read_bytes()
    sample.click()
    expect(page.locator(".sf-dialog img")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".sf-dialog")).to_contain_text("Sample of step 20")
    assert editor.violations(".sf-dialog") == []
    page.keyboard.press("Escape")
    strip = panel(page).get_by_role("group", name="Samples").get_by_role("button")
    expect(strip).to_have_count(2)
    strip.first.click()
    expect(page.locator(".sf-dialog")).to_contain_text("Sample of step 20")
    assert "step_000020.png" in (page.locator(".sf-dialog img").get_attribute("src") or "")
    page.keyboard.press("Escape")
    assert editor.violations(".sf-training") == []
    parts = ("canvas", ".sf-training-legend", ".sf-training-notes")
    boxes = [panel(page).locator(part).bounding_box() for part in parts]
    for above, below in pairwise([*boxes, {"y": bottom(panel(page).bounding_box())}]):
        assert above and below and above["height"] > 20 and bottom(above) <= below["y"]
    assert node_of(editor.workflow(), TRAIN)["size"] == size
    assert editor.errors == []


def test_what_a_training_needs_is_shown_until_its_first_step(editor: "Editor", training: dict[str, Any]):
    editor.load(training)
    needs = panel(editor.page).get_by_text("needs about 7.1 GiB of 12.0 free (swap 60 %)")
    points: dict[str, Any] = {"step": [], "total": [], "prior": [], "learning_rate": [], "regions": {}}
    report: dict[str, Any] = {
        "run": "of this test", "revision": 1, "workflow": training["id"], "node": str(TRAIN), "prompt": None,
        "state": "starting", "step": 0, "steps": 40, "rate": None, "folder": None, "samples": [],
        "kept": None, "error": None, "rows": None, "notes": [], "gradient_share": {}, "coverage": {},
        "memory": {"needed": 7.12, "free": 12.0, "swap": 60, "inputs": False}, "after": 0, "points": points,
    }  # fmt: skip
    editor.page.evaluate(TELL, report)
    expect(needs).to_be_visible()
    first = {"step": [1], "total": [0.5], "prior": [0.1], "learning_rate": [1e-4], "regions": {}}
    report = {**report, "revision": 2, "state": "running", "step": 1, "points": first}
    editor.page.evaluate(TELL, report)
    expect(panel(editor.page).get_by_text("1 / 40")).to_be_visible()
    expect(needs).to_have_count(0)


def test_what_is_held_out_has_curves_of_its_own_and_a_training_that_made_it_worse_says_so(
    editor: "Editor", training: dict[str, Any]
):
    """Told in two reports, as a training tells them."""
    page = editor.page
    editor.load(training)
    expect(panel(page).get_by_role("button", name="Held out")).to_have_count(0)
    note = {"kind": "saturated", "text": "", "values": {"regions": "face", "step": "20"}}
    report: dict[str, Any] = {
        "run": "of this test", "revision": 1, "workflow": training["id"], "node": str(TRAIN), "prompt": None,
        "state": "running", "step": 20, "steps": 40, "rate": None, "folder": None, "sample": None,
        "kept": None, "error": None, "rows": None, "notes": [], "gradient_share": {}, "coverage": {},
        "worse": False, "after": 0,
        "points": {
            "step": [1, 10, 20], "total": [0.9, 0.6, 0.5], "prior": [0, 0, 0],
            "learning_rate": [1e-4, 1e-4, 1e-4], "regions": {"face": [0.9, 0.6, 0.5]},
            "validation": {
                "step": [10, 20], "loss": [0.8, 0.7], "regions": {"face": [0.8, 0.7]},
                "drift": {"face": [0.1, 0.2]},
            },
        },
    }  # fmt: skip
    page.evaluate(TELL, report)
    panel(page).get_by_role("button", name="Held out").click()
    chart = panel(page).get_by_role("slider", name="Loss curves")
    expect(chart).to_have_attribute("aria-valuemax", "20")
    expect(panel(page).locator("[data-curve='drift:face']")).to_contain_text("drift")
    later = {
        "step": [40], "total": [2.0], "prior": [0], "learning_rate": [1e-4], "regions": {"face": [2.0]},
        "validation": {"step": [40], "loss": [0.75], "regions": {"face": [0.75]}, "drift": {"face": [None]}},
    }  # fmt: skip
    ended = {"state": "finished", "worse": True, "step": 40, "notes": [note], "after": 20, "revision": 2}
    page.evaluate(TELL, {**report, **ended, "points": later})
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"step 40: .*total 0\.75"))
    assert shown(page)["points"]["validation"]["drift"] == {"face": [0.1, 0.2, None]}
    expect(panel(page)).to_contain_text("Finished, but made worse")
    expect(panel(page).get_by_role("log")).to_contain_text("face: stopped getting better at step 20.")
    chart.press("Home")
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"step 10: .*face, drift 0\.1"))
    panel(page).get_by_role("button", name="Curves", exact=True).click()
    expect(chart).to_have_attribute("aria-valuetext", re.compile(r"step 40: .*total [\d.]+"))
    assert editor.violations(".sf-training") == []


def test_an_error_is_told_in_the_node(editor: "Editor", training: dict[str, Any]):
    """Only what is in no picture is weighted: that shows when the pictures are there."""
    weights = ["custom", *[0] * 7]
    node_of(training, OBJECTIVE)["widgets_values"][1:9] = weights
    node_of(training, OBJECTIVE)["widgets_values"][12] = "tattoo: 1"
    node_of(training, SEGMENT)["widgets_values"][1] = "fine"  # as no test before: the masks take a moment
    editor.load(training)
    editor.page.evaluate(REMEMBER_WORDS)
    editor.press_run()
    wait_for_state(editor.page, "failed")
    # while the masks were made
    assert "Not trained yet: the nodes before it are at work" in editor.page.evaluate("window.said")
    expect(panel(editor.page).get_by_role("log")).to_contain_text(
        "none of the 2 pictures has a region with a weight above 0 (tattoo)"
    )
    expect(panel(editor.page).get_by_role("button", name="Stop and save")).to_be_disabled()
