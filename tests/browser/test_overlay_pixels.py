"""What the mask overlay paints, pixel by pixel."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from semantic_focus.categories import SEMANTIC_CATEGORIES

from .overlay_ui import (
    OPACITY,
    PLACES,
    SEGMENT,
    TIP,
    at,
    chip,
    close,
    colour,
    index_map,
    painted,
    panel,
    picture,
    run_until_shown,
    spot,
)

if TYPE_CHECKING:
    from host.serve import ComfyServer

    from .editor import Editor

NOISE = """() => {
    const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
    OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...box) {
        const pixels = read.apply(this, box);
        pixels.data.forEach((value, at) => { if (at % 4 < 3) pixels.data[at] = value + at % 3 - 1; });
        return pixels;
    };
}"""

"""What browsers do to the pixels that a page reads when they hide who uses them: one level more or less."""


@pytest.fixture
def two_men(
    segment_folder: Callable[[Path], dict[str, Any]], photographs: Path, tmp_path: Path
) -> dict[str, Any]:
    """Two men side by side, to be segmented."""
    with Image.open(photographs / "zidane.jpg") as picture:
        picture.resize((640, 360)).save(tmp_path / "two_men.png")
    return segment_folder(tmp_path)


def test_every_pixel_has_the_colour_of_its_region_and_the_slider_sets_how_much_of_it(
    editor: "Editor", segmentation: dict[str, Any], dataset: Path, server: "ComfyServer"
):
    editor = editor
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    chip(panel(editor), "lighting").click()
    editor.page.mouse.move(0, 0)
    indices, preview = index_map(editor, server)
    expected = picture(dataset).astype(float)
    for index, region in enumerate(preview["regions"], 1):
        inside = indices == index
        share = OPACITY / 2 if region["name"] == "background" else OPACITY
        expected[inside] += (colour(region["name"]) - expected[inside]) * share
    strength = preview["pixels"][..., 1:2] / 255 * OPACITY
    expected += (colour("lighting") - expected) * strength
    assert np.abs(painted(editor) - expected).max() <= 1

    chip(panel(editor), "lighting").click()
    slider = panel(editor).get_by_label("opacity")
    editor.page.mouse.move(0, 0)
    slider.fill("0")
    assert (painted(editor) == picture(dataset)).all()
    slider.fill("1")
    assert tuple(at(painted(editor), "face")) == SEMANTIC_CATEGORIES["face"].colour
    properties = {node["id"]: node["properties"] for node in editor.workflow()["nodes"]}
    assert properties[SEGMENT]["semantic_focus_opacity"] == 1


def test_the_outline_is_the_border_of_each_region_and_nothing_else(
    editor: "Editor", segmentation: dict[str, Any], dataset: Path, server: "ComfyServer"
):
    editor = editor
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    chip(panel(editor), "background").click()
    panel(editor).get_by_role("button", name="outline").click()
    editor.page.mouse.move(0, 0)
    indices, preview = index_map(editor, server)
    names = [region["name"] for region in preview["regions"]]
    drawn, below = painted(editor), picture(dataset)
    # the picture is drawn larger than it is, so a line is one pixel wide
    border = np.zeros(indices.shape, bool)
    for axis in (0, 1):
        differs = np.diff(indices, axis=axis) != 0
        nothing = ((0, 1), (0, 0)) if axis == 0 else ((0, 0), (0, 1))
        border |= np.pad(differs, nothing) | np.pad(differs, [side[::-1] for side in nothing])
    for index, name in enumerate(names, 1):
        inside = indices == index
        hidden = name in ("background", "lighting")
        line = colour(name) if not hidden else below[inside & border]
        assert (drawn[inside & border] == line).all(), name
        assert (drawn[inside & ~border] == below[inside & ~border]).all(), name
    assert panel(editor).get_by_label("opacity").is_disabled()


def test_several_persons_are_numbered_from_the_left_with_a_line_around_each(
    editor: "Editor", two_men: dict[str, Any], server: "ComfyServer"
):
    editor = editor
    editor.load(two_men)
    run_until_shown(editor, "2 persons")
    marks = panel(editor).locator(".sf-overlay-person")
    assert marks.all_inner_texts() == ["1", "2"]
    _, preview = index_map(editor, server)
    numbers = preview["pixels"][..., 2] // (255 // 2)
    canvas = panel(editor).locator("canvas")
    box = canvas.bounding_box()
    assert box
    for number, mark in enumerate(marks.all(), 1):
        place = mark.bounding_box()
        assert place
        x = (place["x"] + place["width"] / 2 - box["x"]) / box["width"]
        y = (place["y"] + place["height"] / 2 - box["y"]) / box["height"]
        rows, columns = np.nonzero(numbers == number)
        assert numbers[int(y * 360), int(x * 640)] == number
        assert abs(x * 640 - columns.mean()) < 32 and abs(y * 360 - rows.mean()) < 32

    # the face of the man on the right
    indices, preview = index_map(editor, server)
    face = [region["name"] for region in preview["regions"]].index("face") + 1
    rows, columns = np.nonzero((indices == face) & (numbers == 2))
    editor.page.mouse.move(*spot(canvas, np.median(columns), np.median(rows)))
    expect(panel(editor).locator(TIP)).to_have_text("face · person 2")
    editor.page.mouse.move(0, 0)

    # a person's own pixels beside pixels of nobody are white
    edge = (numbers[:, 1:] > 0) & (numbers[:, :-1] == 0)
    assert (painted(editor)[:, 1:][edge] == 255).all()
    panel(editor).get_by_role("button", name="persons").click()
    assert marks.first.is_hidden()
    assert (painted(editor)[:, 1:][edge] == 255).mean() < 0.1


def test_colours_opacity_and_language_follow_the_settings(
    editor: "Editor", segmentation: dict[str, Any], dataset: Path
):
    editor = editor
    change = "([id, value]) => app.extensionManager.setting.set(id, value)"
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    x, y = PLACES["face"]
    below = picture(dataset)[y, x].astype(float)
    vermilion = np.array([213, 94, 0])
    try:
        editor.page.evaluate(change, ["SemanticFocus.Palette", "colour-blind safe"])
        editor.settle()
        assert close(at(painted(editor), "face"), below + (vermilion - below) * OPACITY)
        editor.page.evaluate(change, ["SemanticFocus.Opacity", 0.2])
        editor.settle()
        assert close(at(painted(editor), "face"), below + (vermilion - below) * 0.2)
        editor.page.evaluate(change, ["Comfy.Locale", "zh"])
        expect(chip(panel(editor), "face")).to_contain_text("人脸")
        panel(editor).get_by_text("1/2 · 1 人").wait_for()
    finally:  # the server keeps them for the next test
        editor.page.evaluate(change, ["SemanticFocus.Palette", "standard"])
        editor.page.evaluate(change, ["SemanticFocus.Opacity", OPACITY])
        editor.page.evaluate(change, ["Comfy.Locale", "en"])
        expect(chip(panel(editor), "face")).to_contain_text("face")


def test_noise_in_the_pixels_that_a_page_reads_changes_no_region(
    editor: "Editor", segmentation: dict[str, Any], server: "ComfyServer"
):
    editor.patch(NOISE)
    editor.load(segmentation)
    run_until_shown(editor, "1/2")
    slider = panel(editor).get_by_label("opacity")
    slider.fill("1")
    panel(editor).get_by_role("button", name="all", exact=True).click()
    chip(panel(editor), "lighting").click()
    editor.page.mouse.move(0, 0)
    indices, preview = index_map(editor, server)
    drawn = painted(editor)
    for index, region in enumerate(preview["regions"], 1):
        if region["name"] not in ("background", "lighting"):
            assert (drawn[indices == index] == colour(region["name"])).all(), region["name"]
