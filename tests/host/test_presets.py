"""What is set at Semantic Cosine Loss over the API has its effect, or the node says what took its place."""

import ast
import re
from typing import TYPE_CHECKING, Any

import pytest

from .graphs import node

if TYPE_CHECKING:
    from host.serve import ComfyServer

PERSON = {"face": 1.0, "body": 0.3, "clothing": 0.0, "hair": 0.6, "background": 0.0, "lighting": 0.0}
OUTFIT = {"face": 0.0, "body": 0.5, "clothing": 1.0, "hair": 0.0, "background": 0.0, "lighting": 0.0}


def objective(
    server: "ComfyServer", linked: dict[str, float], **inputs: Any
) -> tuple[dict[str, float], bool, list[str]]:
    """Weights, whether they count, and what the node says; PERSON's weights are typed unless given."""
    typed = {f"{name}_weight": weight for name, weight in PERSON.items()}
    rest = {"global_fallback": 0.1, "cosine_weight": 1.0, "magnitude_weight": 1.0, "prior_weight": 1.0}
    made = node("SemanticFocusCosineLoss", **{"enabled": True, "preset": "custom", **typed, **rest, **inputs})
    numbers = {name: node("PrimitiveFloat", value=value) for name, value in linked.items()}
    made["inputs"] |= {name: [name, 0] for name in numbers}
    ran = server.run({"1": made, "2": node("PreviewAny", source=["1", 0]), **numbers})["outputs"]
    (shown,) = ran["2"]["text"]
    weights = re.search(r"weights=(\{.*?\})", shown)
    enabled = re.search(r"enabled=(\w+)", shown)
    assert weights and enabled
    return ast.literal_eval(weights[1]), enabled[1] == "True", ran["1"].get("text", [])


@pytest.mark.parametrize(
    ("inputs", "linked", "weights", "said"),
    [
        ({}, {}, PERSON, []),
        ({"face_weight": 0.2}, {}, PERSON | {"face": 0.2}, []),
        ({"preset": "person"}, {}, PERSON, []),
        (
            {"preset": "person", "face_weight": 0.2},
            {},
            PERSON,
            ["preset person", "face 1 (set: 0.2)", "custom"],
        ),
        ({"preset": "outfit"}, {}, OUTFIT, ["preset outfit", "face 0 (set: 1)", "clothing 1 (set: 0)"]),
        ({"preset": "person"}, {"face_weight": 0.2}, PERSON | {"face": 0.2}, ["face 0.2 (preset: 1)"]),
        ({"preset": "person"}, {"face_weight": 1.0}, PERSON, []),
        ({"more_weights": "face: 0.5"}, {}, PERSON | {"face": 0.5}, ["more_weights", "face 0.5 (set: 1)"]),
        ({"preset": "person", "more_weights": "tattoo: 2"}, {}, PERSON | {"tattoo": 2.0}, []),
    ],
)
def test_which_weight_counts_and_what_is_said(server, logged, inputs, linked, weights, said):
    found, enabled, notes = objective(server, linked, **inputs)
    assert found == weights
    assert enabled
    assert bool(notes) == bool(said)
    assert all(word in "\n".join(notes) for word in said)
    assert all(f"Semantic Cosine Loss: {note}" in logged() for note in notes)


@pytest.mark.parametrize(("enabled", "count"), [(True, 1), (False, 0)])
def test_a_preset_of_whole_pictures_says_that_no_weight_is_used(server, enabled, count):
    _, regions, notes = objective(server, {}, preset="style", enabled=enabled)
    assert not regions
    assert sum("whole picture" in note for note in notes) == count
