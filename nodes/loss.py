"""The node that makes an objective: a value, no computation."""

from comfy_api.latest import io

from ..semantic_focus.categories import PRESETS, SEMANTIC_CATEGORIES
from ..semantic_focus.keywords import parse_weights
from ..semantic_focus.objective import Objective
from .sockets import CATEGORY, ObjectiveSocket

CUSTOM = "custom"
MAX_WEIGHT = 2.0


def weight_slider(name: str, default: float, tooltip: str) -> io.Float.Input:
    """A slider from 0 to 2."""
    return io.Float.Input(
        name,
        default=default,
        min=0.0,
        max=MAX_WEIGHT,
        step=0.05,
        display_mode=io.NumberDisplay.slider,
        tooltip=tooltip,
    )


def term(name: str, default: float, tooltip: str) -> io.Float.Input:
    """A number for the factor of one term."""
    return io.Float.Input(name, default=default, min=0.0, max=100.0, step=0.05, tooltip=tooltip)


def preset_choice() -> io.Combo.Input:
    """The presets; their weights go along, for the script that moves the sliders."""
    choice = io.Combo.Input(
        "preset",
        options=[CUSTOM, *PRESETS],
        default=CUSTOM,
        tooltip="Takes the place of the sliders. custom: the sliders; style: the whole picture.",
    )
    choice.extra_dict = {"presets": {name: dict(preset.weights) for name, preset in PRESETS.items()}}
    return choice


class SemanticCosineLoss(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        defaults = Objective()
        return io.Schema(
            node_id="SemanticFocusCosineLoss",
            display_name="Semantic Cosine Loss",
            category=CATEGORY,
            description="How much each region counts in training. "
            "Weight 0 leaves a region as the base model paints it.",
            inputs=[
                io.Boolean.Input(
                    "enabled",
                    default=True,
                    label_on="regions",
                    label_off="whole picture",
                    tooltip="Off: the whole picture is trained alike, the weights below are not used.",
                ),
                preset_choice(),
                *(
                    weight_slider(
                        f"{name}_weight",
                        category.default_weight,
                        f"Weight of {', '.join(category.keywords)}.",
                    )
                    for name, category in SEMANTIC_CATEGORIES.items()
                ),
                weight_slider(
                    "global_fallback", defaults.global_fallback, "Weight of what no category covers."
                ),
                term(
                    "cosine_weight",
                    defaults.cosine_weight,
                    "Share of the direction: 1 − cosine of each region.",
                ),
                term(
                    "magnitude_weight",
                    defaults.magnitude_weight,
                    "Share of the squared error of each region.",
                ),
                term(
                    "prior_weight",
                    defaults.prior_weight,
                    "Keeps regions of weight 0 as the base model paints them. 0 is faster, but they drift.",
                ),
                io.String.Input(
                    "more_weights",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Weights of categories of your own, one per line: tattoo: 0.8",
                ),
            ],
            outputs=[ObjectiveSocket.Output(display_name="objective")],
        )

    @classmethod
    def execute(
        cls,
        enabled,
        preset,
        global_fallback,
        cosine_weight,
        magnitude_weight,
        prior_weight,
        more_weights="",
        **sliders,
    ) -> io.NodeOutput:
        weights = {name: sliders[f"{name}_weight"] for name in SEMANTIC_CATEGORIES}
        if preset != CUSTOM:
            weights.update(PRESETS[preset].weights)
            enabled = enabled and PRESETS[preset].enabled
        return io.NodeOutput(
            Objective(
                weights={**weights, **parse_weights(more_weights)},
                global_fallback=global_fallback,
                enabled=enabled,
                cosine_weight=cosine_weight,
                magnitude_weight=magnitude_weight,
                prior_weight=prior_weight,
            )
        )


NODES = [SemanticCosineLoss]
