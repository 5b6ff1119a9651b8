"""The picture docs/graph.png: the shared workflow after a real run, on the demo's person and base model.

    python -m docs.graph

Takes as long as one training of the demo; the base model is trained first where the demo has not yet been.
"""

import io
import json
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, Route

from benchmarks.world.base import CACHE as WORLD
from benchmarks.world.recipes import DEFAULT
from benchmarks.world.world import load_world
from demo import graphs, run, trainings
from demo.person import PERSON, PICTURES, write_training
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
PROMPT = "person sks, pink curly hair, green sweater clothes, sky background"
SHOW_ALL = """([folder, zoom, [x, y]]) => {
    app.graph.getNodeById(2).widgets.find(widget => widget.name === "folder").value = folder;
    app.canvas.ds.scale = zoom;
    app.canvas.ds.offset = [x / zoom, y / zoom];
    app.canvas.deselectAllNodes?.();
    app.canvas.setDirty(true, true);
}"""


def main() -> None:
    """Run the workflow and take the picture."""
    settings, reader_steps = run.base_settings()
    load_world(settings, WORLD, reader_steps)
    model = settings.path(WORLD)
    stand_ins = [run.CHECKOUT / "demo" / "standins"]
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        pictures = base / "pictures"
        write_training(PERSON, PICTURES, pictures)
        run.place(model, base / "models" / "diffusion_models" / model.name)
        with (
            ComfyServer(base, extra_custom_nodes=stand_ins, front_end_root=NEWER_EDITOR) as server,
            open_browser() as browser,
            open_editor(browser, server.url, SETTINGS, WINDOW, SCALE) as page,
        ):
            page.add_style_tag(content=HIDDEN)
            train(page, model.name, pictures)
            picture = take(page, pictures)
    picture.quantize(SHADES, kmeans=3, dither=Image.Dither.NONE).save(GRAPH, optimize=True)


def train(page: Page, model: str, subject: Path) -> None:
    """Show the shared workflow with the demo's base model, pictures and sizes, and press Run."""
    graph = json.loads(WORKFLOW.read_text(encoding="utf-8"))
    checkpoint = next(node for node in graph["nodes"] if str(node["id"]) == graphs.CHECKPOINT)
    checkpoint.update(type="SemanticFocusWorldCheckpoint", inputs=[], widgets_values=[model])
    page.evaluate("graph => app.loadGraphData(graph)", graph)
    page.wait_for_function("() => !app.configuringGraph")
    shown = {graphs.DATASET: {"folder": str(subject)}, graphs.PROMPT: {"text": PROMPT}}
    objective = {graphs.OBJECTIVE: trainings.OBJECTIVES[DEFAULT.name]}
    page.evaluate(SET_VALUES, {**trainings.SETTINGS, **shown, **objective})
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
