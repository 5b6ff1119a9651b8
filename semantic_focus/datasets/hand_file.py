"""Writing mask files so that what a person made is never lost: neither replaced nor overtaken."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from ..regions.by_hand import overlaps
from ..regions.hand import joined, machine_part, made_by_hand, with_hand
from ..regions.masks import SemanticMasks
from .claims import claimed_if_free, turn_to_write
from .mask_file import read_header, read_masks, save_masks
from .mask_header import DIGEST, by_hand_of, has_hand
from .mask_tensors import json_field
from .ownership import (
    DamagedMaskFileError,
    HandLayersError,
    MaskFileError,
    keep_damaged,
    place_to_write,
)


def regions_by_hand(path: Path) -> tuple[str, ...]:
    """The regions of which the hand layers of a mask file say something; none where they cannot be read."""
    try:
        return by_hand_of(read_header(path))
    except (OSError, MaskFileError):
        return ()


def save_around_hand(
    path: str | Path,
    masks: SemanticMasks,
    metadata: Mapping[str, str] | None = None,
    encoding: str = "png",
) -> SemanticMasks:
    """`save_masks`, but what a person made of the masks that are there stays, and is put over the new ones.

    Where `masks` have been changed by hand since they were read, the newer hand wins at the same pixels of
    the same region.

    Returns:
        The masks of the file.

    Raises:
        HandLayersError: a person changed what is there, and the new masks are no segmenter's.
        MaskFileError: the hand layers there are of a picture of another size; or as `save_masks`.
        TimeoutError: another program writes there all the time.
    """
    path = Path(path)
    target = place_to_write(path)
    with turn_to_write(target), claimed_if_free(target):
        masks = put_around_hand(target, masks, metadata)
        save_masks(path, masks, metadata, encoding, over_hand=True)
    return masks


def put_around_hand(
    target: Path, masks: SemanticMasks, metadata: Mapping[str, str] | None = None
) -> SemanticMasks:
    """The masks that `save_around_hand` would write; a damaged file is moved aside. Raises as that."""
    there = _with_hand_there(target)
    if there is None or there.hand is None:
        return masks
    regions = ", ".join(made_by_hand(there))
    if DIGEST not in {**masks.provenance, **(metadata or {})} or len(masks.masks) != 1:
        raise HandLayersError(target, regions)
    if masks.size != there.size:
        raise OtherSizeError(target, regions, there.size, masks.size)
    new = {} if masks.hand is None else {name: masks.hand.layers[name] for name in masks.hand.new}
    layers = joined(there.hand.layers, new, shared_out=not overlaps(machine_part(masks)))
    return with_hand(masks, layers, new)


def forget_hand(path: Path) -> tuple[str, ...]:
    """Take back what a person made of a mask file; the regions.

    Raises:
        MaskFileError, OSError: the file cannot be read, or not written.
    """
    target = place_to_write(path)
    with turn_to_write(target), claimed_if_free(target):
        if not regions_by_hand(target):
            return ()
        masks = read_masks(target)
        encoding = read_header(target).get("encoding", "png")
        save_masks(path, machine_part(masks), encoding=encoding, over_hand=True)
    return made_by_hand(masks)


def _with_hand_there(target: Path) -> SemanticMasks | None:
    """The masks of a file with hand layers; None where there are none, and where it had to be moved aside."""
    if not regions_by_hand(target):
        return None
    try:
        return read_masks(target)
    except FileNotFoundError:
        return None
    except DamagedMaskFileError as error:
        keep_damaged(target, error)
        return None


class OtherSizeError(MaskFileError):
    """Hand layers of a picture that has another size now; they are never dropped."""

    def __init__(self, path: Path, regions: str, there: tuple[int, int], now: tuple[int, int]):
        super().__init__(
            path,
            f"in it is made by hand, for a picture of {there[1]}x{there[0]}: {regions}; and the picture is "
            f"{now[1]}x{now[0]} now",
            "Bring back the picture of that size, or move the mask file away to have the picture segmented "
            "anew",
        )


def check_size(path: Path, header: Mapping[str, str], image: Tensor) -> None:
    """Raise OtherSizeError where a file has hand layers, and `image` [H, W, 3] has another size."""
    if not has_hand(header):
        return
    now = (image.shape[0], image.shape[1])
    there = json_field(path, header, "image_size")
    if isinstance(there, list) and len(there) == 2 and there != list(now):
        raise OtherSizeError(path, ", ".join(by_hand_of(header)), (there[0], there[1]), now)
