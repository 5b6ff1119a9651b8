"""Pictures of masks: regions as colours over the picture, and as an index map for drawing elsewhere."""

import colorsys

import torch
from torch import Tensor

from ..categories import SEMANTIC_CATEGORIES, is_soft_layer
from .large import is_large, worked_on, working_size
from .masks import SemanticMasks

Colour = tuple[int, int, int]

ROWS = 256
"""Rows that are drawn at a time."""


def region_colour(label: str) -> Colour:
    """8-bit RGB of a region; categories of the user's own get a bright colour that depends on the name
    only.
    """
    if label in SEMANTIC_CATEGORIES:
        return SEMANTIC_CATEGORIES[label].colour
    hashed = 0x811C9DC5  # FNV-1a with 32 bits: the widgets do the same (web/lib/palette.mjs)
    for byte in label.encode():
        hashed = ((hashed ^ byte) * 0x01000193) & 0xFFFFFFFF
    red, green, blue = colorsys.hsv_to_rgb(hashed / 2**32, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def index_map(masks: Tensor, labels: tuple[str, ...]) -> Tensor:
    """uint8[H, W]: 1 + index of the strongest region at each pixel, 0 where none reaches one half.

    Args:
        masks: Float[K, H, W] in 0..1.
        labels: K names; soft layers take no part.
    """
    strength = masks.new_full(masks.shape[1:], 0.0)
    strongest = torch.zeros(masks.shape[1:], dtype=torch.uint8, device=masks.device)
    for index, label in enumerate(labels):
        if not is_soft_layer(label):
            here = (masks[index] > strength) & (masks[index] >= 0.5)
            strength[here] = masks[index][here]
            strongest[here] = index + 1
    return strongest


def overlay(images: Tensor, masks: SemanticMasks, opacity: float = 0.5) -> Tensor:
    """Regions in their colours over the pictures, with a line along their borders.

    Args:
        images: Float[B, H, W, 3] in 0..1.
        masks: of the same pictures.
        opacity: 0..1 of the colour.

    Returns:
        Float[B, h, w, 3] in 0..1; h and w are H and W, of large pictures those of `working_size`.
    """
    palette = torch.tensor([(255, 255, 255), *map(region_colour, masks.labels)], dtype=torch.float32) / 255
    strength = torch.full((len(palette),), opacity)
    strength[0] = 0
    # background is context: it stays readable under a thinner colour
    if "background" in masks.labels:
        strength[masks.labels.index("background") + 1] *= 0.5
    drawn = images.new_empty((len(images), *working_size(masks.size), 3))
    for into, picture, regions in zip(drawn, images, masks.masks, strict=True):
        if is_large(masks.size):
            picture = worked_on(picture).to(picture)
            regions = torch.stack([worked_on(layer) for layer in regions]).to(regions.device)
        indices = index_map(regions, masks.labels)
        borders = _borders(indices)
        for row in range(0, len(picture), ROWS):  # not all at once: a colour for each pixel takes much memory
            band = slice(row, row + ROWS)
            colours, share = palette[indices[band].long()], strength[indices[band].long()][..., None]
            coloured = picture[band] * (1 - share) + colours * share
            into[band] = torch.where(borders[band][..., None], colours * 0.35 + 0.65, coloured)
    return drawn


def _borders(indices: Tensor) -> Tensor:
    """Bool[H, W]: pixels whose right or lower neighbour belongs to another region."""
    borders = torch.zeros_like(indices, dtype=torch.bool)
    borders[:, :-1] |= indices[:, :-1] != indices[:, 1:]
    borders[:-1] |= indices[:-1] != indices[1:]
    return borders
