"""The mask cache: when a mask file answers a request, and masks from it or from the segmenter."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..files.tensors import DamagedFileError, TensorFile, write_safetensors
from ..files.text import parsed_json, printable
from ..regions.doubts import joined
from ..regions.masks import SemanticMasks
from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from .answers import Question, look
from .claims import turn_to_write
from .hand_file import put_around_hand, save_around_hand
from .mask_header import with_fields
from .mask_levels import as_stored
from .ownership import DamagedMaskFileError, place_to_write, way_for_masks
from .staleness import request_fields

ROWS = 256
"""Rows of a picture that are looked at a time."""
SAMPLE = 1 << 14
"""Bytes of one sample of a picture file."""

ABOUT_FILE = ("absent", "left_out", "aside")
"""Fields of the provenance that tell of a mask file and not of the masks: regions that only the request or
only masks made by hand have, and where a damaged file was moved to."""


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
            masks = save_around_hand(path, masks)
        except OSError as error:
            report(f"{error}. The masks are used all the same, and made again next time")
            with suppress(OSError):
                masks = put_around_hand(path, masks)
    return masks


def renew_stamp(path: Path, picture: Path, fields: Mapping[str, str]) -> None:
    """Write a mask file anew, with these fields in its header, and everything else as it is.

    It is not older than its picture then, also where that has a time to come (another machine's clock).

    Raises:
        FileNotFoundError, MaskFileError: as `read_masks`.
        OSError: it cannot be written.
    """
    target = place_to_write(path)
    with turn_to_write(target):
        try:
            file = TensorFile(path)
            tensors = file.tensors()
        except DamagedFileError as error:
            raise DamagedMaskFileError(path, str(error)) from error
        metadata = with_fields(file.metadata, fields)
        write_safetensors(target, tensors, metadata, way_for_masks(target, over_hand=True))
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
        question = Question(fields, asked.labels, size, said)
        masks, aside = None, ""
        if path is not None:
            masks, aside = look(path, question)
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
        found[0].hand if len(found) == 1 else None,
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
