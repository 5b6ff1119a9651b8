"""Mask pictures of other trainers and of people: finding and reading them, and what looks wrong about them.

All trainers take 8-bit grey pictures of the training picture's size in which grey is the weight of the loss:
white is trained, black is not, 128 counts half.

masklabel   OneTrainer, "masked training": `<stem>-masklabel.png` beside `<stem>.<suffix>`; any picture suffix
            is read.
folder      a folder of its own with one mask per picture, same stem, any picture suffix. sd-scripts:
            `--masked_loss`, with the folder as `conditioning_data_dir` of the pictures. diffusion-pipe: the
            folder as `mask_path` of a directory. Both read the red channel.
alpha       the picture's own alpha channel, opaque is trained. sd-scripts: `--alpha_mask`, or
            `alpha_mask = true` for a dataset.

Masks come in other forms as well: with 0 and 1 instead of 0 and 255, as programs for labels write them, or as
a black picture with the mask in its alpha channel. Both would count as black; they are read as they are
meant, and `import_masks` says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .captions import named
from .contents import FOREIGN_MASK_SUFFIX
from .folder import load_picture, upright
from .formats import PICTURE_SUFFIXES, opened_picture, why_unreadable

FORMS = ("masklabel", "folder", "alpha")
COLOURED = 8
"""Mean difference of the colour channels, of 255, from which on a picture is no grey mask."""
EMPTY, FULL = 1 / 255, 254 / 255
"""A mask with nothing above, or nothing below, is black or white."""
MOST_TOLD = 10
"""Faults that one message tells; more are counted."""


class MaskPictureError(ValueError):
    """A mask picture that cannot be read or written; the message names the file and the way out."""


@dataclass(frozen=True)
class MaskPicture:
    """A mask Float[H, W] in 0..1, and how it had to be understood: "" if it is a plain grey picture."""

    mask: Tensor
    understood: str = ""


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
    folder = checked_folder(form, folder)
    if form == "alpha":
        return picture
    place = folder or picture.parent
    if not place.is_dir():
        raise MaskPictureError(f"{place}: no such folder. Give the folder that holds the mask pictures")
    ending = FOREIGN_MASK_SUFFIX if form == "masklabel" else ""
    stem = picture.stem + ending
    found = [
        path
        for path in sorted(place.iterdir())
        if path.stem.startswith(picture.stem)
        and path.stem[len(picture.stem) :].lower() == ending
        and path.suffix.lower() in PICTURE_SUFFIXES
        and path.is_file()
    ]
    if not found and form == "masklabel":
        raise MaskPictureError(
            f"{place / stem}.png: no mask of {picture.name} there. Export it, or choose another form"
        )
    if not found:
        raise MaskPictureError(
            f"{place}: no mask of {picture.name} there. Put a grey picture {stem}.png into it"
        )
    if len(found) > 1:
        raise MaskPictureError(
            f"{place}: {found[0].name} and {found[1].name} are both masks of {picture.name}: keep one"
        )
    return found[0]


def import_masks(
    pictures: Sequence[Path], form: str, folder: str | Path | None = None
) -> tuple[list[Tensor], list[str]]:
    """The masks of a dataset's pictures, Float[H, W] in 0..1, and what to look at in them, in sentences.

    Raises:
        MaskPictureError: some cannot be had, see `import_mask`; all of them are named.
        ValueError: another form, or no folder.
    """
    checked_folder(form, folder)
    found: list[MaskPicture] = []
    faults: list[str] = []
    for picture in pictures:
        try:
            found.append(_imported(picture, form, folder))
        except (ValueError, OSError) as error:
            faults.append(str(error))
    if faults:
        more = [f"and {len(faults) - MOST_TOLD} more"] if len(faults) > MOST_TOLD else []
        raise MaskPictureError("\n".join([*faults[:MOST_TOLD], *more]))
    return [one.mask for one in found], notes_on(dict(zip(pictures, found, strict=True)))


def import_mask(picture: str | Path, form: str, folder: str | Path | None = None) -> Tensor:
    """Float[H, W] in 0..1: the mask that another program or a person made for a picture.

    Args:
        picture: the training picture; the mask must have its size, upright (EXIF orientation applied).
        form, folder: as in `find_mask_picture`.

    Raises:
        MaskPictureError: no mask, several, one of another size, or a file that is no mask.
    """
    return _imported(Path(picture), form, folder).mask


def _imported(picture: Path, form: str, folder: str | Path | None) -> MaskPicture:
    path = find_mask_picture(picture, form, folder)
    if form == "alpha":
        return _alpha(path)
    found = understand(path)
    height, width = load_picture(picture).shape[:2]
    if found.mask.shape != (height, width):
        raise MaskPictureError(
            f"{path}: the mask is {found.mask.shape[1]}x{found.mask.shape[0]} but {picture.name} is "
            f"{width}x{height}: make it again for this picture, or resize the mask"
        )
    return found


def read_mask_picture(path: str | Path) -> Tensor:
    """Float[H, W] in 0..1 of a grey picture; what is transparent counts as black.

    Raises:
        MaskPictureError: damaged, or a picture in colours.
    """
    return understand(Path(path)).mask


def understand(path: Path) -> MaskPicture:
    """A mask picture as it is meant. Raises as `read_mask_picture`."""
    file = _decoded(path)
    if file.mode.startswith("I"):
        return _scaled(np.asarray(file, dtype=np.float32), 65535)
    opacity = None
    if file.has_transparency_data:
        layers = file.convert("RGBA")
        opacity = np.asarray(layers.getchannel("A"), dtype=np.float32)
        file = Image.alpha_composite(Image.new("RGBA", file.size, "black"), layers)
    pixels = np.asarray(file.convert("RGB"), dtype=np.int16)
    if (pixels.max(2) - pixels.min(2)).mean() > COLOURED:
        raise MaskPictureError(f"{path}: a picture in colours, no mask. A mask is grey: white is trained")
    if opacity is not None and not pixels.any() and opacity.min() < opacity.max():
        return MaskPicture(torch.from_numpy(opacity / 255), "it is black, and its alpha channel was read")
    return _scaled(np.asarray(file.convert("L"), dtype=np.float32), 255)


def _scaled(grey: np.ndarray, white: int) -> MaskPicture:
    """Grey in 0..1, whatever number stands for white."""
    largest = grey.max(initial=0)
    for other in (1, 255):
        if 0 < largest <= other < white:
            return MaskPicture(torch.from_numpy(grey / other), f"its values go up to {other}, which is white")
    return MaskPicture(torch.from_numpy(grey / white))


def _alpha(path: Path) -> MaskPicture:
    file = _decoded(path)
    if not file.has_transparency_data:
        raise MaskPictureError(
            f"{path}: it has no alpha channel. Save it with transparency, or choose another form of masks"
        )
    opacity = np.asarray(file.convert("RGBA").getchannel("A"), dtype=np.float32)
    return MaskPicture(torch.from_numpy(opacity / 255))


def _decoded(path: Path) -> Image.Image:
    """The whole picture, upright."""
    try:
        with opened_picture(path) as file:
            return upright(file).copy()
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything: struct.error, TypeError ...
        raise MaskPictureError(why_unreadable(path, error)) from error


def notes_on(masks: dict[Path, MaskPicture]) -> list[str]:
    """What to look at in the masks of a dataset: how they were understood, and which train nothing."""
    notes = []
    for understood in dict.fromkeys(one.understood for one in masks.values() if one.understood):
        names = [path.name for path, one in masks.items() if one.understood == understood]
        notes.append(f"mask read as it is meant ({understood}): {named(names)}")
    black = [path.name for path, one in masks.items() if _all(one.mask <= EMPTY)]
    white = [path.name for path, one in masks.items() if _all(one.mask >= FULL)]
    if black:
        notes.append(f"{_share(black, masks)} black all over, and train nothing: {named(black)}")
    if white and len(white) == len(masks):
        notes.append(f"{_share(white, masks)} white all over: the pictures are trained as a whole")
    told_apart = [
        one.mask for one in masks.values() if not (_all(one.mask <= EMPTY) or _all(one.mask >= FULL))
    ]
    if told_apart and all(map(_looks_inverted, told_apart)):
        notes.append(
            f"{len(told_apart)} of {len(masks)} masks are white at the border and black inside. White is "
            "trained: if they are meant the other way round, invert them"
        )
    return notes


def _share(names: Sequence[str], masks: dict[Path, MaskPicture]) -> str:
    return f"{len(names)} of {len(masks)} masks are"


def _all(flags: Tensor) -> bool:
    return bool(flags.all())


def _looks_inverted(mask: Tensor) -> bool:
    """Whether a mask is white in its corners and darker in its middle than around it."""
    height, width = mask.shape
    corners = mask[[0, 0, -1, -1], [0, -1, 0, -1]]
    middle = mask[height // 4 : height - height // 4, width // 4 : width - width // 4].mean()
    border = torch.cat((mask[0], mask[-1], mask[:, 0], mask[:, -1])).mean()
    return bool(corners.min() > 0.5 and border > 0.75 and middle < border)


def checked_folder(form: str, folder: str | Path | None) -> Path | None:
    """The folder of the mask pictures.

    Raises:
        ValueError: another form, or none where it is needed.
    """
    if form not in FORMS:
        raise ValueError(f"form of mask pictures must be one of {', '.join(FORMS)}; got {form!r}")
    if form == "folder" and not folder:
        raise ValueError("the form 'folder' needs the folder of the mask pictures: give its path")
    return Path(folder).expanduser() if folder else None
