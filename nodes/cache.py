"""Nodes that write and read mask files."""

from pathlib import Path

from comfy_api.latest import io

from ..semantic_focus.datasets.cache import check_belongs
from ..semantic_focus.datasets.claims import claimed_if_free
from ..semantic_focus.datasets.mask_file import read_masks, save_masks
from .sockets import CATEGORY, SemanticMasksSocket


class SaveMaskCache(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusSaveMasks",
            display_name="Save Mask Cache",
            category=CATEGORY,
            description="Write the masks of one picture to a file, replacing an older one.",
            is_output_node=True,
            inputs=[
                SemanticMasksSocket.Input("masks"),
                io.String.Input(
                    "mask_file", tooltip="Usually the mask_files output of Load Semantic Dataset."
                ),
            ],
            outputs=[io.String.Output(display_name="saved_file")],
        )

    @classmethod
    def execute(cls, masks, mask_file) -> io.NodeOutput:
        if not mask_file.endswith(".safetensors"):
            raise ValueError(f"mask_file is {mask_file!r}: give a path that ends in .safetensors")
        with claimed_if_free(Path(mask_file)):  # a dataset run at work there leaves its temporary file alone
            save_masks(mask_file, masks)
        return io.NodeOutput(mask_file)


class LoadMaskCache(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusLoadMasks",
            display_name="Load Mask Cache",
            category=CATEGORY,
            description="Read the masks of one picture from a file.",
            inputs=[
                io.String.Input(
                    "mask_file", tooltip="Usually the mask_files output of Load Semantic Dataset."
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture the masks should belong to; masks of another one are refused.",
                ),
            ],
            outputs=[SemanticMasksSocket.Output(display_name="masks")],
        )

    @classmethod
    def fingerprint_inputs(cls, mask_file, image=None):
        path = Path(mask_file) if mask_file else None
        return path.stat().st_mtime_ns if path and path.is_file() else None

    @classmethod
    def execute(cls, mask_file, image=None) -> io.NodeOutput:
        masks = read_masks(mask_file)
        if image is not None:
            check_belongs(mask_file, masks, image)
        return io.NodeOutput(masks)


NODES = [SaveMaskCache, LoadMaskCache]
