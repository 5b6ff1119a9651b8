"""Categories put into a mask stack by hand, and taken out of it as one mask."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..categories import PARTITION_PRIORITY, is_soft_layer
from ..keywords import check_name
from .masks import SemanticMasks, of_another_picture, partition

BACKGROUND = "background"
OVERLAP_TOLERANCE = 0.02
"""How far above 1 the sum of the regions may be at a pixel before they count as overlapping."""


def is_part(label: str) -> bool:
    """Whether a label is a part of a person that excludes the others (face, hair, clothing, body)."""
    return label in PARTITION_PRIORITY


def parts_of(masks: SemanticMasks) -> dict[str, Tensor]:
    """Float[B, H, W] of every part that is there, the highest priority first."""
    return {name: masks.region(name) for name in PARTITION_PRIORITY if name in masks.labels}


def overlaps(masks: SemanticMasks) -> bool:
    """Whether regions were left to overlap: then they are not shared out again after a change."""
    regions = [label for label in masks.labels if is_part(label) or label == BACKGROUND]
    if len(regions) < 2:
        return False
    total = torch.stack([masks.region(label) for label in regions]).sum(0)
    return bool((total > 1 + OVERLAP_TOLERANCE).any())


def edited(masks: SemanticMasks, channels: Tensor, what: str, **said: str) -> SemanticMasks:
    """The same pictures with other masks, and a note about it in the provenance.

    The digest of the picture goes: a file of such masks counts as made by hand, so that a segmenter neither
    takes it for its own answer nor overwrites it.

    Args:
        channels: Float[B, K, H, W] in 0..1, one per label of `masks`.
        what: what was done, in a few words; provenance "edited" collects them.
        said: more fields for the provenance.
    """
    provenance = of_another_picture(masks.provenance)
    so_far = provenance.get("edited")
    provenance["edited"] = f"{so_far}; {what}" if so_far else what
    return replace(masks, masks=channels, provenance={**provenance, **said}, hand=None)


def with_parts(masks: SemanticMasks, parts: Mapping[str, Tensor], shared_out: bool = True) -> Tensor:
    """Float[B, K, H, W]: the stack with other parts, and a background that gives or takes the difference.

    What no label covered before (the parts that were not asked for) is not given to the background.

    Args:
        parts: Float[B, H, W] in 0..1 for labels that are parts; missing ones stay as they are. Iteration
            order is priority: the first keeps all it asks for.
        shared_out: cut the parts so that they sum to 1 at most; False leaves overlaps.
    """
    before = parts_of(masks)
    after = {**parts, **{name: layer for name, layer in before.items() if name not in parts}}
    if shared_out and after:
        shares = partition(after, priority=tuple(after))
        after = {name: shares[name] for name in after}
    channels = masks.masks.clone()
    for name, layer in after.items():
        channels[:, masks.labels.index(name)] = layer
    if BACKGROUND in masks.labels and after:
        covered, left = _union(after, shared_out), _union(before, shared_out)
        background = masks.region(BACKGROUND) + left - covered
        limit = 1 - covered if shared_out else torch.ones_like(covered)
        channels[:, masks.labels.index(BACKGROUND)] = torch.minimum(background, limit).clamp(0, 1)
    return channels


def _union(parts: Mapping[str, Tensor], shared_out: bool) -> Tensor:
    layers = torch.stack(list(parts.values()))
    return layers.sum(0).clamp_max(1) if shared_out else layers.amax(0)


def set_category(name: str, mask: Tensor, masks: SemanticMasks | None = None) -> SemanticMasks:
    """Masks in which the category `name` is `mask`.

    The mask is kept as it is. A part (face, hair, clothing, body) takes its pixels from the other regions,
    which share the rest out by the usual priority; where the part has become smaller, background comes in. A
    mask for the background takes its pixels from all parts. Soft layers, categories of the user's own, and
    regions that were left to overlap take nothing from each other.

    Args:
        name: category; a new one becomes the last label.
        mask: Float[B, H, W] in 0..1.
        masks: of the same B pictures, in the same size. None: the category alone; a part gets a background
            that is all the rest.

    Raises:
        ValueError: an unusable name, another number of pictures, or another size.
    """
    check_name(name)
    mask = mask.float().clamp(0, 1)
    if masks is None:
        layers = {name: mask, BACKGROUND: 1 - mask} if is_part(name) else {name: mask}
        return SemanticMasks(
            torch.stack(list(layers.values()), 1), tuple(layers), (), {"edited": f"{name} from a mask"}
        )
    check_same(name, mask, masks)
    shared = not overlaps(masks)
    if name not in masks.labels:
        empty = torch.zeros_like(mask)[:, None].to(masks.masks)
        masks = replace(masks, masks=torch.cat((masks.masks, empty), 1), labels=(*masks.labels, name))
    mask = mask.to(masks.masks)
    if is_part(name):
        channels = with_parts(masks, {name: mask}, shared)
    else:
        channels = masks.masks.clone()
        if name == BACKGROUND and shared:
            for part, layer in parts_of(masks).items():
                channels[:, masks.labels.index(part)] = layer * _scale(parts_of(masks), 1 - mask)
        channels[:, masks.labels.index(name)] = mask
    return edited(masks, channels, f"{name} from a mask")


def _scale(parts: Mapping[str, Tensor], room: Tensor) -> Tensor:
    """Factor 0..1 that makes parts fit into `room` at every pixel."""
    total = torch.stack(list(parts.values())).sum(0)
    return torch.where(total > room, room / total.clamp_min(1e-6), 1.0)


def check_same(name: str, mask: Tensor, masks: SemanticMasks) -> None:
    """Raise ValueError unless `mask` [B, H, W] is of as many pictures as `masks`, in their size."""
    if len(mask) != len(masks.masks):
        raise ValueError(
            f"{name}: {len(mask)} masks for {len(masks.masks)} pictures: give one mask per picture, or merge "
            "the masks of one picture into one"
        )
    if tuple(mask.shape[1:]) != masks.size:
        raise ValueError(
            f"{name}: the mask is {mask.shape[2]}x{mask.shape[1]} but the pictures are "
            f"{masks.size[1]}x{masks.size[0]}: make the mask on the picture that was segmented, or resize it "
            "first (for example with ComfyUI's 'Upscale Image' between 'Convert Mask to Image' and back)"
        )


def weighted_mask(masks: SemanticMasks, weights: Mapping[str, float], fallback: float = 0.0) -> Tensor:
    """One mask from several categories: Σ weight · mask, cut off at 1.

    Args:
        weights: by label.
        fallback: weight of what no category covers, 1 − min(1, Σ masks) over all labels but soft layers.

    Returns:
        Float[B, H, W] in 0..1.

    Raises:
        ValueError: no weight at all, or a category that is not among the labels.
    """
    if not weights and not fallback:
        raise ValueError("no category given. Write one per line, for example 'face: 1'")
    if unknown := [name for name in weights if name not in masks.labels]:
        raise ValueError(
            f"no category {unknown[0]!r} in these masks; there are {', '.join(masks.labels)}: correct the "
            "name, or add the category to the keywords and segment again"
        )
    total = torch.zeros_like(masks.masks[:, 0], dtype=torch.float32)
    for name, weight in weights.items():
        total = total + weight * masks.region(name)
    if fallback:
        regions = [masks.region(label) for label in masks.labels if not is_soft_layer(label)]
        covered = torch.stack(regions).sum(0).clamp_max(1) if regions else torch.zeros_like(total)
        total = total + fallback * (1 - covered)
    return total.clamp(0, 1)
