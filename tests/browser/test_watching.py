"""A training that runs elsewhere is shown by the folder that it writes, and only while somebody looks."""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Request, expect

from semantic_focus.settings.access import FILE
from semantic_focus.training.curves_file import curve_line
from semantic_focus.training.step_record import SampleRecord, StepRecord

from .dataset_ui import set_widget
from .editor import EACH_ONCE
from .training_ui import assert_same_curves, panel, wait_for_state, wait_for_step, written

if TYPE_CHECKING:
    from .editor import Editor

WATCH = 1
REGIONS = ("face", "hair", "clothing", "background")
LOOK = "() => document.dispatchEvent(new Event('visibilitychange'))"
"""What the browser says when its tab is there again: the panel does not wait for its next look."""
POINTS = """async id => {
    const {panels} = await import("/extensions/ComfyUI-SemanticFocus/training/panel.mjs");
    return JSON.parse(JSON.stringify(panels.get(app.graph.getNodeById(id)).run.points));
}"""
MOVE_AWAY = "away => { app.canvas.ds.offset = [away ? -9000 : 0, 0]; app.canvas.setDirty(true, true); }"

ROUTE = "**/semantic_focus/training/folder"


def line(step: int, offset: float = 0.0) -> str:
    values = {name: offset + 1 / (step + place) for place, name in enumerate(REGIONS)}
    sample = SampleRecord(0, 0.5, values, values, dict.fromkeys(REGIONS, 0.25))
    shares: dict[str, float] = dict.fromkeys(REGIONS, 0.25)
    record = StepRecord(step, sum(values.values()), values, 0.0, 0.0, 1e-4, 1.0, shares, (sample,))
    return curve_line(record) + "\n"


class Run:
    """A run folder of ten steps that a test writes."""

    def __init__(self, folder: Path):
        self.folder, self.curves = folder, folder / "curves.jsonl"

    def begin(self, finished: bool = False) -> "Run":
        self.folder.mkdir(parents=True, exist_ok=True)
        description = {"identity": {"training": {"steps": 10}}, "finished": finished}
        (self.folder / "run.json").write_text(json.dumps(description))
        return self

    def add(self, *steps: int, offset: float = 0.0) -> "Run":
        with self.curves.open("a") as file:
            file.writelines(line(step, offset) for step in steps)
        return self

    def sample(self, step: int) -> None:
        previews = self.folder / "previews"
        previews.mkdir(exist_ok=True)
        Image.new("RGB", (1024, 512), (20 * step, 90, 60)).save(previews / f"step_{step:06}.png")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "shared" / "my_person")


@pytest.fixture
def asked(only_page: "Editor") -> Iterator[list[str]]:
    """What was asked about run folders since the test began."""
    bodies: list[str] = []

    def note(request: Request) -> None:
        if "/semantic_focus/training/folder" in request.url:
            bodies.append(request.post_data or "")

    only_page.page.on("request", note)
    yield bodies
    only_page.page.remove_listener("request", note)


def graph(folder: Path | str) -> dict[str, Any]:
    node = {
        "id": WATCH, "type": "SemanticFocusWatch", "pos": [400, 120], "size": [440, 560], "flags": {},
        "order": 0, "mode": 0, "properties": {}, "widgets_values": [str(folder)],
        "inputs": [{"name": "folder", "type": "STRING", "link": None, "widget": {"name": "folder"}}],
        "outputs": [{"name": "loss_map", "type": "LOSS_MAP", "links": []}],
    }  # fmt: skip
    return {
        "id": str(uuid.uuid4()), "last_node_id": WATCH, "last_link_id": 0, "nodes": [node], "links": [],
        "groups": [], "config": {}, "extra": {"ds": {"scale": 1, "offset": [0, 0]}}, "version": 0.4,
    }  # fmt: skip


def state(page: Page) -> Locator:
    return panel(page).locator(".sf-status")


def give(editor: "Editor", folder: Path | str) -> None:
    """Change the node's folder, and look at once."""
    set_widget(editor, WATCH, "folder", str(folder))
    editor.page.evaluate(LOOK)


@EACH_ONCE
def test_a_training_elsewhere_is_shown_from_its_first_step_to_its_last(anywhere: "Editor", run: Run):
    page = anywhere.page
    run.begin()
    anywhere.load(graph(run.folder))
    wait_for_state(page, "begun")
    expect(state(page)).to_have_text("No step yet")
    size = anywhere.workflow()["nodes"][0]["size"]
    run.add(1, 2, 3).sample(2)
    wait_for_step(page, 3)  # without anybody's doing
    wait_for_state(page, "running")
    run.curves.open("a").write(line(4)[:30])
    run.sample(3)
    page.evaluate(LOOK)
    strip = panel(page).get_by_role("group", name="Samples").get_by_role("button")
    expect(strip).to_have_count(2)
    assert_same_curves(page.evaluate(POINTS, WATCH), [json.loads(line(step)) for step in (1, 2, 3)])
    strip.first.click()
    large = page.locator(".sf-dialog img")
    page.wait_for_function(
        "image => image.complete && image.naturalWidth === 1024", arg=large.element_handle()
    )
    page.keyboard.press("Escape")
    run.curves.write_text("".join(map(line, range(1, 11))))
    run.begin(finished=True)
    page.evaluate(LOOK)
    wait_for_state(page, "finished")
    assert_same_curves(page.evaluate(POINTS, WATCH), written(run.folder))
    expect(panel(page).locator(".sf-training-progress")).to_contain_text("10 / 10")
    panel(page).get_by_role("button", name="Regions").click()
    expect(panel(page).locator("tbody tr")).to_have_count(len(REGIONS))
    assert anywhere.violations(".sf-training") == []
    assert anywhere.workflow()["nodes"][0]["size"] == size
    assert anywhere.prompt()[str(WATCH)]["inputs"] == {"folder": str(run.folder)}
    assert anywhere.errors == []


def test_a_folder_that_vanishes_leaves_its_curves_and_a_run_begun_anew_replaces_them(
    editor: "Editor", run: Run, tmp_path: Path
):
    page = editor.page
    run.begin().add(1, 2, 3)
    editor.load(graph(run.folder))
    wait_for_step(page, 3)
    run.folder.rename(tmp_path / "away")
    page.evaluate(LOOK)
    expect(state(page)).to_have_text("Not to be seen now, last at step 3")
    expect(panel(page).get_by_role("log")).to_contain_text("not there yet, or no more")
    assert page.evaluate(POINTS, WATCH)["step"] == [1, 2, 3]
    (tmp_path / "away").rename(run.folder)
    run.add(4)
    page.route(ROUTE, lambda route: route.abort())
    page.evaluate(LOOK)
    expect(panel(page).get_by_role("log")).to_have_text("ComfyUI's server does not answer.")
    page.unroute(ROUTE)
    page.evaluate(LOOK)
    wait_for_step(page, 4)
    expect(panel(page).get_by_role("log")).to_be_hidden()
    run.curves.unlink()
    run.add(1, 2, offset=1.0)
    page.evaluate(LOOK)
    expect(panel(page).get_by_role("slider", name="Loss curves")).to_have_attribute("aria-valuemax", "2")
    assert_same_curves(page.evaluate(POINTS, WATCH), written(run.folder))


def test_what_is_wrong_with_a_folder_is_said_in_both_languages(editor: "Editor", run: Run, tmp_path: Path):
    page = editor.page
    (tmp_path / "file").touch()
    (tmp_path / "pictures").mkdir()
    run.begin().add(1)
    damaged = Run(tmp_path / "damaged").begin()
    damaged.curves.write_text(line(1) + "{}\n" + line(2))
    (damaged.folder / "run.json").write_text("{")
    other = Run(tmp_path / "other").begin()
    other.curves.write_text('{"iteration": 1}\n')
    cases = (
        ("", "No folder yet: choose the run", "请选择一次训练"),
        (tmp_path / "nothing", "A training makes its folder when it begins", "训练开始时会创建它的文件夹"),
        (tmp_path / "file", "this is a file: give the folder of a run", "请给出一次训练的文件夹"),
        (tmp_path / "pictures", "A run folder holds run.json and curves.jsonl", "里面没有训练"),
        (run.folder.parent, "give one of my_person", "请选择其中之一：my_person"),
        (damaged.folder, "damaged, and left out: 1", "已略过：1 行"),
        (damaged.folder, "how many steps there will be is not known", "run.json 已损坏"),
        (other.folder, "they are damaged, or of another version", "或来自其他版本"),
    )
    editor.load(graph(""))
    for folder, english, _ in cases:
        give(editor, folder)
        expect(panel(page)).to_contain_text(english)
    give(editor, r"\\host\share")
    expect(panel(page)).to_contain_text("is on another computer, or a device")
    editor.set("Comfy.Locale", "zh")
    for folder, _, chinese in cases:
        give(editor, folder)
        expect(panel(page)).to_contain_text(chinese)
    assert editor.violations(".sf-training") == []
    rules = editor.server.user_directory / FILE
    rules.write_text("[read]\nstrict = true\n")
    try:
        give(editor, run.folder)
        expect(panel(page)).to_contain_text("（input、output、temp、user、models）")
    finally:
        rules.unlink()
    assert editor.own_errors() == []


def test_nothing_is_asked_that_the_user_has_not_chosen_and_nothing_while_nobody_looks(
    editor: "Editor", run: Run, asked: list[str]
):
    page = editor.page
    run.begin().add(1, 2)
    editor.load(graph(run.folder), known=False)
    show = panel(page).get_by_role("button", name="Show this folder")
    expect(show).to_be_visible()
    page.evaluate(LOOK)
    editor.settle()
    assert asked == []
    show.click()
    wait_for_step(page, 2)
    page.evaluate(MOVE_AWAY, True)
    page.wait_for_function("() => !document.querySelector('.sf-training').checkVisibility()")
    editor.settle()
    before = len(asked)
    for _ in range(3):
        page.evaluate(LOOK)
        editor.settle()
    assert len(asked) == before
    run.add(3)
    page.evaluate(MOVE_AWAY, False)
    wait_for_step(page, 3)
    assert json.loads(asked[-1])["after"] >= 2  # only what is new


def test_a_run_is_chosen_of_those_that_there_are_and_those_watched_before(editor: "Editor", run: Run):
    page = editor.page
    here = Run(editor.server.base_directory / "output" / "semantic_focus" / "chosen").begin().add(1, 2, 3, 4)
    run.begin().add(1)
    editor.load(graph(run.folder))
    wait_for_step(page, 1)
    panel(page).get_by_role("button", name="Choose a run", exact=True).click()
    dialog = page.get_by_role("dialog", name="Choose a run")
    expect(dialog.get_by_role("button", name=str(run.folder))).to_be_visible()
    assert editor.violations(".sf-dialog") == []
    dialog.get_by_role("button", name="semantic_focus/chosen").click()
    wait_for_step(page, 4)
    assert editor.widget(WATCH, "folder") == str(here.folder)
    editor.command("Comfy.Undo")
    assert editor.widget(WATCH, "folder") == str(run.folder)
    shutil.rmtree(here.folder)
    assert editor.errors == []
