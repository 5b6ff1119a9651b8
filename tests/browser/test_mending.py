"""Masks that are mended by hand, in every editor: what each tool does, and what is in the file afterwards."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw
from playwright.sync_api import expect

from . import mend_ui
from .dataset_ui import panel, shows, tile
from .editor import EACH_ONCE
from .mend_ui import SIZE, by_hand, choose, click, distance, opened, region, save, shown, stroke

if TYPE_CHECKING:
    from .editor import Editor

RADIUS = SIZE / 2
SURE = 1.5
"""Pixels at a brush's border that are soft, or lie elsewhere because the page is drawn in whole pixels."""
STEPS = 34


def test_a_picture_is_mended_and_the_next_one(
    anywhere: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    editor = anywhere
    make_masks(editor, folder)
    mend_ui.show_folder(editor, folder)
    mender = mend_ui.open_mender(editor)
    before = {label: region(folder, label) for label in ("face", "hair", "background")}
    size = before["face"].shape
    untouched = shown(mender)

    # paint: hair where background was
    choose(mender, "hair")
    line = [(40, 290), (120, 290)]
    stroke(mender, *line)
    save(mender)
    far = distance(size, line)
    hair = region(folder, "hair")
    assert (hair[far < RADIUS - SURE] == 255).all()
    assert (hair[far > RADIUS + SURE] == before["hair"][far > RADIUS + SURE]).all()
    value, said = by_hand(folder)["hair"]
    assert said[far < RADIUS - SURE].all() and not said[far > RADIUS + SURE].any()
    assert (region(folder, "background")[far < RADIUS - SURE] == 0).all()

    # erase its end: it goes back to what was there
    editor.page.keyboard.press("e")
    stroke(mender, (120, 290), (160, 290))
    save(mender)
    erased = distance(size, [(120, 290), (160, 290)]) < RADIUS - SURE
    assert (region(folder, "hair")[erased] == 0).all()
    assert (region(folder, "background")[erased] >= before["background"][erased]).all()

    # this whole region is hair: the piece of the face that is clicked
    editor.page.keyboard.press("w")
    inside = np.argwhere(before["face"] == 255)
    y, x = inside[len(inside) // 2]
    click(mender, (x + 0.5, y + 0.5))
    save(mender)
    assert (region(folder, "hair")[before["face"] == 255] == 255).all()
    assert region(folder, "face").max() < 128

    # an outline, closed by Enter
    editor.page.keyboard.press("o")
    choose(mender, "face")
    for corner in ((200, 200), (300, 200), (200, 300)):
        click(mender, corner)
    editor.page.keyboard.press("Enter")
    save(mender)
    rows, columns = np.mgrid[: size[0], : size[1]] + 0.5
    depth = np.minimum.reduce([columns - 200, rows - 200, (500 - columns - rows) / np.sqrt(2)])
    face = region(folder, "face")
    assert (face[depth > SURE] == 255).all() and (face[depth < -SURE] < 128).all()

    # the file holds what is seen: it is the same after it was read again
    seen = shown(mender)
    mender.get_by_role("button", name="read the file again").click()
    assert np.array_equal(shown(opened(editor, "one.png")), seen)
    total = np.sum([region(folder, label) for label in before], axis=0, dtype=int)
    assert total.max() <= 255 and (total >= np.sum(list(before.values()), axis=0, dtype=int)).all()

    # take back, a region and then all
    mender.get_by_role("button", name="Take back face").click()
    expect(mender.get_by_role("button", name="Take back face")).to_be_disabled()
    assert set(by_hand(folder)) == {"hair"}
    mender.get_by_role("button", name="Take back all").click()
    expect(mender.get_by_role("button", name="Take back all")).to_be_disabled()
    assert np.array_equal(shown(mender), untouched)
    for label, layer in before.items():
        assert np.array_equal(region(folder, label), layer)

    # the next picture; what was painted here is saved by leaving
    choose(mender, "hair")
    editor.page.keyboard.press("b")
    stroke(mender, (20, 20), (40, 20))
    editor.page.keyboard.press("PageDown")
    opened(editor, "two.png")
    assert set(by_hand(folder)) == {"hair"}
    stroke(mender, (20, 20), (40, 20))
    editor.page.keyboard.press("Escape")
    expect(mender).to_have_count(0)
    assert set(by_hand(folder, "two.png")) == {"hair"}
    # the browser of the dataset knows
    expect(editor.page.get_by_role("dialog").locator(".sf-dataset-facts")).to_contain_text("by hand: hair")
    editor.page.keyboard.press("Escape")
    expect(tile(editor, "one.png")).to_have_attribute("aria-label", "one.png; ok; by hand: hair")
    expect(panel(editor).locator(".sf-dataset-grid")).to_be_focused()
    assert editor.errors == []


def test_many_steps_are_undone_and_done_again(
    anywhere: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    editor = anywhere
    make_masks(editor, folder)
    mend_ui.show_folder(editor, folder)
    mender = mend_ui.open_mender(editor, size=12, hardness=0.5)
    choose(mender, "hair")
    pictures = [shown(mender)]
    for step in range(STEPS):
        place = (20 + 40 * (step % 7), 20 + 55 * (step // 7))
        stroke(mender, place, (place[0] + 12, place[1] + 9))
        pictures.append(shown(mender))
    assert len({picture.tobytes() for picture in pictures}) > 30  # some paint what is hair already
    for picture in reversed(pictures[:-1]):
        editor.page.keyboard.press("Control+z")
        assert np.array_equal(shown(mender), picture)
    expect(mender.get_by_role("button", name="Undo")).to_be_disabled()
    expect(mender.get_by_role("status").first).to_have_text("saved")
    for picture in pictures[1:]:
        editor.page.keyboard.press("Control+Shift+z")
        assert np.array_equal(shown(mender), picture)
    expect(mender.get_by_role("button", name="Redo")).to_be_disabled()
    save(mender)
    # saving ends nothing: the last steps are undone after it
    for _ in range(4):
        editor.page.keyboard.press("Control+z")
    assert np.array_equal(shown(mender), pictures[-5])
    save(mender)
    mender.get_by_role("button", name="read the file again").click()
    assert np.array_equal(shown(opened(editor, "one.png")), pictures[-5])
    editor.page.keyboard.press("Escape")
    assert editor.errors == []


def test_the_border_of_a_region_is_drawn_along_the_edges(
    anywhere: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    """A bright square in a dark picture, outlined carelessly, becomes the square."""
    editor = anywhere
    make_masks(editor, folder)
    picture = Image.open(folder / "one.png").convert("RGB")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, 319, 319), fill=(20, 20, 20))
    draw.rectangle((100, 100, 219, 219), fill=(235, 235, 235))
    rough = [(104, 97), (216, 103), (223, 214), (97, 222)]
    picture.save(folder / "one.png")
    (folder / "one_zi_masks.safetensors").unlink()
    mend_ui.show_folder(editor, folder)
    mender = mend_ui.open_mender(editor, "one.png", tool="outline", size=30)
    choose(mender, "clothing")
    for corner in rough:
        click(mender, corner)
    editor.page.keyboard.press("Enter")
    square = np.zeros((320, 320), bool)
    square[100:220, 100:220] = True
    save(mender)
    drawn = np.abs(region(folder, "clothing") - 255.0 * square).mean()
    editor.page.keyboard.press("s")
    expect(mender.locator(".sf-status[data-unsaved=true]")).to_be_visible()
    save(mender)
    assert np.abs(region(folder, "clothing") - 255.0 * square).mean() < 0.3 * drawn
    editor.page.keyboard.press("Control+z")
    save(mender)
    assert np.abs(region(folder, "clothing") - 255.0 * square).mean() == drawn
    # once for all strokes: it is one step with the stroke
    mender.get_by_label("after each stroke").check()
    editor.page.keyboard.press("b")
    seen = shown(mender)
    with editor.page.expect_response("**/semantic_focus/mend/snap"):
        stroke(mender, (110, 208), (210, 208), (210, 110))
    expect(mender.get_by_role("button", name="Undo")).to_be_enabled()
    editor.settle()
    editor.page.keyboard.press("Control+z")
    assert np.array_equal(shown(mender), seen)
    assert editor.errors == []


@EACH_ONCE
def test_everything_is_done_by_keyboard(
    anywhere: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    editor, press = anywhere, anywhere.page.keyboard.press
    make_masks(editor, folder)
    mend_ui.show_folder(editor, folder)
    shows(editor, {"one.png": "ok"})
    editor.page.mouse.move(800, 500)  # it rests where the editor comes up
    panel(editor).locator(".sf-dataset-grid").focus()
    press("Home")
    for _ in range(int(tile(editor, "one.png").get_attribute("data-index") or 0)):
        press("ArrowRight")
    press("Enter")
    expect(editor.page.get_by_role("dialog")).to_be_visible()
    press("m")
    mender = opened(editor, "one.png")
    press("2")  # the second region of the list
    expect(mender.locator("[data-region=hair]")).to_have_attribute("aria-pressed", "true")
    for _ in range(60):
        press("[")
    for _ in range(9):
        press("]")
    size = 10
    expect(mender.get_by_role("slider", name="Size")).to_have_attribute("aria-valuetext", f"{size} px")
    press("}")
    # the cursor begins in the middle, and goes by a quarter of the brush, or by a pixel
    for _ in range(20):
        press("ArrowDown")
    press("Shift+ArrowDown")
    editor.page.keyboard.down(" ")
    for _ in range(8):
        press("ArrowRight")
    editor.page.keyboard.up(" ")
    save(mender)
    quarter = 3  # in whole pixels
    y = 160.5 + 20 * quarter + 1
    far = distance((320, 320), [(160.5, y), (160.5 + 8 * quarter, y)])
    hair = region(folder, "hair")
    assert (hair[far < size / 2 - SURE] == 255).all()
    assert not by_hand(folder)["hair"][1][far > size / 2 + SURE].any()
    press("Control+z")
    press("Enter")  # a dab
    save(mender)
    _, said = by_hand(folder)["hair"]
    assert 0 < said.sum() < 2 * size * size
    press("Escape")
    expect(mender).to_have_count(0)
    assert editor.errors == []
