"""A workflow's folder is not asked for before the user says so: to open a stranger's file does nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from playwright.sync_api import Locator, Request, expect

from .dataset_ui import CACHER, LOADER, OUR_PANEL, graph, only, panel, shows
from .editor import EACH_ONCE, cells

if TYPE_CHECKING:
    from .editor import Editor

STRANGERS = "//stranger.example/share"


@pytest.fixture
def asked(only_page: "Editor") -> Iterator[list[str]]:
    """What was asked of our routes about folders since the test began."""
    addresses: list[str] = []

    def note(request: Request) -> None:
        if any(f"/semantic_focus/{route}" in request.url for route in ("dataset", "caption", "thumbnail")):
            addresses.append(f"{request.url} {request.post_data}")

    only_page.page.on("request", note)
    yield addresses
    only_page.page.remove_listener("request", note)


def ask(editor: "Editor", index: int = 0) -> Locator:
    """The button that allows a folder."""
    return panel(editor, index).get_by_role("button", name="Show this folder")


@EACH_ONCE
def test_a_strangers_folder_is_shown_when_the_user_says_so(
    anywhere: "Editor", folder: Path, tmp_path: Path, asked: list[str]
):
    """The other node has a folder that is known: whatever makes it look makes both."""
    editor = anywhere
    Image.new("RGB", (64, 48)).save(tmp_path / "mine.png")
    both = only(graph(folder), LOADER, CACHER)
    next(node for node in both["nodes"] if node["id"] == CACHER)["widgets_values"][0] = str(tmp_path)
    editor.know(str(tmp_path))
    editor.load(both, known=False)
    shows(editor, {"mine.png": "missing"}, 1)
    expect(ask(editor)).to_be_visible()
    expect(panel(editor)).to_contain_text("not used in this browser before")
    expect(panel(editor)).to_contain_text(str(folder))
    panel(editor).get_by_role("button", name="look at the folder again").click()
    with editor.page.expect_response("**/semantic_focus/dataset"):
        editor.page.evaluate("() => { comfyAPI.api.api.dispatchEvent(new CustomEvent('reconnected')); }")
    expect(ask(editor)).to_be_visible()
    assert asked and not [address for address in asked if str(folder) in address]
    assert editor.violations(OUR_PANEL) == []

    ask(editor).focus()
    editor.page.keyboard.press("Enter")
    shows(editor, {"one.png": "missing"})
    expect(panel(editor).get_by_role("button", name="look at the folder again")).to_be_focused()
    expect(ask(editor)).to_have_count(0)
    assert [address for address in asked if str(folder) in address]
    assert editor.errors == []


def test_all_nodes_on_a_folder_show_it_when_one_was_asked_to(editor: "Editor", folder: Path):
    editor.load(graph(folder), known=False)
    expect(ask(editor, 0)).to_be_visible()
    ask(editor, 1).click()
    shows(editor, {"one.png": "missing"}, 0)
    shows(editor, {"one.png": "missing"}, 1)


def test_what_was_allowed_once_is_known_after_a_reload_and_the_rest_is_not(
    editor: "Editor", folder: Path, asked: list[str]
):
    editor.load(only(graph(folder), LOADER), known=False)
    ask(editor).click()
    shows(editor, {"one.png": "missing"})
    editor.reload()
    shows(editor, {"one.png": "missing"})
    asked.clear()
    editor.load(only(graph(STRANGERS), LOADER), known=False)
    expect(ask(editor)).to_be_visible()
    expect(panel(editor)).to_contain_text(STRANGERS)
    editor.load(only(graph(folder), LOADER), known=False)
    shows(editor, {"one.png": "missing"})
    assert not any("stranger" in address for address in asked)
    editor.spoil()


@cells("vue-newer")
def test_a_folder_that_is_typed_is_asked_for_and_one_that_a_script_sets_is_not(
    anywhere: "Editor", folder: Path, asked: list[str]
):
    editor = anywhere
    editor.load(only(graph(STRANGERS), LOADER), known=False)
    expect(ask(editor)).to_be_visible()
    change = """([id, value]) => {
        const widget = app.graph.getNodeById(id).widgets.find(({name}) => name === "folder");
        widget.value = value;
        widget.callback?.(value);
    }"""
    editor.page.evaluate(change, [LOADER, f"{STRANGERS}/2"])
    expect(panel(editor)).to_contain_text(f"{STRANGERS}/2")
    expect(ask(editor)).to_be_visible()
    assert asked == []
    field = editor.page.locator(f"[data-node-id='{LOADER}']").get_by_role("textbox").first
    field.fill(str(folder))
    field.press("Tab")
    shows(editor, {"one.png": "missing"})


def test_a_folder_that_is_typed_into_the_canvas_is_asked_for(editor: "Editor", folder: Path):
    editor.load(only(graph(STRANGERS), LOADER), known=False)
    expect(ask(editor)).to_be_visible()
    place = """id => {
        const node = app.graph.getNodeById(id);
        const {y, last_y: top = y} = node.widgets.find(({name}) => name === "folder");
        const [x, below] = app.canvas.ds.convertOffsetToCanvas([node.pos[0] + 150, node.pos[1] + top + 10]);
        const {left, top: above} = app.canvas.canvas.getBoundingClientRect();
        return [left + x, above + below];
    }"""
    editor.page.mouse.dblclick(*editor.page.evaluate(place, LOADER))
    field = editor.page.locator(".graphdialog input")
    field.fill(str(folder))
    field.press("Enter")
    shows(editor, {"one.png": "missing"})


def test_a_folder_that_was_run_here_is_known(editor: "Editor", folder: Path):
    part = only(graph(folder), CACHER)
    editor.load(part, known=False)
    expect(ask(editor)).to_be_visible()
    editor.run()
    shows(editor, {"one.png": "ok", "two.png": "ok"})
    expect(ask(editor)).to_have_count(0)


@cells("canvas-pinned")
def test_it_is_asked_in_chinese(anywhere: "Editor", folder: Path):
    editor = anywhere
    editor.set("Comfy.Locale", "zh")
    editor.load(only(graph(folder), LOADER), known=False)
    expect(panel(editor).get_by_role("button", name="显示此文件夹")).to_be_visible()
    expect(panel(editor)).to_contain_text("本浏览器尚未使用过")
    editor.set("Comfy.Locale", "en")
    expect(ask(editor)).to_be_visible()
