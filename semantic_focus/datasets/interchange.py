"""Mask pictures of other trainers: writing ours for them. Reading, and their forms: `mask_pictures`."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..files.writing import MakeWay, has_png_mark, make_folder, write_png
from ..regions.by_hand import weighted_mask
from ..regions.masks import SemanticMasks
from .cache import check_belongs
from .captions import named
from .contents import FOREIGN_MASK_SUFFIX
from .folder import list_pictures, load_picture
from .mask_file import mask_path, read_masks
from .mask_pictures import AS_STORED, ORIENTATION_TEXT, UPRIGHT, MaskPictureError, checked_folder
from .orientation import orientation_of, said_of, turned_back

MARK = "semantic-focus"
"""By which a mask picture that we wrote is known; others are never replaced."""


def read_beside(picture: Path) -> SemanticMasks:
    """The masks of the mask file beside a picture. Raises as `read_masks`."""
    return read_masks(mask_path(picture))


def pictures_of(mask_files: Iterable[Path]) -> list[Path]:
    """The pictures whose masks these files are to hold, in their order; the files need not be there.

    Raises:
        DatasetError: a folder cannot be listed.
        MaskPictureError: a file is beside no picture of its name.
    """
    mask_files, listed = list(mask_files), {}
    for folder in dict.fromkeys(file.parent for file in mask_files):
        listed |= {mask_path(picture): picture for picture in list_pictures(folder).pictures}
    for file in mask_files:
        if file not in listed:
            raise MaskPictureError(
                f"{file}: there is no picture beside it whose masks these would be. Connect mask_files of "
                "Load Semantic Dataset"
            )
    return [listed[file] for file in mask_files]


def export_masks(
    pictures: Iterable[str | Path],
    folder: str | Path | None,
    form: str,
    weights: Mapping[str, float],
    fallback: float = 0.0,
    orientation: str | None = None,
    masks_of: Callable[[Path], SemanticMasks] = read_beside,
) -> list[Path]:
    """Write one mask picture for each picture, from the mask files beside the pictures or from other masks.

    Each file is written atomically. Files that were exported before are replaced; those that another program
    or a person made are not, and neither is anything else.

    Args:
        pictures: picture files that have been segmented.
        folder: where to write, made when missing inside one that is there; None is beside the pictures, for
            "masklabel" only.
        form: "masklabel" or "folder" (8-bit grey), or "alpha" (`<stem>.png`, the picture with an alpha
            channel; captions are not copied).
        weights: weight by category, see `regions.weighted_mask`.
        fallback: weight of what no category covers.
        orientation: "upright" or "as stored", for pictures that are stored turned; needed for the form
            "folder", whose readers look at no EXIF orientation, when there are such pictures.
        masks_of: gives the masks of a picture, when its turn comes.

    Returns:
        The files, in the order of the pictures.

    Raises:
        FileNotFoundError: a picture has no mask file, or the folder of `folder` is missing.
        MaskPictureError: a file that would be written is there and not ours, or two pictures share one.
        ValueError: another form, no folder, an unknown category, a mask file of another picture, or pictures
            that are stored turned and no orientation that fits the form.
    """
    if not 0 <= fallback <= 1:
        raise ValueError(f"fallback is a weight of 0 to 1, got {fallback}")
    pictures = [Path(picture) for picture in pictures]
    targets = _targets(pictures, checked_folder(form, folder), form)
    stored = _stored_orientations(pictures, form, orientation)
    for picture, target in zip(pictures, targets, strict=True):
        image = load_picture(picture)
        masks, source = masks_of(picture), mask_path(picture) if masks_of is read_beside else picture
        if len(masks.masks) != 1:
            raise ValueError(f"{source}: {len(masks.masks)} masks came for it: give one for each picture")
        check_belongs(source, masks, image[None])
        try:
            mask = weighted_mask(masks, weights, fallback)[0]
        except ValueError as error:
            raise ValueError(f"{source}: {error}") from error
        as_stored = stored.get(picture, 1) if orientation == AS_STORED else 1
        told = {ORIENTATION_TEXT: orientation or UPRIGHT} if picture in stored else {}
        make_folder(target.parent)
        save_mask_picture(target, mask, image if form == "alpha" else None, as_stored, told)
    return targets


def notes_on_exported(files: Sequence[Path]) -> list[str]:
    """What to look at in mask pictures that were written, in sentences."""
    black = [file.name for file in files if not np.asarray(exported_mask(file)).any()]
    if not black:
        return []
    return [f"{len(black)} of {len(files)} masks are black all over, and train nothing: {named(black)}"]


def exported_mask(file: Path) -> Image.Image:
    """The mask in a picture that `export_masks` wrote, 8-bit grey."""
    with Image.open(file, formats=("PNG",)) as picture:
        return picture.getchannel("A") if picture.mode == "RGBA" else picture.convert("L")


def _stored_orientations(pictures: list[Path], form: str, wanted: str | None) -> dict[Path, int]:
    """The EXIF orientation of each picture that is stored turned, once it is known how its mask has to be."""
    if wanted not in (None, UPRIGHT, AS_STORED):
        raise ValueError(f"masks are written {UPRIGHT} or {AS_STORED}; got {wanted!r}")
    if wanted == AS_STORED and form != "folder":
        reader = (
            "OneTrainer shows pictures upright" if form == "masklabel" else "the pictures are written too"
        )
        raise ValueError(
            f"masks of the form {form!r} are upright ({reader}). Leave 'as stored' out, or take the form "
            "'folder'"
        )
    found = {picture: orientation_of(picture) for picture in pictures}
    turned_pictures = {picture: orientation for picture, orientation in found.items() if orientation != 1}
    if turned_pictures and form == "folder" and wanted is None:
        raise ValueError(
            f"{said_of(turned_pictures)}. sd-scripts and diffusion-pipe do not look at it, so that upright "
            "masks do not fit there. Give --as-stored, and the masks are turned like the stored pictures; or "
            "--upright for a program that does look at it"
        )
    return turned_pictures


def save_mask_picture(
    path: str | Path,
    mask: Tensor,
    image: Tensor | None = None,
    orientation: int = 1,
    texts: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write a mask as 8-bit grey PNG, or as the alpha channel of a picture, atomically.

    A mask picture that we wrote is replaced, and nothing else is.

    Args:
        mask: Float[H, W] in 0..1.
        image: Float[H, W, 3] in 0..1 of the same size; what is transparent keeps its colours.
        orientation: the EXIF orientation as which the pixels are stored.
        texts: what the file says besides that it is ours.

    Raises:
        MaskPictureError: something that we did not write is there.
    """
    if image is not None and image.shape != (*mask.shape, 3):
        raise ValueError(f"{path}: mask is {list(mask.shape)} but its picture is {list(image.shape)}")
    layers = mask if image is None else torch.cat((image, mask[..., None]), -1)
    pixels = (layers.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    picture = turned_back(Image.fromarray(pixels), orientation)
    write_png(Path(path), picture, MARK, _only_ours(Path(path)), texts)


def _targets(pictures: list[Path], folder: Path | None, form: str) -> list[Path]:
    """Where the mask of each picture goes; checked before anything is written."""
    if form == "alpha" and folder is None:
        raise ValueError("the form 'alpha' needs a folder for the new pictures: give its path")
    ending = f"{FOREIGN_MASK_SUFFIX}.png" if form == "masklabel" else ".png"
    targets = [(folder or picture.parent) / f"{picture.stem}{ending}" for picture in pictures]
    taken: dict[Path, Path] = {}
    for picture, target in zip(pictures, targets, strict=True):
        if form != "masklabel" and target.parent.resolve() == picture.parent.resolve():
            raise MaskPictureError(
                f"{target.parent}: the pictures are there, and {target.name} would be taken for one of them: "
                "give another folder"
            )
        if form != "masklabel" and target.parent.resolve().is_relative_to(picture.parent.resolve()):
            raise MaskPictureError(
                f"{target.parent}: it is inside the folder of the pictures, and masks in it would be taken "
                "for pictures when subfolders are included: give a folder outside"
            )
        if other := taken.get(target):
            raise MaskPictureError(
                f"{target}: {other} and {picture} would share it: export their folders one by one"
            )
        taken[target] = picture
        _refuse_others(target)
    return targets


def _only_ours(target: Path) -> MakeWay:
    def make_way(temporary: Path) -> bool:
        _refuse_others(target)
        return True

    return make_way


def _refuse_others(target: Path) -> None:
    if os.path.lexists(target) and not has_png_mark(target, MARK):
        raise MaskPictureError(
            f"{target}: it was made by hand or by another program, and is never replaced: "
            "move it away, or give another folder"
        )
