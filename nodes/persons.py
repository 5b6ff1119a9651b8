"""The node that chooses persons."""

import logging
from typing import Any

from comfy_api.latest import io

from ..semantic_focus.regions.persons import parse_choice, person_warnings, select_persons
from .inputs import Parsed
from .preview import check_same_pictures, mask_preview
from .sockets import CATEGORY, SemanticMasksSocket


class SelectPersons(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusSelectPersons",
            display_name="Select Persons",
            category=CATEGORY,
            description="Keep only the regions of some persons; the others become background. "
            "Nothing is segmented again.",
            is_output_node=True,
            inputs=[
                SemanticMasksSocket.Input("masks"),
                Parsed(
                    "which",
                    parse_choice,
                    default="largest",
                    tooltip="all, largest, leftmost, rightmost, a number from the left (1 is the leftmost), "
                    "or several: 1, 3. A picture without that person gets empty regions and a note here.",
                ),
                io.Image.Input(
                    "images", optional=True, tooltip="The segmented pictures: shows the regions over them."
                ),
            ],
            outputs=[
                SemanticMasksSocket.Output(
                    display_name="selected_masks", tooltip="Of the same pictures, whoever is in them."
                )
            ],
        )

    @classmethod
    def execute(cls, masks, which, images=None) -> io.NodeOutput:
        selected = select_persons(masks, which)
        warnings = person_warnings(selected)
        for warning in warnings:
            logging.warning(f"Select Persons, {which.strip()}: {warning}")
        # always there: of several runs over a list, ComfyUI joins what the first one has
        shown: dict[str, Any] = {"text": warnings}
        if images is not None:
            check_same_pictures(images, masks)
            shown["semantic_focus"] = mask_preview(images[..., :3], selected)
        return io.NodeOutput(selected, ui=shown)


NODES = [SelectPersons]
