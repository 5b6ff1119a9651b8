"""Mask pictures of other trainers: reading theirs, writing ours for them.

All of them take 8-bit grey pictures of the training picture's size in which grey is the weight of the loss:
white is trained, black is not, 128 counts half.

masklabel   OneTrainer, "masked training": `<stem>-masklabel.png` beside `<stem>.<suffix>`.
folder      a folder of its own with one mask per picture, same stem, any picture suffix. sd-scripts:
            `--masked_loss`, with the folder as `conditioning_data_dir` of the pictures. diffusion-pipe: the
            folder as `mask_path` of a directory. Both read the red channel.
            They look at no EXIF orientation: the mask of a picture that is stored turned has to be stored
            turned as well.
alpha       the picture's own alpha channel, opaque is trained. sd-scripts: `--alpha_mask`, or
            `alpha_mask = true` for a dataset.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image, ImageChops, ImageStat
from torch import Tensor

from ..files import MakeWay, has_png_mark, make_folder, write_png
from ..regions.by_hand import weighted_mask
from .cache import check_belongs
from .folder import FOREIGN_MASK_SUFFIX, PICTURE_SUFFIXES, load_picture, upright
from .mask_file import mask_path, read_masks, size_problem
from .orientation import orientation_of, said_of, shape_tells, turned, turned_back

FORMS = ("masklabel", "folder", "alpha")
MARK = "semantic-focus"
"""By which a mask picture that we wrote is known; others are never replaced."""
ORIENTATIONS = BY_SIZE, UPRIGHT, AS_STORED = ("by size", "upright", "as stored")
"""Which way up the masks of pictures that are stored turned are: as these are shown, or stored."""
ORIENTATION_TEXT = "Orientation"
"""PNG text of a mask picture that we wrote for a picture that is stored turned: which way up it is."""
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
        path = _masklabel(picture, folder)
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


def mask_picture_files(pictures: Iterable[Path], form: str, folder: str | Path | None = None) -> list[Path]:
    """The files that may hold masks of these pictures, for the form "masklabel" also where there is none yet.

    Args:
        form, folder: as in `find_mask_picture`.

    Raises:
        OSError: the folder cannot be read.
        ValueError: another form, or no folder.
    """
    folder = _checked_folder(form, folder)
    if form == "alpha":
        return list(pictures)
    if form == "masklabel":
        return [_masklabel(picture, folder) for picture in pictures]
    assert folder is not None
    stems = {picture.stem for picture in pictures}
    found = (path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    return sorted(path for path in found if path.stem in stems)


def _masklabel(picture: Path, folder: Path | None) -> Path:
    return (folder or picture.parent) / f"{picture.stem}{FOREIGN_MASK_SUFFIX}.png"


def check_orientations(
    pictures: Iterable[Path], form: str, folder: str | Path | None = None, orientation: str = BY_SIZE
) -> None:
    """Raise MaskPictureError, naming all, if nothing tells which way up the masks of some pictures are.

    Args:
        form, folder, orientation: as in `import_mask`.
    """
    doubtful = [it for it in pictures if _orientation_of_mask(it, form, folder, orientation) == BY_SIZE]
    if doubtful:
        raise MaskPictureError(
            f"{folder or doubtful[0].parent}: {said_of(doubtful)}. The size of their masks does not tell "
            "which way up these are. Choose 'as stored' for masks that were made for sd-scripts or "
            "diffusion-pipe, 'upright' for masks that fit what a viewer shows"
        )


def import_mask(
    picture: str | Path, form: str, folder: str | Path | None = None, orientation: str = BY_SIZE
) -> Tensor:
    """Float[H, W] in 0..1, upright: the mask that another program or a person made for a picture.

    Args:
        picture: the training picture; the mask must have its size.
        form, folder: as in `find_mask_picture`.
        orientation: one of `ORIENTATIONS`, for a picture that is stored turned. "by size": as the mask's size
            tells; of the form "masklabel", OneTrainer's, it is upright.

    Raises:
        MaskPictureError: no mask, several, one of another size, one whose size does not tell its
            orientation, or a file that is no mask.
    """
    picture = Path(picture)
    path = find_mask_picture(picture, form, folder)
    if form == "alpha":
        return _read_alpha(path)
    check_orientations([picture], form, folder, orientation)
    as_stored = _orientation_of_mask(picture, form, folder, orientation) == AS_STORED
    mask = read_mask_picture(path, orientation_of(picture) if as_stored else None)
    height, width = load_picture(picture).shape[:2]
    if mask.shape != (height, width):
        raise MaskPictureError(
            f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} but {picture.name} is "
            f"{width}x{height}: make it again for this picture, or resize the mask"
        )
    return mask


def _orientation_of_mask(picture: Path, form: str, folder: str | Path | None, wanted: str) -> str:
    """Which way up the mask of a picture is; "by size" if that cannot be told."""
    if wanted not in ORIENTATIONS:
        raise ValueError(f"orientation must be one of {', '.join(ORIENTATIONS)}; got {wanted!r}")
    orientation = orientation_of(picture)
    if orientation == 1 or form == "alpha":
        return UPRIGHT
    path = find_mask_picture(picture, form, folder)
    if orientation_of(path) == orientation:  # turned alike, it is shown as its picture is
        return UPRIGHT
    with Image.open(path) as mask, Image.open(picture) as stored:
        known = mask.info.get(ORIENTATION_TEXT)
        has_stored_size = mask.size == stored.size
    if known in (UPRIGHT, AS_STORED):
        return known
    if wanted != BY_SIZE:
        return wanted
    if form == "masklabel":
        return UPRIGHT
    if not shape_tells(picture):
        return BY_SIZE
    return AS_STORED if has_stored_size else UPRIGHT


def read_mask_picture(path: str | Path, orientation: int | None = None) -> Tensor:
    """Float[H, W] in 0..1 of a grey picture; what is transparent counts as black.

    Args:
        orientation: the EXIF orientation to turn it by in place of its own.

    Raises:
        MaskPictureError: damaged, or a picture in colours.
    """
    path = Path(path)
    file = _open(path, orientation)
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


def _open(path: Path, orientation: int | None = None) -> Image.Image:
    """The whole picture, upright by its own EXIF orientation or by the one that is given."""
    try:
        with Image.open(path) as file:
            if problem := size_problem(file.height, file.width):
                raise MaskPictureError(f"{path}: {problem}")
            return (upright(file) if orientation is None else turned(file, orientation)).copy()
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
    orientation: str | None = None,
) -> list[Path]:
    """Write one mask picture for each picture, from the mask files beside the pictures.

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
    targets = _targets(pictures, _checked_folder(form, folder), form)
    stored = _stored_orientations(pictures, form, orientation)
    for picture, target in zip(pictures, targets, strict=True):
        image = load_picture(picture)
        masks = read_masks(mask_path(picture))
        check_belongs(mask_path(picture), masks, image[None])
        try:
            mask = weighted_mask(masks, weights, fallback)[0]
        except ValueError as error:
            raise ValueError(f"{mask_path(picture)}: {error}") from error
        as_stored = stored.get(picture, 1) if orientation == AS_STORED else 1
        told = {ORIENTATION_TEXT: orientation or UPRIGHT} if picture in stored else {}
        make_folder(target.parent)
        save_mask_picture(target, mask, image if form == "alpha" else None, as_stored, told)
    return targets


def _stored_orientations(pictures: list[Path], form: str, wanted: str | None) -> dict[Path, int]:
    """The EXIF orientation of each picture that is stored turned, once it is known how its mask has to be."""
    if wanted not in (None, UPRIGHT, AS_STORED):
        raise ValueError(f"masks are written {UPRIGHT} or {AS_STORED}; got {wanted!r}")
    if wanted == AS_STORED and form != "folder":
        reader = (
            "OneTrainer shows pictures upright" if form == "masklabel" else "the pictures are written too"
        )
        raise ValueError(
            f"masks of the form {form!r} are upright ({reader}). Leave --as-stored out, or take the form "
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
