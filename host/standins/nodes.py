"""The stand-in for core's Load Checkpoint."""

from pathlib import Path

import folder_paths
from comfy_api.latest import ComfyExtension, io
from typing_extensions import override

from . import base_model
from .text import HashingTextEncoder


class StandInCheckpoint(io.ComfyNode):
    """A genuine small SD3 model with a text encoder and a picture codec that need no weights."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SemanticFocusStandInCheckpoint",
            display_name="Checkpoint (stand-in)",
            category="SemanticFocus/stand-ins",
            description="A small model in place of a checkpoint: the outputs of Load Checkpoint.",
            inputs=[
                io.Combo.Input(
                    "model_file",
                    options=folder_paths.get_filename_list("diffusion_models"),
                    tooltip="A file of tests/stand_in_model.py, in models/diffusion_models.",
                )
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls, model_file: str) -> io.NodeOutput:
        path = Path(folder_paths.get_full_path_or_raise("diffusion_models", model_file))
        model, codec = base_model.load(path)
        return io.NodeOutput(model, HashingTextEncoder(), codec)


class StandInExtension(ComfyExtension):
    """The node list of this package."""

    @override
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [StandInCheckpoint]
