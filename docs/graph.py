"""The picture docs/graph.png: the shared workflow after a real run, on the demo's pictures and base model.

    python -m docs.graph

Takes as long as one training of the demo; the base model is trained first where the demo has not yet been.
"""

import io
import json
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, Route

from demo import graphs, pictures, run
from docs.pictures import LISTEN, NEWER_EDITOR, NEXT_FRAMES, SHADES
from host.browser import KNOW_FOLDERS, open_browser, open_editor
from host.serve import ComfyServer

GRAPH = Path(__file__).resolve().parent / "graph.png"
WORKFLOW = run.CHECKOUT / "workflows" / "train_person_lora.json"
WINDOW = (1810, 1260)
SCALE = 1.25
ZOOM = 0.7
SETTINGS = {"Comfy.VueNodes.Enabled": False, "Comfy.Minimap.Visible": False, "Comfy.Graph.CanvasInfo": False}
CORNER = (80, 80)
"""Where the upper left corner of the graph is, in pixels of the page."""

HIDDEN = """.p-toast, [data-sonner-toaster], .p-tooltip, [role=tooltip], .actionbar,
    li[data-state=open], [data-testid=queue-overlay] { display: none !important }"""
SET_VALUES = """values => {
    for (const [id, inputs] of Object.entries(values)) {
        const node = app.graph.getNodeById(id);
        for (const [name, value] of Object.entries(inputs)) {
            const widget = node.widgets.find(widget => widget.name === name);
            widget.value = value;
            widget.callback?.(value, app.canvas, node);
        }
    }
}"""
FOLDER = "datasets/my_person"
SHOW_ALL = """([folder, zoom, [x, y]]) => {
    app.graph.getNodeById(2).widgets.find(widget => widget.name === "folder").value = folder;
    app.canvas.ds.scale = zoom;
    app.canvas.ds.offset = [x / zoom, y / zoom];
    app.canvas.deselectAllNodes?.();
    app.canvas.setDirty(true, true);
}"""


def main() -> None:
    """Run the workflow and take the picture."""
    model = run.base_model()
    folders = pictures.prepare(run.CHECKOUT / ".cache" / "photographs", run.CACHE / "pictures")
    stand_ins = [run.CHECKOUT / "demo" / "standins"]
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        run.place(model, base / "models" / "diffusion_models" / model.name)
        with (
            ComfyServer(base, extra_custom_nodes=stand_ins, front_end_root=NEWER_EDITOR) as server,
            open_browser() as browser,
            open_editor(browser, server.url, SETTINGS, WINDOW, SCALE) as page,
        ):
            page.add_style_tag(content=HIDDEN)
            train(page, model.name, folders.subject)
            picture = take(page, folders.subject)
    picture.quantize(SHADES, kmeans=3, dither=Image.Dither.NONE).save(GRAPH, optimize=True)


def train(page: Page, model: str, subject: Path) -> None:
    """Show the shared workflow with the demo's base model, pictures and sizes, and press Run."""
    graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    checkpoint = next(node for node in graph["nodes"] if str(node["id"]) == graphs.CHECKPOINT)
    checkpoint.update(type="SemanticFocusDemoCheckpoint", inputs=[], widgets_values=[model])
    page.evaluate("graph => app.loadGraphData(graph)", graph)
    page.wait_for_function("() => !app.configuringGraph")
    page.evaluate(SET_VALUES, {**run.SETTINGS, graphs.DATASET: {"folder": str(subject)}})
    page.evaluate(LISTEN)
    page.evaluate("() => app.queuePrompt(0, 1)")
    page.wait_for_function("() => window.outcome", timeout=1_800_000)
    outcome = page.evaluate("() => window.outcome")
    if outcome["event"] != "execution_success":
        raise SystemExit(f"{outcome['event']}: {outcome.get('exception_message')}")


def take(page: Page, subject: Path) -> Image.Image:
    """The whole graph; the folder is shown by a short name."""

    def list_subject(route: Route) -> None:
        route.continue_(post_data={**(route.request.post_data_json or {}), "folder": str(subject)})

    page.route("**/semantic_focus/dataset", list_subject)
    page.evaluate(KNOW_FOLDERS, [FOLDER])
    page.evaluate(SHOW_ALL, [FOLDER, ZOOM, CORNER])
    page.wait_for_timeout(2000)  # the browser of the dataset looks at the folder again
    page.evaluate(NEXT_FRAMES)
    return Image.open(io.BytesIO(page.screenshot())).convert("RGB")


if __name__ == "__main__":
    main()
