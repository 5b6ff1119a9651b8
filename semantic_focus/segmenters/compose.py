"""From what a model found in each picture to the masks of a request: refined, and shared out."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from ..categories import PARTITION_PRIORITY
from ..regions.blocks import persons_kept
from ..regions.large import enlarge_into, kept_as, too_large, trim, worked_on
from ..regions.lighting import lighting
from ..regions.masks import SemanticMasks, partition
from ..regions.refine import RefineSettings, refine
from .protocol import SegmentRequest


@dataclass(frozen=True)
class Findings:
    """What was found in one picture of size H, W.

    Attributes:
        regions: Float[H, W] in 0..1 by category; they may overlap.
        persons: Float[P, H, W] in 0..1, one soft mask per person, in any order; None when the model cannot
            tell persons apart.
        scores: best detection score in 0..1 by category, of those that have one.
        shared_out: the parts are shares of each pixel that add up, as a parser's classes do, and not
            detections of which each stands for itself.
    """

    regions: Mapping[str, Tensor]
    persons: Tensor | None
    scores: Mapping[str, float] = field(default_factory=dict)
    shared_out: bool = False


def segment_pictures(
    images: Tensor,
    request: SegmentRequest,
    find: Callable[[Tensor], Findings],
    provenance: Mapping[str, str],
) -> SemanticMasks:
    """Answer every picture of a batch by itself, so that no result depends on the others.

    Args:
        images: Float[B, H, W, 3] in 0..1, sRGB.
        find: looks at one picture, Float[H, W, 3] on the CPU; a large one comes smaller, see `large.py`.
        provenance: what is said of all pictures; "scores" (one object per picture, as JSON) is added.

    Raises:
        ValueError: images of another shape, or with too many pixels.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be [B, H, W, 3], got shape {list(images.shape)}")
    if problem := too_large(images.shape[1], images.shape[2]):
        raise ValueError(f"the picture cannot be segmented: {problem}")
    size = (images.shape[1], images.shape[2])
    # not zeros: memory is taken when it is written to, after a picture was worked on
    masks = images.new_empty((len(images), len(request.labels), *size), dtype=kept_as(size))
    persons, scores = [], []
    for index, image in enumerate(images):
        picture = worked_on(image)
        findings = find(picture)
        layers, instances = compose(picture, findings, request)
        trim(size)
        enlarge_into(masks[index], layers)
        if findings.persons is not None:
            persons.append(persons_kept(instances.to(images.device), size))
        scores.append({label: round(value, 4) for label, value in findings.scores.items()})
    said = {**provenance, "refine": request.refine, "scores": json.dumps(scores, ensure_ascii=False)}
    return SemanticMasks(masks, request.labels, tuple(persons), said)


def compose(picture: Tensor, findings: Findings, request: SegmentRequest) -> tuple[Tensor, Tensor]:
    """Masks Float[K, H, W] of the request's labels and persons Float[P, H, W], left to right, sum at most 1.

    The regions of the partition are cut to persons and parts together and share every pixel out; background
    is the rest. Other categories, and lighting, are layers of their own. With `keep_overlaps` regions stay as
    they were found, and background is what no person or part covers, or what was found as background.
    """
    size = picture.shape[:2]
    names, nothing = list(findings.regions), torch.zeros(size)
    found = [] if findings.persons is None else findings.persons
    layers = torch.stack([*findings.regions.values(), *found, nothing]).clamp(0, 1)
    refined = refine(layers, picture, RefineSettings(mode=request.refine)).clamp(0, 1)
    regions = dict(zip(names, refined, strict=False))
    persons = left_to_right(refined[len(names) : -1])
    parts = {name: regions[name] for name in PARTITION_PRIORITY if name in regions}
    layers = torch.stack([nothing, *parts.values()])
    covered = layers.sum(0).clamp_max(1) if findings.shared_out else layers.amax(0)
    union = torch.maximum(persons.sum(0).clamp_max(1), covered)
    if request.keep_overlaps:
        regions["background"] = torch.maximum(1 - union, regions.get("background", nothing))
    else:
        regions |= partition(parts or {"background": nothing}, person=union)
    if "lighting" in request.labels:
        regions["lighting"] = lighting(picture[None])[0]
    return torch.stack([*(regions.get(label, nothing) for label in request.labels), nothing])[:-1], persons


def left_to_right(persons: Tensor) -> Tensor:
    """Float[P, H, W] ordered by the centre of each mask, scaled down where together they exceed 1."""
    if not len(persons):
        return persons
    columns = persons.sum(1)
    place = torch.arange(columns.shape[1], dtype=columns.dtype, device=columns.device)
    centres = (columns * place).sum(1) / columns.sum(1).clamp_min(1e-6)
    ordered = persons[torch.argsort(centres, stable=True)]
    return ordered / ordered.sum(0).clamp_min(1)


def resized(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Float[N, H, W] of soft masks Float[N, h, w], bilinear, averaged where that makes them smaller."""
    if masks.shape[1:] == size or not len(masks):
        return masks.reshape(len(masks), *size)
    large = functional.interpolate(masks[:, None], size, mode="bilinear", align_corners=False, antialias=True)
    return large[:, 0].clamp(0, 1)
