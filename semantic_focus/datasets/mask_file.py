"""Mask files: one `<stem>_zi_masks.safetensors` beside each picture.

Tensors are named `<category>_mask`, with an optional `persons`. Two encodings are written, and files of other
programs in the second one are read as well:

png     (default) uint8 [N], the bytes of an 8-bit grey PNG picture, 0..255 for 0..1. Regions have one of 52
        levels, soft layers (lighting) one of 32 and persons one of 16 for each 2x2 block of pixels. A
        background that is just what the other regions leave is not stored. At most about 0.5 MB for a
        picture of 1024x1024.
float   float16 [H, W] in 0..1, `persons` [P, H, W]. (Read: any float type, and uint8 for 0..255.)

What a person changed is in the file twice, put together and by itself, see `hand_tensors.py`. The header is a
mapping of strings to strings; nested values are JSON.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from ..files.names import check_readable
from ..files.tensors import DamagedFileError, TensorFile, write_safetensors
from ..files.text import short
from ..regions.hand import machine_part, whole, with_hand
from ..regions.masks import SemanticMasks
from . import mask_limits
from .hand_tensors import MACHINE, as_kept, hand_fields, hand_tensors, read_layers
from .mask_header import (
    BY_HAND,
    DIGEST,
    FORMAT_VERSION,
    HAND_DIGEST,
    HAND_VERSION,
    MACHINE_LABELS,
    has_hand,
    known_header,
    without_hand,
)
from .mask_levels import as_stored
from .mask_limits import size_problem, sum_problem
from .mask_tensors import (
    MASK,
    Region,
    checked_labels,
    count_of_persons,
    float_tensors,
    json_field,
    list_of_labels,
    person_tensors,
    png_tensors,
    read_float_persons,
    read_float_stack,
    read_png_persons,
    read_png_stack,
)
from .ownership import SUFFIX, DamagedMaskFileError, MaskFileError, place_to_write, way_for_masks

ENCODINGS = ("png", "float")


def mask_path(picture: Path) -> Path:
    """Where the masks of a picture file are kept: beside it, `<stem>_zi_masks.safetensors`."""
    return picture.with_name(mask_name(picture))


def mask_name(picture: Path) -> str:
    """The name of the file that `mask_path` gives, for many pictures: a path takes longer to make."""
    return picture.stem + SUFFIX


def save_masks(
    path: str | Path,
    masks: SemanticMasks | Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    encoding: str = "png",
    over_hand: bool = False,
) -> None:
    """Write the masks of one picture, atomically, and only over masks that a segmenter of ours made.

    What is damaged is moved aside; a link is followed.

    Args:
        path: usually `mask_path(picture)`; its folder must be there.
        masks: SemanticMasks of one picture, or category -> Float[H, W] in 0..1, all of one size.
        metadata: more header fields; strings only, as safetensors wants them.
        encoding: "png" or "float", see the head of this file.
        over_hand: replace a file with hand layers too: they were read, and are among `masks` or taken back.

    Raises:
        ValueError: more than one picture, no mask, unequal sizes, values outside 0..1, or another encoding.
        ForeignMaskFileError: other masks are there, made by hand or by another program.
        HandLayersError: masks are there of which a person changed some.
        NoMaskFileError: something else is there, or no folder.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"{path}: encoding must be one of {', '.join(ENCODINGS)}; got {encoding!r}")
    masks = _one_picture(path, masks)
    said = without_hand({"format_version": FORMAT_VERSION, **masks.provenance, **(metadata or {})})
    if masks.hand is not None and DIGEST in said:
        masks = with_hand(as_stored(machine_part(masks), encoding), as_kept(masks.hand.layers))
    else:
        masks = whole(masks)
    tensors, regions, of_hand = _tensors(masks, encoding, DIGEST in said)
    if of_hand:
        said |= {"format_version": HAND_VERSION, HAND_DIGEST: said.pop(DIGEST), **of_hand}
    height, width = masks.size
    header = {
        **said,
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
    write_safetensors(target, tensors, header, way_for_masks(target, over_hand))


def _tensors(
    masks: SemanticMasks, encoding: str, with_layers: bool
) -> tuple[dict[str, Tensor], dict[str, Region], dict[str, str]]:
    """The tensors of a file, what its header says of the regions, and what of hand layers."""
    of_stack = png_tensors if encoding == "png" else float_tensors
    tensors, regions = of_stack(masks)
    tensors |= person_tensors(masks, encoding)
    if masks.hand is None or not with_layers:
        return tensors, regions, {}
    machine, _ = of_stack(machine_part(masks), MACHINE)
    return {**tensors, **machine, **hand_tensors(masks.hand)}, regions, hand_fields(masks.hand)


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
    if persons > mask_limits.MAX_PERSONS:
        raise ValueError(
            f"{path}: {persons} persons of {masks.size[1]}x{masks.size[0]}, a mask file holds "
            f"{mask_limits.MAX_PERSONS}. Select persons first"
        )
    if problem := _hand_sum_problem(masks, persons):
        raise ValueError(f"{path}: {problem}. Make the picture smaller, or select persons first")
    return masks


def _hand_sum_problem(masks: SemanticMasks, persons: int) -> str | None:
    hand = masks.hand
    if hand is None:
        return sum_problem(len(masks.labels), persons, masks.size)
    labels = {*hand.machine_labels, *hand.layers}
    return sum_problem(len(labels), persons, masks.size, len(hand.machine_labels), len(hand.layers))


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
    return known_header(_opened(path).metadata)


def check_file(path: str | Path) -> dict[str, str]:
    """The header of a mask file that is what was written; no mask is decoded. Raises as `load_masks`."""
    file = _opened(path)
    with _damage_named(Path(path)):
        file.check()
    return known_header(file.metadata)


def read_masks(path: str | Path) -> SemanticMasks:
    """The masks of one picture with its persons, the file's header as provenance. Raises as `load_masks`."""
    path = Path(path)
    file = _opened(path)
    header = known_header(file.metadata)
    with _damage_named(path):
        if not has_hand(header):
            return _read(path, file, header, MASK)
        try:
            return _read_with_hand(path, file, header)
        except DamagedMaskFileError:
            raise
        except MaskFileError as error:  # it is moved aside, and not replaced
            raise DamagedMaskFileError(path, error.problem) from error


def _read(
    path: Path, file: TensorFile, header: dict[str, str], ending: str, layers: int = 0
) -> SemanticMasks:
    """The masks of the tensors with this ending, and the persons; so many hand layers are to be read then."""
    if header.get("encoding") == "png":
        tensors = file.tensors()
        size = _size_said(path, header)
        labels = checked_labels(path, header, "labels" if ending == MASK else MACHINE_LABELS)
        count = count_of_persons(path, header) if "persons" in tensors else 0
        _check_sum(path, labels, count, size, layers)
        masks = read_png_stack(path, labels, tensors, size, ending)
        persons = read_png_persons(path, header, tensors, size)
        return SemanticMasks(masks, tuple(labels), persons, header)
    shapes = file.shapes
    labels = _labels(path, header, shapes, ending)
    size = _checked_size(path, [shapes[f"{label}{ending}"] for label in labels], shapes.get("persons"))
    _check_sum(path, labels, shapes["persons"][0] if "persons" in shapes else 0, size, layers)
    file.check()
    masks = read_float_stack(path, labels, file, size, ending)
    persons = (read_float_persons(path, file.tensor("persons"), size),) if "persons" in shapes else ()
    return SemanticMasks(masks, tuple(labels), persons, header)


def _read_with_hand(path: Path, file: TensorFile, header: dict[str, str]) -> SemanticMasks:
    labels = checked_labels(path, header, BY_HAND)
    machine = _read(path, file, header, MACHINE, len(labels))
    layers = read_layers(path, labels, file, machine.size)
    masks = with_hand(machine, layers)
    return SemanticMasks(masks.masks, masks.labels, masks.persons, without_hand(header), masks.hand)


def _size_said(path: Path, header: Mapping[str, str]) -> tuple[int, int]:
    size = json_field(path, header, "image_size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int for side in size):
        raise MaskFileError(path, f"its header field 'image_size' is {short(header.get('image_size'))}")
    _check_sides(path, size)
    return size[0], size[1]


def _check_sum(path: Path, labels: list[str], persons: int, size: tuple[int, int], layers: int) -> None:
    machine = len(labels) if layers else 0
    if problem := sum_problem(len(labels) + layers, persons, size, machine, layers):
        raise MaskFileError(path, problem)


def _opened(path: str | Path) -> TensorFile:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no mask file there. Segment the picture first")
    check_readable(path)
    size = path.stat().st_size
    if size > mask_limits.MAX_BYTES:
        raise MaskFileError(path, f"it is {size} bytes long, a mask file is at most {mask_limits.MAX_BYTES}")
    with open(path, "rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if mask_limits.MAX_HEADER < header <= size:
        raise MaskFileError(
            path, f"its header is {header} bytes long, that of a mask file at most {mask_limits.MAX_HEADER}"
        )
    with _damage_named(path):
        return TensorFile(path)


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    try:
        yield
    except DamagedFileError as error:
        raise DamagedMaskFileError(path, str(error)) from error


def _labels(path: Path, header: Mapping[str, str], shapes: Mapping[str, object], ending: str) -> list[str]:
    """Region names in palette order; files of other programs have no such header and keep their own order."""
    found = [name.removesuffix(ending) for name in shapes if name.endswith(ending)]
    if not found:
        raise MaskFileError(path, f"it holds no tensor named <category>{ending}")
    labels = list_of_labels(path, header, "labels" if ending == MASK else MACHINE_LABELS)
    if ending == MACHINE and sorted(labels) != sorted(found):
        raise MaskFileError(path, f"it holds {short(sorted(found))} and says {short(labels)}")
    return labels if sorted(labels) == sorted(found) else found


def _checked_size(path: Path, masks: list[list[int]], persons: list[int] | None) -> tuple[int, int]:
    """Height and width of all masks."""
    size = masks[0]
    if any(len(shape) != 2 or shape != size for shape in masks):
        raise MaskFileError(path, f"masks must all be [H, W] of one size, got {short(masks)}")
    _check_sides(path, size)
    if persons is not None and (
        len(persons) != 3 or persons[1:] != size or persons[0] > mask_limits.MAX_PERSONS
    ):
        raise MaskFileError(path, f"persons is {persons} but the masks are {size}")
    return size[0], size[1]


def _check_sides(path: Path, size: list[int]) -> None:
    if not all(1 <= side <= mask_limits.MAX_SIDE for side in size):
        raise MaskFileError(path, f"masks are {short(size)}, sides must be 1 to {mask_limits.MAX_SIDE}")
    if size_problem(size[0], size[1]):
        raise MaskFileError(path, f"masks are {size}, a mask file holds {mask_limits.MAX_PIXELS} pixels")
