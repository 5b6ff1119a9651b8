"""Mask pictures of other trainers and of people: finding and reading them, and what looks wrong about them.

All trainers take 8-bit grey pictures of the training picture's size in which grey is the weight of the loss:
white is trained, black is not, 128 counts half.

masklabel   OneTrainer, "masked training": `<stem>-masklabel.png` beside `<stem>.<suffix>`; any picture suffix
            is read.
folder      a folder of its own with one mask per picture, same stem, any picture suffix. sd-scripts:
            `--masked_loss`, with the folder as `conditioning_data_dir` of the pictures. diffusion-pipe: the
            folder as `mask_path` of a directory. Both read the red channel.
            They look at no EXIF orientation: the mask of a picture that is stored turned has to be stored
            turned as well.
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
from PIL import Image, ImageChops, ImageStat
from torch import Tensor

from .captions import named
from .contents import FOREIGN_MASK_SUFFIX
from .folder import load_picture, upright
from .formats import PICTURE_SUFFIXES, opened_picture, why_unreadable
from .mask_file import size_problem
from .orientation import orientation_of, said_of, shape_tells, turned

FORMS = ("masklabel", "folder", "alpha")
ORIENTATIONS = BY_SIZE, UPRIGHT, AS_STORED = ("by size", "upright", "as stored")
"""Which way up the masks of pictures that are stored turned are: as these are shown, or stored."""
ORIENTATION_TEXT = "Orientation"
"""PNG text of a mask picture that we wrote for a picture that is stored turned: which way up it is."""
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


class MaskFiles:
    """Where the masks of pictures are; each folder is listed once.

    Args:
        form: one of `FORMS`.
        folder: where the masks are; needed for "folder", beside the pictures for "masklabel" when None.

    Raises:
        ValueError: another form, or no folder.
    """

    def __init__(self, form: str, folder: str | Path | None = None):
        self.form, self._folder = form, checked_folder(form, folder)
        self._ending = FOREIGN_MASK_SUFFIX if form == "masklabel" else ""
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def of(self, picture: Path) -> Path:
        """The file that holds the mask of a picture.

        Raises:
            MaskPictureError: it is not there, or there are several of one stem.
            OSError: its folder cannot be read.
        """
        if self.form == "alpha":
            return picture
        place = self._folder or picture.parent
        found = [path for path in self._by_stem(place).get(picture.stem, ()) if path.is_file()]
        if not found and self.form == "masklabel":
            missing = f"{place / picture.stem}{self._ending}.png"
            raise MaskPictureError(
                f"{missing}: no mask of {picture.name} there. Export it, or choose another form"
            )
        if not found:
            raise MaskPictureError(
                f"{place}: no mask of {picture.name} there. Put a grey picture {picture.stem}.png into it"
            )
        if len(found) > 1:
            raise MaskPictureError(
                f"{place}: {found[0].name} and {found[1].name} are both masks of {picture.name}: keep one"
            )
        return found[0]

    def those_of(self, pictures: Sequence[Path]) -> list[Path]:
        """The files that may hold masks of these pictures. Raises as `of`."""
        if self.form == "alpha":
            return list(pictures)
        stems = {picture.stem for picture in pictures}
        places = {self._folder or picture.parent for picture in pictures}
        by_stem = [pair for place in places for pair in self._by_stem(place).items()]
        return sorted(path for stem, paths in by_stem if stem in stems for path in paths)

    def _by_stem(self, place: Path) -> dict[str, list[Path]]:
        """The pictures of a folder that have the name of a mask, by the stem of its picture."""
        if place not in self._listed:
            if not place.is_dir():
                raise MaskPictureError(
                    f"{place}: no such folder. Give the folder that holds the mask pictures"
                )
            found: dict[str, list[Path]] = {}
            for path in sorted(place.iterdir()):
                stem = path.stem[: len(path.stem) - len(self._ending)]
                if path.stem[len(stem) :].lower() == self._ending and path.suffix.lower() in PICTURE_SUFFIXES:
                    found.setdefault(stem, []).append(path)
            self._listed[place] = found
        return self._listed[place]


def mask_picture_files(pictures: Sequence[Path], form: str, folder: str | Path | None = None) -> list[Path]:
    """The files that may hold masks of these pictures.

    Args:
        form, folder: as of `MaskFiles`.

    Raises:
        OSError: a folder cannot be read.
        ValueError: another form, or no folder.
    """
    return MaskFiles(form, folder).those_of(pictures)


def _doubt(pictures: Sequence[Path], folder: str | Path | None) -> str:
    return (
        f"{folder or pictures[0].parent}: {said_of(pictures)}. The size of their masks does not tell which "
        "way up these are. Choose 'as stored' for masks that were made for sd-scripts or diffusion-pipe, "
        "'upright' for masks that fit what a viewer shows"
    )


def import_masks(
    pictures: Sequence[Path],
    form: str,
    folder: str | Path | None = None,
    orientation: str = BY_SIZE,
) -> tuple[list[Tensor], list[str]]:
    """The masks of a dataset's pictures, Float[H, W] in 0..1, and what to look at in them, in sentences.

    Raises:
        MaskPictureError: some cannot be had, see `import_mask`; all of them are named.
        ValueError: another form, or no folder.
    """
    files = MaskFiles(form, folder)
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation must be one of {', '.join(ORIENTATIONS)}; got {orientation!r}")
    found: list[MaskPicture] = []
    faults: list[str] = []
    doubtful: list[Path] = []
    for picture in pictures:
        try:
            way_up = _orientation_of_mask(picture, files, orientation)
            if way_up == BY_SIZE:
                doubtful.append(picture)
            else:
                found.append(_imported(picture, files, way_up))
        except (ValueError, OSError) as error:
            faults.append(str(error))
    if doubtful:
        faults.insert(0, _doubt(doubtful, folder))
    if faults:
        more = [f"and {len(faults) - MOST_TOLD} more"] if len(faults) > MOST_TOLD else []
        raise MaskPictureError("\n".join([*faults[:MOST_TOLD], *more]))
    return [one.mask for one in found], notes_on(dict(zip(pictures, found, strict=True)))


def import_mask(
    picture: str | Path, form: str, folder: str | Path | None = None, orientation: str = BY_SIZE
) -> Tensor:
    """Float[H, W] in 0..1, upright: the mask that another program or a person made for a picture.

    Args:
        picture: the training picture; the mask must have its size.
        form, folder: as of `MaskFiles`.
        orientation: one of `ORIENTATIONS`, for a picture that is stored turned. "by size": as the mask's size
            tells; of the form "masklabel", OneTrainer's, it is upright.

    Raises:
        MaskPictureError: no mask, several, one of another size, one whose size does not tell its
            orientation, or a file that is no mask.
    """
    masks, _ = import_masks([Path(picture)], form, folder, orientation)
    return masks[0]


def _orientation_of_mask(picture: Path, files: MaskFiles, wanted: str) -> str:
    """Which way up the mask of a picture is; "by size" if that cannot be told."""
    orientation = orientation_of(picture)
    if orientation == 1 or files.form == "alpha":
        return UPRIGHT
    path = files.of(picture)
    if orientation_of(path) == orientation:  # turned alike, it is shown as its picture is
        return UPRIGHT
    with opened_picture(path) as mask, opened_picture(picture) as stored:
        known = mask.info.get(ORIENTATION_TEXT)
        has_stored_size = mask.size == stored.size
    if known in (UPRIGHT, AS_STORED):
        return known
    if wanted != BY_SIZE:
        return wanted
    if files.form == "masklabel":
        return UPRIGHT
    if not shape_tells(picture):
        return BY_SIZE
    return AS_STORED if has_stored_size else UPRIGHT


def _imported(picture: Path, files: MaskFiles, way_up: str) -> MaskPicture:
    path = files.of(picture)
    if files.form == "alpha":
        return _alpha(path)
    found = understand(path, orientation_of(picture) if way_up == AS_STORED else None)
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


def understand(path: Path, orientation: int | None = None) -> MaskPicture:
    """A mask picture as it is meant. Raises as `read_mask_picture`.

    Args:
        orientation: the EXIF orientation to turn it by in place of its own.
    """
    file = _decoded(path, orientation)
    if file.mode.startswith("I"):
        return _scaled(np.asarray(file, dtype=np.float32), 65535)
    opacity = None
    if file.has_transparency_data:
        layers = file.convert("RGBA")
        opacity = np.asarray(layers.getchannel("A"), dtype=np.float32)
        file = Image.alpha_composite(Image.new("RGBA", file.size, "black"), layers)
    if file.mode != "L" and _colour(file) > COLOURED:
        raise MaskPictureError(f"{path}: a picture in colours, no mask. A mask is grey: white is trained")
    if opacity is not None and not any(file.convert("L").getextrema()) and opacity.min() < opacity.max():
        return MaskPicture(torch.from_numpy(opacity / 255), "it is black, and its alpha channel was read")
    return _scaled(np.asarray(file.convert("L"), dtype=np.float32), 255)


def _colour(picture: Image.Image) -> float:
    """Mean over the pixels of the difference between the strongest and the weakest channel, of 255."""
    red, green, blue = picture.convert("RGB").split()
    strongest = ImageChops.lighter(ImageChops.lighter(red, green), blue)
    weakest = ImageChops.darker(ImageChops.darker(red, green), blue)
    return ImageStat.Stat(ImageChops.subtract(strongest, weakest)).mean[0]


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


def _decoded(path: Path, orientation: int | None = None) -> Image.Image:
    """The whole picture, upright by its own EXIF orientation or by the one that is given."""
    try:
        with opened_picture(path) as file:
            if problem := size_problem(file.height, file.width):
                raise MaskPictureError(f"{path}: {problem}")
            return (upright(file) if orientation is None else turned(file, orientation)).copy()
    except (FileNotFoundError, MaskPictureError):
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
