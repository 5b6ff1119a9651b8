"""Nodes between ComfyUI's own MASK, other trainers' mask pictures, and our masks."""

import logging
from pathlib import Path

from comfy_api.latest import io

from ..semantic_focus.datasets.folder import list_pictures, picture_files
from ..semantic_focus.datasets.mask_pictures import (
    FORMS,
    ORIENTATIONS,
    import_masks,
    mask_picture_files,
)
from ..semantic_focus.datasets.remarks import left_out_lines
from ..semantic_focus.keywords import check_name, parse_weights
from ..semantic_focus.regions.by_hand import weighted_mask
from ..semantic_focus.regions.hand import category_by_hand
from .changes import ReadsFiles, note_files
from .dataset import folder_that_is_there
from .inputs import Parsed
from .loss import weight_slider
from .paths import folder_to_read
from .sockets import CATEGORY, SemanticMasksSocket

ONE_EACH, ONE_PICTURE = "one mask per picture", "all masks are of one picture"


class CategoryToMask(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusToMask",
            display_name="Category To Mask",
            category=CATEGORY,
            description="One MASK from one region or a weighted sum of several, for ComfyUI's own nodes.",
            inputs=[
                SemanticMasksSocket.Input("masks"),
                Parsed(
                    "weights",
                    parse_weights,
                    multiline=True,
                    default="face: 1",
                    tooltip="One region per line, name: weight. The sum is cut off at 1.",
                ),
                weight_slider("global_fallback", 0.0, "Weight of what no region covers."),
            ],
            outputs=[io.Mask.Output(display_name="mask")],
        )

    @classmethod
    def execute(cls, masks, weights, global_fallback) -> io.NodeOutput:
        return io.NodeOutput(weighted_mask(masks, parse_weights(weights), global_fallback))


class MaskToCategory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusFromMask",
            display_name="Mask To Category",
            category=CATEGORY,
            description="Make any MASK a region: a new one, or in place of one that was segmented. "
            "face, hair, clothing and body take their pixels from the other regions.",
            inputs=[
                io.Mask.Input("mask", tooltip="White is the region. Of the same size as the pictures."),
                Parsed(
                    "name",
                    lambda name: check_name(name.strip()),
                    default="tattoo",
                    tooltip="Name of the region.",
                ),
                io.Combo.Input(
                    "merge",
                    options=[ONE_EACH, ONE_PICTURE],
                    default=ONE_EACH,
                    tooltip="What several masks are: one for each picture, or several detections in one "
                    "picture (as SAM3 Detect gives them), which are joined.",
                ),
                SemanticMasksSocket.Input(
                    "masks", optional=True, tooltip="Regions of the same pictures, to add this one to."
                ),
            ],
            outputs=[SemanticMasksSocket.Output(display_name="masks")],
        )

    @classmethod
    def execute(cls, mask, name, merge, masks=None) -> io.NodeOutput:
        layers = mask.reshape(-1, *mask.shape[-2:])
        if merge == ONE_PICTURE:
            layers = layers.amax(0, keepdim=True) if len(layers) else layers
        if not len(layers):
            raise ValueError(
                f"no mask for {name.strip()!r}: the node before found nothing. Change its words or threshold"
            )
        return io.NodeOutput(category_by_hand(name.strip(), layers, masks))


class LoadMaskPictures(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusLoadMaskPictures",
            display_name="Load Mask Pictures",
            category=CATEGORY,
            description="The masks of a dataset that were made for another trainer, one per picture, in the "
            "order of Load Semantic Dataset. For Mask To Category.",
            inputs=[
                Parsed("folder", folder_that_is_there, tooltip="Folder with the training pictures."),
                io.Combo.Input(
                    "form",
                    options=list(FORMS),
                    default=FORMS[0],
                    tooltip="masklabel: <name>-masklabel.png beside the picture (OneTrainer). folder: the "
                    "same name in mask_folder (sd-scripts, diffusion-pipe). alpha: the picture's own "
                    "transparency.",
                ),
                io.String.Input(
                    "mask_folder",
                    default="",
                    tooltip="Folder with the masks, for the form 'folder'. Elsewhere it may stay empty.",
                ),
                io.Combo.Input(
                    "orientation",
                    options=list(ORIENTATIONS),
                    default=ORIENTATIONS[0],
                    optional=True,
                    tooltip="Which way up the masks of photographs are that are stored turned (EXIF). "
                    "as stored: made for sd-scripts or diffusion-pipe. upright: as a viewer shows the "
                    "picture. by size: what their size says, and an error where it says nothing.",
                ),
            ],
            outputs=[io.Mask.Output(display_name="masks", is_output_list=True)],
        )

    @classmethod
    def execute(cls, folder, form, mask_folder, orientation=ORIENTATIONS[0]) -> io.NodeOutput:
        place = folder_to_read(folder)
        mask_place = folder_to_read(mask_folder) if mask_folder else None
        note_files(picture_files, place)
        note_files(_mask_pictures, place, form, mask_place)
        listed = list_pictures(place)
        masks, notes = import_masks(listed.pictures, form, mask_place, orientation)
        remarks = [*notes, *left_out_lines(listed.left_out)]
        for remark in remarks:
            logging.warning(f"{folder}: {remark}")
        said = {"text": ("\n".join(remarks),)} if remarks else {}
        return io.NodeOutput(masks, ui=said)


def _mask_pictures(folder: Path, form: str, mask_folder: Path | None) -> list[Path]:
    return mask_picture_files(picture_files(folder), form, mask_folder)


NODES = [CategoryToMask, MaskToCategory, LoadMaskPictures]
