"""The objectives that the ablation compares, as a table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from semantic_focus.objective.total import Objective

PRIOR_WEIGHTS = (1.0, 2.0, 4.0, 8.0)
BASELINE = "MSE + global cosine"
WITHOUT, WITH = "region MSE + prior", "region MSE + cosine + prior"


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        objective: None is the base model as it is.
        front: the curve of the figure it belongs to; variants of one curve differ in the prior weight alone.
        baseline: name of the variant whose errors it is divided by; the same training settings, but MSE and
            the cosine of the whole picture.
        training: what differs from the settings of all others.
    """

    name: str
    objective: Objective | None
    front: str = ""
    baseline: str = BASELINE
    training: Mapping[str, Any] = field(default_factory=dict)


def on_face(**settings: Any) -> Objective:
    """Train the face alone."""
    return Objective(weights={"face": 1.0}, global_fallback=0.0, **settings)


def whole_picture(cosine_weight: float) -> Objective:
    """Regions switched off: MSE of everything, and so many times the cosine of everything."""
    return Objective(enabled=False, cosine_weight=cosine_weight, magnitude_weight=1.0)


MASKED = on_face(
    cosine_weight=0.0, magnitude_weight=0.0, base_weight=1.0, base_mask_floor=0.1, prior_weight=0.0
)

CORE = (
    Variant("base model", None),
    Variant("MSE", whole_picture(0.0)),
    Variant(BASELINE, whole_picture(1.0)),
    Variant("masked MSE, floor 0.1", MASKED),
    Variant("region MSE + cosine, no prior", on_face(prior_weight=0.0)),
    *(
        Variant(f"{WITHOUT} {weight:g}", on_face(cosine_weight=0.0, prior_weight=weight), WITHOUT)
        for weight in PRIOR_WEIGHTS
    ),
    *(Variant(f"{WITH} {weight:g}", on_face(prior_weight=weight), WITH) for weight in PRIOR_WEIGHTS),
)

MORE = (
    Variant("per-pixel cosine + prior 4", on_face(prior_weight=4.0, cosine="pixel")),
    Variant("prior 4 every 2nd step", on_face(prior_weight=4.0, prior_every=2)),
    Variant("prior 4 every 3rd step", on_face(prior_weight=4.0, prior_every=3)),
    Variant("MSE + global cosine, averaged", whole_picture(1.0), training={"ema_decay": 0.98}),
    Variant(
        "region MSE + cosine + prior 4, averaged",
        on_face(prior_weight=4.0),
        baseline="MSE + global cosine, averaged",
        training={"ema_decay": 0.98},
    ),
)
