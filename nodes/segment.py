"""The segmentation node."""

import logging
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..semantic_focus.backends import BACKENDS, LazySegmenter, SegmentRequest
from ..semantic_focus.cache import get_or_segment
from ..semantic_focus.keywords import format_keywords, parse_keywords
from .preview import mask_preview
from .sockets import CATEGORY, SemanticMasksSocket

WEIGHT_FOLDER = "mediapipe"


def register_weight_folder() -> None:
    """Make models/mediapipe a place where ComfyUI (and extra_model_paths.yaml) can keep the weights."""
    folder_paths.add_model_folder_path(WEIGHT_FOLDER, str(Path(folder_paths.models_dir) / WEIGHT_FOLDER))


class SamSemanticSegment(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusSegment",
            display_name="SAM Semantic Segment",
            category=CATEGORY,
            description="Find face, body, clothing, hair, background and lighting in every picture.",
            is_output_node=True,
            inputs=[
                io.Image.Input("images"),
                io.Combo.Input(
                    "backend",
                    options=["auto", *BACKENDS],
                    default="auto",
                    tooltip="auto takes the best one that is installed; the node shows which one ran.",
                ),
                io.Combo.Input(
                    "refine",
                    options=["off", "fast", "fine"],
                    default="fast",
                    tooltip="How much work goes into holes, specks and edges.",
                ),
                io.String.Input(
                    "keywords",
                    multiline=True,
                    default=format_keywords(SegmentRequest().prompts),
                    tooltip="One category per line, name: keyword, keyword. Add your own.",
                ),
                io.String.Input(
                    "mask_file",
                    optional=True,
                    force_input=True,
                    tooltip="Keep the masks in this file, and read them from it while they fit.",
                ),
            ],
            outputs=[SemanticMasksSocket.Output(display_name="masks")],
        )

    @classmethod
    def validate_inputs(cls, keywords):
        try:
            parse_keywords(keywords)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, images, backend, refine, keywords, mask_file=None) -> io.NodeOutput:
        pictures = images[..., :3]
        request = SegmentRequest(parse_keywords(keywords), refine)
        folders = {WEIGHT_FOLDER: [Path(f) for f in folder_paths.get_folder_paths(WEIGHT_FOLDER)]}
        segmenter = LazySegmenter(backend, folders)
        files = [Path(mask_file)] if mask_file else ()
        masks = get_or_segment(pictures, request, segmenter, files, report=logging.warning)
        return io.NodeOutput(masks, ui={"semantic_focus": mask_preview(pictures, masks)})


NODES = [SamSemanticSegment]
