"""Scene Samples: the base model's own pictures beside those of a training."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from .graphs import Graph, curves, failure, lora_of, node, same, train

if TYPE_CHECKING:
    from host.serve import ComfyServer


def with_scenes(graph: Graph, **changed: Any) -> Graph:
    """The training with four scenes of two prompts."""
    values = {
        "prompts": "a man in a red coat\n\na woman on a beach\n",
        "trigger_word": "sks",
        "count": 4,
        "strangers": 0.25,
        "composites": 0.25,
        "steps": 2,
        "cfg": 1.0,
        "seed": 0,
        "sampler": "euler",
        "scheduler": "simple",
    }
    links = {"model": ["1", 0], "clip": ["1", 1], "latents": graph["9"]["inputs"]["latents"]}
    graph["scenes"] = node("SemanticFocusScenes", **links, **{**values, **changed})
    graph["9"]["inputs"]["scenes"] = ["scenes", 0]
    return graph


def test_scenes_are_trained_beside_the_pictures_and_held_to_the_base_model(
    server: "ComfyServer", training: Graph, plain: Path, run_name: str
):
    folder, shown = train(server, with_scenes(training), run_name)
    first, _, last = curves(folder)
    assert set(last["regions"]) == {*curves(plain)[0]["regions"], "preserved"}
    assert first["regions"]["preserved"] == first["regions"]["preserved"]  # a number: a scene was seen
    assert not same(lora_of(folder), lora_of(plain))
    assert shown["scenes"]["text"][0].startswith("4 scenes in ")
    again, _ = train(server, training, f"{run_name}_again")
    assert same(lora_of(folder), lora_of(again))


@pytest.mark.parametrize(
    "changed, objective, said",
    [
        ({"trigger_word": ""}, {}, "composites need the trigger word"),
        ({"prompts": "sks on a beach"}, {}, "has the trigger word 'sks'"),
        ({"prompts": " \n"}, {}, "prompts is empty"),
        ({"composites": 0.6, "strangers": 0.4}, {}, "together they must be below 1"),
        ({}, {"prior_weight": 0.0}, "set prior_weight above 0"),
        ({}, {"enabled": False}, "the regions on"),
        ({"strangers": 0.0, "composites": 0.0}, {}, "no scene would be used"),
    ],
)
def test_what_cannot_be_is_said(
    server: "ComfyServer",
    comfy: ModuleType,
    training: Graph,
    changed: dict[str, Any],
    objective: dict[str, Any],
    said: str,
):
    training["8"]["inputs"].update(objective)
    assert said in failure(server, comfy, with_scenes(training, **changed))
