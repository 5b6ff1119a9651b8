"""The training node."""

import dataclasses
from pathlib import Path
from typing import Any

from comfy_api.latest import io

from ..semantic_focus.comfy.conditioning import conditioning_per_picture
from ..semantic_focus.comfy.family import recipe_of
from ..semantic_focus.comfy.fingerprint import looks_distilled
from ..semantic_focus.comfy.model import ComfyVelocityModel
from ..semantic_focus.comfy.request import TrainingRequest
from ..semantic_focus.comfy.training import RunPlace, train_comfy_lora
from ..semantic_focus.lora.layers import LAYER_CHOICES
from ..semantic_focus.regions.masks import picture_names
from ..semantic_focus.settings.filling import Choice
from ..semantic_focus.settings.training import RECIPE_MODES
from ..semantic_focus.training.curves import validation_columns
from ..semantic_focus.training.data import TrainingPictures
from ..semantic_focus.training.diagnostics import sigma_bins
from ..semantic_focus.training.learning_rate import RATE_SCHEDULES
from ..semantic_focus.training.memory import MEMORY_CHOICES, MemorySetting
from ..semantic_focus.training.run import RunOptions
from ..semantic_focus.training.scenes import Scenes
from ..semantic_focus.training.settings import TrainingSettings
from ..semantic_focus.training.step_record import StepRecord
from ..semantic_focus.training.summary import summary, summary_rows
from ..semantic_focus.training.untrained import untrained
from .changes import ReadsFiles, note_existence
from .graph import model_file
from .inputs import Parsed, number, whole
from .paths import new_folder_name, output_folder
from .sockets import (
    CATEGORY,
    AdapterSocket,
    LatentMasksSocket,
    ObjectiveSocket,
    PreviewSocket,
    ScenesSocket,
    TimestepsSocket,
    TrainingOptionsSocket,
    TrainStateSocket,
)
from .termination import termination_noted
from .train_progress import TrainingProgress
from .train_recipe import adapter_settings, before_training, filled_by_recipe
from .training_options import ChosenOptions
from .training_status import watched_training

DISTILLED = (
    "{} seems to be a distilled model: plain training takes its few-step ability away. Connect a training "
    "adapter, or Preview Options with few steps to watch for it"
)
MOST_POINTS_KEPT = 2000
"""Points of each curve that ComfyUI keeps with the node's result."""
RUNS = "semantic_focus"
"""Folder of the runs, below ComfyUI's output folder."""


class LoraTrainStep(ReadsFiles):
    @classmethod
    def define_schema(cls):
        settings = TrainingSettings()
        return io.Schema(
            node_id="SemanticFocusTrain",
            display_name="LoRA Train Step",
            category=CATEGORY,
            description="Train a LoRA with a weight per region. Any model that predicts velocity, eps or v. "
            "Its states are kept in output/semantic_focus; after a stop, press Run again to go on.",
            is_input_list=True,
            is_output_node=True,  # else ComfyUI does not send its curves again when it has the result already
            inputs=[
                io.Model.Input("model"),
                io.Latent.Input("latents"),
                io.Conditioning.Input("conditioning", tooltip="One for all pictures, or one per picture."),
                LatentMasksSocket.Input("latent_masks"),
                ObjectiveSocket.Input("objective"),
                whole("steps", settings.steps, (1, 1_000_000), "With a train_state: so many more."),
                io.Int.Input("batch_size", default=settings.batch_size, min=1, max=256),
                io.Float.Input(
                    "learning_rate", default=settings.learning_rate, min=1e-7, max=1.0, step=1e-6, round=1e-7
                ),
                io.Combo.Input("lr_schedule", options=list(RATE_SCHEDULES), default=settings.schedule),
                whole("rank", 16, (1, 1024), "Not used with Adapter Options."),
                number(
                    "alpha",
                    16.0,
                    (0.01, 4096.0),
                    0.5,
                    "Scale is alpha / rank. Not used with Adapter Options.",
                ),
                io.Combo.Input("layers", options=list(LAYER_CHOICES), default=next(iter(LAYER_CHOICES))),
                io.Combo.Input(
                    "timesteps",
                    options=["logit_normal", "uniform", "shifted"],
                    default=settings.timesteps.kind,
                    tooltip="Which noise levels are trained most: the middle, all alike, or the noisy end. "
                    "Not used with Timestep Options.",
                ),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF),
                io.Boolean.Input(
                    "gradient_checkpointing",
                    default=True,
                    tooltip="Much less memory for about a third more time.",
                ),
                Parsed(
                    "run_name",
                    new_folder_name,
                    default="lora",
                    optional=True,
                    tooltip="Folder in output/semantic_focus with the states, curves and samples.",
                ),
                io.Int.Input(
                    "save_every",
                    default=100,
                    min=0,
                    max=100_000,
                    optional=True,
                    tooltip="Steps between two states on disk. 0: only when the training ends, in any way.",
                ),
                io.Boolean.Input(
                    "resume",
                    default=True,
                    optional=True,
                    tooltip="Go on with a stopped training of exactly these settings, pictures and model.",
                ),
                io.Combo.Input(
                    "recipe",
                    options=list(RECIPE_MODES),
                    default="auto",
                    optional=True,
                    tooltip="auto: what still has a new node's value (steps, learning_rate, rank, alpha, "
                    "layers, timesteps) is as it suits the model's family; the panel says which values. Flux "
                    "dev is trained at guidance 1. off: everything is as the node has it.",
                ),
                io.Combo.Input(
                    "memory",
                    options=list(MEMORY_CHOICES),
                    default=MEMORY_CHOICES[0],
                    optional=True,
                    tooltip="How much of the model waits in RAM and comes to the GPU block by block: less "
                    "memory, more time, the same result. auto: as little as fits, by an estimate that the "
                    "panel shows.",
                ),
                AdapterSocket.Input("adapter", optional=True),
                TimestepsSocket.Input("timestep_options", optional=True),
                TrainingOptionsSocket.Input("options", optional=True),
                PreviewSocket.Input("preview", optional=True),
                TrainStateSocket.Input(
                    "train_state",
                    optional=True,
                    tooltip="Go on from where another LoRA Train Step ended; its seed, rank, alpha and "
                    "layers are kept.",
                ),
                io.LoraModel.Input(
                    "start_from", optional=True, tooltip="A LoRA to train on; its rank and layers are kept."
                ),
                io.LoraModel.Input(
                    "training_adapter",
                    optional=True,
                    tooltip="For distilled (turbo) models: a LoRA that is active while training "
                    "and absent from the result.",
                ),
                io.Conditioning.Input(
                    "empty_prompt", optional=True, tooltip="For caption dropout: the encoded empty text."
                ),
                io.Int.Input(
                    "repeats",
                    min=0,
                    max=10_000,
                    optional=True,
                    force_input=True,
                    tooltip="A list: how often each picture comes in one pass over the dataset.",
                ),
                ScenesSocket.Input(
                    "scenes", optional=True, tooltip="Scene Samples: what is not the subject stays as it is."
                ),
            ],
            outputs=[
                io.LoraModel.Output(
                    display_name="lora", tooltip="For core's Save LoRA Weights and Load LoRA Model."
                ),
                io.LossMap.Output(
                    display_name="loss_map",
                    tooltip="For core's Plot Loss Graph and our Semantic Loss Report.",
                ),
                io.Int.Output(display_name="trained_steps"),
                TrainStateSocket.Output(
                    display_name="train_state", tooltip="For another LoRA Train Step that goes on from here."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls, model, latents, conditioning, latent_masks, objective, gradient_checkpointing, **rest
    ) -> io.NodeOutput:
        values = {name: value[0] for name, value in rest.items() if value and value[0] is not None}
        name = model_file(cls.hidden.prompt, cls.hidden.unique_id)
        recipe, defaults = recipe_of(model[0], name), _defaults(cls)
        pictures = sum(len(latent["samples"]) for latent in latents)
        filled = filled_by_recipe(values, defaults, recipe, pictures)
        scenes: Scenes | None = values.get("scenes")
        request = TrainingRequest(
            patcher=model[0],
            latents=[latent["samples"] for latent in latents],
            conditionings=[
                *conditioning_per_picture(conditioning, pictures),
                *(scenes.conditionings if scenes else ()),
            ],
            masks=latent_masks,
            objective=objective[0],
            settings=_settings(values, filled.choice),
            adapter=adapter_settings(values, filled.choice),
            layers=filled.choice.layers,
            gradient_checkpointing=gradient_checkpointing[0],
            start_from=values.get("start_from"),
            unconditional=values.get("empty_prompt"),
            training_adapter=values.get("training_adapter"),
            repeats=tuple(rest.get("repeats") or ()),
            state=values.get("train_state"),
            model_name=Path(name).stem,
            names=picture_names(latent_masks),
            memory=MemorySetting.of(values.get("memory", MEMORY_CHOICES[0])),
            validation=values.get("options", ChosenOptions()).validation,
            scenes=scenes,
        )
        place = RunPlace(
            output_folder(RUNS),
            values.get("run_name", "lora"),
            values.get("resume", True),
        )
        status = watched_training(request.settings.steps, cls.hidden.unique_id, cls.hidden.extra_pnginfo)
        progress = TrainingProgress(cls.hidden.unique_id, values.get("preview"), status)
        request, notes = before_training(request, recipe, filled, values, defaults)
        for note in notes:
            progress.say(note.kind, note.text, **note.values)
        if looks_distilled(name) and request.training_adapter is None and values.get("preview") is None:
            progress.say("distilled", DISTILLED.format(name), model=name)
        with termination_noted() as check_termination, progress.watched():

            def options_for(velocity: ComfyVelocityModel, data: TrainingPictures) -> RunOptions:
                for note in untrained(request.objective, data):
                    progress.say(note.kind, note.text, **note.values)
                return progress.options(velocity, data, values.get("save_every", 100), check_termination)

            result = train_comfy_lora(request, place, options_for, progress.say, progress.needs)
        note_existence(result.folder)
        rows = summary_rows(result.history)
        status.finished([dataclasses.asdict(row) for row in rows], progress.is_worse)
        return io.NodeOutput(
            result.lora,
            loss_map(result.history),
            result.state.step,
            result.state,
            ui={
                "text": ("\n".join((summary(result.history, rows), *progress.remarks, str(result.folder))),),
                "semantic_focus_training": [status.report(most=MOST_POINTS_KEPT)],
            },
        )


def _defaults(node: type[io.ComfyNode]) -> dict[str, Any]:
    """What a new node has in its widgets, by input."""
    return {it.id: getattr(it, "default", None) for it in node.define_schema().inputs}


def _settings(values: dict[str, Any], choice: Choice) -> TrainingSettings:
    """From the node's inputs, the optional ones as far as they are connected, and the recipe."""
    state = values.get("train_state")
    return TrainingSettings(
        steps=choice.steps + (state.step if state else 0),
        batch_size=values["batch_size"],
        learning_rate=choice.learning_rate,
        schedule=values["lr_schedule"],
        seed=values["seed"],
        timesteps=values.get("timestep_options") or choice.timesteps,
        **values.get("options", {}),
    )


def loss_map(history: list[StepRecord]) -> dict[str, Any]:
    """Curves as core's LOSS_MAP ("loss", one number per step), with one curve per region beside it, and
    every region's errors by noise level; where something is held out, "validation" as
    `validation_columns` has it.
    """
    judged = [(record.step, record.validation) for record in history if record.validation is not None]
    names = history[0].regions if history else ()
    return {
        "loss": [record.total for record in history],
        "regions": {name: [record.regions[name] for record in history] for name in names},
        "prior": [record.prior for record in history],
        "learning_rate": [record.learning_rate for record in history],
        "gradient_share": {
            name: [record.gradient_share.get(name, 0.0) for record in history] for name in names
        },
        "sigma_bins": [dataclasses.asdict(item) for item in sigma_bins(history)],
        **({"validation": validation_columns(judged)} if judged else {}),
    }


NODES = [LoraTrainStep]
