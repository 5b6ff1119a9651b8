"""Which of the persons in a picture count, chosen without segmenting again."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..categories import PARTITION_PRIORITY, is_soft_layer
from ..files.text import parsed_json
from .blocks import at_full_size
from .by_hand import BACKGROUND, edited, overlaps, parts_of, with_parts
from .masks import SemanticMasks

WORDS = ("all", "largest", "leftmost", "rightmost")
CLAIMED = 1e-3
"""Sum of the person masks from which on a pixel belongs to persons at all."""


def parse_choice(which: str) -> str | tuple[int, ...]:
    """One of `WORDS`, or person numbers from the left, 1 first, ascending.

    Raises:
        ValueError: anything else.
    """
    text = which.strip().lower()
    if text in WORDS:
        return text
    numbers = [part.strip() for part in re.split("[,，、]", text)]
    if not all(number.isdecimal() and len(number) < 10 and int(number) > 0 for number in numbers):
        raise ValueError(
            f"persons are chosen by {', '.join(WORDS)}, or by numbers from the left such as 2 or 1, 3 "
            f"(1 is the leftmost); got {which!r}"
        )
    return tuple(sorted({int(number) for number in numbers}))


def select_persons(masks: SemanticMasks, which: str) -> SemanticMasks:
    """Keep only what belongs to the chosen persons of every picture.

    At each pixel a region keeps the share that the chosen persons have in the sum of all person masks; a
    pixel that no person mask covers (a wisp of hair, a sword) belongs to the nearest person. What parts
    lose, background gets. Soft layers stay as they are.

    Args:
        which: see `parse_choice`. "largest" is the person with the largest mask.

    Returns:
        Masks of the same pictures and labels; `persons` holds the chosen ones. Provenance "chosen_persons"
        says which was asked for, and "person_warnings" (JSON, a list of sentences) which pictures have
        fewer: there, the regions of a person who is not in the picture are zeros.

    Raises:
        ValueError: another text, or masks that cannot tell persons apart.
    """
    choice = parse_choice(which)
    if choice == "all":
        return masks
    if not masks.persons:
        raise ValueError(
            f"these masks cannot tell persons apart, so {which!r} cannot be chosen: choose 'all', or make "
            "the masks with SAM Semantic Segment, which finds every person by itself"
        )
    shares, chosen, warnings = [], [], []
    for number, persons in enumerate(masks.persons, 1):
        indices = _indices(persons, choice)
        shares.append(at_full_size(_share(persons, indices)[None], masks.size)[0])
        chosen.append(persons[indices])
        if missing := _missing(choice, len(persons)):
            warnings.append(f"picture {number} has {_count(len(persons))}: {missing} is not in it")
    share = torch.stack(shares).to(masks.masks)
    parts = {name: layer * share for name, layer in parts_of(masks).items()}
    channels = with_parts(masks, parts, shared_out=not overlaps(masks))
    if BACKGROUND in masks.labels and len(parts) == len(PARTITION_PRIORITY):
        # what no part of somebody was sure of is surroundings when that person does not count
        unsure = 1 - torch.stack([*parts_of(masks).values(), masks.region(BACKGROUND)]).sum(0)
        channels[:, masks.labels.index(BACKGROUND)] += unsure.clamp(0, 1) * (1 - share)
    for index, label in enumerate(masks.labels):
        if not (label in parts or label == BACKGROUND or is_soft_layer(label)):
            channels[:, index] *= share
    said = choice if isinstance(choice, str) else ", ".join(map(str, choice))
    fields = {"chosen_persons": said}
    if warnings:
        fields["person_warnings"] = json.dumps(warnings)
    return replace(edited(masks, channels, f"persons: {said}", **fields), persons=tuple(chosen))


def person_warnings(masks: SemanticMasks) -> list[str]:
    """Sentences about pictures in which chosen persons are not there; empty when all are."""
    try:
        warnings = parsed_json(masks.provenance.get("person_warnings", "[]"))
    except ValueError:
        return []
    return [str(warning) for warning in warnings] if isinstance(warnings, list) else []


def _indices(persons: Tensor, choice: str | tuple[int, ...]) -> list[int]:
    """Positions in Float[P, H, W] of the chosen persons that are there."""
    if not len(persons):
        return []
    if choice == "largest":
        return [int(persons.sum((1, 2)).argmax())]
    if isinstance(choice, str):
        return [0 if choice == "leftmost" else len(persons) - 1]
    return [number - 1 for number in choice if number <= len(persons)]


def _missing(choice: str | tuple[int, ...], count: int) -> str:
    if isinstance(choice, str):
        return "" if count else f"the {choice} one"
    absent = [str(number) for number in choice if number > count]
    return f"number {' and '.join(absent)} from the left" if absent else ""


def _count(persons: int) -> str:
    return {0: "no person", 1: "one person"}.get(persons, f"{persons} persons")


def _share(persons: Tensor, chosen: Sequence[int]) -> Tensor:
    """Float[H, W] in 0..1: how much of each pixel belongs to the chosen of Float[P, H, W]."""
    if not chosen:
        return persons.new_zeros(persons.shape[1:])
    total = persons.sum(0)
    share = persons[list(chosen)].sum(0) / total.clamp_min(CLAIMED)
    unclaimed = total < CLAIMED
    if bool(unclaimed.any()):
        nearest = _nearest(persons)
        mine = torch.zeros_like(unclaimed)
        for index in chosen:
            mine |= nearest == index
        share = torch.where(unclaimed, mine.to(share), share)
    return share.clamp(0, 1)


def _nearest(persons: Tensor) -> Tensor:
    """Int[H, W]: the person whose mask (where it is above one half) is nearest to each pixel."""
    import cv2

    distances = []
    for person in persons.detach().float().cpu().numpy():
        outside = (person <= 0.5).astype(np.uint8)
        far = np.full(outside.shape, np.inf, np.float32)
        distances.append(
            far if outside.all() else cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        )
    return torch.from_numpy(np.argmin(distances, axis=0)).to(persons.device)
