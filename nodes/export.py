"""The node that writes masks as mask pictures of other trainers."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from comfy_api.latest import io, ui

from ..semantic_focus.datasets.interchange import (
    export_masks,
    exported_mask,
    notes_on_exported,
    pictures_of,
    read_beside,
)
from ..semantic_focus.datasets.mask_pictures import AS_STORED, FORMS, UPRIGHT
from ..semantic_focus.files.text import printable
from ..semantic_focus.files.writing import make_folder
from ..semantic_focus.keywords import parse_weights
from ..semantic_focus.regions.masks import SemanticMasks
from ..semantic_focus.regions.packed import PackedMasks
from .changes import ReadsFiles, note_existence, note_file
from .inputs import Parsed, number
from .inputs import mask_file as mask_file_input
from .paths import file_to_read, folder_to_read, folder_to_write, output_folder
from .sockets import CATEGORY, SemanticMasksSocket

BY_FORM = "by form"
"""As the trainers that the form is for look at pictures."""
MASKS = "masks"
"""Folder below ComfyUI's output folder, where masks go that nobody chose a place for."""
SIDE = 512
"""Longer side of a mask picture as the node shows it."""


class ExportMasks(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusExportMasks",
            display_name="Export Masks",
            category=CATEGORY,
            description="Write one grey mask picture for each training picture, named like it, as other "
            "trainers read them: white is trained, black is not. Files that are not of an export are never "
            "replaced.",
            is_output_node=True,
            is_input_list=True,
            inputs=[
                mask_file_input(),
                io.Combo.Input(
                    "form",
                    options=list(FORMS),
                    default=FORMS[0],
                    tooltip="masklabel: <name>-masklabel.png beside the picture (OneTrainer). folder: the "
                    "same name in mask_folder (sd-scripts, diffusion-pipe). alpha: a copy of the picture "
                    "with the mask as its transparency, in mask_folder (sd-scripts).",
                ),
                io.String.Input(
                    "mask_folder",
                    default="",
                    tooltip="Where to write: a whole path, or a name below ComfyUI's output folder. Empty: "
                    "beside the pictures for masklabel; else output/masks, in a folder named after theirs.",
                ),
                Parsed(
                    "weights",
                    parse_weights,
                    multiline=True,
                    default="face: 1",
                    tooltip="One region per line, name: weight. The sum is cut off at 1.",
                ),
                number("global_fallback", 0.0, (0.0, 1.0), 0.05, "Weight of what no region covers."),
                io.Combo.Input(
                    "orientation",
                    options=[BY_FORM, UPRIGHT, AS_STORED],
                    default=BY_FORM,
                    optional=True,
                    tooltip="Which way up the masks of photographs are that are stored turned (EXIF). by "
                    "form: as the form's trainers read the photograph, which is as stored for the form "
                    "folder. upright: as a viewer shows it.",
                ),
                SemanticMasksSocket.Input(
                    "masks",
                    optional=True,
                    tooltip="The masks of these pictures, in their order. Not connected: those of the mask "
                    "files.",
                ),
            ],
            outputs=[
                io.String.Output(display_name="folder", tooltip="Where the mask pictures are."),
                io.String.Output(display_name="summary"),
            ],
        )

    @classmethod
    def execute(
        cls, mask_file, form, mask_folder, weights, global_fallback, orientation=(BY_FORM,), masks=()
    ) -> io.NodeOutput:
        files = [file_to_read("mask_file", file) for file in mask_file]
        for folder in dict.fromkeys(file.parent for file in files):
            folder_to_read(str(folder))
        pictures = pictures_of(files)
        for file in [*pictures, *(() if masks else files)]:
            note_file(file)
        given = _by_picture(pictures, masks)
        way_up = AS_STORED if form[0] == "folder" else UPRIGHT
        written = export_masks(
            pictures,
            _target_folder(mask_folder[0], form[0], pictures[0].parent),
            form[0],
            parse_weights(weights[0]),
            global_fallback[0],
            way_up if orientation[0] == BY_FORM else orientation[0],
            given.__getitem__ if masks else read_beside,
        )
        for file in written:
            note_existence(file)
        place = str(written[0].parent)
        lines = [f"{len(written)} mask pictures in {place}", *notes_on_exported(written)]
        summary = printable("\n".join(lines))
        shown = [image for file in written for image in _preview(file, cls)]
        return io.NodeOutput(place, summary, ui={**ui.PreviewText(summary).as_dict(), "images": shown})


class _Unpacking(dict[Path, SemanticMasks | PackedMasks]):
    """Masks by picture, unpacked when they are asked for."""

    def __getitem__(self, picture: Path) -> SemanticMasks:
        masks = super().__getitem__(picture)
        return masks.unpacked() if isinstance(masks, PackedMasks) else masks


def _by_picture(pictures: Sequence[Path], masks: Sequence[SemanticMasks | PackedMasks]) -> _Unpacking:
    if masks and len(masks) != len(pictures):
        raise ValueError(
            f"Export Masks, masks: {len(masks)} came in for {len(pictures)} pictures. Connect masks and "
            "mask_file of the same Load Semantic Dataset, one for each picture"
        )
    return _Unpacking(zip(pictures, masks, strict=False))


def _target_folder(chosen: str, form: str, pictures: Path) -> Path | None:
    """Where the mask pictures go; None is beside the pictures. What is below the output folder is made."""
    if not chosen.strip():
        if form == FORMS[0]:
            return None
        digest = hashlib.sha256(str(pictures.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:6]
        folder = output_folder(MASKS, f"{pictures.resolve().name or 'root'}_{digest}")
    else:
        folder = folder_to_write("mask_folder", chosen)
    if folder.is_relative_to(output_folder()):
        for missing in reversed([place for place in folder.parents if place.is_relative_to(output_folder())]):
            make_folder(missing)
    return folder


def _preview(file: Path, node: type[io.ComfyNode]) -> list[dict[str, str]]:
    """A mask picture as ComfyUI shows pictures, made smaller."""
    mask = exported_mask(file)
    mask.thumbnail((SIDE, SIDE))
    grey = torch.from_numpy(np.array(mask, dtype=np.float32) / 255)
    return ui.PreviewImage(grey[None, ..., None].expand(-1, -1, -1, 3), cls=node).as_dict()["images"]


NODES = [ExportMasks]
