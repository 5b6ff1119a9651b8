"""What the dataset browser asks the server for and when, and what it makes of answers that do not come."""

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Route, expect

from .dataset_ui import LOADER, SEGMENTER, badge, graph, only, panel, shows, tile
from .editor import EACH_ONCE

if TYPE_CHECKING:
    from .editor import Editor

THUMBNAILS = "**/semantic_focus/thumbnail?*"
LIST = "**/semantic_focus/dataset"

SLOW_LIST = """listing => {
    const {fetch} = window;
    window.looks = [];
    window.fetch = async (url, options) => {
        if (!String(url).endsWith("/semantic_focus/dataset")) return fetch(url, options);
        const look = {began: performance.now()};
        window.looks.push(look);
        await new Promise(done => setTimeout(done, 400));
        look.ended = performance.now();
        return Response.json(listing);
    };
}"""
HIDE = """hidden => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""
LONG_SINCE = """() => {
    const {ended} = window.looks.at(-1);
    return ended && performance.now() > ended + 3000;
}"""
TELL_REPORT = """async ([id, result]) => {
    const {keepResult} = await import("/extensions/ComfyUI-SemanticFocus/dataset/runs.mjs");
    keepResult(app.graph.getNodeById(id), result, true);
}"""


def listing(*statuses: str) -> dict[str, Any]:
    """What the server would answer for pictures of these statuses."""
    nothing = {"reason": "", "captioned": True, "persons": None, "coverage": {}, "problems": [], "notes": []}
    pictures = [
        {"name": f"{number}.png", "status": status, "stamp": "1", "mask_stamp": "", **nothing}
        for number, status in enumerate(statuses)
    ]
    return {"folder": "/nowhere", "pictures": pictures, "complete": "unchecked" not in statuses}


def generate(editor: "Editor") -> Locator:
    return panel(editor).locator(".sf-dataset-generate")


def is_drawn(editor: "Editor", name: str) -> None:
    """The picture itself is there, in its tile."""
    picture = tile(editor, name).locator("img:not(.sf-hidden)")
    expect(picture).to_have_count(1)
    editor.page.wait_for_function("img => img.naturalWidth > 0", arg=picture.element_handle())


@pytest.mark.parametrize("way", ["refresh", "reconnected"])
@pytest.mark.parametrize("status", [403, 200])
def test_what_could_not_be_shown_once_is_tried_again(editor: "Editor", folder: Path, status: int, way: str):
    """403: the server was started anew. 200 with an error: the folder's computer was away for a moment."""

    def refuse(route: Route) -> None:
        route.fulfill(
            status=status, content_type="application/json", body=json.dumps({"error": "no network"})
        )

    editor.page.route(THUMBNAILS, refuse)
    editor.load(only(graph(folder), LOADER, SEGMENTER))
    if status == 200:
        expect(panel(editor).locator("[data-status=failed]")).to_have_count(3)
    else:
        shows(editor, {"one.png": "missing"})
        expect(panel(editor).locator("img.sf-hidden")).to_have_count(3)
    editor.page.unroute(THUMBNAILS)
    if way == "refresh":
        panel(editor).get_by_role("button", name="look at the folder again").click()
    else:
        editor.page.evaluate("() => { comfyAPI.api.api.dispatchEvent(new CustomEvent('reconnected')); }")
    is_drawn(editor, "one.png")
    shows(editor, {"one.png": "missing"})
    expect(generate(editor)).to_have_text("Generate masks (3)")


def test_masks_are_not_all_made_before_all_are_looked_at(editor: "Editor"):
    answers = [listing("ok", "unchecked"), listing("ok", "ok")]
    editor.page.route(LIST, lambda route: route.fulfill(json=answers[0]))
    editor.load(only(graph("/nowhere"), LOADER, SEGMENTER))
    expect(generate(editor)).to_have_text("Looking at the folder …")
    expect(generate(editor)).to_be_disabled()
    del answers[0]
    expect(generate(editor)).to_have_text("All masks made")


@EACH_ONCE
def test_what_was_not_looked_at_is_said_and_the_node_keeps_its_width(anywhere: "Editor"):
    editor = anywhere
    left_out = ["only the first 100000 files and folders were looked at: choose", f"{'/long' * 40}: why not"]
    editor.page.route(LIST, lambda route: route.fulfill(json={**listing("ok"), "left_out": left_out}))
    editor.load(only(graph("/nowhere"), LOADER, SEGMENTER))
    shows(editor, {"0.png": "ok"})
    said = panel(editor).locator(".sf-dataset-missed")
    expect(said).to_contain_text("Only the first 100000 files and folders were looked at")
    expect(said).to_contain_text(left_out[1])
    inner, outer = (
        part.evaluate("part => part.getBoundingClientRect().right") for part in (said, panel(editor))
    )
    width = panel(editor).evaluate("panel => panel.getBoundingClientRect().width")
    assert inner <= outer and width < 400


def test_a_server_that_looks_long_rests_longer_and_looks_for_nobody_not_at_all(editor: "Editor"):
    editor.patch(SLOW_LIST, listing("unchecked"))
    editor.load(only(graph("/nowhere"), LOADER, SEGMENTER))
    editor.page.wait_for_function("() => window.looks.length >= 4")
    # the first may be followed by another of the same moment, when the graph had just been made
    looks = editor.page.evaluate("() => window.looks.slice(1, 4)")
    for look, following in zip(looks[:-1], looks[1:], strict=True):
        assert following["began"] - look["ended"] > look["ended"] - look["began"]
    editor.patch(HIDE, True)
    editor.page.wait_for_function(LONG_SINCE)
    count = editor.page.evaluate("() => window.looks.length")
    editor.patch(HIDE, False)
    editor.page.wait_for_function("count => window.looks.length > count", arg=count)


def test_pictures_that_are_passed_are_not_waited_for(editor: "Editor", tmp_path: Path):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (20, 120, 60)).save(buffer, "PNG")
    for number in range(300):
        (tmp_path / f"{number:03}.png").write_bytes(buffer.getvalue())
    editor.page.route(THUMBNAILS, lambda route: None)  # never answered
    editor.load(only(graph(tmp_path), LOADER, SEGMENTER))
    shows(editor, {"000.png": "missing"})
    first = tile(editor, "000.png").locator("img").evaluate("img => img.src")
    with editor.page.expect_event("requestfailed", lambda request: request.url == first):
        panel(editor).get_by_role("listbox").evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
    tile(editor, "299.png").click()
    large = editor.page.get_by_role("dialog").locator("img").evaluate("img => img.src")
    with editor.page.expect_event("requestfailed", lambda request: request.url == large):
        editor.page.keyboard.press("ArrowLeft")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="names are Unicode elsewhere")
def test_a_name_that_is_not_utf8_is_a_picture(editor: "Editor", tmp_path: Path):
    """As it is when a ZIP file of another computer is unpacked."""
    Image.new("RGB", (64, 48), (20, 120, 60)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / os.fsdecode("照片 好.png".encode("gbk")))
    editor.load(only(graph(tmp_path), LOADER, SEGMENTER))
    expect(badge(editor, ".png")).to_have_attribute("data-status", "missing")
    is_drawn(editor, ".png")
    expect(badge(editor, ".png")).to_have_attribute("data-status", "missing")


def test_a_report_that_does_not_come_is_told(editor: "Editor", folder: Path):
    editor.load(only(graph(folder), LOADER, SEGMENTER))
    shows(editor, {"one.png": "missing"})
    report = {"filename": "a.html", "subfolder": "", "type": "output", "path": "/a.html"}
    told = {
        "folder": str(folder),
        "counts": {"fresh": 3},
        "segmenter": "mediapipe",
        "to_look_at": 0,
        "failures": [],
        "report": report,
    }
    editor.page.evaluate(TELL_REPORT, [LOADER, told])
    panel(editor).get_by_role("button", name="look at the folder again").click()
    button = panel(editor).get_by_role("button", name="Report")
    answers = {
        "ComfyUI's server does not answer": lambda route: route.abort(),
        "/a.html cannot be shown: run the node again": lambda route: route.fulfill(status=404),
    }
    for words, answer in answers.items():
        editor.page.route("**/view?*", answer)
        button.click()
        expect(editor.page.get_by_text(words)).to_be_visible()
    assert not [error for error in editor.own_errors() if "Failed to fetch" in error]
