"""Mending the masks of one picture: what an editor is shown of a mask file, and what it sends back.

An editor works at the picture's own size, or smaller where that is large. What comes back is compared with
what was sent: only pixels that a person touched change, the others stay as they are in the file, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..categories import SEMANTIC_CATEGORIES, is_soft_layer
from ..files.writing import check_can_write, version_of
from ..keywords import check_name
from ..regions.blocks import at_full_size
from ..regions.by_hand import BACKGROUND, is_part, overlaps
from ..regions.doubts import doubts_in_file
from ..regions.hand import joined, machine_part, made_by_hand, whole, with_hand
from ..regions.large import enlarged
from ..regions.layers import HandLayer
from ..regions.masks import SemanticMasks
from .claims import claimed_if_free, turn_to_write
from .hand_tensors import as_kept
from .mask_file import read_header, read_masks, save_masks
from .mask_header import DIGEST, FORMAT_VERSION
from .ownership import ForeignMaskFileError, MaskFileError, header_of_ours, place_to_write

WORKING_SIDE = 2048
"""Longest side at which an editor works, in pixels."""
NOBODY = "nobody yet"
"""The segmenter of masks that only a person has begun."""
MOST_LABELS = 24
"""Regions of a picture that are sent to an editor."""


@dataclass(frozen=True)
class Mended:
    """The masks of one picture, and which version of the file they are of: "" where there is none."""

    masks: SemanticMasks
    stamp: str


class ChangedMeanwhileError(Exception):
    """A mask file that somebody else has written since it was looked at; nothing was written."""


def working_size(size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) at which an editor works on a picture of that size."""
    scale = min(1.0, WORKING_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def nothing_yet(size: tuple[int, int], digest: str) -> SemanticMasks:
    """Masks of a picture of (height, width) that nobody segmented: all of it is background."""
    labels = tuple(SEMANTIC_CATEGORIES)
    masks = torch.zeros(1, len(labels), *size)
    masks[:, labels.index(BACKGROUND)] = 1
    said = {"format_version": FORMAT_VERSION, DIGEST: digest, "sam_version": NOBODY, "backend": NOBODY}
    return SemanticMasks(masks, labels, (), said)


def check_can_keep(path: Path) -> None:
    """Raise MaskFileError or NotWrittenError unless a mask file can be written there."""
    check_can_write(place_to_write(path))


def look(path: Path, size: tuple[int, int], start: Callable[[], SemanticMasks]) -> Mended:
    """The masks of a file with their hand layers.

    Args:
        size: (height, width) of the picture.
        start: the masks where there is no file yet.

    Raises:
        MaskFileError: it cannot be read, is of another picture, or was made elsewhere.
    """
    stamp = _stamp(path)
    if not stamp:
        return Mended(start(), "")
    try:
        header_of_ours(path)
    except ForeignMaskFileError as error:
        raise MaskFileError(
            path,
            "its masks were made by hand as a whole, or by another program, and are never changed",
            "Correct them where they were made, or move the file away to have the picture segmented",
        ) from error
    masks = read_masks(path)
    if len(masks.labels) > MOST_LABELS:
        raise MaskFileError(
            path, f"it has {len(masks.labels)} regions, at most {MOST_LABELS} can be mended", "Ask for fewer"
        )
    if masks.size != size:
        raise MaskFileError(
            path,
            f"its masks are {masks.size[1]}x{masks.size[0]}, the picture is {size[1]}x{size[0]}",
            "Segment the picture again, or bring back the one of that size",
        )
    return Mended(masks, stamp)


def save(
    path: Path,
    stamp: str,
    size: tuple[int, int],
    start: Callable[[], SemanticMasks],
    sent: Mapping[str, HandLayer],
) -> Mended:
    """Put into a mask file what an editor sends: all that a person decided of each region that changed.

    Args:
        stamp: of the masks that the editor was shown.
        size, start: as of `look`.
        sent: layers at the working size; values in whole steps of 1/255.

    Raises:
        ChangedMeanwhileError: another stamp.
        ValueError: no name of a region, or a layer of another size.
        MaskFileError, OSError: as `look` and `save_masks`.
    """
    for name in sent:
        check_name(name)
    if len(sent) > MOST_LABELS:
        raise ValueError(f"{len(sent)} regions: at most {MOST_LABELS} can be mended")

    def change(masks: SemanticMasks) -> dict[str, HandLayer]:
        return _mended_layers(masks, sent)

    return _change(path, stamp, size, start, change)


def take_back(
    path: Path,
    stamp: str,
    size: tuple[int, int],
    start: Callable[[], SemanticMasks],
    regions: Sequence[str] | None = None,
) -> Mended:
    """Forget what a person made of some regions, or of all. Raises as `save`."""

    def change(masks: SemanticMasks) -> dict[str, HandLayer]:
        layers = {} if masks.hand is None else masks.hand.layers
        return {name: layer for name, layer in layers.items() if regions is not None and name not in regions}

    return _change(path, stamp, size, start, change)


def _change(
    path: Path,
    stamp: str,
    size: tuple[int, int],
    start: Callable[[], SemanticMasks],
    change: Callable[[SemanticMasks], dict[str, HandLayer]],
) -> Mended:
    target = place_to_write(path)
    with turn_to_write(target), claimed_if_free(target):
        if _stamp(path) != stamp:
            raise ChangedMeanwhileError(f"{path}: it was changed meanwhile")
        masks = look(path, size, start).masks
        masks = with_hand(masks, as_kept(change(masks)))
        if masks.hand is None and masks.provenance.get("sam_version") == NOBODY:
            target.unlink(missing_ok=True)
            return Mended(start(), "")
        encoding = read_header(path).get("encoding", "png") if stamp else "png"
        save_masks(path, masks, encoding=encoding, over_hand=True)
        return Mended(masks, _stamp(path))


def _stamp(path: Path) -> str:
    """Tells one version of a file from another; "" where there is none."""
    try:
        version = version_of(path.resolve())
    except OSError:
        return ""
    return "" if version is None else "-".join(f"{number:x}" for number in version)


def _mended_layers(masks: SemanticMasks, sent: Mapping[str, HandLayer]) -> dict[str, HandLayer]:
    """All hand layers of a picture, after those that an editor sends have taken their places."""
    older = {} if masks.hand is None else dict(masks.hand.layers)
    newer = {}
    for name, layer in sent.items():
        if tuple(layer.said.shape) != working_size(masks.size):
            raise ValueError(f"{name}: a layer of {list(layer.said.shape)}, not {working_size(masks.size)}")
        nothing = torch.zeros(masks.size, dtype=torch.bool)
        known = older.get(name) or HandLayer(masks.region(name)[0].float(), nothing)
        layer, touched = _at_full_size(layer, known, masks.region(name)[0])
        older[name] = HandLayer(known.value, known.said & (layer.said | ~touched))
        newer[name] = HandLayer(layer.value, layer.said & touched)
    return joined(older, newer, shared_out=not overlaps(machine_part(masks)))


def _at_full_size(layer: HandLayer, known: HandLayer, shown: Tensor) -> tuple[HandLayer, Tensor]:
    """A layer that an editor sends, at the picture's size, and Bool[H, W] where it is another than before.

    Args:
        known: the layer that the file has.
        shown: Float[H, W], the region with all hand layers.
    """
    size = (shown.shape[0], shown.shape[1])
    if tuple(layer.said.shape) == size:
        values = (layer.value * 255).round() != (known.value.float() * 255).round()
        return layer, (layer.said != known.said) | (layer.said & values)
    small = (layer.said.shape[0], layer.said.shape[1])
    said = _shrunk(known.said, small) >= 0.5
    values = (layer.value * 255).round() != (_shrunk(shown, small) * 255).round()
    touched = (layer.said != said) | (layer.said & values)
    value = enlarged(layer.value[None].float(), size)[0]
    return HandLayer((value.float() * 255).round() / 255, _nearest(layer.said, size)), _nearest(touched, size)


def _shrunk(layer: Tensor, size: tuple[int, int]) -> Tensor:
    """Float[h, w] of one layer [H, W], averaged."""
    return enlarged(layer[None].float(), size, torch.float32)[0]


def _nearest(layer: Tensor, size: tuple[int, int]) -> Tensor:
    """Bool[H, W] of Bool[h, w]."""
    rows = torch.arange(size[0]) * layer.shape[0] // size[0]
    columns = torch.arange(size[1]) * layer.shape[1] // size[1]
    return layer[rows][:, columns]


def described(mended: Mended, name: str) -> dict[str, object]:
    """What an editor is told of a picture, for JSON."""
    masks = whole(mended.masks)
    height, width = working_size(masks.size)
    by_hand = made_by_hand(masks)
    return {
        "width": width,
        "height": height,
        "stamp": mended.stamp,
        "labels": [
            {"name": label, "part": is_part(label) or label == BACKGROUND, "soft": is_soft_layer(label)}
            for label in masks.labels
        ],
        "persons": len(masks.persons[0]) if masks.persons else 0,
        "by_hand": list(by_hand),
        "doubts": [asdict(doubt) for doubt in doubts_in_file(masks.provenance, by_hand) if doubt.flagged],
        "file": name,
    }


def layers_of(masks: SemanticMasks) -> list[Tensor]:
    """uint8[h, w] each, at the working size: the regions; where a person decided them (255); what the machine
    made of them; and the number of the person at each pixel, from 1, 0 for nobody.
    """
    masks = whole(masks)
    size = working_size(masks.size)
    machine = machine_part(masks)
    layers = {} if masks.hand is None else masks.hand.layers
    nothing = torch.zeros(masks.size, dtype=torch.bool)
    said = [layers[label].said if label in layers else nothing for label in masks.labels]
    found = [_as_bytes(_shrunk(layer, size)) for layer in masks.masks[0]]
    found += [((_shrunk(layer, size) >= 0.5) * 255).to(torch.uint8) for layer in said]
    found += [_as_bytes(_shrunk(machine.region(label)[0], size)) for label in masks.labels]
    return [*found, _persons(masks, size)]


def _persons(masks: SemanticMasks, size: tuple[int, int]) -> Tensor:
    if not masks.persons or not len(masks.persons[0]):
        return torch.zeros(size, dtype=torch.uint8)
    persons = torch.stack([_shrunk(at_full_size(one[None], masks.size)[0], size) for one in masks.persons[0]])
    strength, number = persons.max(0)
    return torch.where(strength >= 0.5, number.clamp_max(254) + 1, 0).to(torch.uint8)


def _as_bytes(layer: Tensor) -> Tensor:
    return (layer * 255).round().clamp(0, 255).to(torch.uint8)
