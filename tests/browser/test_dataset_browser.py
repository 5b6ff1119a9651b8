"""The dataset browser: the status of every picture's masks, one picture large, masks made at a click."""

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Locator, expect

from semantic_focus.mask_file import mask_path, read_header, read_masks, save_masks
from semantic_focus.masks import SemanticMasks

if TYPE_CHECKING:
    from conftest import Editor

LOADER, SEGMENTER, CACHER = 2, 3, 5
OUR_PANEL = ".sf-dataset"
KEYWORDS = "face: face\nhair: hair\nbackground: background"
LISTED = 20_000


@pytest.fixture
def folder(make_dataset: Callable[[Path], Path], tmp_path: Path) -> Path:
    """one.png and two.png with captions, "drei 好.JPG" without, on its side but for its EXIF data."""
    folder = make_dataset(tmp_path / "my pictures 图")
    portrait = Image.open(folder / "two.png")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    portrait.transpose(Image.Transpose.ROTATE_90).save(folder / "drei 好.JPG", "JPEG", exif=exif, quality=95)
    return folder


@pytest.fixture
def many(folder: Path) -> Path:
    """A folder whose masks take a while."""
    for number in range(40):
        shutil.copy(folder / "two.png", folder / f"more {number}.png")
    return folder


def widget(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": None, "widget": {"name": name}}


def graph(
    folder: Path | str, *, connected: bool = True, size: tuple[int, int] = (320, 420)
) -> dict[str, Any]:
    """Load Semantic Dataset, SAM Semantic Segment on it, and Cache Dataset Masks on the same folder."""
    links = [[1, LOADER, 0, SEGMENTER, 0, "IMAGE"], [2, LOADER, 2, SEGMENTER, 4, "STRING"]]
    outputs = [("images", "IMAGE", 1), ("captions", "STRING", None), ("mask_files", "STRING", 2)]
    loader = {
        "inputs": [widget("folder", "STRING"), widget("default_caption", "STRING")],
        "outputs": [
            {"name": name, "type": kind, "links": [link] if link and connected else []}
            for name, kind, link in outputs
        ],
        "widgets_values": [str(folder), ""],
    }
    segmenter = {
        "inputs": [
            {"name": "images", "type": "IMAGE", "link": 1 if connected else None},
            widget("backend", "COMBO"),
            widget("refine", "COMBO"),
            widget("keywords", "STRING"),
            {"name": "mask_file", "type": "STRING", "link": 2 if connected else None, "shape": 7},
            widget("keep_overlaps", "BOOLEAN"),
        ],
        "outputs": [{"name": "masks", "type": "SEMANTIC_MASKS", "links": []}],
        "widgets_values": ["auto", "off", KEYWORDS, False],
    }
    kinds = {"folder": "STRING", "backend": "COMBO", "refine": "COMBO", "keywords": "STRING"}
    kinds |= dict.fromkeys(("recursive", "force", "report", "keep_overlaps"), "BOOLEAN")
    results = [("contact_sheet", "IMAGE"), ("summary", "STRING"), ("report_file", "STRING")]
    cacher = {
        "inputs": [widget(name, kind) for name, kind in kinds.items()],
        "outputs": [{"name": name, "type": kind, "links": []} for name, kind in results],
        "widgets_values": [str(folder), "auto", "off", KEYWORDS, False, False, True, False],
    }
    made = [
        (LOADER, "SemanticFocusLoadDataset", loader, [40, 80], size),
        (CACHER, "SemanticFocusCacheDataset", cacher, [440, 80], (420, 640)),
        (SEGMENTER, "SemanticFocusSegment", segmenter, [920, 80], (400, 640)),
    ]
    nodes = [
        {"id": id, "type": kind, "pos": place, "size": list(size), "flags": {}, "order": order, "mode": 0}
        | {"properties": {}, **parts}
        for order, (id, kind, parts, place, size) in enumerate(made)
    ]
    view = {"ds": {"scale": 1, "offset": [60, 40]}}
    rest = {"groups": [], "config": {}, "extra": view, "version": 0.4}
    return {"last_node_id": 5, "last_link_id": 2, "nodes": nodes, "links": links if connected else [], **rest}


def only(part: dict[str, Any], *kept: int) -> dict[str, Any]:
    """The graph with these nodes alone."""
    part["nodes"] = [node for node in part["nodes"] if node["id"] in kept]
    part["links"] = [link for link in part["links"] if link[1] in kept and link[3] in kept]
    return part


def panel(editor: "Editor", index: int = 0) -> Locator:
    return editor.page.locator(OUR_PANEL).locator("visible=true").nth(index)


def tile(editor: "Editor", name: str, index: int = 0) -> Locator:
    return panel(editor, index).locator("[role=option]").filter(has_text=name)


def badge(editor: "Editor", name: str, index: int = 0) -> Locator:
    return tile(editor, name, index).locator("[data-status]")


def set_widget(editor: "Editor", node: int, name: str, value: str) -> None:
    """Change a widget as the user would."""
    change = """([id, name, value]) => {
        const node = app.graph.getNodeById(id);
        const widget = node.widgets.find(widget => widget.name === name);
        app.canvas.emitBeforeChange();
        widget.value = value;
        widget.callback?.(value, app.canvas, node);
        app.canvas.emitAfterChange();
    }"""
    editor.page.evaluate(change, [node, name, value])


def shows(editor: "Editor", statuses: dict[str, str], index: int = 0) -> None:
    """Every picture has its badge, and is named with its status."""
    for name, status in statuses.items():
        expect(badge(editor, name, index)).to_have_attribute("data-status", status, timeout=LISTED)
        expect(tile(editor, name, index)).to_have_attribute("aria-label", re.compile(f"{name}; {status}"))


@pytest.fixture
def make_masks(request: pytest.FixtureRequest) -> "Callable[[Editor, Path], None]":
    """Make the mask files of a folder, with the settings of `graph`."""

    def make(editor: "Editor", folder: Path) -> None:
        server = request.getfixturevalue("newer_server" if editor.newer else "server")
        settings = {"backend": "auto", "refine": "off", "keywords": KEYWORDS, "report": False}
        inputs = {"folder": str(folder), **settings}
        server.run({"1": {"class_type": "SemanticFocusCacheDataset", "inputs": inputs}})

    return make


def test_masks_are_made_at_a_click(anywhere: "Editor", folder: Path):
    editor = anywhere
    editor.load(graph(folder))
    shows(editor, dict.fromkeys(("one.png", "two.png", "drei 好.JPG"), "missing"))
    expect(panel(editor).locator(".sf-dataset-summary")).to_have_text("3 pictures · 3 missing · 1 to look at")
    sizes = {node["id"]: node["size"] for node in editor.workflow()["nodes"]}

    panel(editor).get_by_role("button", name="Generate masks (3)").click()
    shows(editor, dict.fromkeys(("one.png", "two.png", "drei 好.JPG"), "ok"))
    expect(panel(editor).get_by_role("button", name="All masks made")).to_be_disabled()
    for name in ("one.png", "two.png", "drei 好.JPG"):
        masks = read_masks(mask_path(folder / name))
        assert masks.labels == ("face", "hair", "background")
        assert 0.01 < float(masks.region("face").mean()) < 0.3
    # the other node has the same folder and settings
    shows(editor, {"one.png": "ok", "drei 好.JPG": "ok"}, index=1)

    # the segmentation in the graph would make them alike: it has nothing left to do
    before = {name: mask_path(folder / name).stat().st_mtime_ns for name in ("one.png", "two.png")}
    set_widget(editor, LOADER, "default_caption", "a woman")
    editor.run()
    assert before == {name: mask_path(folder / name).stat().st_mtime_ns for name in before}
    assert {node["id"]: node["size"] for node in editor.workflow()["nodes"]} == sizes
    assert editor.errors == []


def test_a_picture_is_looked_at_large(
    anywhere: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    editor = anywhere
    make_masks(editor, folder)
    editor.load(graph(folder))
    shows(editor, {"one.png": "ok", "two.png": "ok", "drei 好.JPG": "ok"})
    tile(editor, "drei 好.JPG").click()
    dialog = editor.page.get_by_role("dialog")
    expect(dialog.get_by_role("heading", name="drei 好.JPG")).to_be_visible()
    upright = dialog.locator("img").first
    expect(upright).to_have_js_property("complete", True)
    assert upright.evaluate("img => [img.naturalWidth, img.naturalHeight]") == [360, 480]
    expect(dialog.locator(".sf-dataset-facts")).to_contain_text("no caption")

    dialog.get_by_role("button", name="next picture").click()
    expect(dialog.get_by_role("heading", name="one.png")).to_be_visible()
    expect(dialog.locator(".sf-dataset-facts")).to_contain_text("a woman in an orange suit")
    share = float(read_masks(mask_path(folder / "one.png")).region("background").mean())
    row = dialog.get_by_role("row").filter(has_text="background")
    expect(row).to_contain_text(f"{share:.0%}")

    regions = dialog.locator(".sf-dataset-regions")
    expect(regions).to_have_count(1)
    dialog.get_by_label("regions").uncheck()
    expect(regions).to_have_count(0)
    editor.page.keyboard.press("ArrowLeft")
    expect(dialog.get_by_role("heading", name="drei 好.JPG")).to_be_visible()
    assert editor.violations(".sf-dialog") == []
    editor.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert editor.errors == []


def test_the_folder_and_the_settings_are_followed(
    anywhere: "Editor", folder: Path, tmp_path: Path, make_masks: "Callable[[Editor, Path], None]"
):
    editor = anywhere
    make_masks(editor, folder)
    editor.load(graph(tmp_path / "nowhere"))
    expect(panel(editor)).to_contain_text("There is no such folder", timeout=LISTED)
    set_widget(editor, LOADER, "folder", str(folder))
    shows(editor, {"one.png": "ok"})
    set_widget(editor, SEGMENTER, "refine", "fast")
    shows(editor, {"one.png": "stale", "two.png": "stale"})
    (tmp_path / "empty").mkdir()
    set_widget(editor, LOADER, "folder", str(tmp_path / "empty"))
    expect(panel(editor)).to_contain_text("No picture is in this folder", timeout=LISTED)
    assert editor.errors == []


def test_each_status_has_its_badge_and_its_filter(
    editor: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    make_masks(editor, folder)
    mask_path(folder / "two.png").unlink()
    by_hand = read_masks(mask_path(folder / "one.png"))
    for name in ("hand", "old", "torn"):
        shutil.copy(folder / "one.png", folder / f"{name}.png")
    save_masks(mask_path(folder / "hand.png"), SemanticMasks(by_hand.masks, by_hand.labels))
    shutil.copy(mask_path(folder / "one.png"), mask_path(folder / "old.png"))
    picture = np.asarray(Image.open(folder / "old.png")).copy()
    picture[:9] = 0
    Image.fromarray(picture).save(folder / "old.png")
    (folder / "torn.png").write_bytes((folder / "torn.png").read_bytes()[:9000])
    assert "image_digest" in read_header(mask_path(folder / "old.png"))

    editor.load(graph(folder, size=(520, 520)))
    statuses = {"one.png": "ok", "drei 好.JPG": "ok", "two.png": "missing", "old.png": "stale"}
    shows(editor, {**statuses, "hand.png": "by hand"})
    expect(badge(editor, "torn.png")).to_have_attribute("data-status", "failed", timeout=LISTED)
    expect(tile(editor, "old.png")).to_have_attribute("title", re.compile("edited since its masks"))
    expect(tile(editor, "torn.png")).to_have_attribute("title", re.compile("cannot be read as a picture"))

    choice = panel(editor).get_by_label("which pictures to show")
    uncaptioned = {"drei 好.JPG", "hand.png", "old.png", "torn.png"}
    expected = {
        "missing": {"two.png"},
        "stale": {"old.png"},
        "by hand": {"hand.png"},
        "problems": uncaptioned,
    }
    for name, pictures in expected.items():
        choice.select_option(name)
        names = panel(editor).locator(".sf-dataset-name")
        expect(names).to_have_count(len(pictures))
        assert set(names.all_text_contents()) == pictures, name
    assert editor.errors == []


def test_the_view_is_kept_in_the_workflow_and_undone(editor: "Editor", folder: Path):
    editor.load(only(graph(folder, connected=False), LOADER))
    shows(editor, {"one.png": "missing"})
    choice = panel(editor).get_by_label("which pictures to show")
    choice.select_option("stale")
    expect(panel(editor)).to_contain_text("No such picture")
    saved = editor.workflow()
    editor.command("Comfy.Undo")
    expect(panel(editor).get_by_label("which pictures to show")).to_have_value("all")
    shows(editor, {"one.png": "missing"})
    editor.load(saved)
    expect(panel(editor).get_by_label("which pictures to show")).to_have_value("stale")


def test_without_a_segmentation_there_is_nothing_to_press(editor: "Editor", folder: Path):
    editor.load(only(graph(folder, connected=False), LOADER, SEGMENTER))
    shows(editor, {"one.png": "missing"})
    expect(panel(editor).get_by_role("button", name="Connect SAM Semantic Segment")).to_be_disabled()


def test_the_cache_node_makes_its_own_and_shows_its_report(editor: "Editor", folder: Path):
    editor.load(only(graph(folder, connected=False), CACHER))
    shows(editor, dict.fromkeys(("one.png", "two.png"), "missing"))
    panel(editor).get_by_role("button", name="Generate masks (3)").click()
    shows(editor, dict.fromkeys(("one.png", "two.png", "drei 好.JPG"), "ok"))
    expect(panel(editor)).to_contain_text("3 made (mediapipe)")
    told = editor.page.locator(".p-toast-message").filter(has_text="Cache Dataset Masks")
    expect(told).to_contain_text("3 made")
    panel(editor).get_by_role("button", name="Report").click()
    page = editor.page.frame_locator("dialog iframe")
    expect(page.get_by_role("heading")).to_contain_text(f"{folder.name}: 3 pictures")
    expect(editor.page.get_by_role("dialog")).to_contain_text("semantic_focus/masks_my pictures")
    assert editor.errors == []


def test_cancel_stops_between_pictures(editor: "Editor", many: Path):
    editor.load(only(graph(many), LOADER, SEGMENTER))
    panel(editor).get_by_role("button", name="Generate masks (43)").click(timeout=LISTED)
    expect(panel(editor)).to_contain_text(re.compile(r"[1-9]\d? of 43"), timeout=LISTED)
    panel(editor).get_by_role("button", name="Cancel").click()
    again = panel(editor).get_by_role("button", name=re.compile(r"Generate masks \(\d+\)"))
    expect(again).to_be_visible(timeout=LISTED)
    made = list(many.glob("*_zi_masks.safetensors"))
    assert 0 < len(made) < 43
    expect(again).to_have_text(f"Generate masks ({43 - len(made)})")
    assert editor.errors == []


def test_the_grid_is_walked_by_keys(editor: "Editor", folder: Path):
    for number in range(20):
        shutil.copy(folder / "one.png", folder / f"p{number:02}.png")
    editor.load(only(graph(folder), LOADER, SEGMENTER))
    shows(editor, {"one.png": "missing"})
    grid = panel(editor).get_by_role("listbox")
    names = ["drei 好.JPG", "one.png", *(f"p{number:02}.png" for number in range(20)), "two.png"]
    columns = int(grid.evaluate("grid => Math.floor((grid.clientWidth + 4) / 80)"))
    grid.focus()
    at = 0
    for key, step in (("ArrowRight", 1), ("ArrowDown", columns), ("ArrowLeft", -1), ("ArrowUp", -columns)):
        editor.page.keyboard.press(key)
        at = max(0, min(at + step, len(names) - 1))
        expect(grid.locator("[aria-selected=true]")).to_contain_text(names[at])
    editor.page.keyboard.press("End")
    last = grid.locator("[aria-selected=true]")
    expect(last).to_contain_text("two.png")
    expect(last).to_be_in_viewport()
    assert grid.get_attribute("aria-activedescendant") == last.get_attribute("id")
    editor.page.keyboard.press("Enter")
    expect(editor.page.get_by_role("dialog").get_by_role("heading", name="two.png")).to_be_visible()
    editor.page.keyboard.press("ArrowRight")
    editor.page.keyboard.press("Escape")
    expect(grid).to_be_focused()
    expect(grid.locator("[aria-selected=true]")).to_contain_text(names[0])


def test_a_folder_from_another_node_is_read_from_it(editor: "Editor", folder: Path):
    part = only(graph("", connected=False), LOADER)
    text = {"id": 9, "type": "PrimitiveString", "pos": [40, 600], "size": [300, 60], "flags": {}, "order": 0}
    text |= {
        "mode": 0,
        "inputs": [widget("value", "STRING")],
        "properties": {},
        "widgets_values": [str(folder)],
    }
    part["nodes"].append({**text, "outputs": [{"name": "STRING", "type": "STRING", "links": [7]}]})
    part["nodes"][0]["inputs"][0]["link"] = 7
    part["links"] = [[7, 9, 0, LOADER, 0, "STRING"]]
    editor.load(part)
    shows(editor, {"one.png": "missing", "drei 好.JPG": "missing"})


def test_masks_are_made_inside_a_subgraph(editor: "Editor", folder: Path):
    editor.load(graph(folder))
    shows(editor, {"one.png": "missing"})
    editor.page.evaluate(
        """ids => {
            const nodes = new Set(ids.map(id => app.graph.getNodeById(id)));
            app.canvas.setGraph(app.graph.convertToSubgraph(nodes).subgraph);
        }""",
        [LOADER, SEGMENTER],
    )
    shows(editor, {"one.png": "missing"})
    panel(editor).get_by_role("button", name="Generate masks (3)").click()
    shows(editor, dict.fromkeys(("one.png", "two.png", "drei 好.JPG"), "ok"))
    assert editor.own_errors() == []


COUNT_PROMPTS = """() => {
    const made = app.graphToPrompt;
    window.promptsMade = 0;
    app.graphToPrompt = function (...rest) { window.promptsMade++; return made.apply(this, rest); };
}"""
LIVING = """async () =>
    (await import("/extensions/ComfyUI-SemanticFocus/dataset/panel.mjs")).panels.size"""


def test_the_graph_is_read_without_making_a_prompt_of_it(editor: "Editor", folder: Path):
    """Making one lets nodes of other packs record, upload or complain."""
    editor.load(graph("/nowhere/at all"))
    expect(panel(editor)).to_contain_text("There is no such folder", timeout=LISTED)
    editor.page.evaluate(COUNT_PROMPTS)
    set_widget(editor, LOADER, "folder", str(folder))
    set_widget(editor, SEGMENTER, "refine", "fast")
    shows(editor, {"one.png": "missing"})
    assert editor.page.evaluate("() => window.promptsMade") == 0


def test_settings_are_read_past_reroutes_bypassed_nodes_and_borders_of_subgraphs(
    editor: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    make_masks(editor, folder)
    mask_path(folder / "two.png").unlink()
    part = only(graph(folder, connected=False), LOADER, SEGMENTER)
    for number, kind in ((20, "Reroute"), (21, "Reroute")):
        slots = {"inputs": [{"name": "", "type": "*", "link": number}]}
        slots |= {"outputs": [{"name": "", "type": "STRING", "links": [number + 1]}]}
        place = {"pos": [400 + 20 * number, 700], "size": [75, 26], "flags": {}, "order": 0, "mode": 0}
        part["nodes"].append({"id": number, "type": kind, **place, **slots, "properties": {}})
    nodes = {node["id"]: node for node in part["nodes"]}
    nodes[LOADER]["outputs"][2]["links"] = [20]
    nodes[SEGMENTER]["inputs"][4]["link"] = 22
    part["links"] = [
        [20, LOADER, 2, 20, 0, "*"],
        [21, 20, 0, 21, 0, "*"],
        [22, 21, 0, SEGMENTER, 4, "STRING"],
    ]
    editor.load(part)
    shows(editor, {"one.png": "ok", "two.png": "missing"})
    wrap = """id => {
        const node = app.graph.getNodeById(id);
        return app.graph.convertToSubgraph(new Set([node])).node.id;
    }"""
    outer = editor.page.evaluate(wrap, SEGMENTER)
    editor.page.evaluate(
        """id => {
            const {subgraph} = app.graph.getNodeById(id);
            const [segmenter] = subgraph.nodes;
            segmenter.widgets.find(({name}) => name === "refine").value = "fast";
        }""",
        outer,
    )
    panel(editor).get_by_role("button", name="look at the folder again").click()
    shows(editor, {"one.png": "stale", "two.png": "missing"})
    editor.page.evaluate("id => { app.graph.getNodeById(id).mode = 4; }", outer)
    panel(editor).get_by_role("button", name="look at the folder again").click()
    expect(panel(editor).get_by_role("button", name="Connect SAM Semantic Segment")).to_be_disabled()


def test_masks_that_are_loaded_are_made_by_the_cache_node_of_the_folder(
    editor: "Editor", repo: Path, folder: Path, part_of: "Callable[..., dict[str, Any]]"
):
    workflow = json.loads((repo / "workflows" / "masks_only.json").read_text(encoding="utf-8"))
    for node in workflow["nodes"]:
        if node["type"] in ("SemanticFocusCacheDataset", "SemanticFocusLoadDataset"):
            node["widgets_values"][0] = str(folder)
    alone = part_of(workflow, 3, 4)
    editor.load(alone)
    shows(editor, {"one.png": "missing"})
    expect(panel(editor).get_by_role("button", name="Masks come from Load Mask Cache")).to_be_disabled()
    expect(panel(editor).locator(".sf-dataset-summary")).to_contain_text("1 to look at")
    editor.load(part_of(workflow, 1, 3, 4))
    shows(editor, {"one.png": "missing"}, index=1)
    # the other node's summary is its default caption
    expect(panel(editor, 1).locator(".sf-dataset-summary")).to_have_text("3 pictures · 3 missing")
    panel(editor, 1).get_by_role("button", name="Generate masks (3)").click()
    for index in (0, 1):
        shows(editor, {"one.png": "ok", "two.png": "ok"}, index)
        expect(panel(editor, index)).to_contain_text("3 made (mediapipe)")


def cancelled(editor: "Editor", folder: Path) -> None:
    """The run that the panel shows ends at Cancel."""
    panel(editor).get_by_role("button", name="Cancel").click()
    again = panel(editor).get_by_role("button", name=re.compile(r"Generate masks \(\d+\)"))
    expect(again).to_be_visible(timeout=LISTED)
    assert 0 < len(list(folder.glob("*_zi_masks.safetensors"))) < 43


@pytest.mark.parametrize("change", ["undo", "reload", "tab"])
def test_a_run_stays_with_its_node(editor: "Editor", many: Path, change: str):
    editor.load(only(graph(many), LOADER, SEGMENTER))
    panel(editor).get_by_role("button", name="Generate masks (43)").click(timeout=LISTED)
    progress = re.compile(r"[1-9]\d? of 43")
    expect(panel(editor)).to_contain_text(progress, timeout=LISTED)
    if change == "undo":
        panel(editor).get_by_label("which pictures to show").select_option("ok")
        editor.command("Comfy.Undo")
    elif change == "tab":
        shown = editor.workflow()
        editor.load(only(graph(many), LOADER, SEGMENTER))
        button = panel(editor).get_by_role("button", name=re.compile(r"Generate masks"))
        expect(button).to_be_visible(timeout=LISTED)
        expect(panel(editor).get_by_role("button", name="Cancel")).to_be_hidden()
        editor.load(shown)
    else:
        editor.page.reload()
        editor.page.wait_for_function("() => window.app?.graph?.getNodeById(2) && !app.configuringGraph")
    expect(panel(editor)).to_contain_text(progress, timeout=LISTED)
    cancelled(editor, many)


def test_a_run_that_waits_is_not_lost_to_the_one_before_it(editor: "Editor", many: Path):
    """The first makes masks too, in a node that the panel watches."""
    editor.load(only(graph(many), LOADER, SEGMENTER, CACHER))
    set_widget(editor, LOADER, "default_caption", "a woman")
    editor.page.evaluate(f"() => app.queuePrompt(0, 1, ['{CACHER}'])")
    expect(panel(editor, 1)).to_contain_text(re.compile(r"[1-9]\d? of 43"), timeout=LISTED)
    panel(editor).get_by_role("button", name=re.compile("Generate masks")).click()
    expect(panel(editor)).to_contain_text("waiting")
    panel(editor, 1).get_by_role("button", name="Cancel").click()
    expect(panel(editor)).to_contain_text(re.compile(r"\d+ of 43"), timeout=LISTED)
    cancelled(editor, many)


def test_a_run_of_another_workflow_is_not_shown(editor: "Editor", many: Path):
    editor.load(only(graph(many), CACHER))
    editor.page.evaluate(f"() => app.queuePrompt(0, 1, ['{CACHER}'])")
    expect(panel(editor)).to_contain_text(re.compile(r"[1-9]\d? of 43"), timeout=LISTED)
    shown = editor.workflow()
    editor.load(only(graph(many), CACHER))
    heard = (
        "() => new Promise(done => comfyAPI.api.api.addEventListener('progress_state', done, {once: true}))"
    )
    for _ in range(3):
        editor.page.evaluate(heard)
    expect(panel(editor).get_by_role("button", name="Cancel")).to_be_hidden()
    editor.load(shown)
    expect(panel(editor).get_by_role("button", name="Cancel")).to_be_visible(timeout=LISTED)
    cancelled(editor, many)


def test_a_waiting_run_is_taken_out_of_the_queue(editor: "Editor", many: Path):
    editor.load(only(graph(many), LOADER, SEGMENTER, CACHER))
    editor.page.evaluate(f"() => app.queuePrompt(0, 1, ['{CACHER}'])")
    expect(panel(editor, 1)).to_contain_text(re.compile(r"[1-9]\d? of 43"), timeout=LISTED)
    panel(editor).get_by_role("button", name=re.compile("Generate masks")).click()
    expect(panel(editor)).to_contain_text("waiting")
    panel(editor).get_by_role("button", name="Cancel").click()
    expect(panel(editor).get_by_role("button", name="Cancel")).to_be_hidden()
    expect(panel(editor, 1).get_by_role("button", name="Cancel")).to_be_visible()
    panel(editor, 1).get_by_role("button", name="Cancel").click()
    expect(panel(editor, 1).get_by_role("button", name="Cancel")).to_be_hidden(timeout=LISTED)


def test_the_report_stays_through_undo_and_reload(editor: "Editor", folder: Path):
    editor.load(only(graph(folder, connected=False), CACHER))
    panel(editor).get_by_role("button", name="Generate masks (3)").click(timeout=LISTED)
    report = panel(editor).get_by_role("button", name="Report")
    expect(report).to_be_visible(timeout=LISTED)
    panel(editor).get_by_label("which pictures to show").select_option("missing")
    editor.command("Comfy.Undo")
    expect(report).to_be_visible()
    editor.page.reload()
    expect(report).to_be_visible(timeout=90_000)


def test_copies_and_undo_leave_no_panel_behind(anywhere: "Editor", folder: Path):
    editor = anywhere
    editor.load(graph(folder))
    editor.page.evaluate(
        """id => {
            app.canvas.emitBeforeChange();
            app.graph.convertToSubgraph(new Set([app.graph.getNodeById(id)]));
            app.canvas.emitAfterChange();
        }""",
        LOADER,
    )
    shows(editor, {"one.png": "missing"})
    assert editor.page.evaluate(LIVING) == 2
    for _ in range(5):
        editor.page.evaluate("() => app.canvas.selectItems(app.graph.nodes)")
        editor.page.evaluate("() => app.canvas.copyToClipboard()")
    editor.settle()
    assert editor.page.evaluate(LIVING) == 2
    editor.page.evaluate("() => app.canvas.deselectAll()")
    for _ in range(5):
        panel(editor).get_by_label("which pictures to show").select_option("missing")
        editor.command("Comfy.Undo")
        expect(panel(editor).get_by_label("which pictures to show")).to_have_value("all")
    assert editor.page.evaluate(LIVING) == 2
    editor.load(graph(folder))
    shows(editor, {"one.png": "missing"})
    assert editor.page.evaluate(LIVING) == 2


def test_thousands_of_pictures_make_few_tiles(editor: "Editor", tmp_path: Path):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (20, 120, 60)).save(buffer, "PNG")
    for number in range(2000):
        (tmp_path / f"{number:04}.png").write_bytes(buffer.getvalue())
    editor.load(only(graph(tmp_path), LOADER, SEGMENTER))
    expect(panel(editor)).to_contain_text("2000 pictures", timeout=LISTED)
    tiles = panel(editor).locator("[aria-posinset]")
    expect(tiles.first).to_contain_text("0000.png")
    assert tiles.count() < 60
    panel(editor).get_by_role("listbox").evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
    last = panel(editor).locator("[aria-posinset='2000']")
    expect(last).to_contain_text("1999.png")
    expect(last).to_be_in_viewport()
    assert tiles.count() < 60


def test_chinese(open_editor: "Callable[..., Editor]", folder: Path):
    editor = open_editor({"Comfy.Locale": "zh"})
    editor.load(graph(folder))
    expect(panel(editor).locator(".sf-dataset-summary")).to_have_text(
        "3 张图片 · 3 缺少 · 1 张需检查", timeout=LISTED
    )
    expect(panel(editor).get_by_role("button", name="生成遮罩（3）")).to_be_enabled()
    expect(tile(editor, "drei 好.JPG")).to_have_attribute("title", re.compile("没有遮罩文件\n没有标注"))
    assert not re.search(r"dataset\.", panel(editor).inner_html())


@pytest.mark.parametrize("palette", ["dark", "light"])
def test_it_is_accessible_in_both_themes(open_editor: "Callable[..., Editor]", folder: Path, palette: str):
    editor = open_editor({"Comfy.ColorPalette": palette})
    mask_path(folder / "one.png").write_bytes(b"damaged")
    (folder / "two.png").write_bytes(b"damaged")
    editor.load(graph(folder))
    shows(editor, {"one.png": "stale", "drei 好.JPG": "missing"})
    assert editor.violations(OUR_PANEL) == []
    tile(editor, "drei 好.JPG").click()
    expect(editor.page.get_by_role("dialog").get_by_text("no caption").first).to_be_visible()
    assert editor.violations(".sf-dialog") == []
    assert editor.errors == []
