"""Rarer settings of a training: optimizer, averages, dropout; samples on the way."""

from dataclasses import dataclass
from typing import Any, get_args

from comfy_api.latest import io

from ..semantic_focus.comfy.conditioning import Conditioning
from ..semantic_focus.comfy.preview import PreviewSettings
from ..semantic_focus.training.optimizers import OPTIMIZERS
from ..semantic_focus.training.settings import TrainingSettings
from ..semantic_focus.training.validation import HoldOut, ValidationSettings
from .inputs import number, sampling_inputs, share, whole
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
    """Fields of `TrainingSettings` by name, as Training Options gives them.

    Attributes:
        validation: what is held out.
        processes: that train together; 1: ComfyUI's own does.
    """

    validation: ValidationSettings = ValidationSettings()
    processes: int = 1


MOST_PROCESSES = 64
"""That the node starts: more GPUs than a machine has."""
VALIDATION = {"hold_out": "hold_out", "held_out_share": "share", "validate_every": "every"}
"""By input of Training Options: the field of `ValidationSettings`."""


def validation_inputs() -> tuple[io.Input, ...]:
    """What is held out while training."""
    settings = ValidationSettings()
    return (
        io.Combo.Input(
            "hold_out",
            options=list(get_args(HoldOut)),
            default=settings.hold_out,
            optional=True,
            tooltip="Judge the LoRA while it trains: error and drift by region on the same noise each time; "
            "the best state is kept. pictures: some are not trained. crops: all are trained, crops of them "
            "are judged. auto: pictures from 10 on, else crops.",
        ),
        io.Float.Input(
            "held_out_share",
            default=settings.share,
            min=0.01,
            max=0.5,
            step=0.01,
            optional=True,
            tooltip="Of the pictures, at least one and at most 16.",
        ),
        io.Int.Input(
            "validate_every",
            default=settings.every,
            min=0,
            max=100_000,
            optional=True,
            tooltip="Steps between two validations. 0: so many that they take less than 3 % of the time.",
        ),
    )


class TrainingOptions(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        settings = TrainingSettings()
        return io.Schema(
            node_id="SemanticFocusTrainingOptions",
            display_name="Training Options",
            category=CATEGORY,
            description="Optimizer, schedule, accumulation, averaging, caption dropout, validation: for LoRA "
            "Train Step.",
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
                *validation_inputs(),
                io.Int.Input(
                    "processes",
                    default=ChosenOptions.processes,
                    min=1,
                    max=MOST_PROCESSES,
                    optional=True,
                    tooltip="2 or more make one LoRA outside of ComfyUI, each on a GPU of its own: the same "
                    "result in less time, with an accumulation of as many or more. ComfyUI's models leave "
                    "the GPU, and no samples are made. 1: in ComfyUI itself.",
                ),
            ],
            outputs=[TrainingOptionsSocket.Output(display_name="options")],
        )

    @classmethod
    def execute(cls, **values) -> io.NodeOutput:
        # graphs that were made before there were these have no such values
        processes = values.pop("processes", ChosenOptions.processes)
        held_out = {field: values.pop(name) for name, field in VALIDATION.items() if name in values}
        TrainingSettings(**values)  # refuses what cannot work here, not in the midst of a graph
        options = ChosenOptions(values)
        options.validation, options.processes = ValidationSettings(**held_out), processes
        return io.NodeOutput(options)


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
                *sampling_inputs(),
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
