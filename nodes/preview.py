"""The mask preview: data for the overlay widget, and overlay pictures."""

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image

from ..semantic_focus.categories import is_soft_layer
from ..semantic_focus.datasets.cache import scores_of
from ..semantic_focus.files.writing import write_png
from ..semantic_focus.regions.doubts import doubts_of
from ..semantic_focus.regions.masks import SemanticMasks, downsample_mask_to_latent
from ..semantic_focus.regions.overlay import index_map, overlay, region_colour
from .sockets import CATEGORY, SemanticMasksSocket

PREVIEW_SIDE = 1024
"""Longest side of preview pictures in pixels."""
MOST_SHOWN = 255
"""Regions, and persons, that a channel of 8 bits tells apart: of more, the first are drawn."""


def check_same_pictures(images: torch.Tensor, masks: SemanticMasks) -> None:
    """Raise ValueError unless masks are of as many pictures of the same size as `images` [B, H, W, C]."""
    (count, height, width), (rows, columns) = images.shape[:3], masks.size
    if (count, height, width) != (len(masks.masks), rows, columns):
        raise ValueError(
            f"{count} pictures of {width}x{height} but masks of {len(masks.masks)} pictures of "
            f"{columns}x{rows}: connect the pictures that were segmented"
        )


def mask_preview(
    images: torch.Tensor, masks: SemanticMasks, seconds: float | None = None
) -> list[dict[str, Any]]:
    """What the overlay widget draws, one entry per picture; `seconds`: how long all of them took to segment.

    `picture` and `map` refer to PNG files in ComfyUI's temp folder; in `map` red is 1 + region index (0:
    none) and blue the person number from the left (0: none), both `spread`; green is the strongest soft
    layer, 0..255. Where that folder takes no files there is nothing to draw, and the log says why.
    """
    height, width = masks.size
    scale = min(1.0, PREVIEW_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    try:
        return [
            {**_preview(images[index], masks, index, size), "seconds": seconds}
            for index in range(len(images))
        ]
    except OSError as error:
        logging.warning(f"the masks are there but cannot be shown: {error}")
        return []


def spread(numbers: torch.Tensor, largest: int) -> torch.Tensor:
    """uint8: numbers 0..largest in equal steps over 0..255.

    Browsers that hide who uses them add noise to the pixels that a page reads; rounding takes it away again.
    """
    return (numbers * (MOST_SHOWN // max(largest, 1))).to(torch.uint8)


def _preview(
    picture: torch.Tensor, masks: SemanticMasks, index: int, size: tuple[int, int]
) -> dict[str, Any]:
    regions = downsample_mask_to_latent(masks.masks[index], size)
    soft = [k for k, label in enumerate(masks.labels) if is_soft_layer(label)]
    persons = masks.persons[index] if masks.persons else masks.masks[index, :0]
    labels = masks.labels[:MOST_SHOWN]
    indices = index_map(regions[:MOST_SHOWN], labels)
    channels = torch.zeros(*size, 3, dtype=torch.uint8)
    channels[..., 0] = spread(indices, len(labels))
    if soft:
        channels[..., 1] = (regions[soft].amax(0) * 255).round().to(torch.uint8)
    if len(persons):
        told_apart = persons[:MOST_SHOWN]
        strength, person = downsample_mask_to_latent(told_apart, size).max(0)
        channels[..., 2] = spread(torch.where(strength >= 0.5, person + 1, 0), len(told_apart))
    small = torch.stack([downsample_mask_to_latent(colour, size) for colour in picture.unbind(-1)], -1)
    coverage = masks.coverage()[index].tolist()
    scores = _scores(masks, index)
    return {
        "picture": _temporary_png((small * 255).round().to(torch.uint8).numpy()),
        "map": _temporary_png(channels.numpy()),
        "width": masks.size[1],
        "height": masks.size[0],
        "regions": [
            {
                "name": label,
                "colour": region_colour(label),
                "coverage": coverage[k],
                "soft": k in soft,
                "score": scores.get(label),
                "certainty": _mean_inside(regions[k], indices == k + 1),
            }
            for k, label in enumerate(masks.labels)
        ],
        "persons": len(persons) if masks.persons else None,
        "doubts": _doubts(masks, index),
        "chosen": masks.provenance.get("chosen_persons", ""),
        "backend": masks.provenance.get("backend", ""),
        "cache": masks.provenance.get("cache", ""),
    }


def _scores(masks: SemanticMasks, index: int) -> dict[str, float]:
    """The best detection score of each category in a picture, of those that the segmenter scored."""
    scores = scores_of(masks.provenance)
    # a batch that was put together from mask files may have those of its first picture only
    return scores[index] if len(scores) == len(masks.masks) else {}


def _doubts(masks: SemanticMasks, index: int) -> list[dict[str, Any]]:
    """Where the masks of a picture are probably wrong, the gravest first."""
    doubts = doubts_of(masks.provenance)
    found = doubts[index] if len(doubts) == len(masks.masks) else []
    return [asdict(doubt) for doubt in found if doubt.flagged]


def _mean_inside(mask: torch.Tensor, inside: torch.Tensor) -> float | None:
    """Mean of a mask over the pixels where it is the strongest; None when there are none."""
    return float(mask[inside].mean()) if bool(inside.any()) else None


def _temporary_png(pixels: np.ndarray) -> dict[str, str]:
    """Save uint8[H, W, 3] under a name made of its content; the reference is what /view takes.

    Two nodes that show the same picture share the file, and a browser may be reading it: it is never
        rewritten.
    """
    name = f"semantic_focus_{hashlib.sha256(pixels.tobytes()).hexdigest()[:24]}.png"
    path = Path(folder_paths.get_temp_directory()) / name
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)  # ComfyUI makes its own temp folder when it is needed
        picture = Image.fromarray(pixels)
        write_png(path, picture, compress_level=1)
    return {"filename": name, "subfolder": "", "type": "temp"}


class SemanticMaskPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="SemanticFocusPreview",
            display_name="Semantic Mask Preview",
            category=CATEGORY,
            description="Show the regions in their colours over the pictures.",
            is_output_node=True,
            inputs=[
                io.Image.Input("images"),
                SemanticMasksSocket.Input("masks"),
                io.Float.Input(
                    "opacity", default=0.5, min=0.0, max=1.0, step=0.05, display_mode=io.NumberDisplay.slider
                ),
            ],
            outputs=[io.Image.Output(display_name="overlay")],
        )

    @classmethod
    def execute(cls, images, masks, opacity) -> io.NodeOutput:
        pictures = images[..., :3]
        if len(masks.masks) != len(pictures):
            raise ValueError(
                f"{len(pictures)} pictures but masks of {len(masks.masks)}: connect masks of these pictures"
            )
        if masks.size != tuple(pictures.shape[1:3]):
            masks = masks.to_latent(tuple(pictures.shape[1:3]))
        return io.NodeOutput(
            overlay(pictures, masks, opacity), ui={"semantic_focus": mask_preview(pictures, masks)}
        )


NODES = [SemanticMaskPreview]
