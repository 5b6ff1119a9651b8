"""Masks that are mended while others write the same file; what happens when saving fails, and at a run."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from playwright.sync_api import Route, expect

from semantic_focus.datasets.mask_file import mask_path, read_masks, save_masks
from semantic_focus.regions.doubts import Doubt, as_field
from semantic_focus.regions.hand import with_hand
from semantic_focus.regions.layers import HandLayer

from . import mend_ui
from .dataset_ui import KEYWORDS, panel, tile
from .editor import EACH_ONCE
from .mend_ui import by_hand, choose, distance, opened, region, save, shown, stroke

if TYPE_CHECKING:
    from .editor import Editor

HERE, THERE, ELSEWHERE = [(30, 30), (90, 30)], [(30, 290), (90, 290)], [(230, 290), (290, 290)]
SIZE = (320, 320)
NEAR = mend_ui.SIZE / 2 - 1.5
SAVE = "**/semantic_focus/mend/save"


@EACH_ONCE
def test_another_tab_and_another_program_change_the_same_file(
    anywhere: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]", another_tab: "Editor"
):
    make_masks(anywhere, folder)
    menders = []
    for editor in (anywhere, another_tab):
        mend_ui.show_folder(editor, folder)
        menders.append(mend_ui.open_mender(editor))
    here, there = menders
    choose(there, "face")
    stroke(there, *THERE)
    save(there)
    choose(here, "hair")
    stroke(here, *HERE)
    save(here)
    expect(here.get_by_role("alert")).to_contain_text("Somebody else had changed")
    in_hair, in_face = (distance(SIZE, line) < NEAR for line in (HERE, THERE))
    assert (region(folder, "hair")[in_hair] == 255).all() and (region(folder, "face")[in_face] == 255).all()

    # a program, over the very place that is being painted: the last who saves is right, where he painted
    masks = read_masks(mask_path(folder / "one.png"))
    assert masks.hand
    in_background = distance(SIZE, [HERE[1], (150, 30)]) < NEAR
    layer = HandLayer(torch.ones(SIZE), torch.from_numpy(in_background))
    made = with_hand(masks, {"background": layer, "face": masks.hand.layers["face"]})
    stroke(here, *ELSEWHERE)
    save_masks(mask_path(folder / "one.png"), made, over_hand=True)
    save(here)
    assert (region(folder, "hair")[distance(SIZE, ELSEWHERE) < NEAR] == 255).all()
    assert (region(folder, "background")[in_background] == 255).all()
    assert (region(folder, "face")[in_face] == 255).all()
    seen = shown(here)
    here.get_by_role("button", name="read the file again").click()
    assert np.array_equal(shown(opened(anywhere, "one.png")), seen)
    here.page.keyboard.press("Escape")
    assert anywhere.errors == another_tab.errors == []


def test_what_is_not_saved_is_not_lost_without_a_word(
    editor: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    make_masks(editor, folder)
    mend_ui.show_folder(editor, folder)
    mender = mend_ui.open_mender(editor)
    choose(mender, "hair")
    leaves = "() => window.dispatchEvent(new Event('beforeunload', {cancelable: true}))"
    assert editor.page.evaluate(leaves)
    stroke(mender, *HERE)
    assert not editor.page.evaluate(leaves)  # the browser asks first

    def refuse(route: Route) -> None:
        route.fulfill(json={"error": "/pictures/one_zi_masks.safetensors: it cannot be written (no space)"})

    editor.page.route(SAVE, refuse)
    for leave in (
        lambda: editor.page.keyboard.press("Escape"),
        lambda: editor.page.keyboard.press("PageDown"),
    ):
        leave()
        expect(mender.get_by_role("alert")).to_contain_text("it cannot be written (no space)")
        expect(mender.get_by_role("heading", level=2)).to_have_text("Mend: one.png")
    assert by_hand(folder) == {}
    editor.page.unroute(SAVE)
    mender.get_by_role("button", name="Save", exact=True).click()
    mend_ui.is_saved(mender)
    assert set(by_hand(folder)) == {"hair"}

    editor.page.route(SAVE, refuse)
    stroke(mender, *THERE)
    editor.page.keyboard.press("Escape")
    mender.get_by_role("button", name="Leave without saving").click()
    expect(mender).to_have_count(0)
    editor.page.unroute(SAVE)
    assert not by_hand(folder)["hair"][1][distance(SIZE, THERE) < NEAR].any()
    assert editor.errors == []


@EACH_ONCE
def test_making_all_masks_anew_changes_no_pixel_that_was_made_by_hand(
    anywhere: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    editor = anywhere
    make_masks(editor, folder)
    mend_ui.show_folder(editor, folder)
    mender = mend_ui.open_mender(editor, hardness=0.4)
    choose(mender, "hair")
    stroke(mender, *HERE)
    choose(mender, "face")
    stroke(mender, (60, 30), (120, 60))
    editor.page.keyboard.press("Escape")
    expect(mender).to_have_count(0)
    editor.page.keyboard.press("Escape")
    made = by_hand(folder)
    assert set(made) == {"face", "hair"}
    (folder / "two_zi_masks.safetensors").unlink()
    words = f"{KEYWORDS}\nclothing: shirt"
    inputs = {"folder": str(folder), "backend": "auto", "refine": "off", "report": False}
    job = {"class_type": "SemanticFocusCacheDataset", "inputs": {**inputs, "keywords": words, "force": True}}
    editor.server.run({"1": job})
    assert (folder / "two_zi_masks.safetensors").exists()
    again = by_hand(folder)
    assert set(again) == set(made)
    for label, (value, said) in made.items():
        assert np.array_equal(again[label][1], said)
        assert np.array_equal(again[label][0][said], value[said])
        assert np.array_equal(region(folder, label)[said], value[said])
    assert region(folder, "clothing").any()
    assert editor.errors == []


@EACH_ONCE
def test_pictures_that_need_a_look_are_pointed_out(
    anywhere: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"
):
    editor = anywhere
    make_masks(editor, folder)
    file = mask_path(folder / "two.png")
    masks = read_masks(file)
    doubt = Doubt("hair", "face", 0.9, (0.5, 0.25), (0.4, 0.2, 0.6, 0.3))
    save_masks(file, replace(masks, provenance={**masks.provenance, **as_field([[doubt]])}))
    mend_ui.show_folder(editor, folder)
    mender = mend_ui.open_mender(editor, "one.png")
    expect(mender.locator("[data-doubt]")).to_have_count(0)
    mender.get_by_role("button", name="Next to look at").click()
    opened(editor, "two.png")
    expect(mender.locator("[data-doubt]")).to_have_text("look at this: hair or face?")
    # the place is marked, and shown large at a click
    mark = mender.locator(".sf-mend-marks rect").first
    whole = mender.locator(".sf-mend-masks").bounding_box()
    box = mark.bounding_box()
    assert whole and box
    middle = (box["x"] + box["width"] / 2 - whole["x"]) / whole["width"]
    assert abs(middle - 0.5) < 0.01 and 0.2 < box["width"] / whole["width"] < 0.3
    mender.locator("[data-doubt]").click()
    larger = mender.locator(".sf-mend-masks").bounding_box()
    assert larger and larger["width"] > 1.5 * whole["width"]
    # it is decided when the hand has made one of the two
    editor.page.keyboard.press("0")
    choose(mender, "hair")
    stroke(mender, (20, 20), (40, 20))
    save(mender)
    expect(mender.locator("[data-doubt]")).to_have_count(0)
    mender.get_by_role("button", name="Next to look at").click()
    expect(mender.get_by_role("alert")).to_contain_text("No picture needs a look.")
    editor.page.keyboard.press("Escape")
    assert editor.errors == []


def test_pen_and_fingers(editor: "Editor", folder: Path, make_masks: "Callable[[Editor, Path], None]"):
    make_masks(editor, folder)
    mend_ui.show_folder(editor, folder)
    mender = mend_ui.open_mender(editor)
    choose(mender, "hair")
    events(mender, "pen", 1, [(60, 60), (120, 60)], pressure=0.5)
    events(mender, "touch", 2, [(60, 160), (120, 160)])
    save(mender)
    _, said = by_hand(folder)["hair"]
    assert said[60 - 8 : 60 + 8, 90].all() and not said[60 + 13 : 60 + 40, 90].any()  # half as wide
    assert said[160 - 17 : 160 + 17, 90].all()
    # two fingers do not paint: they move and enlarge the picture
    before = mender.locator(".sf-mend-masks").bounding_box()
    seen = shown(mender)
    press, move, lift = "pointerdown", "pointermove", "pointerup"
    two = {3: [(100, 100), (60, 60)], 4: [(200, 200), (240, 240)]}
    places = {finger: [mend_ui.spot(mender, place) for place in line] for finger, line in two.items()}
    for kind, at in ((press, 0), (move, 1), (lift, 1)):
        for finger, line in places.items():
            send(mender, kind, "touch", finger, line[at])
    after = mender.locator(".sf-mend-masks").bounding_box()
    assert before and after and abs(after["width"] / before["width"] - 1.8) < 0.1
    assert np.array_equal(shown(mender), seen)
    expect(mender.get_by_role("status").first).to_have_text("saved")
    editor.page.keyboard.press("Escape")
    assert editor.errors == []


SEND = """([kind, type, id, x, y, pressure]) => {
    const event = {pointerType: type, pointerId: id, clientX: x, clientY: y, pressure, bubbles: true};
    const stage = document.querySelector(".sf-mend-stage");
    stage.dispatchEvent(new PointerEvent(kind, {...event, cancelable: true}));
}"""


def send(mender: Any, kind: str, type: str, id: int, place: mend_ui.Point, pressure: float = 0.5) -> None:
    mender.page.evaluate(SEND, [kind, type, id, *place, pressure])


def events(mender: Any, type: str, id: int, line: list[mend_ui.Point], pressure: float = 0.5) -> None:
    """Draw a line with a pen or a finger."""
    places = [mend_ui.spot(mender, place) for place in line]
    for kind, place in (("pointerdown", places[0]), ("pointermove", places[-1]), ("pointerup", places[-1])):
        send(mender, kind, type, id, place, pressure)


@EACH_ONCE
def test_the_editor_speaks_chinese_and_can_be_read_in_both_themes(
    show: "Callable[..., Editor]", anywhere: "Editor", folder: Path, make_masks: Any
):
    vue, newer = anywhere.vue, "Comfy.VueNodes.Enabled"
    make_masks(anywhere, folder)
    editor = show({"Comfy.Locale": "zh", newer: vue}, newer=vue)
    mend_ui.show_folder(editor, folder)
    tile(editor, "one.png").click()
    editor.page.get_by_role("dialog").get_by_role("button", name="修补").click()
    mender = editor.page.locator(".sf-mend-dialog")
    expect(mender.get_by_role("heading", level=2)).to_have_text("修补：one.png")
    expect(mender.locator("[data-region=hair]")).to_contain_text("发型")
    mender.locator(".sf-mend-keys summary").click()
    for theme in ("dark", "light"):
        editor.set("Comfy.ColorPalette", theme)
        assert editor.violations(".sf-mend-dialog") == [], theme
    words = mender.evaluate("dialog => dialog.innerText")
    known = json.loads((Path(__file__).parents[2] / "locales/en/main.json").read_text("utf-8"))
    english = [word for word in known["semanticFocus"]["mend"].values() if isinstance(word, str)]
    assert [word for word in english if word in words.splitlines()] == []
    editor.page.keyboard.press("Escape")
    assert panel(editor).count() == 1 and editor.errors == []
