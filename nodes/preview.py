"""The mask preview: data for the overlay widget, and overlay pictures."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import folder_paths
import numpy as np
import torch
from comfy_api.latest import io
from PIL import Image

from ..semantic_focus.categories import is_soft_layer
from ..semantic_focus.datasets.cache import picture_digest, scores_of
from ..semantic_focus.datasets.mask_header import DIGEST
from ..semantic_focus.datasets.mending import working_size
from ..semantic_focus.files.writing import write_atomically, write_png
from ..semantic_focus.regions.doubts import doubts_of
from ..semantic_focus.regions.hand import made_by_hand
from ..semantic_focus.regions.large import enlarged
from ..semantic_focus.regions.masks import SemanticMasks, downsample_mask_to_latent
from ..semantic_focus.regions.overlay import index_map, overlay, region_colour
from ..semantic_focus.regions.packed import PackedMasks
from .shown import SHOWN, Kept, Shown, why_not_here
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
    images: torch.Tensor,
    masks: SemanticMasks,
    seconds: float | None = None,
    kept: Sequence[Kept] | None = None,
) -> list[dict[str, Any]]:
    """What the overlay widget draws, one entry per picture; `seconds`: how long all of them took to segment.

    `place` is what the routes of `mend_routes.py` take; where it is None, `why_not` says why the masks cannot
    be mended. `kept`: where the masks of each picture are kept, if the caller knows.

    `picture` and `map` refer to PNG files in ComfyUI's temp folder; in `map` red is 1 + region index (0:
    none) and blue the person number from the left (0: none), both `spread`; green is the strongest soft
    layer, 0..255. Where that folder takes no files there is nothing to draw, and the log says why.
    """
    height, width = masks.size
    scale = min(1.0, PREVIEW_SIDE / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    kept = _kept(images, masks) if kept is None else kept
    try:
        return [
            {
                **_preview(images[index], masks, index, size),
                "seconds": seconds,
                **_place(images[index], masks, kept[index]),
            }
            for index in range(len(images))
        ]
    except OSError as error:
        logging.warning(f"the masks are there but cannot be shown: {error}")
        return []


def _kept(images: torch.Tensor, masks: SemanticMasks) -> list[Kept]:
    """Where the masks of pictures are kept that another node has segmented."""
    digest = picture_digest(images[0]) if len(images) == 1 and DIGEST in masks.provenance else ""
    if why_not := why_not_here(masks, [digest] if digest else [""] * len(images)):
        return [Kept(why_not=why_not)] * len(images)
    file = SHOWN.file_of(digest)
    return [Kept(digest, file, None if file and file.is_file() else PackedMasks.of(masks))]


def _place(picture: torch.Tensor, masks: SemanticMasks, kept: Kept) -> dict[str, Any]:
    if kept.why_not or kept.file is None:
        return {"place": None, "why_not": kept.why_not}
    size = working_size(masks.size)
    shown = Shown(_working_picture(picture, size), masks.size, kept.file, kept.masks)
    return {"place": SHOWN.add(kept.digest, shown), "why_not": ""}


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
        "by_hand": list(made_by_hand(masks)),
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
    doubts, made = doubts_of(masks.provenance), set(made_by_hand(masks))
    found = doubts[index] if len(doubts) == len(masks.masks) else []
    return [
        asdict(doubt) for doubt in found if doubt.flagged and made.isdisjoint((doubt.region, doubt.other))
    ]


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


def _working_picture(picture: torch.Tensor, size: tuple[int, int]) -> Path:
    """The file of a picture Float[H, W, 3] at the size that an editor works at."""
    folder = Path(folder_paths.get_temp_directory())
    if max(size) <= PREVIEW_SIDE:  # it is what the preview shows
        return folder / _temporary_png(_bytes(picture))["filename"]
    pixels = _bytes(enlarged(picture.movedim(-1, 0), size, torch.float32).movedim(0, -1))
    path = folder / f"semantic_focus_{hashlib.sha256(pixels.tobytes()).hexdigest()[:24]}.jpg"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels)
        write_atomically(path, lambda file: image.save(file, "JPEG", quality=95, subsampling=0))
    return path


def _bytes(picture: torch.Tensor) -> np.ndarray:
    """uint8[H, W, 3] of Float[H, W, 3] in 0..1."""
    return (picture * 255).round().clamp(0, 255).to(torch.uint8).cpu().contiguous().numpy()


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
