"""Faults of pictures, mask files and values are said in the language of the user."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from playwright.sync_api import expect
from safetensors.torch import save_file

from semantic_focus.datasets.mask_file import mask_path

from .dataset_ui import OUR_PANEL, badge, graph, tile
from .overlay_ui import NOTICE, panel

if TYPE_CHECKING:
    from .editor import Editor


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
    save_file({"face_mask": torch.ones(320, 320)}, by_hand)
    chinese.load(segment_folder(folder))
    chinese.press_run()
    notice = panel(chinese).locator(NOTICE)
    expect(notice).to_contain_text("它是手工或由其他程序制作的", timeout=60_000)
    expect(notice).to_contain_text(str(by_hand))
    title = notice.get_attribute("title")
    assert title and title.startswith(f"{by_hand}: it was made by hand")
