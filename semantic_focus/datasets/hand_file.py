"""Writing mask files so that what a person made is never lost: neither replaced nor overtaken."""

from collections.abc import Mapping
from pathlib import Path

from ..regions.by_hand import overlaps
from ..regions.hand import joined, machine_part, made_by_hand, with_hand
from ..regions.masks import SemanticMasks
from .claims import claimed_if_free, turn_to_write
from .mask_file import read_header, read_masks, save_masks
from .mask_header import DIGEST, by_hand_of
from .ownership import DamagedMaskFileError, HandLayersError, MaskFileError, place_to_write


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
        there = _with_hand_there(target)
        if there is not None and there.hand is not None:
            masks = _over(target, there, masks, {**masks.provenance, **(metadata or {})})
        save_masks(path, masks, metadata, encoding, over_hand=True)
    return masks


def _with_hand_there(target: Path) -> SemanticMasks | None:
    """The masks of a file with hand layers; None where none can be read."""
    if not regions_by_hand(target):
        return None
    try:
        return read_masks(target)
    except (FileNotFoundError, DamagedMaskFileError):  # the latter is moved aside by who writes
        return None


def _over(target: Path, there: SemanticMasks, masks: SemanticMasks, said: Mapping[str, str]) -> SemanticMasks:
    assert there.hand is not None
    regions = ", ".join(made_by_hand(there))
    if DIGEST not in said or len(masks.masks) != 1:
        raise HandLayersError(target, regions)
    if masks.size != there.size:
        raise OtherSizeError(target, regions, there.size, masks.size)
    new = {} if masks.hand is None else {name: masks.hand.layers[name] for name in masks.hand.new}
    layers = joined(there.hand.layers, new, shared_out=not overlaps(machine_part(masks)))
    return with_hand(masks, layers, new)


class OtherSizeError(MaskFileError):
    """Hand layers of a picture that has another size now; they are never dropped."""

    def __init__(self, path: Path, regions: str, there: tuple[int, int], now: tuple[int, int]):
        super().__init__(
            path,
            f"in it is made by hand, for a picture of {there[1]}x{there[0]}: {regions}; and the picture is "
            f"{now[1]}x{now[0]} now",
            "Bring back the picture of that size, or move the mask file away (or run cache_masks.py with "
            "--by-hand forget) to have the picture segmented anew",
        )
