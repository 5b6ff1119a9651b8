"""Training at several resolutions: pictures, masks and captions go together."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .graphs import Graph, curves, on, only, run_folder

if TYPE_CHECKING:
    from host.serve import ComfyServer


@pytest.fixture
def graph(shared_workflow: Graph, one_woman: Path) -> Graph:
    """The shared workflow up to the training, on two pictures, at 128 and 64 pixels."""
    kept = on(only(copy.deepcopy(shared_workflow), "9", "11"), one_woman)
    kept["4"]["inputs"]["more_resolutions"] = "64"
    kept["9"]["inputs"].update(steps=4, batch_size=1, run_name="resolutions")
    return kept


def test_every_picture_is_trained_at_every_resolution_with_its_caption(server: "ComfyServer", graph: Graph):
    server.run(graph)
    steps = curves(run_folder(server, "resolutions"))
    assert sorted(step["samples"][0]["picture"] for step in steps) == [0, 1, 2, 3]


def test_captions_that_do_not_go_through_the_fitting_are_too_few(
    server: "ComfyServer", graph: Graph, comfy: Any
):
    graph["7"]["inputs"]["text"] = ["2", 1]
    with pytest.raises(comfy.PromptFailed, match="4 pictures but 2 conditionings"):
        server.run(graph)
