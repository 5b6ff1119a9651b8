"""Mask pictures of other trainers: reading theirs, writing ours for them.

All of them take 8-bit grey pictures of the training picture's size in which grey is the weight of the loss:
white is trained, black is not, 128 counts half.

masklabel   OneTrainer, "masked training": `<stem>-masklabel.png` beside `<stem>.<suffix>`.
folder      a folder of its own with one mask per picture, same stem, any picture suffix. sd-scripts:
            `--masked_loss`, with the folder as `conditioning_data_dir` of the pictures. diffusion-pipe: the
            folder as `mask_path` of a directory. Both read the red channel.
alpha       the picture's own alpha channel, opaque is trained. sd-scripts: `--alpha_mask`, or
            `alpha_mask = true` for a dataset.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageStat
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ..files import write_png
from ..regions.by_hand import weighted_mask
from .cache import check_belongs
from .folder import FOREIGN_MASK_SUFFIX, PICTURE_SUFFIXES, load_picture, upright
from .mask_file import mask_path, read_masks, size_problem

FORMS = ("masklabel", "folder", "alpha")
MARK = ("Software", "semantic-focus")
"""PNG text by which a mask picture that we wrote is known; others are never overwritten."""
COLOURED = 8
"""Mean difference of the colour channels, of 255, from which on a picture is no grey mask."""


class MaskPictureError(ValueError):
    """A mask picture that cannot be read or written; the message names the file and the way out."""


def find_mask_picture(picture: str | Path, form: str, folder: str | Path | None = None) -> Path:
    """The file that holds the mask of a picture.

    Args:
        form: one of `FORMS`.
        folder: where the masks are; needed for "folder", beside the picture for "masklabel" when None.

    Raises:
        MaskPictureError: it is not there, or there are several of one stem.
        ValueError: another form, or no folder.
    """
    picture = Path(picture)
    folder = _checked_folder(form, folder)
    if form == "alpha":
        return picture
    if form == "masklabel":
        path = (folder or picture.parent) / f"{picture.stem}{FOREIGN_MASK_SUFFIX}.png"
        if not path.is_file():
            raise MaskPictureError(
                f"{path}: no mask of {picture.name} there. Export it, or choose another form"
            )
        return path
    assert folder is not None
    if not folder.is_dir():
        raise MaskPictureError(f"{folder}: no such folder. Give the folder that holds the mask pictures")
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.stem == picture.stem and path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    ]
    if not found:
        raise MaskPictureError(
            f"{folder}: no mask of {picture.name} there. Put a grey picture {picture.stem}.png into it"
        )
    if len(found) > 1:
        raise MaskPictureError(
            f"{folder}: {found[0].name} and {found[1].name} are both masks of {picture.name}: keep one"
        )
    return found[0]


def import_mask(picture: str | Path, form: str, folder: str | Path | None = None) -> Tensor:
    """Float[H, W] in 0..1: the mask that another program or a person made for a picture.

    Args:
        picture: the training picture; the mask must have its size, upright (EXIF orientation applied).
        form, folder: as in `find_mask_picture`.

    Raises:
        MaskPictureError: no mask, several, one of another size, or a file that is no mask.
    """
    path = find_mask_picture(picture, form, folder)
    if form == "alpha":
        return _read_alpha(path)
    mask = read_mask_picture(path)
    height, width = load_picture(picture).shape[:2]
    if mask.shape != (height, width):
        raise MaskPictureError(
            f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} but {Path(picture).name} is "
            f"{width}x{height}: make it again for this picture, or resize the mask"
        )
    return mask


def read_mask_picture(path: str | Path) -> Tensor:
    """Float[H, W] in 0..1 of a grey picture; what is transparent counts as black.

    Raises:
        MaskPictureError: damaged, or a picture in colours.
    """
    path = Path(path)
    file = _open(path)
    if file.mode.startswith("I"):
        return torch.from_numpy(np.asarray(file, dtype=np.float32) / 65535)
    if file.has_transparency_data:
        black = Image.new("RGBA", file.size, "black")
        file = Image.alpha_composite(black, file.convert("RGBA"))
    if file.mode != "L" and _colour(file) > COLOURED:
        raise MaskPictureError(f"{path}: a picture in colours, no mask. A mask is grey: white is trained")
    return torch.from_numpy(np.asarray(file.convert("L"), dtype=np.float32) / 255)


def _colour(picture: Image.Image) -> float:
    """Mean over the pixels of the difference between the strongest and the weakest channel, of 255."""
    red, green, blue = picture.convert("RGB").split()
    strongest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    weakest = ImageChops.darker(ImageChops.darker(red, green), blue)
    return ImageStat.Stat(ImageChops.subtract(strongest, weakest)).mean[0]


def _read_alpha(path: Path) -> Tensor:
    file = _open(path)
    if not file.has_transparency_data:
        raise MaskPictureError(
            f"{path}: it has no alpha channel. Save it with transparency, or choose another form of masks"
        )
    return torch.from_numpy(np.asarray(file.convert("RGBA").getchannel("A"), dtype=np.float32) / 255)


def _open(path: Path) -> Image.Image:
    """The whole picture, upright."""
    try:
        with Image.open(path) as file:
            if problem := size_problem(file.height, file.width):
                raise MaskPictureError(f"{path}: {problem}")
            return upright(file).copy()
    except (FileNotFoundError, MaskPictureError):
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything: struct.error, TypeError ...
        raise MaskPictureError(
            f"{path}: cannot be read as a picture ({error}). Replace the file or remove it"
        ) from error


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
    targets = _targets(pictures, _checked_folder(form, folder), form)
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


def _checked_folder(form: str, folder: str | Path | None) -> Path | None:
    if form not in FORMS:
        raise ValueError(f"form of mask pictures must be one of {', '.join(FORMS)}; got {form!r}")
    if form == "folder" and not folder:
        raise ValueError("the form 'folder' needs the folder of the mask pictures: give its path")
    return Path(folder).expanduser() if folder else None


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
        with Image.open(path) as file:
            return file.info.get(MARK[0]) == MARK[1]
    except (OSError, SyntaxError, ValueError):
        return False
