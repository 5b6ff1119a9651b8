"""Mask cache files: one `<stem>_zi_masks.safetensors` beside each picture.

One uint8 tensor [H, W] per category, `<category>_mask`, 0..255 standing for 0..1 (float tensors in 0..1 are
read as well), an optional tensor `persons` [P, H, W], and a header of strings that says what was segmented
and how, so that a file that no longer belongs to its picture or settings is recognised.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .atomic import write_atomically
from .backends import LazySegmenter, SegmentRequest
from .categories import SEMANTIC_CATEGORIES
from .masks import SemanticMasks

SUFFIX = "_zi_masks.safetensors"
FORMAT_VERSION = "1"
MAX_SIDE = 32768
"""Longest picture side that a mask file may claim, in pixels."""


class MaskFileError(ValueError):
    """A mask file that cannot be used; the message names the file, what is wrong and what to do."""

    def __init__(
        self,
        path: Path,
        problem: str,
        way_out: str = "Delete the file, or run the segmentation again to replace it",
    ):
        super().__init__(f"{path}: {problem}. {way_out}")


def mask_path(picture: Path) -> Path:
    """Where the masks of a picture file are kept: beside it, `<stem>_zi_masks.safetensors`."""
    return picture.with_name(picture.stem + SUFFIX)


def picture_digest(image: Tensor) -> str:
    """SHA-256 of a picture's size and 8-bit pixels.

    Args:
        image: Float[H, W, 3] in 0..1 or uint8[H, W, 3].
    """
    pixels = image if image.dtype == torch.uint8 else (image * 255).round().clamp(0, 255).to(torch.uint8)
    size = f"{image.shape[0]}x{image.shape[1]}:".encode()
    return hashlib.sha256(size + pixels.cpu().contiguous().numpy().tobytes()).hexdigest()


def request_fields(digest: str, request: SegmentRequest, segmenter: LazySegmenter) -> dict[str, str]:
    """The header fields that must match for a file to be fresh."""
    prompts = {
        name: dataclasses.asdict(prompt) if segmenter.prompted else {}
        for name, prompt in request.prompts.items()
    }
    return {
        "format_version": FORMAT_VERSION,
        "image_digest": digest,
        "sam_version": f"{segmenter.name} {segmenter.weights_id}",
        "keywords": json.dumps(prompts, ensure_ascii=False),
        "refine": request.refine,
    }


def save_masks(
    path: str | Path, masks: SemanticMasks | Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write the masks of one picture, atomically.

    Args:
        path: usually `mask_path(picture)`.
        masks: SemanticMasks of one picture, or category -> Float[H, W] in 0..1, all of one size.
        metadata: more header fields; strings only, as safetensors wants them.

    Raises:
        ValueError: more than one picture, no mask, unequal sizes, or values outside 0..1.
    """
    if not isinstance(masks, SemanticMasks):
        if not masks:
            raise ValueError(f"{path}: there is no mask to save")
        if len(sizes := {tuple(mask.shape) for mask in masks.values()}) != 1:
            raise ValueError(f"{path}: the masks of one picture must be of one size, got {sorted(sizes)}")
        masks = SemanticMasks(torch.stack(list(masks.values()))[None].float(), tuple(masks))
    if not masks.labels:
        raise ValueError(f"{path}: there is no mask to save")
    if len(masks.masks) != 1:
        raise ValueError(
            f"{path}: a mask file holds one picture, got {len(masks.masks)}: save them one by one"
        )
    if not bool(((masks.masks >= 0) & (masks.masks <= 1)).all()):
        raise ValueError(f"{path}: mask values must lie in 0..1")
    tensors = {
        f"{label}_mask": _to_bytes(mask) for label, mask in zip(masks.labels, masks.masks[0], strict=True)
    }
    if masks.persons:
        tensors["persons"] = _to_bytes(masks.persons[0])
    height, width = masks.size
    header = {
        "format_version": FORMAT_VERSION,
        **masks.provenance,
        **(metadata or {}),
        "labels": json.dumps(list(masks.labels), ensure_ascii=False),
        "image_size": json.dumps([height, width]),
        "latent_size": json.dumps([height // 8, width // 8]),
        "categories_detected": json.dumps(
            [
                label
                for label, mask in zip(masks.labels, masks.masks[0], strict=True)
                if bool((mask >= 0.5).any())
            ],
            ensure_ascii=False,
        ),
    }
    write_atomically(Path(path), lambda temporary: save_file(tensors, temporary, header))


def to_8_bit(masks: SemanticMasks) -> SemanticMasks:
    """Round masks to what a mask file holds, so that a training does not depend on where they came from.

    The partitioned regions are rounded together (as differences of their rounded running sum): what summed to
    1 at a pixel still does, and none moves by more than 1/255.
    """
    rounded = (masks.masks * 255).round()
    partitioned = [
        index
        for index, label in enumerate(masks.labels)
        if label in SEMANTIC_CATEGORIES and SEMANTIC_CATEGORIES[label].partitioned
    ]
    running = (masks.masks[:, partitioned].cumsum(1) * 255).round()
    shares = running.diff(dim=1, prepend=torch.zeros_like(running[:, :1]))
    rounded[:, partitioned] = shares.clamp(max=255)  # regions that overlap after all may sum to more than 1
    persons = tuple((person * 255).round() / 255 for person in masks.persons)
    return replace(masks, masks=rounded / 255, persons=persons)


def _to_bytes(mask: Tensor) -> Tensor:
    return (mask * 255).round().to(torch.uint8).cpu().contiguous()


def load_masks(path: str | Path) -> dict[str, Tensor]:
    """Category -> Float[H, W] in 0..1 of one mask file.

    Raises:
        FileNotFoundError: no such file.
        MaskFileError: truncated, hostile or not a mask file.
    """
    masks = read_masks(path)
    return dict(zip(masks.labels, masks.masks[0], strict=True))


def read_masks(path: str | Path) -> SemanticMasks:
    """The masks of one picture with its persons, the file's header as provenance. Raises as `load_masks`."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no mask file there. Segment the picture first")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            names = [name for name in file.keys() if name.endswith("_mask")]  # noqa: SIM118 (not a mapping)
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
            labels = _labels(path, names, header)
            _check_shapes(path, [shapes[f"{label}_mask"] for label in labels], shapes.get("persons"))
            masks = torch.stack(
                [_to_float(path, label, file.get_tensor(f"{label}_mask")) for label in labels]
            )
            persons = (_to_float(path, "persons", file.get_tensor("persons")),) if "persons" in shapes else ()
    except SafetensorError as error:
        raise MaskFileError(path, f"not a complete safetensors file ({error})") from error
    return SemanticMasks(masks[None], tuple(labels), persons, header)


def _labels(path: Path, names: list[str], header: Mapping[str, str]) -> list[str]:
    """Region names in palette order; files of other programs have no such header and keep their own order."""
    found = [name.removesuffix("_mask") for name in names]
    if not found:
        raise MaskFileError(path, "it holds no tensor named <category>_mask")
    try:
        order = json.loads(header.get("labels", "null"))
    except (ValueError, RecursionError) as error:
        raise MaskFileError(path, f"its header field 'labels' is not JSON ({error})") from error
    labels = [str(label) for label in order] if isinstance(order, list) else []
    return labels if sorted(labels) == sorted(found) else found


def _check_shapes(path: Path, masks: list[list[int]], persons: list[int] | None) -> None:
    size = masks[0]
    if any(len(shape) != 2 or shape != size for shape in masks):
        raise MaskFileError(path, f"masks must all be [H, W] of one size, got {masks}")
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise MaskFileError(path, f"masks are {size}, sides must be 1 to {MAX_SIDE}")
    if persons is not None and (len(persons) != 3 or persons[1:] != size or persons[0] > 256):
        raise MaskFileError(path, f"persons is {persons} but the masks are {size}")


def _to_float(path: Path, name: str, mask: Tensor) -> Tensor:
    if mask.dtype == torch.uint8:
        return mask.float() / 255
    if not mask.is_floating_point():
        raise MaskFileError(path, f"{name} is {mask.dtype}, expected uint8 or a float type")
    mask = mask.float()
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise MaskFileError(path, f"{name} has values outside 0..1")
    return mask


def stale_reason(header: Mapping[str, str], wanted: Mapping[str, str]) -> str | None:
    """Why a file with this header does not answer the request of `request_fields`; None when it does."""
    reasons = {
        "format_version": "its format version is {found}, now {wanted}",
        "image_digest": "it belongs to another picture, or the picture was edited since",
        "sam_version": "its segmenter is {found}, now {wanted}",
        "keywords": "the keywords changed",
        "refine": "its refinement is {found}, now {wanted}",
    }
    for name, reason in reasons.items():
        if header.get(name) != wanted[name]:
            return reason.format(found=header.get(name, "unknown"), wanted=wanted[name])
    return None


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
    labels = request.labels
    found: list[SemanticMasks] = []
    hits = 0
    for image, path in zip(images, paths, strict=True):
        fields = request_fields(picture_digest(image), request, segmenter)
        masks = _read_if_fresh(path, fields, labels, tuple(image.shape[:2]), report)
        if masks is None:
            masks = to_8_bit(segmenter.get().segment(image[None], request))
            masks = replace(masks, provenance={**masks.provenance, **fields})
            if path is not None:
                save_masks(path, masks)
        else:
            hits += 1
        found.append(masks)
    return SemanticMasks(
        torch.cat([m.masks for m in found]),
        labels,
        tuple(m.persons[0] for m in found) if all(m.persons for m in found) else (),
        {**found[0].provenance, "cache": f"{hits}/{len(images)}"},
    )


def _read_if_fresh(
    path: Path | None,
    fields: Mapping[str, str],
    labels: tuple[str, ...],
    size: tuple[int, ...],
    report: Callable[[str], None],
) -> SemanticMasks | None:
    if path is None or not path.is_file():
        return None
    try:
        masks = read_masks(path)
    except MaskFileError as error:
        report(f"{error}; segmenting again")
        return None
    if "image_digest" not in masks.provenance:
        raise MaskFileError(
            path,
            "it was made by hand or by another program, and would be overwritten",
            "Read it with Load Mask Cache, or move it away",
        )
    reason = stale_reason(masks.provenance, fields)
    if not reason and (masks.labels, masks.size) != (labels, size):
        reason = f"it holds {', '.join(masks.labels)} of {masks.size[1]}x{masks.size[0]}"
    if reason:
        report(f"{path.name} is stale: {reason}; segmenting again")
        return None
    return masks
