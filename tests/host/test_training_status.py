"""What a training tells over HTTP while it runs and afterwards."""

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .graphs import PATIENCE, Graph, on, up_to

if TYPE_CHECKING:
    from types import ModuleType

    from host.serve import ComfyServer

NAME = "watched"
STEPS = 100_000
"""More than there is time for: it is cancelled."""


@pytest.fixture
def graph(shared_workflow: Graph, one_woman: Path) -> Graph:
    """The shared workflow up to the training, node 9."""
    graph = on(up_to(shared_workflow, 9), one_woman)
    graph["9"]["inputs"].update(steps=STEPS, run_name=NAME)
    return graph


def trainings(server: "ComfyServer", route: str = "/semantic_focus/training") -> list[dict[str, Any]]:
    with urllib.request.urlopen(server.url + route, timeout=PATIENCE) as answer:
        return [it for it in json.load(answer)["trainings"] if NAME in (it["folder"] or "")]


def test_a_training_is_its_own_output_and_can_be_watched_stopped_and_read_of_afterwards(
    server: "ComfyServer",
    comfy: "ModuleType",
    graph: Graph,
    eventually: Callable[[Callable[[], Any]], Any],
):
    prompt = server.queue(graph)
    first = eventually(lambda: trainings(server))[0]
    assert (first["node"], first["prompt"], first["steps"]) == ("9", prompt, STEPS)
    assert first["workflow"] is None
    later = eventually(
        lambda: [
            it
            for it in trainings(server)
            if it["step"] > first["step"] + 3 and it["revision"] > first["revision"]
        ]
    )[0]
    assert later["run"] == first["run"]
    assert later["points"]["step"] == list(range(1, later["step"] + 1))
    server.interrupt()
    with pytest.raises(comfy.PromptInterrupted):
        server.wait(prompt)
    (ended,) = trainings(server, "/api/semantic_focus/training")
    assert ended["state"] == "stopped"
    assert Path(ended["kept"]["state"]).is_file() and Path(ended["kept"]["lora"]).is_file()
    lines = (Path(ended["folder"]) / "curves.jsonl").read_text().splitlines()
    on_disk = [json.loads(line)["total"] for line in lines]
    assert ended["points"]["total"] == pytest.approx(on_disk, rel=1e-5)
    assert trainings(server, "/semantic_focus/training?workflow=another") == []
