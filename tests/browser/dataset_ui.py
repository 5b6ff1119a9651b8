"""How tests make folders of pictures, and find and use the dataset browser."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import ExifTags, Image
from playwright.sync_api import Locator, expect

from semantic_focus.datasets.mask_file import mask_path, read_masks, save_masks
from semantic_focus.regions.doubts import FIELD as DOUBTS

if TYPE_CHECKING:
    from .editor import Editor

LOADER, SEGMENTER, CACHER = 2, 3, 5
MANY = 93
OUR_PANEL = ".sf-dataset"
KEYWORDS = "face: face\nhair: hair\nbackground: background"


@pytest.fixture
def folder(make_dataset: Callable[[Path], Path], tmp_path: Path) -> Path:
    """one.png and two.png with captions, "drei 好.JPG" without, on its side but for its EXIF data."""
    folder = make_dataset(tmp_path / "my pictures 图")
    portrait = Image.open(folder / "two.png")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    portrait.transpose(Image.Transpose.ROTATE_90).save(folder / "drei 好.JPG", "JPEG", exif=exif, quality=95)
    return folder


@pytest.fixture
def many(folder: Path) -> Path:
    """The folder with MANY pictures, whose masks take longer than to load a page."""
    for number in range(MANY - 3):
        shutil.copy(folder / "two.png", folder / f"more {number}.png")
    return folder


@pytest.fixture(scope="session")
def make_masks(tmp_path_factory: pytest.TempPathFactory) -> "Callable[[Editor, Path], None]":
    """Give the pictures of a folder the mask files that the settings of `graph` make, without doubts."""
    made = tmp_path_factory.mktemp("masks")

    def make(editor: "Editor", folder: Path) -> None:
        if not any(made.iterdir()):
            for picture in pictures(folder):
                shutil.copy(picture, made)
            settings = {"backend": "auto", "refine": "off", "keywords": KEYWORDS, "report": False}
            inputs = {"folder": str(made), **settings}
            editor.server.run({"1": {"class_type": "SemanticFocusCacheDataset", "inputs": inputs}})
            for picture in pictures(made):
                masks = read_masks(mask_path(picture))
                sure = {name: text for name, text in masks.provenance.items() if name != DOUBTS}
                save_masks(mask_path(picture), replace(masks, provenance=sure))
        for picture in pictures(folder):
            shutil.copy(mask_path(made / picture.name), folder)

    return make


def pictures(folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if file.suffix.lower() in (".png", ".jpg")]


def widget(name: str, kind: str) -> dict[str, Any]:
    return {"name": name, "type": kind, "link": None, "widget": {"name": name}}


def graph(
    folder: Path | str, *, connected: bool = True, size: tuple[int, int] = (320, 420)
) -> dict[str, Any]:
    """Load Semantic Dataset, SAM Semantic Segment on it, and Cache Dataset Masks on the same folder."""
    links = [[1, LOADER, 0, SEGMENTER, 0, "IMAGE"], [2, LOADER, 2, SEGMENTER, 4, "STRING"]]
    outputs = [("images", "IMAGE", 1), ("captions", "STRING", None), ("mask_files", "STRING", 2)]
    loader = {
        "inputs": [widget("folder", "STRING"), widget("default_caption", "STRING")],
        "outputs": [
            {"name": name, "type": kind, "links": [link] if link and connected else []}
            for name, kind, link in outputs
        ],
        "widgets_values": [str(folder), ""],
    }
    segmenter = {
        "inputs": [
            {"name": "images", "type": "IMAGE", "link": 1 if connected else None},
            widget("backend", "COMBO"),
            widget("refine", "COMBO"),
            widget("keywords", "STRING"),
            {"name": "mask_file", "type": "STRING", "link": 2 if connected else None, "shape": 7},
            widget("keep_overlaps", "BOOLEAN"),
        ],
        "outputs": [{"name": "masks", "type": "SEMANTIC_MASKS", "links": []}],
        "widgets_values": ["auto", "off", KEYWORDS, False],
    }
    kinds = {"folder": "STRING", "backend": "COMBO", "refine": "COMBO", "keywords": "STRING"}
    kinds |= dict.fromkeys(("recursive", "force", "report", "keep_overlaps"), "BOOLEAN")
    results = [("contact_sheet", "IMAGE"), ("summary", "STRING"), ("report_file", "STRING")]
    cacher = {
        "inputs": [widget(name, kind) for name, kind in kinds.items()],
        "outputs": [{"name": name, "type": kind, "links": []} for name, kind in results],
        "widgets_values": [str(folder), "auto", "off", KEYWORDS, False, False, True, False],
    }
    made = [
        (LOADER, "SemanticFocusLoadDataset", loader, [40, 80], size),
        (CACHER, "SemanticFocusCacheDataset", cacher, [440, 80], (420, 640)),
        (SEGMENTER, "SemanticFocusSegment", segmenter, [920, 80], (400, 640)),
    ]
    nodes = [
        {"id": id, "type": kind, "pos": place, "size": list(size), "flags": {}, "order": order, "mode": 0}
        | {"properties": {}, **parts}
        for order, (id, kind, parts, place, size) in enumerate(made)
    ]
    view = {"ds": {"scale": 1, "offset": [60, 40]}}
    rest = {"groups": [], "config": {}, "extra": view, "version": 0.4}
    return {"last_node_id": 5, "last_link_id": 2, "nodes": nodes, "links": links if connected else [], **rest}


def only(part: dict[str, Any], *kept: int) -> dict[str, Any]:
    """The graph with these nodes alone."""
    part["nodes"] = [node for node in part["nodes"] if node["id"] in kept]
    part["links"] = [link for link in part["links"] if link[1] in kept and link[3] in kept]
    return part


def panel(editor: "Editor", index: int = 0) -> Locator:
    return editor.page.locator(OUR_PANEL).locator("visible=true").nth(index)


def tile(editor: "Editor", name: str, index: int = 0) -> Locator:
    return panel(editor, index).locator("[role=option]").filter(has_text=name)


def badge(editor: "Editor", name: str, index: int = 0) -> Locator:
    return tile(editor, name, index).locator("[data-status]")


def set_widget(editor: "Editor", node: int, name: str, value: str) -> None:
    """Change a widget as the user would, to a folder that was chosen before."""
    change = """([id, name, value]) => {
        const node = app.graph.getNodeById(id);
        const widget = node.widgets.find(widget => widget.name === name);
        app.canvas.emitBeforeChange();
        widget.value = value;
        widget.callback?.(value, app.canvas, node);
        app.canvas.emitAfterChange();
    }"""
    editor.know(value)
    editor.page.evaluate(change, [node, name, value])


def shows(editor: "Editor", statuses: dict[str, str], index: int = 0) -> None:
    """Every picture has its badge, and is named with its status."""
    for name, status in statuses.items():
        expect(badge(editor, name, index)).to_have_attribute("data-status", status)
        expect(tile(editor, name, index)).to_have_attribute("aria-label", re.compile(f"{name}; {status}"))
