"""The node that chooses the noise levels of training."""

import comfy.samplers
from comfy_api.latest import io

from ..semantic_focus.comfy.noise import inference_anchors
from ..semantic_focus.objective.timesteps import TimestepSampling
from .inputs import number
from .sockets import CATEGORY, TimestepsSocket

MODEL_ANCHORS = "model_anchors"


def position(name: str, default: float, tooltip: str) -> io.Float.Input:
    """A noise position."""
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.01, tooltip=tooltip)


class TimestepOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        defaults = TimestepSampling()
        return io.Schema(
            node_id="SemanticFocusTimesteps",
            display_name="Timestep Options",
            category=CATEGORY,
            description="Which noise levels are trained: 0 is the clean picture, 1 pure noise.",
            inputs=[
                io.Combo.Input(
                    "kind",
                    options=["logit_normal", "uniform", "shifted", "acrf", MODEL_ANCHORS],
                    default=defaults.kind,
                    tooltip="Most in the middle, all alike, more at the noisy end, near the ten anchors of "
                    "AC-RF, or near the levels at which the connected model is sampled.",
                ),
                number("mean", defaults.mean, (-6.0, 6.0), 0.1, "logit_normal: above 0 more noise."),
                number("std", defaults.std, (0.05, 6.0), 0.05, "logit_normal: width."),
                number(
                    "shift", defaults.shift, (0.1, 20.0), 0.1, "shifted: 1 is uniform, above 1 more noise."
                ),
                position("jitter", defaults.jitter, "Anchors: standard deviation around them."),
                position("low", defaults.low, "Nothing with less noise than this is trained."),
                position("high", defaults.high, "Nothing with more noise than this is trained."),
                io.Model.Input("model", optional=True, tooltip=f"For {MODEL_ANCHORS}."),
                io.Int.Input(
                    "steps",
                    default=8,
                    min=1,
                    max=1000,
                    optional=True,
                    tooltip=f"{MODEL_ANCHORS}: steps the model is sampled in.",
                ),
                io.Combo.Input(
                    "scheduler",
                    options=list(comfy.samplers.SCHEDULER_NAMES),
                    default="simple",
                    optional=True,
                    tooltip=f"{MODEL_ANCHORS}: scheduler the model is sampled with.",
                ),
            ],
            outputs=[TimestepsSocket.Output(display_name="timesteps")],
        )

    @classmethod
    def execute(cls, kind, model=None, steps=8, scheduler="simple", **settings) -> io.NodeOutput:
        if kind != MODEL_ANCHORS:
            return io.NodeOutput(TimestepSampling(kind, **settings))
        if model is None:
            raise ValueError(f"{MODEL_ANCHORS} needs the model that is sampled: connect it")
        anchors = inference_anchors(model, scheduler, steps)
        return io.NodeOutput(TimestepSampling("anchors", anchors=anchors, **settings))


NODES = [TimestepOptions]
