"""Mask files: one `<stem>_zi_masks.safetensors` beside each picture.

Tensors are named `<category>_mask`, with an optional `persons`. Two encodings are written, and files of other
programs in the second one are read as well:

png     (default) uint8 [N], the bytes of an 8-bit grey PNG picture, 0..255 for 0..1. Regions have one of 52
        levels, soft layers (lighting) one of 32 and persons one of 16 for each 2x2 block of pixels. A
        background that is just what the other regions leave is not stored. At most about 0.5 MB for a
        picture of 1024x1024.
float   float16 [H, W] in 0..1, `persons` [P, H, W]. (Read: any float type, and uint8 for 0..255.)

The header is a mapping of strings to strings; nested values are JSON.
"""

import io
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..categories import SEMANTIC_CATEGORIES, is_soft_layer
from ..files import check_readable, write_safetensors
from ..regions.masks import SemanticMasks

SUFFIX = "_zi_masks.safetensors"
FORMAT_VERSION = "2"
ENCODINGS = ("png", "float")
MAX_SIDE = 32768
"""Longest picture side that a mask file may claim, in pixels."""
MAX_PIXELS = 1 << 28
"""Most pixels that a stored PNG may have: one of a few kilobytes can claim any number."""
MAX_PERSONS = 256
MAX_PERSON_PIXELS = 1 << 30
"""Most pixels that all persons of a stored picture may have together."""
REGION_STEPS, SOFT_STEPS, PERSON_STEPS = 51, 31, 15
"""Steps between 0 and 1 of a region, a soft layer and a person in a png file."""


class MaskFileError(ValueError):
    """A mask file that cannot be used; the message names the file, what is wrong and what to do."""

    def __init__(
        self,
        path: Path,
        problem: str,
        way_out: str = "Run the segmentation again to make it anew, or choose another file",
    ):
        super().__init__(f"{path}: {problem}. {way_out}")


class ForeignMaskFileError(MaskFileError):
    """A mask file that no segmenter of ours made; it is never overwritten."""

    def __init__(self, path: Path):
        super().__init__(
            path,
            "it was made by hand or by another program, and would be overwritten",
            "Read it with Load Mask Cache, or move it away",
        )


def mask_path(picture: Path) -> Path:
    """Where the masks of a picture file are kept: beside it, `<stem>_zi_masks.safetensors`."""
    return picture.with_name(picture.stem + SUFFIX)


def save_masks(
    path: str | Path,
    masks: SemanticMasks | Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    encoding: str = "png",
) -> None:
    """Write the masks of one picture, atomically.

    Args:
        path: usually `mask_path(picture)`.
        masks: SemanticMasks of one picture, or category -> Float[H, W] in 0..1, all of one size.
        metadata: more header fields; strings only, as safetensors wants them.
        encoding: "png" or "float", see the head of this file.

    Raises:
        ValueError: more than one picture, no mask, unequal sizes, values outside 0..1, or another encoding.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"{path}: encoding must be one of {', '.join(ENCODINGS)}; got {encoding!r}")
    masks = _one_picture(path, masks)
    stored = list(range(len(masks.labels)))
    if encoding == "png":
        masks = as_stored(masks)
        stored = [index for index in stored if not _is_the_rest(masks, index)]
    height, width = masks.size
    regions = dict(zip(masks.labels, masks.masks[0], strict=True))
    header = {
        "format_version": FORMAT_VERSION,
        **masks.provenance,
        **(metadata or {}),
        "encoding": encoding,
        "labels": json.dumps(list(masks.labels), ensure_ascii=False),
        "image_size": json.dumps([height, width]),
        "latent_size": json.dumps([height // 8, width // 8]),
        "categories_detected": json.dumps(
            [label for label, mask in regions.items() if bool((mask >= 0.5).any())], ensure_ascii=False
        ),
        "coverage": json.dumps(
            {label: round(float(mask.mean()), 5) for label, mask in regions.items()}, ensure_ascii=False
        ),
    }
    if masks.persons:
        header["persons"] = str(len(masks.persons[0]))
    tensors = {f"{masks.labels[index]}_mask": masks.masks[0, index] for index in stored}
    if masks.persons:
        tensors["persons"] = masks.persons[0]
    if encoding == "png":
        tensors = {name: _to_png(name, mask, masks) for name, mask in tensors.items()}
    else:
        tensors = {name: mask.to(torch.float16) for name, mask in tensors.items()}
    write_safetensors(path, tensors, header)


def size_problem(height: int, width: int) -> str | None:
    """Why a mask file cannot hold a picture of this size, and what to do; None when it can."""
    if max(height, width) <= MAX_SIDE and height * width <= MAX_PIXELS:
        return None
    return (
        f"it is {width}x{height}, a mask file holds sides up to {MAX_SIDE} and {MAX_PIXELS} pixels. "
        "Make the picture smaller"
    )


def _one_picture(path: str | Path, masks: SemanticMasks | Mapping[str, Tensor]) -> SemanticMasks:
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
    persons, pixels = len(masks.persons[0]) if masks.persons else 0, math.prod(masks.size)
    if problem := size_problem(*masks.size):
        raise ValueError(f"{path}: {problem}")
    if persons > MAX_PERSONS or persons * pixels > MAX_PERSON_PIXELS:
        raise ValueError(
            f"{path}: {persons} persons of {masks.size[1]}x{masks.size[0]}, a mask file holds {MAX_PERSONS} "
            f"and {MAX_PERSON_PIXELS} pixels of them. Make the picture smaller, or select persons first"
        )
    return masks


def as_stored(masks: SemanticMasks, encoding: str = "png") -> SemanticMasks:
    """Round masks to what a file holds, so that a training does not depend on where they came from.

    In png files, partitioned regions are rounded together (as differences of their rounded running sum): what
    summed to 1 at a pixel still does, and none moves by more than one step of REGION_STEPS. Soft layers and
    persons get one level for each 2x2 block. Rounding twice changes nothing.
    """
    if encoding == "float":
        persons = tuple(person.half().float() for person in masks.persons)
        return replace(masks, masks=masks.masks.half().float(), persons=persons)
    rounded = (masks.masks * REGION_STEPS).round() / REGION_STEPS
    partitioned = _partitioned(masks.labels)
    running = (masks.masks[:, partitioned].cumsum(1) * REGION_STEPS).round()
    shares = running.diff(dim=1, prepend=torch.zeros_like(running[:, :1]))
    rounded[:, partitioned] = shares.clamp(0, REGION_STEPS) / REGION_STEPS  # overlaps may sum to more than 1
    for index, label in enumerate(masks.labels):
        if is_soft_layer(label):
            blocks = (_blocks(masks.masks[:, index]) * SOFT_STEPS).round() / SOFT_STEPS
            rounded[:, index] = _enlarged(blocks, masks.size)
    persons = tuple(_stored_persons(person) for person in masks.persons)
    return replace(masks, masks=(rounded * 255).round() / 255, persons=persons)


def _stored_persons(persons: Tensor) -> Tensor:
    """Float[P, H, W] rounded together, so that what summed to 1 or less still does."""
    if not len(persons):
        return persons
    running = (_blocks(persons).cumsum(0) * PERSON_STEPS).round()
    steps = running.diff(dim=0, prepend=torch.zeros_like(running[:1])).clamp(0, PERSON_STEPS)
    return _enlarged((steps * (255 / PERSON_STEPS)).round() / 255, (persons.shape[1], persons.shape[2]))


def _partitioned(labels: Sequence[str]) -> list[int]:
    return [
        index
        for index, label in enumerate(labels)
        if label in SEMANTIC_CATEGORIES and SEMANTIC_CATEGORIES[label].partitioned
    ]


def _is_the_rest(masks: SemanticMasks, index: int) -> bool:
    """Whether a label is the background and exactly what the other regions leave of each pixel."""
    if masks.labels[index] != "background" or len(masks.labels) == 1:
        return False
    steps = (masks.masks[0] * 255).round()
    return bool((steps[_partitioned(masks.labels)].sum(0) == 255).all())


def _blocks(layers: Tensor) -> Tensor:
    """Float[B, ceil(H/2), ceil(W/2)]: the mean of each 2x2 block of Float[B, H, W]."""
    return torch.nn.functional.avg_pool2d(layers[:, None].float(), 2, ceil_mode=True)[:, 0]


def _enlarged(blocks: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, H, W] of one value for each 2x2 block."""
    return blocks.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]


def _to_png(name: str, mask: Tensor, masks: SemanticMasks) -> Tensor:
    """uint8[N]: the bytes of a PNG; persons are one above the other."""
    if name == "persons" or is_soft_layer(name.removesuffix("_mask")):
        mask = _blocks(mask.reshape(-1, *masks.size))
    steps = (mask * 255).round().to(torch.uint8).reshape(-1, mask.shape[-1])
    if not steps.numel():
        return torch.zeros(0, dtype=torch.uint8)
    buffer = io.BytesIO()
    # run lengths suit masks: smaller than the usual search for repetitions, and three times as fast
    Image.fromarray(steps.cpu().numpy()).save(buffer, "PNG", compress_level=6, compress_type=zlib.Z_RLE)
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


def load_masks(path: str | Path) -> dict[str, Tensor]:
    """Category -> Float[H, W] in 0..1 of one mask file.

    Raises:
        FileNotFoundError: no such file.
        MaskFileError: truncated, hostile or not a mask file.
    """
    masks = read_masks(path)
    return dict(zip(masks.labels, masks.masks[0], strict=True))


def read_header(path: str | Path) -> dict[str, str]:
    """The header of a mask file, without its masks. Raises as `load_masks`."""
    path = _existing(path)
    try:
        with safe_open(path, framework="np") as file:
            return file.metadata() or {}
    except SafetensorError as error:
        raise _incomplete(path, error) from error


def read_masks(path: str | Path) -> SemanticMasks:
    """The masks of one picture with its persons, the file's header as provenance. Raises as `load_masks`."""
    path = _existing(path)
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            names = [str(name) for name in file.keys()]  # noqa: SIM118 (not a mapping)
            if header.get("encoding") == "png":
                return _read_png(path, header, {name: file.get_tensor(name) for name in names})
            shapes = {name: file.get_slice(name).get_shape() for name in names}
            labels = _labels(path, [name for name in names if name.endswith("_mask")], header)
            _check_shapes(path, [shapes[f"{label}_mask"] for label in labels], shapes.get("persons"))
            masks = torch.stack(
                [_to_float(path, label, file.get_tensor(f"{label}_mask")) for label in labels]
            )
            persons = (_to_float(path, "persons", file.get_tensor("persons")),) if "persons" in shapes else ()
    except SafetensorError as error:
        raise _incomplete(path, error) from error
    return SemanticMasks(masks[None], tuple(labels), persons, header)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no mask file there. Segment the picture first")
    check_readable(path)
    return path


def _incomplete(path: Path, error: Exception) -> MaskFileError:
    return MaskFileError(path, f"not a complete safetensors file ({error})")


def _read_png(path: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> SemanticMasks:
    size = _json(path, header, "image_size")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(side, int) for side in size):
        raise MaskFileError(path, f"its header field 'image_size' is {header.get('image_size')!r}")
    height, width = size
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE and height * width <= MAX_PIXELS):
        raise MaskFileError(path, f"masks are {size}, sides must be 1 to {MAX_SIDE}")
    names = [f"{label}_mask" for label in _list_of_labels(path, header)]
    if not names or len(set(names)) != len(names):
        raise MaskFileError(path, f"its header field 'labels' is {header.get('labels')!r}")
    absent = [name for name in names if name not in tensors]
    if absent not in ([], ["background_mask"]) or len(absent) == len(names):
        raise MaskFileError(path, f"it holds no tensor named {absent[0]}")
    labels = tuple(name.removesuffix("_mask") for name in names)
    masks = torch.zeros(1, len(labels), height, width)
    for index, label in enumerate(labels):
        if names[index] in absent:
            continue
        half = is_soft_layer(label)
        shape = (math.ceil(height / 2), math.ceil(width / 2)) if half else (height, width)
        steps = _from_png(path, names[index], tensors[names[index]], shape)
        masks[0, index] = (_enlarged(steps[None], (height, width))[0] if half else steps).float() / 255
    for name in absent:
        steps = (masks[0, _partitioned(labels)] * 255).round().sum(0)
        masks[0, names.index(name)] = (255 - steps).clamp(min=0) / 255
    return SemanticMasks(masks, labels, _read_persons(path, header, tensors, (height, width)), dict(header))


def _read_persons(
    path: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor], size: tuple[int, int]
) -> tuple[Tensor, ...]:
    if "persons" not in tensors:
        return ()
    count = _json(path, header, "persons")
    if (
        not isinstance(count, int)
        or not 0 <= count <= MAX_PERSONS
        or count * size[0] * size[1] > MAX_PERSON_PIXELS
    ):
        raise MaskFileError(path, f"its header field 'persons' is {header.get('persons')!r}")
    if count == 0:
        return (torch.zeros(0, *size),)
    rows, columns = math.ceil(size[0] / 2), math.ceil(size[1] / 2)
    steps = _from_png(path, "persons", tensors["persons"], (count * rows, columns))
    return (_enlarged(steps.view(count, rows, columns), size).float() / 255,)


def _from_png(path: Path, name: str, content: Tensor, shape: tuple[int, int]) -> Tensor:
    """uint8[shape]; the picture's size is checked before any of it is decoded."""
    if content.dtype != torch.uint8 or content.ndim != 1:
        raise MaskFileError(
            path, f"{name} is {content.dtype} {list(content.shape)}, expected the bytes of a PNG"
        )
    try:
        # not Image.open: its limit is for pictures of unknown size, this one is checked before it is decoded
        picture = PngImageFile(io.BytesIO(content.numpy().tobytes()))
        if picture.mode == "L" and picture.size == (shape[1], shape[0]):
            return torch.from_numpy(np.array(picture))
    except (OSError, SyntaxError, ValueError) as error:
        raise MaskFileError(path, f"{name} is not a complete PNG picture ({error})") from error
    raise MaskFileError(
        path,
        f"{name} is {picture.mode} {picture.size[0]}x{picture.size[1]}, expected L {shape[1]}x{shape[0]}",
    )


def _json(path: Path, header: Mapping[str, str], field: str) -> object:
    try:
        return json.loads(header.get(field, "null"))
    except (ValueError, RecursionError) as error:
        raise MaskFileError(path, f"its header field '{field}' is not JSON ({error})") from error


def _list_of_labels(path: Path, header: Mapping[str, str]) -> list[str]:
    order = _json(path, header, "labels")
    return [str(label) for label in order] if isinstance(order, list) else []


def _labels(path: Path, names: list[str], header: Mapping[str, str]) -> list[str]:
    """Region names in palette order; files of other programs have no such header and keep their own order."""
    found = [name.removesuffix("_mask") for name in names]
    if not found:
        raise MaskFileError(path, "it holds no tensor named <category>_mask")
    labels = _list_of_labels(path, header)
    return labels if sorted(labels) == sorted(found) else found


def _check_shapes(path: Path, masks: list[list[int]], persons: list[int] | None) -> None:
    size = masks[0]
    if any(len(shape) != 2 or shape != size for shape in masks):
        raise MaskFileError(path, f"masks must all be [H, W] of one size, got {masks}")
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise MaskFileError(path, f"masks are {size}, sides must be 1 to {MAX_SIDE}")
    if persons is not None and (len(persons) != 3 or persons[1:] != size or persons[0] > MAX_PERSONS):
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
