"""The mask cache: when a mask file answers a request, and masks from it or from the segmenter."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..files.tensors import DamagedFileError, TensorFile, write_safetensors
from ..files.text import parsed_json, printable
from ..regions.by_hand import BACKGROUND, parts_of
from ..regions.doubts import joined
from ..regions.masks import SemanticMasks
from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from .claims import claimed_if_free
from .mask_file import FORMAT_VERSION, read_masks, save_masks
from .mask_levels import as_stored
from .ownership import (
    DamagedMaskFileError,
    ForeignMaskFileError,
    MaskFileError,
    header_of_ours,
    keep_damaged,
    place_to_write,
    way_for_masks,
)

ROWS = 256
"""Rows of a picture that are looked at a time."""
SAMPLE = 1 << 14
"""Bytes of one sample of a picture file."""

BY_HAND = "by hand"
"""The backend of masks that a person or another program made."""

ABOUT_FILE = ("absent", "left_out", "aside")
"""Fields of the provenance that tell of a mask file and not of the masks: regions that only the request or
only masks made by hand have, and where a damaged file was moved to."""

PROCESSING = "1"
"""Raised with every change of what all segmenters share: refinement, lighting, partition."""


def picture_digest(image: Tensor) -> str:
    """SHA-256 of a picture's size and 8-bit pixels.

    Args:
        image: Float[H, W, 3] in 0..1 or uint8[H, W, 3].
    """
    found = hashlib.sha256(f"{image.shape[0]}x{image.shape[1]}:".encode())
    for row in range(0, len(image), ROWS):
        part = image[row : row + ROWS]
        pixels = part if part.dtype == torch.uint8 else (part * 255).round().clamp(0, 255).to(torch.uint8)
        found.update(pixels.cpu().contiguous().numpy().data)
    return found.hexdigest()


def picture_stamp(picture: Path) -> str:
    """Size of a picture file and a digest of samples of it, without decoding it; see `is_untouched`.

    Its time is no part of it: a copy of a dataset, on another disk or machine, gets the same mask files, byte
    for byte.
    """
    with picture.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        starts = range(0, size, SAMPLE) if size <= 3 * SAMPLE else (0, (size - SAMPLE) // 2, size - SAMPLE)
        found = hashlib.sha256()
        for start in starts:
            file.seek(start)
            found.update(file.read(SAMPLE))
    return f"{size} bytes sha256:{found.hexdigest()[:16]}"


def is_untouched(picture: Path, masks: Path, header: Mapping[str, str]) -> bool:
    """Whether a picture file is the one that its mask file was made from, as far as can be told unread.

    Its stamp is the same, and nobody has written it since: a few pixels of an encoder without checksums may
    be in no sample. When this is False, the digest of the pixels decides.
    """
    is_older = picture.stat().st_mtime_ns <= masks.stat().st_mtime_ns
    return is_older and header.get("picture_stamp") == picture_stamp(picture)


def request_fields(request: SegmentRequest, segmenter: LazySegmenter) -> dict[str, str]:
    """The header fields that must match, besides the picture's digest, for a file to be fresh."""
    asked = segmenter.answerable(request).prompts
    keywords = (
        list(asked)
        if segmenter.fixed
        else {
            name: dataclasses.asdict(prompt) if segmenter.prompted else {} for name, prompt in asked.items()
        }
    )
    return {
        "format_version": FORMAT_VERSION,
        "sam_version": f"{segmenter.name} {segmenter.weights_id}",
        "keywords": json.dumps(keywords, ensure_ascii=False),
        "processing": PROCESSING,
        "refine": request.refine,
        "overlaps": "kept" if request.keep_overlaps and segmenter.overlaps else "shared out",
    }


def stale_reason(header: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """Why a file with this header does not answer a request; None when it does.

    Args:
        wanted: `request_fields`, and "image_digest" where the picture is at hand.
    """
    reasons = {
        "format_version": "its format version is {found}, now {wanted}",
        "image_digest": "it belongs to another picture, or the picture was edited since",
        "sam_version": "its segmenter is {found}, now {wanted}",
        "keywords": "the keywords changed",
        "processing": "it was made by an older version",
        "refine": "its refinement is {found}, now {wanted}",
        "overlaps": "its overlaps are {found}, now {wanted}",
    }
    for name, reason in reasons.items():
        if name in wanted and not _answers(name, header.get(name), wanted[name]):
            return reason.format(found=header.get(name, "unknown"), wanted=wanted[name])
    return None


def _answers(name: str, found: str | None, wanted: str) -> bool:
    """Whether a header field is what is wanted. A list of keywords is one of categories that must be there:
    its segmenter reads no words, and finds each category for itself.
    """
    if found == wanted or name != "keywords":
        return found == wanted
    try:
        asked, there = parsed_json(wanted), parsed_json(found or "null")
    except ValueError:
        return False
    return isinstance(asked, list) and isinstance(there, list | dict) and set(asked) <= set(map(str, there))


def check_belongs(path: str | Path, masks: SemanticMasks, image: Tensor) -> None:
    """Raise ValueError when masks were made from another picture than `image` [1, H, W, C]."""
    height, width = image.shape[1:3]
    if masks.size != (height, width):
        raise ValueError(
            f"{path}: masks are {masks.size[1]}x{masks.size[0]}, the picture is {width}x{height}: "
            "it belongs to another picture or to another cut of it. Run SAM Semantic Segment on this picture"
        )
    digest = masks.provenance.get("image_digest")
    if digest and digest != picture_digest(image[0, ..., :3]):
        raise ValueError(
            f"{path}: it belongs to another picture, or the picture was edited since. "
            "Run SAM Semantic Segment on this picture"
        )


def _segment_and_keep(
    image: Tensor,
    path: Path | None,
    request: SegmentRequest,
    segmenter: LazySegmenter,
    fields: Mapping[str, str],
    report: Callable[[str], None],
) -> SemanticMasks:
    """Segment one picture Float[H, W, 3] and write its mask file, if there is to be one, with these fields.

    The masks are those that the file gives back, also where it cannot be kept.
    """
    masks = segmenter.get().segment(image[None], request)
    masks = replace(as_stored(masks, own=True), provenance={**masks.provenance, **fields})
    if path is not None:
        try:
            with claimed_if_free(path):  # meanwhile, nobody takes its temporary file for a leftover
                save_masks(path, masks)
        except OSError as error:
            report(f"{error}. The masks are used all the same, and made again next time")
    return masks


def renew_stamp(path: Path, picture: Path, stamp: str) -> None:
    """Write a mask file anew, with another "picture_stamp" and everything else as it is.

    It is not older than its picture then, also where that has a time to come (another machine's clock).

    Raises:
        FileNotFoundError, MaskFileError: as `read_masks`.
        OSError: it cannot be written.
    """
    try:
        file = TensorFile(path)
        tensors = file.tensors()
    except DamagedFileError as error:
        raise DamagedMaskFileError(path, str(error)) from error
    target = place_to_write(path)
    write_safetensors(target, tensors, {**file.metadata, "picture_stamp": stamp}, way_for_masks(target))
    latest = max(path.stat().st_mtime_ns, picture.stat().st_mtime_ns)
    os.utime(path, ns=(latest, latest))


def get_or_segment(
    images: Tensor,
    request: SegmentRequest,
    segmenter: LazySegmenter,
    files: Sequence[Path | None] = (),
    report: Callable[[str], None] = lambda message: None,
) -> SemanticMasks:
    """Read fresh mask files and those that a person made, segment the other pictures and write theirs.

    Args:
        images: Float[B, H, W, 3] in 0..1.
        segmenter: loaded only if some picture has no fresh file.
        files: one path per picture, None or absent for "do not keep".
        report: told in a sentence for each file that is replaced, that was made by hand or that cannot be
            kept, and why.

    Returns:
        Masks with the labels of `request.prompts`; provenance "cache" says how many of the pictures were
        read, "backend" is BY_HAND where a person made the masks; ABOUT_FILE.

    Raises:
        MaskFileError: masks made by hand that do not fit the picture, or something that is no mask file.
    """
    paths = list(files) or [None] * len(images)

    def said(message: str) -> None:
        report(printable(message))

    if len(paths) != len(images):
        raise ValueError(f"{len(images)} pictures but {len(paths)} mask files: connect one path per picture")
    found: list[SemanticMasks] = []
    hits = 0
    wanted, asked = request_fields(request, segmenter), segmenter.answerable(request)
    for image, path in zip(images, paths, strict=True):
        fields = {**wanted, "image_digest": picture_digest(image)}
        size = (image.shape[0], image.shape[1])
        question = _Question(fields, asked.labels, size, segmenter.fixed, said)
        masks, aside = None, ""
        if path is not None:
            masks, aside = _look(path, question)
        if masks is None:
            masks = _segment_and_keep(image, path, asked, segmenter, fields, said)
            masks = replace(masks, provenance={**masks.provenance, **({"aside": aside} if aside else {})})
        else:
            hits += 1
        found.append(_with_labels(masks, request.labels))
    return SemanticMasks(
        found[0].masks if len(found) == 1 else torch.cat([m.masks for m in found]),
        request.labels,
        tuple(m.persons[0] for m in found) if all(m.persons for m in found) else (),
        {
            **found[0].provenance,
            **_joined_scores(found),
            **joined(m.provenance for m in found),
            "cache": f"{hits}/{len(images)}",
        },
    )


def _with_labels(masks: SemanticMasks, labels: tuple[str, ...]) -> SemanticMasks:
    """The same pictures with these labels; what they have no mask of is zeros."""
    if masks.labels == labels:
        return masks
    nothing = torch.zeros_like(masks.masks[:, 0])
    layers = [masks.region(label) if label in masks.labels else nothing for label in labels]
    return replace(masks, masks=torch.stack(layers, 1), labels=labels)


def _joined_scores(found: Sequence[SemanticMasks]) -> dict[str, str]:
    """The detection scores of all pictures, where each has some."""
    scores = [scores_of(masks.provenance) for masks in found]
    return {"scores": json.dumps(sum(scores, []), ensure_ascii=False)} if all(scores) else {}


@dataclass(frozen=True)
class _Question:
    """What a mask file is asked for.

    Attributes:
        fields: of its header; see `stale_reason`.
        labels: the regions that are wanted.
        size: (height, width) of the picture.
        more_will_do: regions in another order, or more of them, do not matter.
        report: told in a sentence what is done with the file, and why.
    """

    fields: Mapping[str, str]
    labels: tuple[str, ...]
    size: tuple[int, int]
    more_will_do: bool
    report: Callable[[str], None]

    def is_answered_by(self, masks: SemanticMasks) -> bool:
        """Whether masks are of these labels and this size."""
        wanted, there = set(self.labels), set(masks.labels)
        right = wanted <= there if self.more_will_do else self.labels == masks.labels
        return right and masks.size == self.size


def _look(path: Path, question: _Question) -> tuple[SemanticMasks | None, str]:
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


def scores_of(provenance: Mapping[str, str]) -> list[dict[str, float]]:
    """The best detection scores by category, for each picture that has some; none where they are not told."""
    try:
        scores = parsed_json(provenance.get("scores", "[]"))
    except ValueError:
        return []
    told = isinstance(scores, list) and all(
        isinstance(one, dict) and all(isinstance(value, int | float) for value in one.values())
        for one in scores
    )
    return scores if told else []


def _read_if_fresh(path: Path, question: _Question) -> SemanticMasks | None:
    try:
        header = header_of_ours(path)
    except FileNotFoundError:
        return None
    except ForeignMaskFileError:
        return _read_by_hand(path, question)
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


def _read_by_hand(path: Path, question: _Question) -> SemanticMasks:
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
