"""How tests find, use and read the weights panel."""

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from playwright.sync_api import Locator

from semantic_focus.categories import PRESETS, SEMANTIC_CATEGORIES

if TYPE_CHECKING:
    from .editor import Editor

DATASET, SEGMENT, FIT, ENCODE, TO_LATENT, OBJECTIVE, TRAIN = 2, 3, 4, 5, 6, 8, 9
ORDER = [
    "enabled",
    "preset",
    *(f"{name}_weight" for name in SEMANTIC_CATEGORIES),
    "global_fallback",
    "cosine_weight",
    "magnitude_weight",
    "prior_weight",
    "more_weights",
]
START = [True, "custom", 1.4, 0.3, 0.2, 0.65, 0.05, 0.0, 0.15, 1.0, 0.5, 2.0, "tattoo: 0.85"]
FAINTEST, STRONGEST, MOST = 0.5, 0.8, 2.0
"""Opacity of the heat of a weight just above 0 and of 2."""


def node_of(workflow: dict[str, Any], node: int) -> dict[str, Any]:
    return next(it for it in workflow["nodes"] if it["id"] == node)


def panel(editor: "Editor") -> Locator:
    return editor.page.locator(".sf-weights").locator("visible=true")


def row(editor: "Editor", name: str) -> Locator:
    return panel(editor).locator(f'[data-weight="{name}"]')


def slider(editor: "Editor", name: str) -> Locator:
    return row(editor, name).get_by_role("slider")


def number(editor: "Editor", name: str) -> Locator:
    return row(editor, name).get_by_role("textbox")


def inputs(editor: "Editor", node: str = str(OBJECTIVE)) -> dict[str, Any]:
    """What Run would send for the objective."""
    editor.settle()
    return editor.prompt()[node]["inputs"]


def expected(**changes: Any) -> dict[str, Any]:
    """The inputs that the workflow was loaded with, with some changes."""
    return {**dict(zip(ORDER, START, strict=True)), **changes}


def weights_of(preset: str) -> dict[str, float]:
    return {f"{name}_weight": weight for name, weight in PRESETS[preset].weights.items()}


def drag(editor: "Editor", name: str, share: float) -> None:
    """Take the slider's thumb to a share of its way, in small steps."""
    handle = slider(editor, name)
    box = handle.bounding_box()
    assert box
    value = float(handle.input_value()) / MOST
    thumb = 10
    at = [box["x"] + thumb / 2 + place * (box["width"] - thumb) for place in (value, share)]
    editor.page.mouse.move(at[0], box["y"] + box["height"] / 2)
    editor.page.mouse.down()
    editor.page.mouse.move(at[1], box["y"] + box["height"] / 2, steps=8)
    editor.page.mouse.up()
    editor.settle()


def preview(editor: "Editor") -> None:
    """Press the button, and wait for the miniature."""
    panel(editor).get_by_role("button", name="Preview segmentation").click()
    panel(editor).get_by_text("1/2").wait_for()
    editor.settle()


def pixels(editor: "Editor") -> np.ndarray:
    """uint8[H, W, 4]: the heat over the grey picture."""
    url = panel(editor).locator(".sf-heat").evaluate("canvas => canvas.toDataURL('image/png')")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def shown_weights(editor: "Editor") -> np.ndarray:
    """Float[H, W]: the weights that the miniature shows, read from its opacity; 0 where it is hatched."""
    heat = pixels(editor)
    share = (heat[..., 3] / 255 - FAINTEST) / (STRONGEST - FAINTEST)
    return np.where(heat[..., :3].sum(-1) == 0, 0, share * MOST)


def true_weights(editor: "Editor", weights: dict[str, float], rest: float) -> np.ndarray:
    """Float[H, W]: the weight of each pixel, from the map that the segmentation node reported."""
    reported = editor.page.evaluate(f"() => app.nodeOutputs[{SEGMENT}].semantic_focus[0]")
    address = f"{editor.page.url.partition('#')[0].rstrip('/')}/view"
    file = editor.page.request.get(address, params=reported["map"]).body()
    read = np.asarray(Image.open(io.BytesIO(file)).convert("RGB")).astype(int)
    names = [region["name"] for region in reported["regions"]]
    indices = read[..., 0] // (255 // len(names))
    by_index = np.array([rest, *(weights[name] for name in names)])
    return by_index[indices] + weights["lighting"] * read[..., 1] / 255
