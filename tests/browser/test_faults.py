"""Faults of pictures, mask files and values are said in the language of the user."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from playwright.sync_api import expect
from safetensors.torch import save_file

from semantic_focus.datasets.mask_file import mask_path

from .dataset_ui import CACHER, OUR_PANEL, badge, graph, only, tile
from .dataset_ui import panel as panel_of
from .overlay_ui import NOTICE, panel

if TYPE_CHECKING:
    from .editor import Editor


NOTES = """async run => {
    const {notesOf} = await import("/extensions/ComfyUI-SemanticFocus/training/words.mjs");
    return notesOf(run);
}"""


@pytest.fixture
def chinese(show: Callable[..., "Editor"]) -> "Editor":
    return show({"Comfy.Locale": "zh", "Comfy.VueNodes.Enabled": False})


def test_damaged_files_in_the_dataset_browser(chinese: "Editor", folder: Path):
    (folder / "one.png").write_bytes((folder / "one.png").read_bytes()[:20])
    mask_path(folder / "two.png").write_bytes(b"no mask")
    chinese.load(graph(folder))
    for name, status in (("one.png", "failed"), ("two.png", "stale")):
        expect(badge(chinese, name)).to_have_attribute("data-status", status)
    tile(chinese, "two.png").click()
    facts = chinese.page.get_by_role("dialog").locator(".sf-dataset-facts")
    expect(facts).to_contain_text("不是完整的 safetensors 文件")
    expect(facts).not_to_contain_text("not a complete")
    expect(facts.get_by_title("not a complete safetensors file")).to_have_count(1)
    chinese.page.keyboard.press("Escape")
    tile(chinese, "one.png").click()
    expect(facts).to_contain_text("one.png 无法作为图片读取")
    chinese.page.keyboard.press("Escape")
    assert not chinese.own_errors()


def test_a_folder_that_is_not_there(chinese: "Editor", folder: Path):
    chinese.load(graph(folder / "nowhere"))
    empty = chinese.page.locator(f"{OUR_PANEL} .sf-dataset-empty").first
    expect(empty).to_contain_text("文件夹")
    expect(empty).to_have_attribute(
        "title",
        f"{folder / 'nowhere'}: no such folder. Give the path of the folder "
        "that holds your training pictures",
    )


def test_a_run_that_failed_because_of_a_mask_file(
    chinese: "Editor", segment_folder: Callable[[Path], dict[str, Any]], folder: Path
):
    by_hand = mask_path(folder / "one.png")
    save_file({"face_mask": torch.ones(32, 32)}, by_hand)
    chinese.load(segment_folder(folder))
    chinese.press_run()
    notice = panel(chinese).locator(NOTICE)
    made = "它是手工或由其他程序为 32x32 的图像制作的，而这幅图像是 320x320。请更正它，或将它移走"
    expect(notice).to_contain_text(made, timeout=60_000)
    expect(notice).to_contain_text(str(by_hand))
    title = notice.get_attribute("title")
    assert title and title.startswith(f"{by_hand}: it was made by hand")


def test_what_there_is_to_say_of_a_folder(chinese: "Editor", folder: Path):
    """By a run and by the list, each line once."""
    (folder / "one.caption").write_text("another")
    for number in range(12):
        (folder / f"{number:02}.heic").write_bytes(b"x")
    (folder / "two_zi_masks.safetensors.damaged").write_bytes(b"kept aside")
    part = only(graph(folder), CACHER)
    part["nodes"][0]["widgets_values"][3] = "face: face\nsword: sword"
    chinese.load(part)
    chinese.run()
    names = ", ".join(f"{number:02}.heic" for number in range(10))
    said = panel_of(chinese).get_by_role("log")
    expect(said).to_contain_text("sword：mediapipe 不读文字")
    assert said.inner_text().splitlines() == [
        "sword：mediapipe 不读文字，找不到它；给它的权重不起作用",
        f"未采用，请另存为 PNG 或 JPEG：{names} 等，另有 2 个",
        "同一图片有两个标注，使用后者：one.caption 与 one.txt",
    ]
    assert not chinese.own_errors()


def test_notes_of_a_training(chinese: "Editor"):
    full = "/runs/a: cannot be written: the disk is full. Free some space, or give a folder on another disk"
    notes = [
        {"kind": "empty_region", "text": "", "values": {"regions": "face, tattoo"}},
        {"kind": "no_mask", "text": "", "values": {"regions": "hair"}},
        {"kind": "not_kept", "text": "", "values": {"error": full}},
    ]
    run = {"notes": notes, "state": "running", "folder": None, "kept": None}
    said = chinese.page.evaluate(NOTES, run)
    begins = ["人脸、tattoo：设了权重", "没有名为 hair 的遮罩", "未能保存到磁盘：/runs/a: 无法写入：磁盘已满"]
    assert [note[: len(begin)] for note, begin in zip(said, begins, strict=True)] == begins
    assert chinese.own_errors() == []
