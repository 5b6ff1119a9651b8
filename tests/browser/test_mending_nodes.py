"""Masks that a node shows are mended from its large view and the map of the weights, and used at a run."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import expect

from . import overlay_ui, weights_ui
from .editor import EACH_ONCE
from .mend_ui import by_hand, choose, distance, region, save, stroke

if TYPE_CHECKING:
    from .editor import Editor

LINE = [(30, 300), (110, 300)]


@EACH_ONCE
def test_what_a_node_shows_is_mended_and_used_at_the_next_run(
    anywhere: "Editor", folder: Path, segment_folder: Callable[[Path], dict[str, Any]]
):
    editor = anywhere
    (folder / "drei 好.JPG").unlink()
    editor.load(segment_folder(folder))
    editor.run()
    panel = overlay_ui.panel(editor)
    panel.get_by_role("button", name="enlarge").click()
    dialog = overlay_ui.dialog(editor)
    expect(dialog.get_by_role("button", name="Mend")).to_be_enabled()
    dialog.get_by_role("button", name="next picture").click()
    expect(dialog.locator(".sf-status")).to_contain_text("2/2")
    editor.page.keyboard.press("ArrowLeft")
    expect(dialog.locator(".sf-status")).to_contain_text("1/2")
    editor.page.keyboard.press("m")
    mender = editor.page.locator(".sf-mend-dialog")
    expect(mender.locator("[data-region]").first).to_be_visible()
    editor.settle()
    choose(mender, "hair")
    editor.page.keyboard.press("b")
    stroke(mender, *LINE)
    save(mender)
    far = distance((320, 320), LINE)
    assert (region(folder, "hair")[far < 5] == 255).all() and set(by_hand(folder)) == {"hair"}
    editor.page.keyboard.press("PageDown")
    expect(mender).to_contain_text("2/2")
    editor.page.keyboard.press("Escape")
    expect(mender).to_have_count(0)
    # the large view stays at the picture that was mended last, and says what has to be done
    expect(dialog.locator(".sf-status")).to_contain_text("2/2")
    expect(dialog.locator(overlay_ui.NOTICE)).to_contain_text("run the node again")
    editor.page.keyboard.press("Escape")
    editor.run()
    expect(panel.locator(overlay_ui.NOTICE).filter(has_text="run the node again")).to_have_count(0)
    panel.get_by_role("button", name="previous picture").click()
    expect(panel.locator(".sf-status")).to_contain_text("by hand: hair")
    assert editor.errors == []


@EACH_ONCE
def test_the_map_of_the_weights_leads_to_its_masks(
    anywhere: "Editor", weighted: dict[str, Any], folder: Path
):
    editor = anywhere
    (folder / "drei 好.JPG").unlink()
    weights_ui.node_of(weighted, weights_ui.DATASET)["widgets_values"][0] = str(folder)
    editor.load(weighted)
    weights_ui.preview(editor)
    weights_ui.panel(editor).get_by_role("button", name="Mend").click()
    mender = editor.page.locator(".sf-mend-dialog")
    expect(mender.locator("[data-region]").first).to_be_visible()
    editor.settle()
    choose(mender, "clothing")
    editor.page.keyboard.press("b")
    stroke(mender, *LINE)
    editor.page.keyboard.press("Escape")
    expect(mender).to_have_count(0)
    assert set(by_hand(folder)) == {"clothing"}
    expect(weights_ui.panel(editor)).to_contain_text("run the node again")
    assert editor.errors == []
