"""The pictures of the help pages and of the widgets, from a real ComfyUI in a real Chromium.

    python -m docs.pictures [help] [widgets]

Run it again when a widget changes its looks. `help` writes web/docs/<node>/node.webp for every node, and
work.webp for the nodes in WORK; `widgets` writes docs/widgets/<widget>_{dark,light}.png. What they show is
real: photographs, a segmentation of them, and a short training of a model with random weights, seen while it
is on its way. Then a mask is mended and kept, a picture is edited and the masks of another are taken away, so
that the dataset has something to tell. It takes about three minutes.
"""

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, FloatRect, Page

from docs.portrait import FRAMINGS, write_framings
from host.browser import open_browser, open_editor
from host.serve import ComfyServer, comfyui_folder

CHECKOUT = Path(__file__).resolve().parent.parent
HELP = CHECKOUT / "web" / "docs"
WIDGETS = CHECKOUT / "docs" / "widgets"
NEWER_EDITOR = CHECKOUT / ".cache" / "front-end"

PREFIX = "SemanticFocus"
STAND_IN = "SemanticFocusStandInCheckpoint"
CACHE, COMPARE = 90, 91
"""Ids of the nodes that are added to the shared workflow."""


@dataclass(frozen=True)
class Work:
    """A widget with something in it: its node's type, id in the workflow, size, and the picture's name."""

    node: str
    id: int
    size: tuple[int, int]
    name: str


TRAINING = Work("SemanticFocusTrain", 9, (440, 1040), "training")
DATASET = Work("SemanticFocusCacheDataset", CACHE, (440, 820), "dataset")
WORK = (
    Work("SemanticFocusSegment", 3, (440, 760), "mask_overlay"),
    Work("SemanticFocusCosineLoss", 8, (380, 720), "weights"),
    Work("SemanticFocusCompare", COMPARE, (440, 360), "report"),
)
"""Those that are shown when all is done."""

VALUES = {
    "SemanticFocusFit": {"resolution": 128, "multiple_of": 16},
    "SemanticFocusTrain": {
        "steps": 240,
        "batch_size": 2,
        "learning_rate": 2e-3,
        "rank": 8,
        "alpha": 8.0,
        "gradient_checkpointing": False,
    },
    "SemanticFocusPreviewOptions": {"every": 1000},
    "EmptySD3LatentImage": {"width": 128, "height": 128},
    "KSampler": {"steps": 2},
}
"""Sizes with which the shared workflow runs in seconds."""

SCALE = 1.5
"""Pixels of a picture per pixel of the page."""
MARGIN = 10
PAGE = (1500, 1500)
MENDING: Any = {"width": 1200, "height": 800}
"""Size of the page in which masks are mended."""
BRUSH_STEPS = 6
"""How often the brush is made smaller."""
RIM = ((0.01, 0.85), (0.05, 0.8), (0.1, 0.77), (0.16, 0.755))
"""Places along the rim of the collar, as shares of the picture."""
SHADES = 256
FOLDER = "datasets/astronaut"
"""What the pictures show in place of the temporary folder's name."""

SETTINGS: Mapping[str, Any] = {
    "Comfy.VueNodes.Enabled": True,
    "Comfy.Minimap.Visible": False,
    "Comfy.Graph.CanvasInfo": False,
}
NEXT_FRAMES = """async () => {
    await document.fonts.ready;
    await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
    for (let frame = 0; frame < 20; frame++) await new Promise(requestAnimationFrame);
}"""
STYLE = """css => document.head.append(Object.assign(document.createElement("style"), {textContent: css}))"""
SHOW_ONE = """type => {
    app.graph.clear();
    const node = LiteGraph.createNode(type);
    app.graph.add(node);
    return node.id;
}"""
BRING = """([id, size]) => {
    const node = app.graph.getNodeById(id);
    if (size) node.setSize(size);
    node.pos = [10000 * (1 + Number(id)), 0];
    for (const group of [...app.graph.groups]) app.graph.remove(group);
    app.canvas.links_render_mode = LiteGraph.HIDDEN_LINK;
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [120 - node.pos[0], 160];
    app.canvas.setDirty(true, true);
}"""
"""Show a node away from the others."""
RENAME = """([folder, name]) => {
    for (const input of document.querySelectorAll("input")) if (input.value === folder) input.value = name;
}"""
IS_ON_ITS_WAY = """([id, step, total]) => {
    const text = document.querySelector(`[data-node-id="${id}"]`)?.textContent ?? "";
    const found = text.match(new RegExp(`(\\\\d+) / ${total}`));
    return found && Number(found[1]) >= step;
}"""
SET_VALUES = """values => {
    for (const node of app.graph.nodes) {
        for (const [name, value] of Object.entries(values[node.type] ?? {})) {
            const widget = node.widgets.find(widget => widget.name === name);
            widget.value = value;
            widget.callback?.(value, app.canvas, node);
        }
    }
}"""
COMPARED = {
    "model": [1, 0],
    "lora": [9, 0],
    "latents": [5, 0],
    "conditioning": [7, 0],
    "latent_masks": [6, 0],
}
CONNECT = """([id, sources]) => {
    const node = app.graph.getNodeById(id);
    for (const [input, [from, slot]] of Object.entries(sources)) {
        app.graph.getNodeById(from).connect(slot, node, node.findInputSlot(input));
    }
}"""
LISTEN = """() => {
    const api = window.comfyAPI.api.api;
    window.outcome = null;
    for (const event of ["execution_success", "execution_error", "execution_interrupted"]) {
        api.addEventListener(event, ({detail}) => { window.outcome ??= {event, ...detail}; });
    }
}"""


def main(wanted: list[str]) -> None:
    """Make the pictures of these kinds; of all when none is named."""
    kinds = wanted or ["help", "widgets"]
    if unknown := set(kinds) - {"help", "widgets"}:
        raise SystemExit(f"there are no pictures of {', '.join(sorted(unknown))}: name help or widgets")
    with tempfile.TemporaryDirectory() as folder, _editor(Path(folder)) as (server, browser, subject):
        if "help" in kinds:
            with _page(server, browser) as page:
                for node in sorted(server.object_info()):
                    if node.startswith(PREFIX) and node != STAND_IN:
                        _save_webp(_picture(page, page.evaluate(SHOW_ONE, node)), HELP / node / "node.webp")
        _at_work(server, browser, subject, kinds)


def _at_work(server: ComfyServer, browser: Browser, subject: Path, kinds: list[str]) -> None:
    """The pictures of widgets with something in them, in both themes; each trains for itself."""
    themes = ["dark", "light"] if "widgets" in kinds else ["dark"]
    for seed, theme in enumerate(themes):

        def keep(work: Work, picture: Image.Image, theme: str = theme) -> None:
            if "help" in kinds and theme == "dark":
                _save_webp(picture, HELP / work.node / "work.webp")
            if "widgets" in kinds:
                _save_png(picture, WIDGETS / f"{work.name}_{theme}.png")

        shutil.rmtree(subject, ignore_errors=True)
        write_framings(CHECKOUT / ".cache" / "photographs", subject)
        with _page(server, browser, theme) as page:
            _begin(page, subject, seed)
            keep(TRAINING, _on_its_way(page, subject))
            _end(page)
            for work in WORK:
                keep(work, _picture(page, work.id, work.size, subject))
            mending = _mending(page)
            if "widgets" in kinds:
                _save_png(mending, WIDGETS / f"mending_{theme}.png")
            _change(subject)
            page.locator(f'[data-node-id="{CACHE}"]').get_by_title("look at the folder again").click()
            keep(DATASET, _picture(page, DATASET.id, DATASET.size, subject))


def _change(subject: Path) -> None:
    """Edit a picture, and take the masks of another away."""
    edited, bare = (subject / f"{FRAMINGS[number].name}.png" for number in (3, 7))
    with Image.open(edited) as picture:
        brighter = picture.convert("RGB").point([min(255, value + 25) for value in range(256)] * 3)
    brighter.save(edited)
    bare.with_name(f"{bare.stem}_zi_masks.safetensors").unlink()


@contextmanager
def _editor(folder: Path) -> Iterator[tuple[ComfyServer, Browser, Path]]:
    """A server with the stand-in model, a browser, and framings of a photograph to train on."""
    models = folder / "models" / "diffusion_models"
    models.mkdir(parents=True)
    program = [sys.executable, CHECKOUT / "tests" / "stand_in_model.py", comfyui_folder()]
    subprocess.run([*program, models / "stand_in.safetensors"], check=True)
    stand_ins = [CHECKOUT / "host" / "standins"]
    with (
        ComfyServer(folder, extra_custom_nodes=stand_ins, front_end_root=NEWER_EDITOR) as server,
        open_browser() as browser,
    ):
        yield server, browser, folder / "astronaut"


@contextmanager
def _page(server: ComfyServer, browser: Browser, theme: str = "dark") -> Iterator[Page]:
    settings = {**SETTINGS, "Comfy.ColorPalette": theme}
    with open_editor(browser, server.url, settings, PAGE, SCALE) as page:
        page.evaluate(STYLE, ".p-toast, .p-tooltip, [role=tooltip] { display: none !important }")
        yield page


def _begin(page: Page, subject: Path, seed: int) -> None:
    """Press Run in the shared workflow for these pictures, with a report of the folder's masks."""
    path = CHECKOUT / "workflows" / "train_person_lora.json"
    workflow = json.loads(path.read_text(encoding="utf-8"))
    checkpoint = next(node for node in workflow["nodes"] if node["type"] == "CheckpointLoaderSimple")
    checkpoint.update(type=STAND_IN, inputs=[], widgets_values=["stand_in.safetensors"])
    place = {"pos": [3000, 0], "flags": {}, "order": 99, "mode": 0, "properties": {}}
    workflow["nodes"].append({"id": CACHE, "type": "SemanticFocusCacheDataset", **place})
    workflow["nodes"].append({"id": COMPARE, "type": "SemanticFocusCompare", **place})
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_function("() => !app.configuringGraph")
    page.evaluate(CONNECT, [COMPARE, COMPARED])
    folders = dict.fromkeys(
        ["SemanticFocusLoadDataset", "SemanticFocusCacheDataset"], {"folder": str(subject)}
    )
    page.evaluate(SET_VALUES, {**VALUES, **folders})
    page.evaluate(SET_VALUES, {TRAINING.node: {"seed": seed}})
    page.evaluate(LISTEN)
    page.evaluate("() => app.queuePrompt(0, 1)")


def _on_its_way(page: Page, subject: Path) -> Image.Image:
    """The training when it has done two thirds."""
    page.evaluate(BRING, [TRAINING.id, TRAINING.size])
    steps = VALUES[TRAINING.node]["steps"]
    page.wait_for_function(IS_ON_ITS_WAY, arg=[TRAINING.id, steps * 2 // 3, steps], timeout=300_000)
    return _picture(page, TRAINING.id, TRAINING.size, subject)


def _end(page: Page) -> None:
    page.wait_for_function("() => window.outcome", timeout=300_000)
    outcome = page.evaluate("() => window.outcome")
    if outcome["event"] != "execution_success":
        raise SystemExit(f"{outcome['event']}: {outcome.get('exception_message')}")


def _picture(
    page: Page, node: int, size: tuple[int, int] | None = None, folder: Path | None = None
) -> Image.Image:
    """What the editor shows of a node; a folder is shown by the name FOLDER."""
    page.evaluate(BRING, [node, size])
    box = page.locator(f'[data-node-id="{node}"]')
    box.wait_for()
    page.evaluate(NEXT_FRAMES)
    page.evaluate(RENAME, [str(folder), FOLDER])
    page.mouse.move(PAGE[0] - 1, PAGE[1] - 1)
    place = box.bounding_box()
    if place is None:
        raise SystemExit(f"node {node} is not on the page")
    clip: FloatRect = {
        "x": place["x"] - MARGIN,
        "y": place["y"] - MARGIN,
        "width": place["width"] + 2 * MARGIN,
        "height": place["height"] + 2 * MARGIN,
    }
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB")


def _mending(page: Page) -> Image.Image:
    """The editor of masks over the first picture of the folder, in which the rim of the collar, which was
    nobody's, becomes clothing; it is kept.
    """
    page.evaluate(BRING, [CACHE, None])
    page.set_viewport_size(MENDING)
    page.locator(f'[data-node-id="{CACHE}"] [role=option]').first.click()
    page.get_by_role("dialog").get_by_role("button", name="Mend").click()
    editor = page.locator(".sf-mend-dialog")
    editor.locator("[data-region=clothing]").click()
    page.evaluate(NEXT_FRAMES)
    place = editor.locator(".sf-mend-masks").bounding_box()
    if place is None:
        raise SystemExit("the editor of masks is not on the page")
    for _ in range(BRUSH_STEPS):
        page.keyboard.press("[")
    for number, (x, y) in enumerate(RIM):
        page.mouse.move(place["x"] + x * place["width"], place["y"] + y * place["height"], steps=6)
        if number == 0:
            page.mouse.down()
    page.mouse.up()
    page.evaluate(NEXT_FRAMES)
    picture = Image.open(io.BytesIO(editor.screenshot())).convert("RGB")
    editor.get_by_role("button", name="Save").click()
    editor.get_by_text("saved").wait_for()
    for _ in range(2):
        page.keyboard.press("Escape")
    page.set_viewport_size({"width": PAGE[0], "height": PAGE[1]})
    return picture


def _save_webp(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, "WEBP", quality=72, method=6)


def _save_png(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.quantize(SHADES, kmeans=3, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
