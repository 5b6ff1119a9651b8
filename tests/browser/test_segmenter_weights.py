"""What a segmenter cannot do is said before it runs, and weights of better ones come at a click."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Locator, expect

from ..loopback_hub import Hub
from ..unit.segmenters import stand_ins
from .editor import EACH_ONCE

if TYPE_CHECKING:
    from .editor import Editor

SEGMENT = 3
WEIGHTS = stand_ins.whole_safetensors(2_000_000)
GLASSES = "face: face\nglasses: glasses"


@pytest.fixture
def models(hub: Hub, server_of: Callable) -> Iterator[None]:
    """The hub has SAM 3; what a test has fetched is gone after it."""
    config = json.dumps({"model_type": "sam3"}).encode()
    hub.repositories["facebook/sam3"] = {"config.json": config, "model.safetensors": WEIGHTS}
    hub.asked.clear()
    yield
    hub.go_on.set()
    hub.go_on.clear()
    hub.faults.clear()
    for newer in (False, True):
        shutil.rmtree(server_of(newer).base_directory / "models" / "sam3", ignore_errors=True)


def notice(editor: "Editor") -> Locator:
    """Above the panel of the segmenting node."""
    return editor.page.locator(".semantic-focus-overlay .sf-supply-notice")


def choose(editor: "Editor", **values: Any) -> None:
    """Change the segmenting node's widgets."""
    editor.page.evaluate(
        """([id, values]) => {
            const node = app.graph.getNodeById(id);
            for (const [name, value] of Object.entries(values)) {
                const widget = node.widgets.find(widget => widget.name === name);
                widget.value = value;
                widget.callback?.(value, app.canvas, node);
            }
        }""",
        [SEGMENT, values],
    )


def offer(editor: "Editor", name: str) -> Locator:
    return editor.page.locator(f"dialog [data-weights='{name}']")


def press(editor: "Editor", name: str, words: str) -> None:
    offer(editor, name).get_by_role("button", name=words).click()


def test_missing_weights_come_at_a_click_whole_or_not_at_all(
    anywhere: "Editor", segmentation: dict[str, Any], models: None, hub: Hub
):
    editor = anywhere
    editor.load(segmentation)
    place = editor.server.base_directory / "models" / "sam3" / "sam3"
    expect(notice(editor)).to_be_hidden()
    choose(editor, keywords=GLASSES)
    expect(notice(editor)).to_contain_text("glasses: mediapipe reads no words and cannot find this")
    notice(editor).get_by_role("button").click()
    dialog = editor.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Draw glasses where you see the masks")
    expect(offer(editor, "sam3")).to_contain_text(f"goes to {place}")
    expect(offer(editor, "sam3")).to_contain_text("licence: SAM License · 3.4 GB · needs an account")
    names = dialog.locator("[data-weights]").evaluate_all("all => all.map(one => one.dataset.weights)")
    assert names.index("sam2.1-large") < names.index("sam3") and hub.asked == []
    assert editor.violations(".sf-dialog") == []

    hub.faults["config.json"] = ["401"]
    press(editor, "sam3", "Get 3.4 GB")
    expect(offer(editor, "sam3")).to_contain_text(
        "Accept its licence at https://huggingface.co/facebook/sam3"
    )
    hub.faults["model.safetensors"] = ["wrong"]
    press(editor, "sam3", "Try again")
    expect(offer(editor, "sam3")).to_contain_text("model.safetensors is not what the hub says that it is")
    hub.faults["model.safetensors"] = ["stall"]
    press(editor, "sam3", "Go on")
    expect(offer(editor, "sam3")).to_contain_text("50 %")
    press(editor, "sam3", "Cancel")
    expect(offer(editor, "sam3")).to_contain_text("Cancelled. What has come is kept.")
    hub.go_on.set()
    assert not place.exists()
    press(editor, "sam3", "Go on")
    expect(offer(editor, "sam3")).to_contain_text("✓ here")
    assert (place / "model.safetensors").read_bytes() == WEIGHTS
    expect(offer(editor, "sam3").get_by_role("button")).to_have_count(0)

    editor.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(notice(editor)).to_be_hidden()  # auto takes SAM 3 now, which reads words
    assert editor.errors == []


@EACH_ONCE
def test_a_chosen_segmenter_without_weights_says_so_in_the_users_language(
    anywhere: "Editor", segmentation: dict[str, Any], models: None, hub: Hub, tmp_path: Path
):
    editor = anywhere
    editor.set("Comfy.Locale", "zh")
    editor.load(segmentation)
    choose(editor, backend="sam3")
    expect(notice(editor)).to_contain_text("这里没有 sam3 的权重文件")
    folder = editor.server.base_directory / "models" / "sam3"
    folder.mkdir(exist_ok=True)
    (folder / "sam3.pt").write_bytes(stand_ins.PICKLE)
    choose(editor, backend="sam2")
    expect(notice(editor)).to_contain_text("这里没有 sam2 的权重文件")
    choose(editor, backend="sam3", keywords="face: nose")
    expect(notice(editor)).to_contain_text("这里没有 sam3 的权重文件")
    notice(editor).get_by_role("button", name="查看").click()
    expect(editor.page.get_by_role("dialog")).to_contain_text("sam3.pt is no folder with config.json")
    expect(offer(editor, "sam3")).to_contain_text("许可：SAM License")
    assert hub.asked == [] and editor.own_errors() == []


def test_the_menu_has_all_segmenters(editor: "Editor", models: None, hub: Hub):
    editor.command("SemanticFocus.Weights")
    expect(editor.page.locator("dialog .sf-supply-way")).to_have_count(10)
    expect(offer(editor, "selfie-multiclass")).to_contain_text("put it yourself into")
    expect(offer(editor, "selfie-multiclass").get_by_role("button")).to_have_count(0)
    assert hub.asked == []


def test_who_may_not_fetch_is_told_so(editor: "Editor", models: None, hub: Hub):
    rules = editor.server.user_directory / "semantic_focus.toml"
    rules.write_text("[weights]\nfetch = false", encoding="utf-8")
    try:
        editor.command("SemanticFocus.Weights")
        expect(editor.page.locator("dialog .sf-supply-refused")).to_contain_text("its operator fetches")
        expect(offer(editor, "sam3").get_by_role("button")).to_be_disabled()
    finally:
        rules.unlink()
    assert hub.asked == []
