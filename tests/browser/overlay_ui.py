"""How tests find, use and read the mask overlay."""

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from playwright.sync_api import Locator

from semantic_focus.categories import SEMANTIC_CATEGORIES

if TYPE_CHECKING:
    from host.serve import ComfyServer

    from .editor import Editor

DATASET, SEGMENT = 2, 3
PLACES = {"face": (160, 110), "hair": (160, 40), "clothing": (60, 300), "background": (10, 10)}
"""A pixel (x, y) of each region in the first picture of `dataset`."""

OPACITY = 0.6
TIP = ".sf-overlay-tip:not(.sf-hidden)"
NOTICE = ".sf-overlay-notice:not(.sf-hidden)"


def panel(editor: "Editor") -> Locator:
    """The one overlay panel that can be seen."""
    return editor.page.locator(".semantic-focus-overlay").locator("visible=true")


def dialog(editor: "Editor") -> Locator:
    return editor.page.get_by_role("dialog", name="SAM Semantic Segment")


def chip(where: Locator, region: str) -> Locator:
    return where.locator(f"[data-region={region}]")


def shown_regions(where: Locator) -> set[str]:
    chips = where.locator("[data-region][aria-pressed=true]")
    return set(chips.evaluate_all("chips => chips.map(chip => chip.dataset.region)"))


def painted(editor: "Editor") -> np.ndarray:
    """uint8[H, W, 3]: what the panel shows."""
    url = panel(editor).locator("canvas").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGB"))


def picture(dataset: Path, name: str = "one.png") -> np.ndarray:
    """uint8[H, W, 3]: a picture of the dataset."""
    return np.asarray(Image.open(dataset / name).convert("RGB"))


def colour(region: str) -> np.ndarray:
    return np.array(SEMANTIC_CATEGORIES[region].colour, float)


def expected_at(dataset: Path, region: str, share: float) -> np.ndarray:
    """Float[3]: the picture's colour at the region's place, moved towards the region's colour."""
    x, y = PLACES[region]
    below = picture(dataset)[y, x].astype(float)
    return below + (colour(region) - below) * share


def at(pixels: np.ndarray, region: str) -> np.ndarray:
    x, y = PLACES[region]
    return pixels[y, x].astype(float)


def close(a: np.ndarray, b: np.ndarray, levels: int = 1) -> bool:
    return bool(np.abs(a - b).max() <= levels)


def spot(canvas: Locator, x: float, y: float) -> tuple[float, float]:
    """Where on the page a picture's pixel is."""
    box = canvas.bounding_box()
    assert box
    width, height = canvas.evaluate("canvas => [canvas.width, canvas.height]")
    return box["x"] + (x + 0.5) / width * box["width"], box["y"] + (y + 0.5) / height * box["height"]


def run_until_shown(editor: "Editor", text: str) -> None:
    editor.run()
    panel(editor).get_by_text(text).first.wait_for()


def index_map(editor: "Editor", server: "ComfyServer", page: int = 0) -> tuple[np.ndarray, dict[str, Any]]:
    """Int[H, W]: the number of each pixel's region, 1 the first, 0 none; and what the node reported."""
    preview = editor.page.evaluate(
        "([id, page]) => app.nodeOutputs[id].semantic_focus[page]", [SEGMENT, page]
    )
    pixels = np.asarray(Image.open(io.BytesIO(server.view(preview["map"]))))
    return pixels[..., 0] // (255 // len(preview["regions"])), {**preview, "pixels": pixels}
