"""Nodes that bring a dataset folder into the graph and to its training size."""

import logging
from pathlib import Path

from comfy_api.latest import io

from ..semantic_focus.datasets.fit import LEAST_RESOLUTION, MOST_RESOLUTION, fit, parse_resolutions
from ..semantic_focus.datasets.folder import check_is_folder, dataset_files, pictures_on_disk, scan
from ..semantic_focus.datasets.formats import has_several_frames
from ..semantic_focus.datasets.remarks import first_frame_lines, left_out_lines
from .changes import ReadsFiles, note_files
from .inputs import Parsed
from .paths import folder_to_read
from .sockets import CATEGORY, SemanticMasksSocket


def folder_input() -> Parsed:
    """Where the training pictures are; refused before a model is loaded where there is no such folder."""
    return Parsed(
        "folder",
        folder_that_is_there,
        tooltip="Folder with the training pictures and their caption files.",
    )


def folder_that_is_there(folder: str) -> Path:
    """The folder of a dataset.

    Raises:
        DatasetError: as `folder_to_read`, or there is none.
    """
    root = folder_to_read(folder)
    check_is_folder(root)
    return root


def brackets_choice() -> io.Boolean.Input:
    """Whether captions are read without emphasis."""
    return io.Boolean.Input(
        "literal_brackets",
        default=False,
        optional=True,
        tooltip="( ) in captions are brackets, and not emphasis as in a prompt.",
    )


def resolution_input() -> io.Int.Input:
    """How many pixels pictures are resized to."""
    return io.Int.Input(
        "resolution",
        default=1024,
        min=LEAST_RESOLUTION,
        max=MOST_RESOLUTION,
        step=8,
        tooltip="Side of a square of the wanted number of pixels; pictures keep their aspect.",
    )


def multiple_input(optional: bool = False) -> io.Int.Input:
    """What both sides are multiples of."""
    return io.Int.Input(
        "multiple_of",
        default=64,
        min=8,
        max=256,
        step=8,
        optional=optional,
        tooltip="Both sides become whole multiples of this.",
    )


def more_resolutions_input(hint: str = "") -> Parsed:
    """Other resolutions for every picture; `hint` is said after what they are."""
    return Parsed(
        "more_resolutions",
        parse_resolutions,
        default="",
        optional=True,
        tooltip=f"Every picture at these resolutions as well: 768, 512.{hint}",
    )


class LoadSemanticDataset(ReadsFiles):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusLoadDataset",
            display_name="Load Semantic Dataset",
            category=CATEGORY,
            description="All pictures of a folder, with the captions from the text files beside them.",
            inputs=[
                folder_input(),
                io.String.Input(
                    "default_caption",
                    default="",
                    tooltip="Caption of pictures without a caption file. Empty: such a picture is an error. "
                    "A caption file without words is a caption without words.",
                ),
                brackets_choice(),
            ],
            outputs=[
                io.Image.Output(
                    display_name="images", is_output_list=True, tooltip="Each picture in its own size."
                ),
                io.String.Output(display_name="captions", is_output_list=True),
                io.String.Output(
                    display_name="mask_files",
                    is_output_list=True,
                    tooltip="Where the masks of each picture are kept.",
                ),
            ],
        )

    @classmethod
    def execute(cls, folder, default_caption, literal_brackets=False) -> io.NodeOutput:
        path = folder_to_read(folder)
        note_files(dataset_files, path)
        dataset = scan(path, default_caption, literal_brackets)
        images = pictures_on_disk([picture.path for picture in dataset.pictures])
        moving = [picture.path.name for picture in dataset.pictures if has_several_frames(picture.path)]
        remarks = [*left_out_lines(dataset.left_out), *dataset.notes, *first_frame_lines(moving)]
        for remark in remarks:
            logging.warning(f"{path}: {remark}")
        return io.NodeOutput(
            images,
            [picture.caption for picture in dataset.pictures],
            [str(picture.mask_file.absolute()) for picture in dataset.pictures],
            ui={
                "semantic_focus_folder": [str(path.resolve())],
                "semantic_focus_remarks": [remarks],
                **({"text": ("\n".join(remarks),)} if remarks else {}),
            },
        )


class FitToTrainingSize(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusFit",
            display_name="Fit To Training Size",
            category=CATEGORY,
            description="Cut pictures and masks alike to the training aspect, and resize the pictures. "
            "Put it between segmentation and VAE Encode, so that masks and latents show the same cut.",
            inputs=[
                io.Image.Input("images"),
                SemanticMasksSocket.Input("masks"),
                resolution_input(),
                multiple_input(),
                more_resolutions_input(" Connect the captions through this node then."),
                io.String.Input("caption", optional=True, force_input=True),
            ],
            outputs=[
                io.Image.Output(display_name="fitted_images", is_output_list=True),
                SemanticMasksSocket.Output(display_name="fitted_masks", is_output_list=True),
                io.String.Output(
                    display_name="captions",
                    is_output_list=True,
                    tooltip="The picture's caption, once for each resolution.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls, images, masks, resolution, multiple_of, more_resolutions="", caption=""
    ) -> io.NodeOutput:
        resolutions = [resolution, *parse_resolutions(more_resolutions)]
        fitted = [fit(images[..., :3], masks, side, multiple_of) for side in resolutions]
        pictures, regions = zip(*fitted, strict=True)
        return io.NodeOutput(list(pictures), list(regions), [caption] * len(fitted))


NODES = [LoadSemanticDataset, FitToTrainingSize]
