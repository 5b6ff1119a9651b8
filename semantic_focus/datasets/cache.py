"""The mask cache: when a mask file answers a request, and masks from it or from the segmenter."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from ..files import parsed_json, write_safetensors
from ..regions.masks import SemanticMasks
from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from .claims import claimed_if_free
from .mask_file import (
    FORMAT_VERSION,
    ForeignMaskFileError,
    MaskFileError,
    read_header,
    read_masks,
    save_masks,
)
from .mask_levels import as_stored

ROWS = 256
"""Rows of a picture that are looked at a time."""
SAMPLE = 1 << 14
"""Bytes of one sample of a picture file."""

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
    prompts = {
        name: dataclasses.asdict(prompt) if segmenter.prompted else {}
        for name, prompt in request.prompts.items()
    }
    return {
        "format_version": FORMAT_VERSION,
        "sam_version": f"{segmenter.name} {segmenter.weights_id}",
        "keywords": json.dumps(prompts, ensure_ascii=False),
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
        if name in wanted and header.get(name) != wanted[name]:
            return reason.format(found=header.get(name, "unknown"), wanted=wanted[name])
    return None


def refuse_foreign(path: Path, header: Mapping[str, str]) -> None:
    """Raise ForeignMaskFileError unless one of our segmenters made the file."""
    if "image_digest" not in header:
        raise ForeignMaskFileError(path)


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
) -> SemanticMasks:
    """Segment one picture Float[H, W, 3] and write its mask file, if there is to be one, with these fields.

    The masks are those that the file gives back.
    """
    masks = segmenter.get().segment(image[None], request)
    masks = replace(as_stored(masks, own=True), provenance={**masks.provenance, **fields})
    if path is not None:
        with claimed_if_free(path):  # meanwhile, nobody takes its temporary file for a leftover
            save_masks(path, masks)
    return masks


def renew_stamp(path: Path, picture: Path, stamp: str) -> None:
    """Write a mask file anew, with another "picture_stamp" and everything else as it is.

    It is not older than its picture then, also where that has a time to come (another machine's clock).

    Raises:
        FileNotFoundError, MaskFileError: as `read_masks`.
        OSError: it cannot be written.
    """
    header = {**read_header(path), "picture_stamp": stamp}
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    write_safetensors(path, tensors, header)
    latest = max(path.stat().st_mtime_ns, picture.stat().st_mtime_ns)
    os.utime(path, ns=(latest, latest))


def get_or_segment(
    images: Tensor,
    request: SegmentRequest,
    segmenter: LazySegmenter,
    files: Sequence[Path | None] = (),
    report: Callable[[str], None] = lambda message: None,
) -> SemanticMasks:
    """Read fresh mask files, segment the other pictures and write theirs.

    Args:
        images: Float[B, H, W, 3] in 0..1.
        segmenter: loaded only if some picture has no fresh file.
        files: one path per picture, None or absent for "do not keep".
        report: told in a sentence for each file that is replaced, and why.

    Returns:
        Masks with the labels of `request.prompts`; provenance "cache" says how many of the pictures were
        read.
    """
    paths = list(files) or [None] * len(images)
    if len(paths) != len(images):
        raise ValueError(f"{len(images)} pictures but {len(paths)} mask files: connect one path per picture")
    found: list[SemanticMasks] = []
    hits = 0
    wanted = request_fields(request, segmenter)
    for image, path in zip(images, paths, strict=True):
        fields = {**wanted, "image_digest": picture_digest(image)}
        masks = _read_if_fresh(path, fields, request.labels, tuple(image.shape[:2]), report)
        if masks is None:
            masks = _segment_and_keep(image, path, request, segmenter, fields)
        else:
            hits += 1
        found.append(masks)
    return SemanticMasks(
        found[0].masks if len(found) == 1 else torch.cat([m.masks for m in found]),
        request.labels,
        tuple(m.persons[0] for m in found) if all(m.persons for m in found) else (),
        {**found[0].provenance, **_joined_scores(found), "cache": f"{hits}/{len(images)}"},
    )


def _joined_scores(found: Sequence[SemanticMasks]) -> dict[str, str]:
    """The detection scores of all pictures, where each has some."""
    scores = [scores_of(masks.provenance) for masks in found]
    return {"scores": json.dumps(sum(scores, []), ensure_ascii=False)} if all(scores) else {}


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


def _read_if_fresh(
    path: Path | None,
    fields: Mapping[str, str],
    labels: tuple[str, ...],
    size: tuple[int, ...],
    report: Callable[[str], None],
) -> SemanticMasks | None:
    if path is None or not os.path.isfile(path):  # False as well for a name that no disk holds
        return None
    try:
        header = read_header(path)
        refuse_foreign(path, header)
        reason = stale_reason(header, fields)
        masks = None if reason else read_masks(path)
    except ForeignMaskFileError:
        raise
    except MaskFileError as error:
        report(f"{error}; segmenting again")
        return None
    if masks is not None and (masks.labels, masks.size) != (labels, size):
        reason = f"it holds {', '.join(masks.labels)} of {masks.size[1]}x{masks.size[0]}"
    if reason:
        report(f"{path.name} is stale: {reason}; segmenting again")
        return None
    return masks
