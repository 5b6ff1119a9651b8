"""Nodes that show what a training did: curves per region, and a before/after comparison."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui

from ..semantic_focus.comfy.conditioning import Conditioning, conditioning_per_picture
from ..semantic_focus.comfy.lora_files import read_for_model
from ..semantic_focus.comfy.model import ComfyVelocityModel, velocity_model
from ..semantic_focus.comfy.preview import preview as samples_of
from ..semantic_focus.comfy.training import training_pictures
from ..semantic_focus.lora.network import LoraAdapters
from ..semantic_focus.regions.masks import SemanticMasks
from ..semantic_focus.training.data import TrainingPictures
from ..semantic_focus.training.diagnostics import SigmaBin, dry_run, format_dry_run, format_sigma_bins
from ..semantic_focus.training.evaluation import compare, format_table, predictions
from ..semantic_focus.training.not_finite import refuse_damaged
from ..semantic_focus.training.plot import THEMES, loss_plot
from ..semantic_focus.training.preview_grid import side_by_side
from .inputs import number
from .report_table import TABLE, change_table, gradient_table, noise_table
from .sockets import CATEGORY, LatentMasksSocket, ObjectiveSocket, PreviewSocket
from .training_options import PreviewPlan


class SemanticLossReport(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusLossReport",
            display_name="Semantic Loss Report",
            category=CATEGORY,
            description="Plot the training loss with one curve per region.",
            is_output_node=True,
            inputs=[
                io.LossMap.Input("loss_map"),
                number(
                    "smoothing", 0.9, (0.0, 0.99), 0.01, "Share of the running mean that each point keeps."
                ),
                io.Combo.Input(
                    "theme",
                    options=list(THEMES),
                    default="light",
                    optional=True,
                    tooltip="Of the plot. A new node has that of the editor.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="plot"),
                io.String.Output(display_name="by_noise", tooltip="Each region's error by noise level."),
            ],
        )

    @classmethod
    def execute(cls, loss_map, smoothing, theme="light") -> io.NodeOutput:
        image = loss_plot(loss_map, smoothing, theme=theme)[None]
        bins = [SigmaBin(**item) for item in loss_map.get("sigma_bins", [])]
        text = format_sigma_bins(bins) if bins else ""
        shown = ui.PreviewImage(image, cls=cls).as_dict()
        return io.NodeOutput(image, text, ui={**shown, "text": (text,), TABLE: [noise_table(bins)]})


class CompareLoraByRegion(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusCompare",
            display_name="Compare LoRA By Region",
            category=CATEGORY,
            description="Measure on fresh noise how far a LoRA moved each region: "
            "velocity error before and after, and drift from the base model.",
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Model.Input("model", tooltip="The base model, without the LoRA."),
                io.LoraModel.Input("lora"),
                io.Latent.Input("latents", tooltip="Best: pictures that were not trained on."),
                io.Conditioning.Input("conditioning"),
                LatentMasksSocket.Input("latent_masks"),
                PreviewSocket.Input(
                    "preview",
                    optional=True,
                    tooltip="Preview Options: its samples without the LoRA and with it, side by side.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="The table as JSON."),
                io.Image.Output(
                    display_name="pictures",
                    is_output_list=True,
                    tooltip="One for each prompt of the preview: without the LoRA, and with it.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model, lora, latents, conditioning, latent_masks, preview=None) -> io.NodeOutput:
        read = read_for_model(model[0], lora[0])
        plan = None if preview is None else preview[0]
        with _loaded(model[0], latents, conditioning, latent_masks) as (velocity, data):
            before = predictions(velocity, data)
            plain = _samples(velocity, data, plan)
        with (
            _loaded(model[0], latents, conditioning, latent_masks, read.fixed) as (velocity, data),
            LoraAdapters.of_adapters(velocity.network, read.adapters).attached(),
        ):
            rows = compare(before, velocity, data)
            changed = _samples(velocity, data, plan)
        pictures = [side_by_side(one, other)[None] for one, other in zip(plain, changed, strict=True)]
        report = json.dumps([dataclasses.asdict(row) for row in rows])
        shown = {"text": (format_table(rows),), "semantic_focus_report": [report]}
        if pictures:
            shown |= ui.PreviewImage(torch.cat(pictures), cls=cls).as_dict()
        return io.NodeOutput(report, pictures, ui={**shown, TABLE: [change_table(rows)]})


class TrainingDryRun(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusDryRun",
            display_name="Training Dry Run",
            category=CATEGORY,
            description="Is the mask used at all? Where each picture would send its gradient, "
            "without training anything.",
            is_input_list=True,
            is_output_node=True,
            inputs=[
                io.Model.Input("model"),
                io.Latent.Input("latents"),
                io.Conditioning.Input("conditioning"),
                LatentMasksSocket.Input("latent_masks"),
                ObjectiveSocket.Input("objective"),
                number("noise_position", 0.5, (0.01, 0.99), 0.01, "0 is the clean picture, 1 pure noise."),
            ],
            outputs=[
                io.String.Output(display_name="report"),
                io.Image.Output(
                    display_name="gradient",
                    is_output_list=True,
                    tooltip="Length of the gradient in each latent cell, one map per picture.",
                ),
            ],
        )

    @classmethod
    def execute(cls, model, latents, conditioning, latent_masks, objective, noise_position) -> io.NodeOutput:
        with _loaded(model[0], latents, conditioning, latent_masks) as (velocity, data):
            found = dry_run(
                velocity,
                data,
                objective[0],
                noise_position[0],
                check=comfy.model_management.throw_exception_if_processing_interrupted,
            )
        report = format_dry_run(found)
        heat = [_heat_picture(heat) for heat in found.heat]
        return io.NodeOutput(report, heat, ui={"text": (report,), TABLE: [gradient_table(found)]})


def _samples(
    velocity: ComfyVelocityModel, data: TrainingPictures, plan: PreviewPlan | None
) -> Sequence[torch.Tensor]:
    """Float[H, W, 3] in 0..1 for each prompt of a plan, in the size of the first picture."""
    if plan is None:
        return ()
    shape = tuple(data.latents[0].shape)
    return samples_of(velocity, plan.positive, plan.negative, shape, plan.settings, plan.vae).unbind()


@contextmanager
def _loaded(
    patcher: Any,
    latents: list[dict[str, Any]],
    conditioning: list[Conditioning],
    masks: list[SemanticMasks],
    fixed: Mapping[str, torch.Tensor] | None = None,
) -> Iterator[tuple[ComfyVelocityModel, TrainingPictures]]:
    """The model with its pictures, as training would have them."""
    samples = [latent["samples"] for latent in latents]
    prompts = conditioning_per_picture(conditioning, sum(map(len, samples)))
    refuse_damaged(samples, prompts, masks)
    with velocity_model(patcher, prompts, fixed=fixed) as velocity:
        yield velocity, training_pictures(velocity, patcher, samples, masks)


def _heat_picture(heat: torch.Tensor) -> torch.Tensor:
    """Float[1, 8h, 8w, 3]: bright where the gradient is long; of a video, its frames' mean."""
    flat = heat.reshape(-1, *heat.shape[-2:]).mean(0)
    large = F.interpolate(flat[None, None], scale_factor=8, mode="nearest")[0, 0]
    return large[None, ..., None].expand(-1, -1, -1, 3).contiguous()


NODES = [SemanticLossReport, CompareLoraByRegion, TrainingDryRun]
