"""A folder is chosen instead of typed, and pictures that are dropped are copied into one."""

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Locator, expect

from .dataset_ui import CACHER, LOADER, graph, only, panel, pictures, set_widget, shows
from .editor import EACH_ONCE

if TYPE_CHECKING:
    from .editor import Editor

DROP = """async ([selector, files]) => {
    const transfer = new DataTransfer();
    for (const [name, content] of files) {
        const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
        transfer.items.add(new File([bytes], name));
    }
    const target = [...document.querySelectorAll(selector)].find((found) => found.checkVisibility());
    for (const type of ["dragover", "drop"]) {
        const event = new DragEvent(type, {dataTransfer: transfer, bubbles: true, cancelable: true});
        target.dispatchEvent(event);
        if (!event.defaultPrevented) throw new Error(`${type} is not taken`);
    }
}"""


def drop(editor: "Editor", selector: str, *files: Path) -> None:
    """Let go of files over an element."""
    content = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    editor.page.evaluate(DROP, [selector, content])


def dialog(editor: "Editor") -> Locator:
    return editor.page.get_by_role("dialog", name="Choose a folder with pictures")


@EACH_ONCE
def test_dropped_pictures_become_the_folder_of_the_node(anywhere: "Editor", folder: Path, tmp_path: Path):
    editor = anywhere
    place = editor.server.base_directory / "input" / f"dropped {editor.vue}"
    editor.load(only(graph(""), LOADER))
    expect(panel(editor)).to_contain_text("Choose the folder with your training pictures.")
    (tmp_path / "notes.pdf").write_bytes(b"x")
    drop(editor, ".sf-dataset", *pictures(folder), folder / "one.txt", tmp_path / "notes.pdf")
    expect(dialog(editor)).to_contain_text("pictures: 3, captions: 1")
    expect(dialog(editor)).to_contain_text("left out, they are not read: notes.pdf")
    assert editor.violations(".sf-dialog") == []
    dialog(editor).get_by_label("Folder below input:").fill(place.name)
    dialog(editor).get_by_role("button", name="Copy pictures (3)").click()
    shows(editor, {"one.png": "missing", "two.png": "missing", "drei 好.JPG": "missing"})
    expect(dialog(editor)).to_have_count(0)
    assert editor.widget(LOADER, "folder") == str(place)
    for name in ("one.png", "one.txt", "two.png", "drei 好.JPG"):
        assert (place / name).read_bytes() == (folder / name).read_bytes()
    assert len(list(place.iterdir())) == 4

    # another picture of the same name goes beside it, with its caption
    other = tmp_path / "other" / "one.png"
    other.parent.mkdir()
    shutil.copy(folder / "two.png", other)
    (other.parent / "one.txt").write_text("somebody else")
    drop(editor, ".sf-dataset", other, other.parent / "one.txt")
    expect(dialog(editor).get_by_label("Folder below input:")).to_have_value(place.name)
    dialog(editor).get_by_role("button", name="Copy pictures (1)").click()
    shows(editor, {"one_2.png": "missing"})
    assert (place / "one.png").read_bytes() == (folder / "one.png").read_bytes()
    assert (place / "one_2.txt").read_text() == "somebody else"
    editor.command("Comfy.Undo")
    editor.command("Comfy.Undo")
    assert editor.widget(LOADER, "folder") == ""
    assert editor.own_errors() == []
    shutil.rmtree(place)


def test_a_folder_is_chosen_of_those_with_pictures_and_those_used_before(editor: "Editor", folder: Path):
    place = editor.server.base_directory / "input" / "chosen" / "anna"
    place.mkdir(parents=True)
    shutil.copy(folder / "one.png", place)
    editor.load(only(graph(folder), LOADER))
    shows(editor, {"two.png": "missing"})
    choose = panel(editor).get_by_role("button", name="choose a folder, or drop pictures here")
    choose.click()
    dialog(editor).get_by_role("button", name="chosen/anna 1 picture").click()
    expect(panel(editor)).to_contain_text("1 picture ·")
    expect(choose).to_be_focused()
    choose.click()
    dialog(editor).get_by_role("button", name=str(folder)).click()
    expect(panel(editor)).to_contain_text("3 pictures")
    assert editor.widget(LOADER, "folder") == str(folder)
    shutil.rmtree(place.parent)

    choose.click()
    where = dialog(editor).get_by_label("Use a folder where it is:")
    where.fill("/nowhere")
    where.press("Enter")
    expect(panel(editor)).to_contain_text("There is no such folder")
    expect(dialog(editor)).to_have_count(0)
    assert editor.errors == []


def test_what_a_run_said_of_a_folder_is_not_said_of_another(
    editor: "Editor", folder: Path, tmp_path: Path, make_masks: "Callable[[Editor, Path], None]"
):
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    make_masks(editor, folder)
    editor.load(only(graph(folder), CACHER))
    editor.run()
    expect(panel(editor)).to_contain_text("(mediapipe)")
    set_widget(editor, CACHER, "folder", str(other))
    shows(editor, {"one.png": "missing"})
    expect(panel(editor)).not_to_contain_text("(mediapipe)")
    set_widget(editor, CACHER, "folder", str(folder))
    shows(editor, {"one.png": "ok"})
    expect(panel(editor)).to_contain_text("(mediapipe)")
