"""Training at several resolutions: pictures, masks and captions go together."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from host.serve import ComfyServer

Graph = dict[str, dict[str, Any]]


@pytest.fixture
def graph(shared_workflow: Graph, make_dataset: Callable[[Path], Path], tmp_path: Path) -> Graph:
    """The shared workflow up to the training, on two pictures, at 128 and 64 pixels."""
    kept = {str(node): copy.deepcopy(shared_workflow[str(node)]) for node in (*range(1, 10), 11)}
    kept["2"]["inputs"]["folder"] = str(make_dataset(tmp_path / "astronaut"))
    kept["4"]["inputs"]["more_resolutions"] = "64"
    kept["9"]["inputs"].update(steps=4, batch_size=1, run_name="resolutions")
    return kept


def test_every_picture_is_trained_at_every_resolution_with_its_caption(server: "ComfyServer", graph: Graph):
    server.run(graph)
    (folder,) = (server.base_directory / "output" / "semantic_focus").glob("resolutions*")
    steps = [json.loads(line) for line in (folder / "curves.jsonl").read_text().splitlines()]
    assert sorted(step["samples"][0]["picture"] for step in steps) == [0, 1, 2, 3]


def test_captions_that_do_not_go_through_the_fitting_are_too_few(
    server: "ComfyServer", graph: Graph, comfy: Any
):
    graph["7"]["inputs"]["text"] = ["2", 1]
    with pytest.raises(comfy.PromptFailed, match="4 pictures but 2 conditionings"):
        server.run(graph)
