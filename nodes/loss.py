"""The nodes that make an objective: a value, no computation."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import get_args

from comfy_api.latest import io

from ..semantic_focus.categories import PRESETS, SEMANTIC_CATEGORIES
from ..semantic_focus.keywords import parse_weights
from ..semantic_focus.objective.loss import CosineKind, Normalisation
from ..semantic_focus.objective.noise_weighting import parse_windows
from ..semantic_focus.objective.total import BaseLoss, Objective
from .graph import linked_inputs
from .inputs import Parsed, number, whole
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


def choice(name: str, kind: object, tooltip: str) -> io.Combo.Input:
    """The strings of a Literal; its first is the default."""
    options = list(get_args(kind))
    return io.Combo.Input(name, options=options, default=options[0], tooltip=tooltip)


def preset_choice() -> io.Combo.Input:
    """The presets; their weights and the vocabulary go along, for the panel of the node."""
    presets = io.Combo.Input(
        "preset",
        options=[CUSTOM, *PRESETS],
        default=CUSTOM,
        tooltip="Takes the place of the sliders, not of what is connected. custom: the sliders; style: the "
        "whole picture.",
    )
    presets.extra_dict = {
        "presets": {name: dict(preset.weights) for name, preset in PRESETS.items()},
        "whole_picture": [name for name, preset in PRESETS.items() if not preset.enabled],
        "categories": {
            name: {
                "colour": category.colour,
                "keywords": category.keywords,
                "weight": category.default_weight,
                "soft": not category.partitioned,
            }
            for name, category in SEMANTIC_CATEGORIES.items()
        },
    }
    return presets


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
                Parsed(
                    "more_weights",
                    parse_weights,
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Weights of categories of your own, one per line: tattoo: 0.8",
                ),
            ],
            outputs=[ObjectiveSocket.Output(display_name="objective")],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
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
        typed = {name: sliders[f"{name}_weight"] for name in SEMANTIC_CATEGORIES}
        linked = linked_inputs(cls.hidden.prompt, cls.hidden.unique_id)
        weights, notes = chosen_weights(typed, preset, linked, parse_weights(more_weights))
        if enabled and preset != CUSTOM and not PRESETS[preset].enabled:
            notes = [f"preset {preset}: the whole picture is trained alike, no weight is used"]
            enabled = False
        for note in notes:
            logging.warning(f"Semantic Cosine Loss: {note}")
        objective = Objective(
            weights=weights,
            global_fallback=global_fallback,
            enabled=enabled,
            cosine_weight=cosine_weight,
            magnitude_weight=magnitude_weight,
            prior_weight=prior_weight,
        )
        return io.NodeOutput(objective, ui={"text": notes})


def chosen_weights(
    sliders: Mapping[str, float], preset: str, linked: Collection[str], own: Mapping[str, float]
) -> tuple[dict[str, float], list[str]]:
    """The weight that each category has in the end, and what was set otherwise, a sentence for each place.

    A line of the user's own goes before what is connected, this before a preset, a preset before a slider.
    """
    weights, notes = dict(sliders), []
    preset_weights = {} if preset == CUSTOM else PRESETS[preset].weights
    other = {name: weight for name, weight in preset_weights.items() if weight != sliders[name]}
    connected = {name: weight for name, weight in other.items() if f"{name}_weight" in linked}
    replaced = {name: weight for name, weight in other.items() if name not in connected}
    if replaced:
        weights.update(replaced)
        what = ", ".join(f"{name} {weight:g} (set: {sliders[name]:g})" for name, weight in replaced.items())
        notes.append(f"preset {preset} takes the place of weights: {what}. Choose custom to use your own")
    if connected:
        what = ", ".join(f"{name} {sliders[name]:g} (preset: {connected[name]:g})" for name in connected)
        notes.append(f"what is connected takes the place of preset {preset}: {what}")
    if doubled := [name for name in own if name in sliders and own[name] != weights[name]]:
        what = ", ".join(f"{name} {own[name]:g} (set: {weights[name]:g})" for name in doubled)
        notes.append(f"more_weights takes the place of weights: {what}")
    return {**weights, **own}, notes


WHOLE_PICTURE = -0.05
"""Mask floor below 0: none, the base loss counts the whole picture."""


class ObjectiveOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        defaults = Objective()
        return io.Schema(
            node_id="SemanticFocusObjectiveOptions",
            display_name="Objective Options",
            category=CATEGORY,
            description="The rarer settings of an objective. They take the place of what it had.",
            inputs=[
                ObjectiveSocket.Input("objective"),
                term("base_weight", defaults.base_weight, "Share of a plain loss over everything, on top."),
                choice("base_loss", BaseLoss, "The plain loss: squared, absolute, or Huber (in between)."),
                number(
                    "base_mask_floor",
                    WHOLE_PICTURE,
                    (WHOLE_PICTURE, 1.0),
                    0.05,
                    "How much the plain loss counts outside the weighted regions. "
                    "Below 0: as much as inside.",
                ),
                choice("cosine", CosineKind, "One cosine for a whole region, or the mean of one per cell."),
                choice(
                    "normalise",
                    Normalisation,
                    "Divide by the weights of the regions a picture has, or of all: then a picture with few "
                    "regions counts less.",
                ),
                number(
                    "area_shrinkage",
                    defaults.area_shrinkage,
                    (0.0, 10000.0),
                    1.0,
                    "Latent cells at which a region has half its weight: slivers count less.",
                ),
                term("snr_gamma", defaults.snr_gamma, "Min-SNR weight of each picture: 5 is usual, 0 off."),
                whole(
                    "prior_every",
                    defaults.prior_every,
                    (1, 100),
                    "The prior at every n-th step only, n times as strong: faster.",
                ),
                Parsed(
                    "windows",
                    parse_windows,
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Noise positions at which a region is trained, 0 clean to 1 noise, one per line: "
                    "face: 0 .. 0.6 or face: 0 .. 0.6 ramp 0.1",
                ),
            ],
            outputs=[ObjectiveSocket.Output(display_name="objective")],
        )

    @classmethod
    def execute(cls, objective, base_mask_floor, windows="", **options) -> io.NodeOutput:
        return io.NodeOutput(
            replace(
                objective,
                base_mask_floor=base_mask_floor if base_mask_floor >= 0 else None,
                windows=parse_windows(windows),
                **options,
            )
        )


NODES = [SemanticCosineLoss, ObjectiveOptions]
