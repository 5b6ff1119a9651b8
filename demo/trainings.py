"""The trainings that are compared, as values of the shared workflow's nodes."""

from typing import Any

from benchmarks.world.drawing import SIDE
from benchmarks.world.recipes import DEFAULT, FLOOR, WHOLE
from demo import graphs

STEPS = 300
SETTINGS: graphs.Changes = {
    graphs.FIT: {"resolution": SIDE, "multiple_of": 16},
    graphs.TRAIN: {
        "steps": STEPS,
        "batch_size": 4,
        "learning_rate": 4e-3,
        "rank": 8,
        "alpha": 8.0,
        "seed": 1,
        "gradient_checkpointing": False,
        "resume": False,
        "recipe": "off",
    },
    graphs.EMPTY: {"width": SIDE, "height": SIDE},
    graphs.SAMPLE: {"seed": 101, "cfg": 1.0},
}
"""Sizes for a model of a few million parameters at 96 pixels; everything else is as the workflow has it."""

ONLY_FACE = {
    "face_weight": 1.0,
    "body_weight": 0.0,
    "clothing_weight": 0.0,
    "hair_weight": 0.0,
    "background_weight": 0.0,
    "lighting_weight": 0.0,
    "global_fallback": 0.0,
}
NEXT_TO_NOTHING = 0.001
"""Weight of a term that shall not count: the node takes no objective of zeros."""
OBJECTIVES: dict[str, dict[str, Any]] = {
    WHOLE.name: {"enabled": False, "cosine_weight": 0.0},
    FLOOR.name: {**ONLY_FACE, "cosine_weight": 0.0, "magnitude_weight": NEXT_TO_NOTHING, "prior_weight": 0.0},
    DEFAULT.name: ONLY_FACE,
}
"""Recipe of benchmarks/world -> widgets of Semantic Cosine Loss; the others stay as they are."""
MASK_FLOORS = {FLOOR.name: 0.1}
"""Recipe -> mask floor of the base loss that takes the place of the regions' loss."""


def with_objective(graph: graphs.Graph, recipe: str) -> graphs.Graph:
    """The graph with a recipe's objective."""
    graph = graphs.with_inputs(graph, {graphs.OBJECTIVE: OBJECTIVES[recipe]})
    floor = MASK_FLOORS.get(recipe)
    return graph if floor is None else graphs.with_base_loss(graph, floor)
