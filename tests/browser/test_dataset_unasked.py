"""A workflow's folder is not asked for before the user has said so: opening a stranger's file does nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, Request, expect

from .dataset_ui import CACHER, LOADER, OUR_PANEL, graph, only, panel, set_widget, shows
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
    anywhere: "Editor", folder: Path, asked: list[str]
):
    editor = anywhere
    editor.load(graph(folder), known=False)
    for index in range(2):
        expect(ask(editor, index)).to_be_visible()
        expect(panel(editor, index)).to_contain_text("not used in this browser before")
        expect(panel(editor, index)).to_contain_text(str(folder))
    panel(editor).get_by_role("button", name="look at the folder again").click()
    editor.page.evaluate("() => { comfyAPI.api.api.dispatchEvent(new CustomEvent('reconnected')); }")
    set_widget(editor, CACHER, "refine", "fine")
    # a third node on a folder that is known: when its list has come, the others would have been asked for, too
    editor.until("async () => (await fetch('/api/system_stats')).ok")
    expect(ask(editor)).to_be_visible()
    assert asked == []
    assert editor.violations(OUR_PANEL) == []

    ask(editor).focus()
    editor.page.keyboard.press("Enter")
    shows(editor, {"one.png": "missing"})
    shows(editor, {"one.png": "missing"}, 1)
    expect(panel(editor).get_by_role("button", name="look at the folder again")).to_be_focused()
    expect(ask(editor)).to_have_count(0)
    assert str(folder) in asked[0]
    assert editor.errors == []


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
    prompt = """id => {
        const widget = app.graph.getNodeById(id).widgets.find(({name}) => name === "folder");
        const take = value => { widget.value = value; widget.callback?.(value); };
        app.canvas.prompt("folder", widget.value, take, null, false);
    }"""
    editor.page.evaluate(prompt, LOADER)
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
