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
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageChops, ImageStat
from torch import Tensor

from .contents import FOREIGN_MASK_SUFFIX
from .folder import upright
from .formats import PICTURE_SUFFIXES, opened_picture, why_unreadable
from .freshness import identity
from .mask_file import size_problem
from .mask_notes import MaskLook, look_at, notes_on
from .on_disk import OnDisk
from .orientation import orientation_of, said_of, shape_tells, turned, upright_size

FORMS = ("masklabel", "folder", "alpha")
ORIENTATIONS = BY_SIZE, UPRIGHT, AS_STORED = ("by size", "upright", "as stored")
"""Which way up the masks of pictures that are stored turned are: as these are shown, or stored."""
ORIENTATION_TEXT = "Orientation"
"""PNG text of a mask picture that we wrote for a picture that is stored turned: which way up it is."""
COLOURED = 8
"""Mean difference of the colour channels, of 255, from which on a picture is no grey mask."""
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
) -> tuple[list[OnDisk], list[str]]:
    """The masks of a dataset's pictures, Float[1, H, W] in 0..1, and what to look at in them, in sentences.

    Each is read once to see that it can be, and again when it is used; one whose file was changed by then
    raises MaskPictureError.

    Raises:
        MaskPictureError: some cannot be had, see `import_mask`; all of them are named.
        ValueError: another form, or no folder.
    """
    files = MaskFiles(form, folder)
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation must be one of {', '.join(ORIENTATIONS)}; got {orientation!r}")
    waiting: list[OnDisk] = []
    looks: dict[Path, MaskLook] = {}
    faults: list[str] = []
    doubtful: list[Path] = []
    for picture in pictures:
        try:
            way_up = _orientation_of_mask(picture, files, orientation)
            if way_up == BY_SIZE:
                doubtful.append(picture)
            else:
                path, turn = files.of(picture), orientation_of(picture) if way_up == AS_STORED else None
                state, now = identity(path), _mask_of(path, files.form, turn)
                _check_size(path, now.mask, picture)
                looks[picture] = look_at(now.mask, now.understood)
                shape = (1, *now.mask.shape)
                waiting.append(OnDisk(partial(_read_again, path, files.form, turn, state), shape))
        except (ValueError, OSError) as error:
            faults.append(str(error))
    if doubtful:
        faults.insert(0, _doubt(doubtful, folder))
    if faults:
        more = [f"and {len(faults) - MOST_TOLD} more"] if len(faults) > MOST_TOLD else []
        raise MaskPictureError("\n".join([*faults[:MOST_TOLD], *more]))
    return waiting, notes_on(looks)


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
    (mask,), _ = import_masks([Path(picture)], form, folder, orientation)
    return mask.at_hand()[0]


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


def _mask_of(path: Path, form: str, orientation: int | None) -> MaskPicture:
    return _alpha(path) if form == "alpha" else understand(path, orientation)


def _read_again(path: Path, form: str, orientation: int | None, state: tuple[int, ...] | None) -> Tensor:
    if identity(path) != state:
        raise MaskPictureError(
            f"{path}: it was changed, moved or deleted after the masks had been read. Run again, with the "
            "file as it is to be"
        )
    return _mask_of(path, form, orientation).mask[None]


def _check_size(path: Path, mask: Tensor, picture: Path) -> None:
    height, width = upright_size(picture)
    if mask.shape != (height, width):
        raise MaskPictureError(
            f"{path}: the mask is {mask.shape[1]}x{mask.shape[0]} but {picture.name} is "
            f"{width}x{height}: make it again for this picture, or resize the mask"
        )


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
