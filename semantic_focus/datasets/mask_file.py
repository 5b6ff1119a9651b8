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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from ..categories import is_soft_layer
from ..files.names import check_readable
from ..files.tensors import DamagedFileError, TensorFile, write_safetensors
from ..files.text import parsed_json, short
from ..regions.blocks import at_full_size, persons_size, size_in_blocks, to_blocks
from ..regions.by_hand import BACKGROUND
from ..regions.large import LONGEST_SIDE, is_large, kept_as
from ..regions.masks import SemanticMasks
from .mask_levels import Rest, partitioned, person_steps, put, region_steps, to_png
from .ownership import SUFFIX, DamagedMaskFileError, MaskFileError, place_to_write, way_for_masks

FORMAT_VERSION = "2"
ENCODINGS = ("png", "float")
MAX_SIDE = LONGEST_SIDE
"""Longest picture side that a mask file may claim, in pixels."""
MAX_PIXELS = 1 << 28
"""Most pixels that a stored PNG may have: one of a few kilobytes can claim any number."""
MAX_PERSONS = 256
MAX_HEADER = 1 << 20
"""Most bytes of a header."""
MAX_BYTES = 1 << 31
"""Most memory that all masks and persons of one picture may take together."""


def mask_path(picture: Path) -> Path:
    """Where the masks of a picture file are kept: beside it, `<stem>_zi_masks.safetensors`."""
    return picture.with_name(picture.stem + SUFFIX)


def save_masks(
    path: str | Path,
    masks: SemanticMasks | Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    encoding: str = "png",
) -> None:
    """Write the masks of one picture, atomically, and only over masks that a segmenter of ours made.

    What is damaged is moved aside; a link is followed.

    Args:
        path: usually `mask_path(picture)`; its folder must be there.
        masks: SemanticMasks of one picture, or category -> Float[H, W] in 0..1, all of one size.
        metadata: more header fields; strings only, as safetensors wants them.
        encoding: "png" or "float", see the head of this file.

    Raises:
        ValueError: more than one picture, no mask, unequal sizes, values outside 0..1, or another encoding.
        ForeignMaskFileError: other masks are there, made by hand or by another program.
        NoMaskFileError: something else is there, or no folder.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"{path}: encoding must be one of {', '.join(ENCODINGS)}; got {encoding!r}")
    masks = _one_picture(path, masks)
    tensors, regions = _png_tensors(masks) if encoding == "png" else _float_tensors(masks)
    height, width = masks.size
    header = {
        "format_version": FORMAT_VERSION,
        **masks.provenance,
        **(metadata or {}),
        "encoding": encoding,
        "labels": json.dumps(list(masks.labels), ensure_ascii=False),
        "image_size": json.dumps([height, width]),
        "latent_size": json.dumps([height // 8, width // 8]),
        "categories_detected": json.dumps(
            [label for label, region in regions.items() if region.detected], ensure_ascii=False
        ),
        "coverage": json.dumps(
            {label: round(region.coverage, 5) for label, region in regions.items()}, ensure_ascii=False
        ),
    }
    if masks.persons:
        header["persons"] = str(len(masks.persons[0]))
    target = place_to_write(Path(path))
    write_safetensors(target, tensors, header, way_for_masks(target))


@dataclass(frozen=True)
class _Region:
    """What a header says of one region: the share that it covers, and whether it reaches one half."""

    coverage: float
    detected: bool

    @staticmethod
    def of(mask: Tensor) -> "_Region":
        mask = mask.float()
        return _Region(float(mask.mean()), bool(mask.max() >= 0.5) if mask.numel() else False)


def _png_tensors(masks: SemanticMasks) -> tuple[dict[str, Tensor], dict[str, _Region]]:
    """The tensors of a png file by name, and the regions by label; one after the other, to take little."""
    found: dict[str, Tensor] = {}
    regions: dict[str, _Region] = {}
    among, rest = partitioned(masks.labels), Rest(masks.size)
    # the background last: whether it is just what the others leave is known then
    order = sorted(range(len(masks.labels)), key=lambda index: masks.labels[index] == BACKGROUND)
    for index, steps in zip(order, region_steps(masks, order), strict=True):
        label, of_255 = masks.labels[index], steps.numpy()
        regions[label] = _Region(float(of_255.mean(dtype=np.float64)) / 255, bool(of_255.max() >= 128))
        if label != BACKGROUND or len(masks.labels) == 1 or not rest.is_just(steps):
            found[label] = to_png(steps[::2, ::2] if is_soft_layer(label) else steps)
        if index in among:
            rest.take(steps)
    tensors = {f"{label}_mask": found[label] for label in masks.labels if label in found}
    if masks.persons:
        tensors["persons"] = to_png(person_steps(masks))
    return tensors, {label: regions[label] for label in masks.labels}


def _float_tensors(masks: SemanticMasks) -> tuple[dict[str, Tensor], dict[str, _Region]]:
    layers = dict(zip(masks.labels, masks.masks[0], strict=True))
    tensors = {f"{label}_mask": mask.to(torch.float16) for label, mask in layers.items()}
    if masks.persons:
        tensors["persons"] = at_full_size(masks.persons[0].to(torch.float16), masks.size)
    return tensors, {label: _Region.of(mask) for label, mask in layers.items()}


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
    if not all(
        float(layer.min()) >= 0 and float(layer.max()) <= 1 for layer in masks.masks[0] if layer.numel()
    ):
        raise ValueError(f"{path}: mask values must lie in 0..1")
    persons = len(masks.persons[0]) if masks.persons else 0
    if problem := size_problem(*masks.size):
        raise ValueError(f"{path}: {problem}")
    if persons > MAX_PERSONS:
        raise ValueError(
            f"{path}: {persons} persons of {masks.size[1]}x{masks.size[0]}, a mask file holds {MAX_PERSONS}. "
            "Select persons first"
        )
    if problem := _sum_problem(len(masks.labels), persons, masks.size):
        raise ValueError(f"{path}: {problem}. Make the picture smaller, or select persons first")
    return masks


def _sum_problem(labels: int, persons: int, size: Sequence[int]) -> str | None:
    """Why masks and persons of this many pixels are not held in memory; None when they are."""
    height, width = size
    takes = (labels + persons) * height * width * kept_as((height, width)).itemsize
    if takes <= MAX_BYTES:
        return None
    return (
        f"{labels} masks and {persons} persons of {width}x{height} take {takes / 2**30:.1f} GiB of memory, "
        f"all of one picture may take {MAX_BYTES / 2**30:g}"
    )


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
    return _opened(path).metadata


def check_file(path: str | Path) -> dict[str, str]:
    """The header of a mask file that is what was written; no mask is decoded. Raises as `load_masks`."""
    file = _opened(path)
    with _damage_named(Path(path)):
        file.check()
    return file.metadata


def read_masks(path: str | Path) -> SemanticMasks:
    """The masks of one picture with its persons, the file's header as provenance. Raises as `load_masks`."""
    path = Path(path)
    file = _opened(path)
    header, shapes = file.metadata, file.shapes
    with _damage_named(path):
        if header.get("encoding") == "png":
            return _read_png(path, header, file.tensors())
        labels = _labels(path, [name for name in shapes if name.endswith("_mask")], header)
        size = _checked_size(path, [shapes[f"{label}_mask"] for label in labels], shapes.get("persons"))
        file.check()
        masks = torch.empty(len(labels), *size, dtype=kept_as(size))
        for into, label in zip(masks, labels, strict=True):
            into.copy_(_to_float(path, label, file.tensor(f"{label}_mask")))
        persons = (_persons_kept(path, file.tensor("persons"), size),) if "persons" in shapes else ()
    return SemanticMasks(masks[None], tuple(labels), persons, header)


def _opened(path: str | Path) -> TensorFile:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no mask file there. Segment the picture first")
    check_readable(path)
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise MaskFileError(path, f"it is {size} bytes long, a mask file is at most {MAX_BYTES}")
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if MAX_HEADER < header <= size:
        raise MaskFileError(
            path, f"its header is {header} bytes long, that of a mask file at most {MAX_HEADER}"
        )
    with _damage_named(path):
        return TensorFile(path)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedFileError as error:
        raise DamagedMaskFileError(path, str(error)) from error


def _read_png(path: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> SemanticMasks:
    size = _json(path, header, "image_size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        raise MaskFileError(path, f"its header field 'image_size' is {short(header.get('image_size'))}")
    height, width = size
    _check_sides(path, size)
    names = [f"{label}_mask" for label in _list_of_labels(path, header)]
    if not names or len(set(names)) != len(names):
        raise MaskFileError(path, f"its header field 'labels' is {short(header.get('labels'))}")
    absent = [name for name in names if name not in tensors]
    if absent not in ([], ["background_mask"]) or len(absent) == len(names):
        raise MaskFileError(path, f"it holds no tensor named {absent[0]}")
    labels = tuple(name.removesuffix("_mask") for name in names)
    persons = _count_of_persons(path, header) if "persons" in tensors else 0
    if problem := _sum_problem(len(labels), persons, size):
        raise MaskFileError(path, problem)
    masks = torch.zeros(1, len(labels), height, width, dtype=kept_as((height, width)))
    among, rest = partitioned(labels), Rest((height, width))
    for index, label in enumerate(labels):
        if names[index] in absent:
            continue
        half = is_soft_layer(label)
        shape = size_in_blocks((height, width)) if half else (height, width)
        steps = _from_png(path, names[index], tensors[names[index]], shape)
        put(masks[0, index], steps, half)
        if absent and index in among:
            rest.take(steps)
    for name in absent:
        put(masks[0, names.index(name)], rest.left, in_blocks=False)
    return SemanticMasks(masks, labels, _read_persons(path, header, tensors, (height, width)), dict(header))


def _read_persons(
    path: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor], size: tuple[int, int]
) -> tuple[Tensor, ...]:
    if "persons" not in tensors:
        return ()
    count = _count_of_persons(path, header)
    if count == 0:
        return (torch.zeros(0, *size),)
    rows, columns = size_in_blocks(size)
    steps = _from_png(path, "persons", tensors["persons"], (count * rows, columns)).view(count, rows, columns)
    persons = torch.empty(count, *persons_size(size), dtype=kept_as(size))
    for into, levels in zip(persons, steps, strict=True):
        put(into, levels, in_blocks=into.shape != levels.shape)
    return (persons,)


def _count_of_persons(path: Path, header: Mapping[str, str]) -> int:
    count = _json(path, header, "persons")
    if type(count) is not int or not 0 <= count <= MAX_PERSONS:
        raise MaskFileError(path, f"its header field 'persons' is {short(header.get('persons'))}")
    return count


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
        raise DamagedMaskFileError(path, f"{name} is not a complete PNG picture ({error})") from error
    raise MaskFileError(
        path,
        f"{name} is {picture.mode} {picture.size[0]}x{picture.size[1]}, expected L {shape[1]}x{shape[0]}",
    )


def _json(path: Path, header: Mapping[str, str], field: str) -> object:
    try:
        return parsed_json(header.get(field, "null"))
    except ValueError as error:
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


def _checked_size(path: Path, masks: list[list[int]], persons: list[int] | None) -> tuple[int, int]:
    """Height and width of all masks."""
    size = masks[0]
    if any(len(shape) != 2 or shape != size for shape in masks):
        raise MaskFileError(path, f"masks must all be [H, W] of one size, got {short(masks)}")
    _check_sides(path, size)
    if persons is not None and (len(persons) != 3 or persons[1:] != size or persons[0] > MAX_PERSONS):
        raise MaskFileError(path, f"persons is {persons} but the masks are {size}")
    if problem := _sum_problem(len(masks), persons[0] if persons else 0, size):
        raise MaskFileError(path, problem)
    return size[0], size[1]


def _check_sides(path: Path, size: list[int]) -> None:
    if not all(1 <= side <= MAX_SIDE for side in size):
        raise MaskFileError(path, f"masks are {short(size)}, sides must be 1 to {MAX_SIDE}")
    if size_problem(size[0], size[1]):
        raise MaskFileError(path, f"masks are {size}, a mask file holds {MAX_PIXELS} pixels")


def _persons_kept(path: Path, stored: Tensor, size: tuple[int, int]) -> Tensor:
    """Float[P, *persons_size(size)] of the persons of a float file, one after the other, to take little."""
    persons = torch.empty(len(stored), *persons_size(size), dtype=kept_as(size))
    for into, person in zip(persons, stored, strict=True):
        person = _to_float(path, "persons", person)
        into.copy_(to_blocks(person[None])[0] if is_large(size) else person)
    return persons


def _to_float(path: Path, name: str, mask: Tensor) -> Tensor:
    if mask.dtype == torch.uint8:
        return mask.float() / 255
    if not mask.is_floating_point():
        raise MaskFileError(path, f"{name} is {mask.dtype}, expected uint8 or a float type")
    mask = mask.float()
    if mask.numel() and not (float(mask.min()) >= 0 and float(mask.max()) <= 1):
        raise MaskFileError(path, f"{name} has values outside 0..1")
    return mask
