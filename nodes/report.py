"""Nodes that show what a training did: curves per region, and a before/after comparison."""

import dataclasses
import json

from comfy_api.latest import io, ui

from ..semantic_focus.comfy_model import conditioning_per_picture, velocity_model
from ..semantic_focus.evaluation import compare, format_table
from ..semantic_focus.lora import LoraAdapters
from ..semantic_focus.plot import loss_plot
from .sockets import CATEGORY, LatentMasksSocket
from .train import training_pictures


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
                io.Float.Input(
                    "smoothing",
                    default=0.9,
                    min=0.0,
                    max=0.99,
                    step=0.01,
                    tooltip="Share of the running mean that each point keeps.",
                ),
            ],
            outputs=[io.Image.Output(display_name="plot")],
        )

    @classmethod
    def execute(cls, loss_map, smoothing) -> io.NodeOutput:
        image = loss_plot(loss_map, smoothing)[None]
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))


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
            ],
            outputs=[io.String.Output(display_name="report", tooltip="The table as JSON.")],
        )

    @classmethod
    def execute(cls, model, lora, latents, conditioning, latent_masks) -> io.NodeOutput:
        patcher = model[0]
        conditionings = conditioning_per_picture(
            conditioning, sum(len(latent["samples"]) for latent in latents)
        )
        with velocity_model(patcher, conditionings) as velocity:
            data = training_pictures(velocity, patcher, latents, latent_masks)
            rows = compare(velocity, LoraAdapters.from_state_dict(velocity.network, lora[0]), data)
        report = json.dumps([dataclasses.asdict(row) for row in rows])
        return io.NodeOutput(report, ui={"text": (format_table(rows),), "semantic_focus_report": [report]})


NODES = [SemanticLossReport, CompareLoraByRegion]
