"""How tests open the editor of masks, paint in it, and read what came of it."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from playwright.sync_api import Locator, expect

from semantic_focus.datasets.mask_file import mask_path, read_masks

from .dataset_ui import CACHER, graph, only, tile

if TYPE_CHECKING:
    from .editor import Editor

Point = tuple[float, float]

SIZE = 40
"""Of the brush that tests begin with, in pixels across; it is hard."""


def show_folder(editor: "Editor", folder: Path) -> None:
    """Show a folder in Cache Dataset Masks."""
    editor.load(only(graph(folder), CACHER))


def open_mender(editor: "Editor", name: str = "one.png", **settings: Any) -> Locator:
    """The editor of masks, opened from the dataset browser as a user does; `settings` of its tools."""
    usual = {"tool": "brush", "size": SIZE, "hardness": 1, "snaps": False}
    keep = "settings => sessionStorage.setItem('semantic_focus.mend', settings)"
    editor.page.evaluate(keep, json.dumps({**usual, **settings}))
    tile(editor, name).click()
    editor.page.get_by_role("dialog").get_by_role("button", name="Mend", exact=False).click()
    return opened(editor, name)


def opened(editor: "Editor", name: str) -> Locator:
    """The editor of masks, once it shows this picture."""
    mender = editor.page.locator(".sf-mend-dialog")
    expect(mender.get_by_role("heading", level=2)).to_have_text(f"Mend: {name}")
    expect(mender.locator("[data-region]").first).to_be_visible()
    editor.settle()
    return mender


def choose(mender: Locator, region: str) -> None:
    mender.locator(f"[data-region={region}]").click()
    expect(mender.locator(f"[data-region={region}]")).to_have_attribute("aria-pressed", "true")


def spot(mender: Locator, point: Point) -> Point:
    """Where on the page a place of the picture is."""
    canvas = mender.locator(".sf-mend-masks")
    box = canvas.bounding_box()
    assert box
    width, height = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    return box["x"] + point[0] / width * box["width"], box["y"] + point[1] / height * box["height"]


def stroke(mender: Locator, *points: Point) -> None:
    """Press at the first place, go to the others, and let go."""
    mouse = mender.page.mouse
    mouse.move(*spot(mender, points[0]))
    mouse.down()
    for point in points[1:]:
        mouse.move(*spot(mender, point), steps=4)
    mouse.up()


def click(mender: Locator, point: Point) -> None:
    mender.page.mouse.click(*spot(mender, point))


def save(mender: Locator) -> None:
    mender.page.keyboard.press("Control+s")
    is_saved(mender)


def is_saved(mender: Locator) -> None:
    expect(mender.get_by_role("status").first).to_have_text("saved")


def shown(mender: Locator) -> np.ndarray:
    """uint8[H, W, 4]: the colours of the masks."""
    url = mender.locator(".sf-mend-masks").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def region(folder: Path, label: str, name: str = "one.png") -> np.ndarray:
    """uint8[H, W]: a region as everybody reads it from the file."""
    found = read_masks(mask_path(folder / name)).region(label)[0]
    return (found.float() * 255).round().numpy().astype(np.uint8)


def by_hand(folder: Path, name: str = "one.png") -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """uint8[H, W] values and Bool[H, W] where a person decided, by region."""
    hand = read_masks(mask_path(folder / name)).hand
    layers = {} if hand is None else hand.layers
    return {
        label: ((layer.value.float() * 255).round().numpy().astype(np.uint8), layer.said.numpy())
        for label, layer in layers.items()
    }


def distance(size: tuple[int, int], points: Sequence[Point]) -> np.ndarray:
    """Float[H, W]: how far the middle of each pixel is from a line through the points."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    found = np.full(size, np.inf)
    for (ax, ay), (bx, by) in zip(points, points[1:] or points, strict=False):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / max(dx * dx + dy * dy, 1e-9), 0, 1)
        found = np.minimum(found, np.hypot(x - ax - along * dx, y - ay - along * dy))
    return found
