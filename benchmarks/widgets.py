"""How fast the widgets paint, in a real graph editor in a real Chromium.

    python -m benchmarks.widgets [--frames 60]

A ComfyUI is started, and Chromium (on PATH, or what CHROMIUM names) drags with the pointer as a user does.
What counts is the time from the start of the widget's work in a frame to its end: reading the values, all
rows, and the pixels handed over to the browser. The editor paints its graph in frames of its own, and is not
counted.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import FloatRect, Page

from benchmarks.photographs import CHECKOUT
from host.browser import KNOW_FOLDERS, NEXT_FRAME, open_browser, open_editor
from host.serve import ComfyServer

FRAME_MS = 16.0
"""What a widget may take of a frame, median, at 60 frames a second."""

SIDE = 1024
MEND_SIDE = 2048
"""The largest size at which masks are mended."""
BRUSH = 200
"""Across, in pixels of the picture; soft, so that every pixel of its border is shared out between regions."""
SET_BRUSH = """([size, hardness]) => sessionStorage.setItem(
    "semantic_focus.mend", JSON.stringify({tool: "brush", size, hardness}))"""
OBJECTIVE, SEGMENT, DATASET = 8, 3, 2


CURVES = ("face", "hair", "body", "clothing", "background", "lighting")
"""Besides the total and the prior."""
CURVE_POINTS = 10_000
DRAW_CURVES = """async ([frames, count, names]) => {
    const {TrainingCurves} = await import("/extensions/ComfyUI-SemanticFocus/training/curves.mjs");
    const curves = new TrainingCurves(() => ({log: true, smoothing: 0.9, hidden: []}), () => {});
    const panel = document.createElement("div");
    panel.className = "sf-panel";
    panel.style.cssText = "position: fixed; z-index: 9999; width: 400px; height: 400px";
    panel.append(curves.root);
    document.body.append(panel);
    const noise = level =>
        Array.from({length: count}, (_, i) => level / (1 + i / 999) * (0.5 + Math.random()));
    const points = {
        step: Array.from({length: count}, (_, i) => i + 1),
        total: noise(1), prior: noise(0.1), learning_rate: [],
        regions: Object.fromEntries(names.map((name, k) => [name, noise(1 + k / 4)])),
    };
    const times = [];
    for (let frame = 0; frame < frames; frame++) {
        await new Promise(requestAnimationFrame);
        const start = performance.now();
        curves.show({points}, "training");
        curves.chart.draw();
        times.push(performance.now() - start);
    }
    panel.remove();
    return times;
}"""

DRAG_OPACITY = """async ([slider, frames]) => {
    const times = [];
    for (let frame = 0; frame < frames; frame++) {
        await new Promise(requestAnimationFrame);
        slider.value = frame / frames;
        const start = performance.now();
        slider.dispatchEvent(new Event("input", {bubbles: true}));
        times.push(performance.now() - start);
    }
    return times;
}"""

TIME_PAINTING = """() => {
    // a frame's work is the widget's when it paints the canvas that is watched
    window.painting = {watched: null, times: []};
    let painted = false;
    for (const name of ["putImageData", "stroke", "drawImage"]) {
        const original = CanvasRenderingContext2D.prototype[name];
        CanvasRenderingContext2D.prototype[name] = function (...given) {
            painted ||= window.painting.watched !== null && this.canvas.matches(window.painting.watched);
            return original.apply(this, given);
        };
    }
    const request = window.requestAnimationFrame.bind(window);
    window.requestAnimationFrame = callback => request(now => {
        painted = false;
        const start = performance.now();
        callback(now);
        if (painted) window.painting.times.push(performance.now() - start);
    });
}"""


@dataclass(frozen=True)
class Measure:
    """One row: `run(page, dataset, frames)` gives milliseconds, one number per frame."""

    what: str
    bar: float
    run: Callable[[Page, Path, int], Sequence[float]]


def weights_miniature(page: Page, dataset: Path, frames: int) -> Sequence[float]:
    """Drag the face's slider to and fro over the miniature's repaints."""
    load(page, part_of_shared_workflow(dataset, (DATASET, SEGMENT, OBJECTIVE)))
    page.get_by_role("button", name="Preview segmentation").click()
    page.wait_for_function("() => document.querySelector('.sf-heat')?.width > 1", timeout=120_000)
    # with lighting every strength of that layer is a colour of its own: the most there is to do
    page.locator('[data-weight="lighting"] input[type=range]').fill("0.4")
    slider = page.locator('[data-weight="face"] input[type=range]')
    return drag(page, slider.bounding_box(), ".sf-heat", frames)


def mask_overlay(page: Page, dataset: Path, frames: int) -> Sequence[float]:
    """Move the opacity's slider over the repaints of all regions, with the lighting over them."""
    load(page, part_of_shared_workflow(dataset, (DATASET, SEGMENT)))
    page.get_by_role("button", name="Run up to here").click()
    page.locator("[data-region=lighting]").wait_for(timeout=120_000)
    page.locator("[data-region=lighting]").dispatch_event("click")
    slider = page.locator(".semantic-focus-overlay").get_by_label("opacity").element_handle()
    return page.evaluate(DRAG_OPACITY, [slider, frames])


def training_chart(page: Page, _dataset: Path, frames: int) -> Sequence[float]:
    """New curves as they come while training: running means, legend and drawing."""
    return page.evaluate(DRAW_CURVES, [frames, CURVE_POINTS, list(CURVES)])


def mending(page: Page, dataset: Path, frames: int) -> Sequence[float]:
    """Paint one region after the other over all of a large picture, with a large soft brush."""
    large = make_dataset(dataset.parent / "large", MEND_SIDE)
    page.evaluate(SET_BRUSH, [BRUSH, 0.5])
    page.evaluate(KNOW_FOLDERS, [str(large)])
    load(page, part_of_shared_workflow(large, (DATASET,)))
    page.locator(".sf-dataset [role=option]").first.click()
    page.get_by_role("button", name="Mend").click()
    page.locator(".sf-mend [data-region=hair]").wait_for()
    watched = ".sf-mend-masks"
    page.wait_for_function(f"() => document.querySelector('{watched}').width === {MEND_SIDE}")
    page.evaluate("watched => { window.painting.watched = watched; window.painting.times = []; }", watched)
    box = page.locator(watched).bounding_box()
    if box is None:
        raise RuntimeError(f"{watched} is not shown")
    for region in ("hair", "clothing", "body", "face"):
        page.locator(f".sf-mend [data-region={region}]").click()
        page.evaluate("() => { window.painting.watched = null; }")
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        page.evaluate("watched => { window.painting.watched = watched; }", watched)
        for move in range(200):
            row, step = divmod(move, 20)
            share = (step if row % 2 == 0 else 20 - step) / 20
            down = (row + step / 20) / 10
            page.mouse.move(box["x"] + share * box["width"], box["y"] + down * box["height"])
            if len(page.evaluate("() => window.painting.times")) >= frames:
                break
        page.mouse.up()
        times = page.evaluate("() => window.painting.times")
        if len(times) >= frames:
            break
    return times


MEASURES = (
    Measure(f"mask overlay: the opacity is dragged, picture {SIDE}x{SIDE}", FRAME_MS, mask_overlay),
    Measure(f"weights panel: a slider is dragged, picture {SIDE}x{SIDE}", FRAME_MS, weights_miniature),
    Measure(f"mending: brush of {BRUSH} pixels, picture {MEND_SIDE}x{MEND_SIDE}", FRAME_MS, mending),
    Measure(f"training panel: {len(CURVES) + 2} curves of {CURVE_POINTS} points", FRAME_MS, training_chart),
)


def drag(page: Page, box: FloatRect | None, watched: str, frames: int) -> Sequence[float]:
    """Move the pointer, pressed, to and fro in a box until `frames` frames have painted `watched`."""
    if box is None:
        raise RuntimeError(f"{watched}: nothing to drag: the widget is not shown")
    page.evaluate("watched => { window.painting.watched = watched; window.painting.times = []; }", watched)
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for move in range(20 * frames):
        share = abs((move % 40) / 20 - 1)
        page.mouse.move(box["x"] + 5 + share * (box["width"] - 10), middle)
        if len(page.evaluate("() => window.painting.times")) >= frames:
            break
    page.mouse.up()
    return page.evaluate("() => window.painting.times")


def load(page: Page, workflow: Mapping[str, Any]) -> None:
    """Show a workflow, and wait until it is drawn."""
    page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
    page.wait_for_function("() => !app.configuringGraph")
    page.evaluate(NEXT_FRAME)


def part_of_shared_workflow(dataset: Path, kept: Sequence[int]) -> dict[str, Any]:
    """These nodes of the shared workflow on a folder of pictures, the last of them in view."""
    file = CHECKOUT / "workflows" / "train_person_lora.json"
    part = json.loads(file.read_text(encoding="utf-8"))
    part["groups"] = []
    part["nodes"] = [node for node in part["nodes"] if node["id"] in kept]
    part["links"] = [link for link in part["links"] if link[1] in kept and link[3] in kept]
    links = {link[0] for link in part["links"]}
    for place, node in enumerate(part["nodes"]):
        for slot in node["inputs"]:
            slot["link"] = slot["link"] if slot["link"] in links else None
        for slot in node["outputs"]:
            slot["links"] = [link for link in slot["links"] or () if link in links]
        node["pos"] = [400, 120] if node["id"] == kept[-1] else [3000, 3000 + 1000 * place]
        if node["id"] == DATASET:
            node["widgets_values"][0] = str(dataset)
    part["extra"] = {"ds": {"scale": 1, "offset": [0, 0]}}
    return part


def make_dataset(folder: Path, side: int = SIDE) -> Path:
    """One square picture of a woman, with a caption."""
    folder.mkdir()
    portrait = Image.open(CHECKOUT / ".cache" / "photographs" / "astronaut.png").convert("RGB")
    portrait.crop((60, 0, 380, 320)).resize((side, side)).save(folder / "one.png")
    (folder / "one.txt").write_text("a woman in an orange suit")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 when a median is over its bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=60, help="frames per row (default: %(default)s)")
    frames = parser.parse_args(arguments).frames
    failed = False
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        dataset = make_dataset(folder / "dataset")
        server = stack.enter_context(ComfyServer(folder / "comfyui"))
        browser = stack.enter_context(open_browser())
        settings = {"Comfy.VueNodes.Enabled": False}
        page = stack.enter_context(open_editor(browser, server.url, settings, (1600, 1000)))
        page.evaluate(TIME_PAINTING)
        print("| what | median ms | 95 % | bar |\n| --- | --- | --- | --- |")
        for measure in MEASURES:
            times = measure.run(page, dataset, frames)
            median, slow = statistics.median(times), statistics.quantiles(times, n=20)[-1]
            failed |= median > measure.bar
            print(f"| {measure.what} | {median:.1f} | {slow:.1f} | {measure.bar:g} |", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
