"""The ways of training that are compared, as a table; those of other programs are in `foreign`."""

from dataclasses import dataclass
from typing import Any

from benchmarks.world.foreign import (
    DifferentialPreservation,
    InvertedMaskPrior,
    OneTrainerMasked,
    OneTrainerMaskedPrior,
)
from semantic_focus.objective.total import Objective
from semantic_focus.training.scenes import SceneShares
from semantic_focus.training.trainer import Trainer

FACE = "face"
ALL_LAYERS = "all linear layers"


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    Attributes:
        objective: None is the base model as it is.
        trainer: what runs it; a foreign one has its own loss, and the objective only reports.
        scenes: how much of the training goes to samples of the base model; None: nothing.
        layers: a name of `LAYER_CHOICES`.
        longer: its steps over those of the others.
    """

    name: str
    objective: Objective | None
    trainer: type[Trainer] = Trainer
    scenes: SceneShares | None = None
    layers: str = "attention + feed-forward"
    longer: int = 1


def on_face(**settings: Any) -> Objective:
    """Train the face alone."""
    return Objective(weights={FACE: 1.0}, global_fallback=0.0, **settings)


def whole_picture(cosine_weight: float) -> Objective:
    """MSE of everything, and so many times the cosine of everything."""
    return Objective(enabled=False, cosine_weight=cosine_weight, magnitude_weight=1.0)


MASKED = on_face(
    cosine_weight=0.0, magnitude_weight=0.0, base_weight=1.0, base_mask_floor=0.1, prior_weight=0.0
)

BASE = Recipe("base model", None)
WHOLE = Recipe("whole picture (MSE)", whole_picture(0.0))
FLOOR = Recipe("masked MSE, floor 0.1", MASKED)
DEFAULT = Recipe("by region", on_face())
"""Cosine, squared error and prior as a new node has them; the face alone has a weight."""

CORE = (
    BASE,
    WHOLE,
    Recipe("MSE + global cosine", whole_picture(1.0)),
    FLOOR,
    Recipe("region MSE, no prior", on_face(cosine_weight=0.0, prior_weight=0.0)),
    Recipe("region MSE + prior 1", on_face(cosine_weight=0.0)),
    DEFAULT,
    Recipe("by region, prior 2", on_face(prior_weight=2.0)),
    Recipe("by region, prior 4", on_face(prior_weight=4.0)),
)
FOREIGN = (
    Recipe("OneTrainer, masked", MASKED, OneTrainerMasked),
    Recipe("OneTrainer, masked prior 1", MASKED, OneTrainerMaskedPrior),
    Recipe("ai-toolkit, inverted mask prior .5", MASKED, InvertedMaskPrior),
    Recipe("ai-toolkit, differential preservation 1", whole_picture(0.0), DifferentialPreservation),
)
WITH_SCENES = (
    Recipe("by region, all layers, 4 × the steps", on_face(), layers=ALL_LAYERS, longer=4),
    Recipe("the same, with scenes", on_face(), scenes=SceneShares(), layers=ALL_LAYERS, longer=4),
)
RECIPES = {recipe.name: recipe for recipe in (*CORE, *FOREIGN, *WITH_SCENES)}
