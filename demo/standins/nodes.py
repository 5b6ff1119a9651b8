"""The stand-in for core's Load Checkpoint: the small model that knows drawn people."""

from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from benchmarks.world.base import load_in_comfyui
from benchmarks.world.text import PhraseEncoder


class WorldCheckpoint(io.ComfyNode):
    """A genuine small SD3 model, with a text encoder without weights and a small codec."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SemanticFocusWorldCheckpoint",
            display_name="Checkpoint Of Drawn People (stand-in)",
            category="SemanticFocus/demo",
            description="The base model of benchmarks/world in place of a checkpoint: the outputs of Load "
            "Checkpoint.",
            inputs=[
                io.Combo.Input(
                    "model_file",
                    options=folder_paths.get_filename_list("diffusion_models"),
                    tooltip="A base model of benchmarks/world, in models/diffusion_models.",
                )
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, model_file: str) -> io.NodeOutput:
        model, vae = load_in_comfyui(
            Path(folder_paths.get_full_path_or_raise("diffusion_models", model_file))
        )
        return io.NodeOutput(model, PhraseEncoder(), vae)


class StandInExtension(ComfyExtension):
    """The node list of this package."""

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [WorldCheckpoint]
