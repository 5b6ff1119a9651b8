"""Mask pictures of other trainers: writing ours for them. Reading, and their forms: `mask_pictures`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..files import write_png
from ..regions.by_hand import weighted_mask
from .cache import check_belongs
from .contents import FOREIGN_MASK_SUFFIX
from .folder import load_picture
from .formats import opened_picture
from .mask_file import mask_path, read_masks
from .mask_pictures import MaskPictureError, checked_folder

MARK = ("Software", "semantic-focus")
"""PNG text by which a mask picture that we wrote is known; others are never overwritten."""


def export_masks(
    pictures: Iterable[str | Path],
    folder: str | Path | None,
    form: str,
    weights: Mapping[str, float],
    fallback: float = 0.0,
) -> list[Path]:
    """Write one mask picture for each picture, from the mask files beside the pictures.

    Each file is written atomically. Files that were exported before are replaced; those that another program
    or a person made are not.

    Args:
        pictures: picture files that have been segmented.
        folder: where to write, made when missing; None is beside the pictures, for "masklabel" only.
        form: "masklabel" or "folder" (8-bit grey), or "alpha" (`<stem>.png`, the picture with an alpha
            channel; captions are not copied).
        weights: weight by category, see `regions.weighted_mask`.
        fallback: weight of what no category covers.

    Returns:
        The files, in the order of the pictures.

    Raises:
        FileNotFoundError: a picture has no mask file.
        MaskPictureError: a file that would be written is there and not ours, or two pictures share one.
        ValueError: another form, no folder, an unknown category, or a mask file of another picture.
    """
    if not 0 <= fallback <= 1:
        raise ValueError(f"fallback is a weight of 0 to 1, got {fallback}")
    pictures = [Path(picture) for picture in pictures]
    targets = _targets(pictures, checked_folder(form, folder), form)
    for picture, target in zip(pictures, targets, strict=True):
        image = load_picture(picture)
        masks = read_masks(mask_path(picture))
        check_belongs(mask_path(picture), masks, image[None])
        try:
            mask = weighted_mask(masks, weights, fallback)[0]
        except ValueError as error:
            raise ValueError(f"{mask_path(picture)}: {error}") from error
        save_mask_picture(target, mask, image if form == "alpha" else None)
    return targets


def save_mask_picture(path: str | Path, mask: Tensor, image: Tensor | None = None) -> None:
    """Write a mask as 8-bit grey PNG, or as the alpha channel of a picture, atomically.

    Args:
        mask: Float[H, W] in 0..1.
        image: Float[H, W, 3] in 0..1 of the same size; what is transparent keeps its colours.
    """
    if image is not None and image.shape != (*mask.shape, 3):
        raise ValueError(f"{path}: mask is {list(mask.shape)} but its picture is {list(image.shape)}")
    layers = mask if image is None else torch.cat((image, mask[..., None]), -1)
    pixels = (layers.detach().float().cpu().clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    info = PngInfo()
    info.add_text(*MARK)
    picture = Image.fromarray(pixels)
    write_png(Path(path), picture, pnginfo=info)


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
        if target.exists() and not _is_ours(target):
            raise MaskPictureError(
                f"{target}: it was made by hand or by another program, and would be overwritten: "
                "move it away, or give another folder"
            )
    return targets


def _is_ours(path: Path) -> bool:
    try:
        with opened_picture(path) as file:
            return file.info.get(MARK[0]) == MARK[1]
    except (OSError, SyntaxError, ValueError):
        return False
