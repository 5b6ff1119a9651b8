"""The pictures that the dataset browser shows: statuses, filters, keys, one of them large, thousands."""

import io
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from playwright.sync_api import expect

from semantic_focus.datasets.mask_file import mask_path, read_header, read_masks, save_masks
from semantic_focus.regions.masks import SemanticMasks

from .dataset_ui import LOADER, OUR_PANEL, SEGMENTER, badge, graph, only, panel, shows, tile
from .editor import EACH_ONCE

if TYPE_CHECKING:
    from playwright.sync_api import Locator

    from .editor import Editor


def turn_to(dialog: "Locator", name: str, turn: "Callable[[], object]") -> None:
    """Go on, of three pictures, to one: what is most in doubt comes first."""
    heading = dialog.get_by_role("heading", name=name)
    for _ in range(2):
        if not heading.is_visible():
            turn()
    expect(heading).to_be_visible()


@EACH_ONCE
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

    turn_to(dialog, "one.png", dialog.get_by_role("button", name="next picture").click)
    expect(dialog.get_by_label("Caption")).to_have_value("a woman in an orange suit")
    share = float(read_masks(mask_path(folder / "one.png")).region("background").mean())
    row = dialog.get_by_role("row").filter(has_text="background")
    expect(row).to_contain_text(f"{share:.0%}")

    regions = dialog.locator(".sf-dataset-regions")
    expect(regions).to_have_count(1)
    dialog.get_by_label("regions").uncheck()
    expect(regions).to_have_count(0)
    turn_to(dialog, "drei 好.JPG", lambda: editor.page.keyboard.press("ArrowLeft"))
    assert editor.violations(".sf-dialog") == []
    editor.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
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
    expect(badge(editor, "torn.png")).to_have_attribute("data-status", "failed")
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


def test_what_lies_there_and_is_not_taken_is_named(editor: "Editor", folder: Path):
    (folder / "photo.heic").write_bytes(b"x")
    shutil.copytree(folder, folder / "10_anna")
    (folder / "one.txt").write_text("")
    editor.load(only(graph(folder), LOADER))
    expect(panel(editor).get_by_role("log", name="Notes on the folder")).to_have_text(
        "left out, save them as PNG or JPEG: photo.heic\n"
        "left out, folders with pictures of their own: 10_anna/"
    )
    expect(tile(editor, "one.png")).to_have_attribute("title", re.compile("its caption file is empty"))
    assert editor.errors == []
    for name in ("one.png", "two.png", "drei 好.JPG"):
        (folder / name).unlink()
    panel(editor).get_by_role("button", name="look at the folder again").click()
    nothing = panel(editor).locator(".sf-dataset-empty[role=status]")
    expect(nothing).to_contain_text("No picture is in this folder.")
    expect(nothing).to_contain_text("left out, folders with pictures of their own: 10_anna/")


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


def test_thousands_of_pictures_make_few_tiles(editor: "Editor", tmp_path: Path):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (20, 120, 60)).save(buffer, "PNG")
    for number in range(2000):
        (tmp_path / f"{number:04}.png").write_bytes(buffer.getvalue())
    editor.load(only(graph(tmp_path), LOADER, SEGMENTER))
    expect(panel(editor)).to_contain_text("2000 pictures")
    tiles = panel(editor).locator("[aria-posinset]")
    expect(tiles.first).to_contain_text("0000.png")
    assert tiles.count() < 60
    panel(editor).get_by_role("listbox").evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
    last = panel(editor).locator("[aria-posinset='2000']")
    expect(last).to_contain_text("1999.png")
    expect(last).to_be_in_viewport()
    assert tiles.count() < 60


def test_it_is_accessible_in_both_themes(editor: "Editor", folder: Path):
    mask_path(folder / "one.png").write_bytes(b"damaged")
    (folder / "two.png").write_bytes(b"damaged")
    editor.load(graph(folder))
    shows(editor, {"one.png": "stale", "drei 好.JPG": "missing"})
    for palette in ("dark", "light"):
        editor.set("Comfy.ColorPalette", palette)
        assert editor.violations(OUR_PANEL) == [], palette
        tile(editor, "drei 好.JPG").click()
        expect(editor.page.get_by_role("dialog").get_by_text("no caption").first).to_be_visible()
        assert editor.violations(".sf-dialog") == [], palette
        editor.page.keyboard.press("Escape")
    assert editor.errors == []
