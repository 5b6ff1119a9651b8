"""Rarer settings of a training: optimizer, averages, dropout; samples on the way."""

from dataclasses import dataclass
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..semantic_focus.comfy.conditioning import Conditioning
from ..semantic_focus.comfy.preview import PreviewSettings
from ..semantic_focus.training.optimizers import OPTIMIZERS
from ..semantic_focus.training.settings import TrainingSettings
from .inputs import number, whole
from .sockets import CATEGORY, PreviewSocket, TrainingOptionsSocket


@dataclass(frozen=True)
class PreviewPlan:
    """Which samples are made during a training.

    Attributes:
        every: steps between two rounds of samples.
        positive: one sample for each.
        vae: ComfyUI's VAE; None: small pictures by the latents' linear map.
    """

    every: int
    positive: tuple[Conditioning, ...]
    negative: Conditioning
    settings: PreviewSettings
    vae: Any = None


class ChosenOptions(dict[str, Any]):
    """Fields of `TrainingSettings` by name, as Training Options gives them."""


def share(name: str, default: float, tooltip: str) -> io.Float.Input:
    """A number below 1."""
    return io.Float.Input(
        name, default=default, min=0.0, max=0.9999, step=0.0001, round=0.0001, tooltip=tooltip
    )


class TrainingOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        settings = TrainingSettings()
        return io.Schema(
            node_id="SemanticFocusTrainingOptions",
            display_name="Training Options",
            category=CATEGORY,
            description="Optimizer, schedule, accumulation, averaging, caption dropout: for LoRA Train Step.",
            inputs=[
                io.Combo.Input(
                    "optimizer",
                    options=list(OPTIMIZERS),
                    default=settings.optimizer,
                    tooltip="\n".join(f"{name}: {kind.about}" for name, kind in OPTIMIZERS.items()),
                ),
                io.Float.Input(
                    "weight_decay", default=settings.weight_decay, min=0.0, max=10.0, step=0.001, round=0.0001
                ),
                whole("warmup", settings.warmup, (0, 100_000), "Steps of rising rate."),
                whole(
                    "schedule_steps",
                    settings.schedule_steps,
                    (0, 1_000_000),
                    "Length of the schedule, for trainings in several pieces. 0: all steps.",
                ),
                number(
                    "max_grad_norm",
                    settings.max_grad_norm,
                    (0.0, 100.0),
                    0.1,
                    "Longer gradients are cut to this. 0: never.",
                ),
                whole(
                    "accumulation",
                    settings.accumulation,
                    (1, 1024),
                    "Batches in one step: as a larger batch, without its memory.",
                ),
                number(
                    "up_rate_ratio",
                    settings.up_rate_ratio,
                    (0.1, 64.0),
                    0.1,
                    "LoRA+: learning rate of the second matrix over that of the first. 1: alike.",
                ),
                share(
                    "ema_decay",
                    settings.ema_decay,
                    "The LoRA is an average over the steps; .99 for short trainings. 0: the last step.",
                ),
                share(
                    "caption_dropout",
                    settings.caption_dropout,
                    "Share of pictures shown with the empty prompt; connect it to LoRA Train Step.",
                ),
            ],
            outputs=[TrainingOptionsSocket.Output(display_name="options")],
        )

    @classmethod
    def execute(cls, **values) -> io.NodeOutput:
        TrainingSettings(**values)  # refuses what cannot work here, not in the midst of a graph
        return io.NodeOutput(ChosenOptions(values))


class PreviewOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        settings = PreviewSettings()
        return io.Schema(
            node_id="SemanticFocusPreviewOptions",
            display_name="Preview Options",
            category=CATEGORY,
            description="Samples while training, kept in the run's folder as a grid. "
            "They do not change the training.",
            is_input_list=True,
            inputs=[
                io.Conditioning.Input("positive", tooltip="One sample for each prompt."),
                io.Conditioning.Input("negative"),
                whole("every", 100, (1, 100_000), "Steps between two rounds."),
                io.Int.Input("steps", default=settings.steps, min=1, max=200),
                io.Float.Input("cfg", default=settings.cfg, min=0.0, max=30.0, step=0.1),
                io.Int.Input("seed", default=settings.seed, min=0, max=0xFFFFFFFFFFFFFFFF),
                io.Combo.Input("sampler", options=comfy.samplers.SAMPLER_NAMES, default=settings.sampler),
                io.Combo.Input(
                    "scheduler", options=list(comfy.samplers.SCHEDULER_NAMES), default=settings.scheduler
                ),
                io.Boolean.Input(
                    "with_training_adapter",
                    default=settings.training_adapter,
                    tooltip="Leave the training adapter active: shows what training sees, "
                    "not what the LoRA gives.",
                ),
                io.Vae.Input(
                    "vae", optional=True, tooltip="Without one, previews are small pictures of the latents."
                ),
            ],
            outputs=[PreviewSocket.Output(display_name="preview")],
        )

    @classmethod
    def execute(
        cls, positive, negative, every, steps, cfg, seed, sampler, scheduler, with_training_adapter, vae=None
    ) -> io.NodeOutput:
        settings = PreviewSettings(
            steps[0], cfg[0], seed[0], sampler[0], scheduler[0], with_training_adapter[0]
        )
        return io.NodeOutput(
            PreviewPlan(every[0], tuple(positive), negative[0], settings, None if vae is None else vae[0])
        )


NODES = [TrainingOptions, PreviewOptions]
