"""The training node."""

import logging
from pathlib import Path
from typing import Any

import comfy.model_management
import comfy.utils
import folder_paths
from comfy_api.latest import io, ui

from ..semantic_focus.adapters import AdapterSettings
from ..semantic_focus.comfy_model import (
    ComfyVelocityModel,
    conditioning_per_picture,
    latents_for_model,
    velocity_model,
)
from ..semantic_focus.layers import LAYER_CHOICES, linear_layers
from ..semantic_focus.lora import LoraAdapters
from ..semantic_focus.lora_file import free_path, save_lora
from ..semantic_focus.masks import SemanticMasks
from ..semantic_focus.timesteps import TimestepSampling
from ..semantic_focus.training import StepRecord, TrainingPictures, TrainingSettings, train
from .sockets import CATEGORY, LatentMasksSocket, ObjectiveSocket


def training_pictures(
    model: ComfyVelocityModel, patcher: Any, latents: list[dict[str, Any]], masks: list[SemanticMasks]
) -> TrainingPictures:
    """Latents and masks of all pictures on the training device."""
    labels = masks[0].labels
    for other in masks:
        if other.labels != labels:
            raise ValueError(
                f"pictures were segmented into different regions, {list(labels)} and {list(other.labels)}: "
                "segment all of them with the same keywords"
            )
    samples = latents_for_model(patcher, [latent["samples"] for latent in latents])
    regions = [region.detach().clone() for item in masks for region in item.masks]
    return TrainingPictures(
        tuple(sample.to(model.device) for sample in samples),
        tuple(region.to(model.device) for region in regions),
        labels,
    )


class LoraTrainStep(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        settings = TrainingSettings()
        return io.Schema(
            node_id="SemanticFocusTrain",
            display_name="LoRA Train Step",
            category=CATEGORY,
            description="Train a LoRA with a weight per region. Any model that predicts velocity, eps or v.",
            is_input_list=True,
            inputs=[
                io.Model.Input("model"),
                io.Latent.Input("latents"),
                io.Conditioning.Input("conditioning", tooltip="One for all pictures, or one per picture."),
                LatentMasksSocket.Input("latent_masks"),
                ObjectiveSocket.Input("objective"),
                io.Int.Input("steps", default=settings.steps, min=1, max=1_000_000),
                io.Int.Input("batch_size", default=settings.batch_size, min=1, max=256),
                io.Float.Input(
                    "learning_rate", default=settings.learning_rate, min=1e-7, max=1.0, step=1e-6, round=1e-7
                ),
                io.Combo.Input("lr_schedule", options=["cosine", "constant"], default=settings.schedule),
                io.Int.Input("rank", default=16, min=1, max=1024),
                io.Float.Input(
                    "alpha", default=16.0, min=0.01, max=4096.0, step=0.5, tooltip="Scale is alpha / rank."
                ),
                io.Combo.Input("layers", options=list(LAYER_CHOICES), default=next(iter(LAYER_CHOICES))),
                io.Combo.Input(
                    "timesteps",
                    options=["logit_normal", "uniform", "shifted"],
                    default=settings.timesteps.kind,
                    tooltip="Which noise levels are trained most: the middle, all alike, or the noisy end.",
                ),
                io.Int.Input("seed", default=0, min=0, max=0xFFFFFFFFFFFFFFFF),
                io.Boolean.Input(
                    "gradient_checkpointing",
                    default=True,
                    tooltip="Much less memory for about a third more time.",
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
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        model,
        latents,
        conditioning,
        latent_masks,
        objective,
        rank,
        alpha,
        layers,
        gradient_checkpointing,
        **rest,
    ) -> io.NodeOutput:
        patcher, goal = model[0], objective[0]
        values = {name: value[0] for name, value in rest.items()}
        settings = TrainingSettings(
            schedule=values.pop("lr_schedule"), timesteps=TimestepSampling(values.pop("timesteps")), **values
        )
        pictures = sum(len(latent["samples"]) for latent in latents)
        conditionings = conditioning_per_picture(conditioning, pictures)
        progress = comfy.utils.ProgressBar(settings.steps)
        history: list[StepRecord] = []

        def on_step(record: StepRecord) -> None:
            history.append(record)
            progress.update_absolute(record.step)
            if record.step == 1 or record.step % max(1, settings.steps // 20) == 0:
                logging.info(f"LoRA training: step {record.step}/{settings.steps}, loss {record.total:.4f}")
            comfy.model_management.throw_exception_if_processing_interrupted()

        with velocity_model(patcher, conditionings, gradient_checkpointing[0]) as velocity:
            data = training_pictures(velocity, patcher, latents, latent_masks)
            adapters = LoraAdapters(
                linear_layers(velocity.network, layers[0]),
                AdapterSettings(rank=rank[0], alpha=alpha[0]),
                settings.seed,
            )
            try:
                train(velocity, adapters, data, goal, settings, on_step)
            except BaseException as error:
                if history:
                    _keep_interrupted(adapters, history[-1].step, error, cls.hidden.unique_id)
                raise
            lora = adapters.state_dict()
        return io.NodeOutput(lora, loss_map(history), len(history), ui=ui.PreviewText(summary(history)))


def _keep_interrupted(adapters: LoraAdapters, step: int, error: BaseException, node_id: str | None) -> None:
    """Save what a cancelled or failed training has reached, and say where."""
    from server import PromptServer

    folder = Path(folder_paths.get_output_directory()) / "loras"
    path = free_path(folder, f"interrupted_{step}_steps")
    save_lora(path, adapters.state_dict(), {"steps": str(step), "ended_by": type(error).__name__})
    message = f"Training stopped at step {step} ({type(error).__name__}). The LoRA so far is kept in {path}"
    logging.warning(message)
    if node_id is not None:
        PromptServer.instance.send_progress_text(message, node_id)


def loss_map(history: list[StepRecord]) -> dict[str, Any]:
    """Curves as core's LOSS_MAP ("loss", one number per step), with one curve per region beside it."""
    names = history[0].regions
    return {
        "loss": [record.total for record in history],
        "regions": {name: [record.regions[name] for record in history] for name in names},
        "prior": [record.prior for record in history],
        "learning_rate": [record.learning_rate for record in history],
    }


def summary(history: list[StepRecord]) -> str:
    """One line per region: its mean loss over the first and the last tenth of the steps."""
    tenth = max(1, len(history) // 10)
    lines = [f"{len(history)} steps, loss {_mean([r.total for r in history[-tenth:]]):.4f}"]
    for name in history[0].regions:
        first = _mean([record.regions[name] for record in history[:tenth]])
        last = _mean([record.regions[name] for record in history[-tenth:]])
        if first == first and last == last:
            lines.append(f"{name}: {first:.4f} → {last:.4f}")
    return "\n".join(lines)


def _mean(values: list[float]) -> float:
    """Mean of the numbers that are not NaN; NaN if there is none."""
    known = [value for value in values if value == value]
    return sum(known) / len(known) if known else float("nan")


NODES = [LoraTrainStep]
