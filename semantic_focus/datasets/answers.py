"""What a mask file has to answer when the masks of a picture are asked for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..regions.by_hand import BACKGROUND, parts_of
from ..regions.hand import decides_all, machine_part
from ..regions.masks import SemanticMasks
from .hand_file import OtherSizeError
from .mask_file import read_masks
from .mask_header import EVERYWHERE, by_hand_of, has_hand
from .ownership import (
    DamagedMaskFileError,
    ForeignMaskFileError,
    MaskFileError,
    header_of_ours,
    keep_damaged,
    place_to_write,
)
from .staleness import stale_reason

BY_HAND = "by hand"
"""The backend of masks that a person or another program made."""


@dataclass(frozen=True)
class Question:
    """What a mask file is asked for.

    Attributes:
        fields: of its header; see `stale_reason`.
        labels: the regions that are wanted.
        size: (height, width) of the picture.
        report: told in a sentence what is done with the file, and why.
    """

    fields: Mapping[str, str]
    labels: tuple[str, ...]
    size: tuple[int, int]
    report: Callable[[str], None]

    def is_answered_by(self, masks: SemanticMasks) -> bool:
        """Whether masks have these labels, in any order and maybe more of them, and this size."""
        return set(self.labels) <= set(masks.labels) and masks.size == self.size


def look(path: Path, question: Question) -> tuple[SemanticMasks | None, str]:
    """The masks of a mask file, None when they have to be made, and where a damaged file was moved to."""
    try:
        masks = _read_if_fresh(path, question)
        if masks is None:
            place_to_write(path)
        return masks, ""
    except DamagedMaskFileError as error:
        question.report(f"{error}; segmenting again")
        try:
            return None, keep_damaged(path, error)
        except OSError as problem:
            why = problem.strerror or problem
            question.report(f"{path}: it cannot be moved aside ({why}), and stays as it is")
            return None, ""


def _read_if_fresh(path: Path, question: Question) -> SemanticMasks | None:
    try:
        header = header_of_ours(path)
    except FileNotFoundError:
        return None
    except ForeignMaskFileError:
        return _read_by_hand(path, question)
    if has_hand(header):
        return _read_with_hand(path, header, question)
    reason = stale_reason(header, question.fields)
    try:
        masks = None if reason else read_masks(path)
    except MaskFileError as error:  # it can be made again
        question.report(f"{error}; segmenting again")
        return None
    if masks is not None and not question.is_answered_by(masks):
        reason = f"it holds {', '.join(masks.labels)} of {masks.size[1]}x{masks.size[0]}"
    if reason:
        question.report(f"{path.name} is stale: {reason}; segmenting again")
        return None
    return masks


def _read_with_hand(path: Path, header: Mapping[str, str], question: Question) -> SemanticMasks | None:
    """Masks of which a person changed some; None where the segmenter's part is to be made again."""
    masks, regions = read_masks(path), ", ".join(by_hand_of(header))
    if masks.size != question.size:
        raise OtherSizeError(path, regions, masks.size, question.size)
    reason = stale_reason(header, question.fields)
    if not reason and not question.is_answered_by(machine := machine_part(masks)):
        reason = f"it holds {', '.join(machine.labels)}"
    if not reason:
        return masks
    if decides_all(question.labels, by_hand_of(header, EVERYWHERE)):
        question.report(f"{path.name}: {reason}; all of it was made by hand, and is read as it is")
        return masks
    question.report(
        f"{path.name} is stale: {reason}; segmenting again, around what was made by hand: {regions}"
    )
    return None


def _read_by_hand(path: Path, question: Question) -> SemanticMasks:
    """Masks that a person or another program made, with the labels of the request.

    A region that they lack is empty, and the background what the others leave.
    """
    way_out = "Correct it, or move it away to have the picture segmented"
    try:
        masks = read_masks(path)
    except DamagedMaskFileError:
        raise
    except MaskFileError as error:
        raise MaskFileError(
            path, f"it was made by hand or by another program, and {error.problem}", way_out
        ) from error
    if masks.size != question.size:
        there, wanted = (f"{width}x{height}" for height, width in (masks.size, question.size))
        raise MaskFileError(
            path,
            f"it was made by hand or by another program for a picture of {there}, and this one is {wanted}",
            way_out,
        )
    labels = question.labels
    absent = [label for label in labels if label not in masks.labels]
    left_out = [label for label in masks.labels if label not in labels]
    said = [f"{path.name}: it was made by hand or by another program, and is read as it is"]
    if absent:
        said.append(f"it has no {', '.join(absent)}")
    if left_out:
        said.append(f"{', '.join(left_out)} is not among the keywords and left out")
    question.report("; ".join(said))
    regions = [_region_by_hand(masks, label) for label in labels]
    about = {"backend": BY_HAND, "absent": ", ".join(absent), "left_out": ", ".join(left_out)}
    return SemanticMasks(torch.stack(regions, 1), labels, masks.persons, about)


def _region_by_hand(masks: SemanticMasks, label: str) -> Tensor:
    if label in masks.labels:
        return masks.region(label)
    if label == BACKGROUND:
        parts = parts_of(masks)
        return (
            1 - torch.stack(list(parts.values())).sum(0).clamp_max(1)
            if parts
            else torch.ones_like(masks.masks[:, 0])
        )
    return torch.zeros_like(masks.masks[:, 0])
