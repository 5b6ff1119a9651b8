"""Nodes that write and read mask files."""

from comfy_api.latest import io

from ..semantic_focus.datasets.cache import check_belongs
from ..semantic_focus.datasets.hand_file import save_around_hand
from ..semantic_focus.datasets.mask_file import read_masks
from ..semantic_focus.datasets.mask_header import DIGEST
from .changes import ReadsFiles, note_existence, note_file
from .inputs import mask_file
from .paths import file_to_read, file_to_write
from .shown import SHOWN
from .sockets import CATEGORY, SemanticMasksSocket


class SaveMaskCache(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusSaveMasks",
            display_name="Save Mask Cache",
            category=CATEGORY,
            description="Write the masks of one picture to a mask file. Only masks that a segmenter of this "
            "pack made are replaced.",
            is_output_node=True,
            inputs=[
                SemanticMasksSocket.Input("masks"),
                mask_file(),
            ],
            outputs=[io.String.Output(display_name="saved_file")],
        )

    @classmethod
    def execute(cls, masks, mask_file) -> io.NodeOutput:
        path = file_to_write("mask_file", mask_file)
        save_around_hand(path, masks)
        note_existence(path)
        return io.NodeOutput(str(path))


class LoadMaskCache(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusLoadMasks",
            display_name="Load Mask Cache",
            category=CATEGORY,
            description="Read the masks of one picture from a file.",
            inputs=[
                mask_file(),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture the masks should belong to; masks of another one are refused.",
                ),
            ],
            outputs=[SemanticMasksSocket.Output(display_name="masks")],
        )

    @classmethod
    def execute(cls, mask_file, image=None) -> io.NodeOutput:
        path = file_to_read("mask_file", mask_file)
        note_file(path)
        masks = read_masks(path)
        if image is not None:
            check_belongs(path, masks, image)
        if digest := masks.provenance.get(DIGEST):
            SHOWN.note_file(digest, path)
        return io.NodeOutput(masks)


NODES = [SaveMaskCache, LoadMaskCache]
