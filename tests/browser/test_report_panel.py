"""The tables of Compare LoRA By Region, Training Dry Run and Semantic Loss Report, after a real training."""

import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from .editor import EACH_ONCE

if TYPE_CHECKING:
    from .editor import Editor

CHECKPOINT, DATASET, FIT, TRAIN, REPORT = 1, 2, 4, 9, 11
COMPARE, DRY_RUN = 50, 51
KEPT = {*range(1, 10), REPORT}

ADD_REPORTS = """([compare, dryRun]) => {
    const sources = {model: [1, 0], latents: [5, 0], conditioning: [7, 0], latent_masks: [6, 0]};
    const add = (id, type, pos, links) => {
        const node = LiteGraph.createNode(type);
        node.id = id;
        app.graph.add(node);
        node.pos = pos;
        node.size = [420, 320];
        for (const [input, [from, slot]] of Object.entries(links)) {
            app.graph.getNodeById(from).connect(slot, node, node.findInputSlot(input));
        }
    };
    add(compare, "SemanticFocusCompare", [500, 150], {...sources, lora: [9, 0]});
    add(dryRun, "SemanticFocusDryRun", [960, 150], {...sources, objective: [8, 0]});
    app.graph.getNodeById(11).pos = [40, 150];
    app.canvas.ds.scale = 1;
    app.canvas.ds.offset = [0, 0];
    app.canvas.setDirty(true, true);
}"""
CELLS = """id => {
    const {element} = app.graph.getNodeById(id).widgets.find(w => w.name === "semantic_focus_report");
    const row = line => [line.dataset.region, ...[...line.querySelectorAll("td")].map(td => td.textContent)];
    return [...element.querySelectorAll("tbody tr")].map(row);
}"""


@pytest.fixture
def trained(
    workflow: dict[str, Any], dataset: Path, stand_in_model: Path, part_of: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """The shared workflow up to its loss report, with sizes that run in seconds, out of the reports' way."""
    part = part_of(workflow, *KEPT)
    nodes = {node["id"]: node for node in part["nodes"]}
    for node in nodes.values():
        node["pos"] = [node["pos"][0] + 3000, node["pos"][1]]
    nodes[CHECKPOINT].update(
        type="SemanticFocusStandInCheckpoint", inputs=[], widgets_values=[stand_in_model.name]
    )
    nodes[DATASET]["widgets_values"][0] = str(dataset)
    nodes[FIT]["widgets_values"][:] = [128, 16, ""]
    nodes[TRAIN]["widgets_values"][:6] = [6, 1, 1e-3, "cosine", 4, 4.0]
    return part


def number(cell: str) -> float:
    return float(cell.lstrip("<").removesuffix("%").replace("−", "-")) / (100 if cell.endswith("%") else 1)


THEME_OF_A_NEW_REPORT = """() => {
    const node = LiteGraph.createNode("SemanticFocusLossReport");
    return node.widgets.find(widget => widget.name === "theme").value;
}"""


@EACH_ONCE
def test_every_number_is_the_one_that_the_node_reports(anywhere: "Editor", trained: dict[str, Any]):
    editor = anywhere
    editor.load(trained)
    editor.page.evaluate(ADD_REPORTS, [COMPARE, DRY_RUN])
    assert editor.page.locator(".sf-report").get_by_text("Run the node").count() == 3
    corner = Image.open(
        io.BytesIO(editor.page.screenshot(clip={"x": 700, "y": 700, "width": 8, "height": 8}))
    )
    is_dark = np.asarray(corner.convert("L")).mean() < 128
    assert editor.page.evaluate(THEME_OF_A_NEW_REPORT) == ("dark" if is_dark else "light")
    before = {node["id"]: node["size"] for node in editor.workflow()["nodes"]}
    editor.run()
    for node in (COMPARE, DRY_RUN, REPORT):
        editor.page.wait_for_function(f"id => ({CELLS})(id).length > 0", arg=node)

    outputs = editor.page.evaluate("() => JSON.parse(JSON.stringify(app.nodeOutputs))")
    reported = json.loads(outputs[str(COMPARE)]["semantic_focus_report"][0])
    expected = {row["region"]: row for row in reported if not math.isnan(row["error_before"])}
    compared = editor.page.evaluate(CELLS, COMPARE)
    assert [row[0] for row in compared] == list(expected)
    for region, cover, error, after, change, drift in compared:
        row = expected[region]
        assert number(cover) == pytest.approx(row["coverage"], abs=0.006)
        assert number(error) == pytest.approx(row["error_before"], rel=1e-3)
        assert number(after) == pytest.approx(row["error_after"], rel=1e-3)
        assert number(change) == pytest.approx(row["error_after"] / row["error_before"] - 1, abs=0.0006)
        assert number(drift) == pytest.approx(row["drift"], rel=5e-3, abs=1e-4)

    looked_at = {row[0]: row[1:] for row in editor.page.evaluate(CELLS, DRY_RUN)}
    weights = {region: row[0] for region, row in looked_at.items()}
    assert weights["face"] == "1.00" and weights["clothing"] == "0.00" and weights["residual"] == "0.10"
    shares = [number(row[3]) for row in looked_at.values()]  # lighting, which overlaps, has its part
    assert sum(shares) == pytest.approx(1, abs=0.03)
    assert editor.page.get_by_text("The masks are used").locator("visible=true").count() == 1
    lines = outputs[str(REPORT)]["text"][0].splitlines()
    assert [row[0] for row in editor.page.evaluate(CELLS, REPORT)] == [line.split()[0] for line in lines[1:]]

    sizes = {node["id"]: node["size"] for node in editor.workflow()["nodes"]}
    assert sizes[COMPARE] == before[COMPARE] and sizes[DRY_RUN] == before[DRY_RUN]
    assert editor.violations(".sf-report") == []
    editor.reload()
    for node, rows in ((COMPARE, compared), (DRY_RUN, looked_at)):
        editor.until(f"([id, count]) => ({CELLS})(id).length === count", [node, len(rows)])
    assert editor.page.evaluate(CELLS, COMPARE) == compared
    regions = editor.page.locator(".semantic-focus-overlay [data-region=face]")
    regions.filter(has_text="%").first.wait_for(state="attached")
    assert editor.own_errors() == []
    editor.spoil()
