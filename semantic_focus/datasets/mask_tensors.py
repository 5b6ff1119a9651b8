"""Masks and persons as the tensors of a mask file, in both of its encodings."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor

from ..categories import is_soft_layer
from ..files.tensors import TensorFile
from ..files.text import parsed_json, short
from ..regions.blocks import at_full_size, persons_size, size_in_blocks, to_blocks
from ..regions.by_hand import BACKGROUND
from ..regions.large import is_large, kept_as
from ..regions.masks import SemanticMasks
from .mask_levels import Rest, partitioned, person_steps, put, region_steps, to_png
from .mask_limits import MAX_PERSONS
from .ownership import DamagedMaskFileError, MaskFileError

MASK = "_mask"
"""Ending of a region's tensor."""


@dataclass(frozen=True)
class Region:
    """What a header says of one region: the share that it covers, and whether it reaches one half."""

    coverage: float
    detected: bool

    @staticmethod
    def of(mask: Tensor) -> "Region":
        mask = mask.float()
        return Region(float(mask.mean()), bool(mask.max() >= 0.5) if mask.numel() else False)


def png_tensors(masks: SemanticMasks, ending: str = MASK) -> tuple[dict[str, Tensor], dict[str, Region]]:
    """The tensors of a png file by name, and the regions by label; one after the other, to take little."""
    found: dict[str, Tensor] = {}
    regions: dict[str, Region] = {}
    among, rest = partitioned(masks.labels), Rest(masks.size)
    # the background last: whether it is just what the others leave is known then
    order = sorted(range(len(masks.labels)), key=lambda index: masks.labels[index] == BACKGROUND)
    for index, steps in zip(order, region_steps(masks, order), strict=True):
        label, of_255 = masks.labels[index], steps.numpy()
        regions[label] = Region(float(of_255.mean(dtype=np.float64)) / 255, bool(of_255.max() >= 128))
        if label != BACKGROUND or len(masks.labels) == 1 or not rest.is_just(steps):
            found[label] = to_png(steps[::2, ::2] if is_soft_layer(label) else steps)
        if index in among:
            rest.take(steps)
    tensors = {f"{label}{ending}": found[label] for label in masks.labels if label in found}
    return tensors, {label: regions[label] for label in masks.labels}


def float_tensors(masks: SemanticMasks, ending: str = MASK) -> tuple[dict[str, Tensor], dict[str, Region]]:
    """The same of a float file."""
    layers = dict(zip(masks.labels, masks.masks[0], strict=True))
    tensors = {f"{label}{ending}": mask.to(torch.float16) for label, mask in layers.items()}
    return tensors, {label: Region.of(mask) for label, mask in layers.items()}


def person_tensors(masks: SemanticMasks, encoding: str) -> dict[str, Tensor]:
    """The tensor "persons", if they are told apart."""
    if not masks.persons:
        return {}
    if encoding == "png":
        return {"persons": to_png(person_steps(masks))}
    return {"persons": at_full_size(masks.persons[0].to(torch.float16), masks.size)}


def read_png_stack(
    path: Path,
    labels: Sequence[str],
    tensors: Mapping[str, Tensor],
    size: tuple[int, int],
    ending: str = MASK,
) -> Tensor:
    """Float[1, K, H, W] of these labels in a png file; a background that is not there is what others leave.

    Raises:
        MaskFileError: a tensor is missing, or is no PNG of this size.
    """
    names = [f"{label}{ending}" for label in labels]
    absent = [name for name in names if name not in tensors]
    if absent not in ([], [f"{BACKGROUND}{ending}"]) or len(absent) == len(names):
        raise MaskFileError(path, f"it holds no tensor named {absent[0]}")
    masks = torch.zeros(1, len(labels), *size, dtype=kept_as(size))
    among, rest = partitioned(labels), Rest(size)
    for index, label in enumerate(labels):
        if names[index] in absent:
            continue
        half = is_soft_layer(label)
        steps = from_png(path, names[index], tensors[names[index]], size_in_blocks(size) if half else size)
        put(masks[0, index], steps, half)
        if absent and index in among:
            rest.take(steps)
    for name in absent:
        put(masks[0, names.index(name)], rest.left, in_blocks=False)
    return masks


def read_float_stack(
    path: Path, labels: Sequence[str], file: TensorFile, size: tuple[int, int], ending: str = MASK
) -> Tensor:
    """Float[1, K, H, W] of these labels in a float file, which was checked. Raises as `read_png_stack`."""
    masks = torch.empty(1, len(labels), *size, dtype=kept_as(size))
    for into, label in zip(masks[0], labels, strict=True):
        into.copy_(_to_float(path, label, file.tensor(f"{label}{ending}")))
    return masks


def read_png_persons(
    path: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor], size: tuple[int, int]
) -> tuple[Tensor, ...]:
    """The persons of a png file, if they are told apart."""
    if "persons" not in tensors:
        return ()
    count = count_of_persons(path, header)
    if count == 0:
        return (torch.zeros(0, *size),)
    rows, columns = size_in_blocks(size)
    steps = from_png(path, "persons", tensors["persons"], (count * rows, columns)).view(count, rows, columns)
    persons = torch.empty(count, *persons_size(size), dtype=kept_as(size))
    for into, levels in zip(persons, steps, strict=True):
        put(into, levels, in_blocks=into.shape != levels.shape)
    return (persons,)


def count_of_persons(path: Path, header: Mapping[str, str]) -> int:
    """How many persons a png file says that it holds."""
    count = json_field(path, header, "persons")
    if type(count) is not int or not 0 <= count <= MAX_PERSONS:
        raise MaskFileError(path, f"its header field 'persons' is {short(header.get('persons'))}")
    return count


def read_float_persons(path: Path, stored: Tensor, size: tuple[int, int]) -> Tensor:
    """Float[P, *persons_size(size)] of the persons of a float file, one after the other, to take little."""
    persons = torch.empty(len(stored), *persons_size(size), dtype=kept_as(size))
    for into, person in zip(persons, stored, strict=True):
        person = _to_float(path, "persons", person)
        into.copy_(to_blocks(person[None])[0] if is_large(size) else person)
    return persons


def from_png(path: Path, name: str, content: Tensor, shape: tuple[int, int]) -> Tensor:
    """uint8[shape]; the picture's size is checked before any of it is decoded.

    Raises:
        MaskFileError: no PNG of this size; DamagedMaskFileError where it is cut.
    """
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


def _to_float(path: Path, name: str, mask: Tensor) -> Tensor:
    if mask.dtype == torch.uint8:
        return mask.float() / 255
    if not mask.is_floating_point():
        raise MaskFileError(path, f"{name} is {mask.dtype}, expected uint8 or a float type")
    mask = mask.float()
    if mask.numel() and not (float(mask.min()) >= 0 and float(mask.max()) <= 1):
        raise MaskFileError(path, f"{name} has values outside 0..1")
    return mask


def json_field(path: Path, header: Mapping[str, str], field: str) -> object:
    """What a field says.

    Raises:
        MaskFileError: no JSON.
    """
    try:
        return parsed_json(header.get(field, "null"))
    except ValueError as error:
        raise MaskFileError(path, f"its header field '{field}' is not JSON ({error})") from error


def list_of_labels(path: Path, header: Mapping[str, str], field: str = "labels") -> list[str]:
    """Names of regions, in order; none where the field is no list. Raises as `json_field`."""
    order = json_field(path, header, field)
    return [str(label) for label in order] if isinstance(order, list) else []


def checked_labels(path: Path, header: Mapping[str, str], field: str = "labels") -> list[str]:
    """As `list_of_labels`; MaskFileError where there are none, or one twice."""
    labels = list_of_labels(path, header, field)
    if not labels or len(set(labels)) != len(labels):
        raise MaskFileError(path, f"its header field '{field}' is {short(header.get(field))}")
    return labels
