"""How tests run a small training, and find, use and read the training panel."""

import json
import math
import re
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Locator, Page, expect

from .weights_ui import DATASET, FIT, TRAIN, node_of

if TYPE_CHECKING:
    from host.serve import ComfyServer

CHECKPOINT, SAVE = 1, 10
SEED, RUN_NAME, RECIPE = 8, 11, 14
"""Places among the values of the training node."""
TO_THE_LORA = range(CHECKPOINT, SAVE + 1)
RUNS = "/extensions/ComfyUI-SemanticFocus/training/runs.mjs"
SHOWN = """async ([module, id]) => {
    const run = (await import(module)).runOf(app.graph.getNodeById(id));
    return run && {...run, points: JSON.parse(JSON.stringify(run.points))};
}"""


@pytest.fixture
def training(
    workflow: dict[str, Any],
    dataset: Path,
    stand_in_model: Path,
    part_of: Callable[..., dict[str, Any]],
    request: pytest.FixtureRequest,
) -> dict[str, Any]:
    """The shared workflow up to the saved LoRA, as a run that the server never had."""
    part = part_of(workflow, *TO_THE_LORA)
    checkpoint = node_of(part, CHECKPOINT)
    checkpoint.update(type="SemanticFocusStandInCheckpoint", inputs=[], widgets_values=[stand_in_model.name])
    node_of(part, DATASET)["widgets_values"][0] = str(dataset)
    node_of(part, FIT)["widgets_values"][:] = [128, 16, ""]
    values = node_of(part, TRAIN)["widgets_values"]
    values[:6] = [40, 1, 1e-3, "cosine", 4, 4.0]
    values[SEED] = zlib.crc32(request.node.name.encode())
    values[RUN_NAME] = re.sub(r"\W+", "_", request.node.name)[:40] + f"_{uuid.uuid4().hex}"
    values[RECIPE] = "off"
    top, left = node_of(part, TRAIN)["pos"][1], node_of(part, TRAIN)["pos"][0]
    part["extra"] = {"ds": {"scale": 0.9, "offset": [400 - left, 100 - top]}}
    part["id"] = str(uuid.uuid4())
    return part


def panel(page: Page) -> Locator:
    return page.locator(".sf-training").locator("visible=true")


def shown(page: Page, node: int = TRAIN) -> dict[str, Any]:
    """The training that the node shows; JSON has made null of NaN."""
    return page.evaluate(SHOWN, [RUNS, node])


def wait_for_state(page: Page, state: str) -> None:
    expect(panel(page)).to_have_attribute("data-state", state)


def wait_for_step(page: Page, step: int) -> None:
    """Wait until the chart has this step."""
    reached = "step => Number(document.querySelector('.sf-training canvas')?.ariaValueMax) >= step"
    page.wait_for_function(reached, arg=step)


def folder_of(server: "ComfyServer", page: Page) -> Path:
    """The run's folder that the panel names, which must be below ComfyUI's output folder."""
    folder = Path(shown(page)["folder"])
    assert folder.parent == server.base_directory / "output" / "semantic_focus"
    return folder


def written(folder: Path) -> list[dict[str, Any]]:
    """The run's curves on disk."""
    return [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]


def assert_same_curves(points: dict[str, Any], records: list[dict[str, Any]]) -> None:
    """The page has what is on disk, to six digits."""
    assert points["step"] == [record["step"] for record in records]
    columns = {name: (points[name], [record[name] for record in records]) for name in ("total", "prior")}
    for name, values in points["regions"].items():
        columns[name] = values, [record["regions"][name] for record in records]
    for name, (ours, theirs) in columns.items():
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None), name
            assert one is None or math.isclose(one, other, rel_tol=1e-5), name
    assert {"face", "hair", "clothing", "background"} <= points["regions"].keys()
