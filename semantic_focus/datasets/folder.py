"""Dataset folders: pictures and captions."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from ..files.names import folds_case, named_path, not_allowed
from ..regions.large import too_large
from .captions import (
    CAPTION_SUFFIXES,
    caption_file_of,
    named,
    notes_on,
    read_caption,
    with_trigger,
    without_emphasis,
)
from .contents import PictureList, list_folder
from .formats import PICTURE_SUFFIXES, opened_picture, why_unreadable
from .listing import Bounds
from .mask_file import mask_path
from .on_disk import OnDisk

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture upright, by EXIF orientation."""
MOST_TOLD = 10
"""Faults of a folder that one message tells; more are counted."""


class DatasetError(ValueError):
    """A dataset folder that cannot be used; the message names the file and the way out."""


@dataclass(frozen=True)
class DatasetPicture:
    """One picture file with its caption and the place of its mask cache."""

    path: Path
    caption: str

    @property
    def mask_file(self) -> Path:
        """`<stem>_zi_masks.safetensors` beside the picture; it need not exist yet."""
        return mask_path(self.path)


@dataclass(frozen=True)
class Dataset:
    """A folder as a training takes it.

    Attributes:
        left_out: as of `PictureList`.
        notes: what is worth knowing of its captions, in sentences.
    """

    pictures: list[DatasetPicture]
    left_out: list[str]
    notes: list[str]


def scan(
    folder: str | Path, default_caption: str = "", literal_brackets: bool = False, trigger: str = ""
) -> Dataset:
    """All pictures of a folder (not of its subfolders) by name, each with its caption.

    Args:
        default_caption: for pictures without a caption file; when it and the trigger word are empty, such a
            picture is an error. A file without words is a caption without words.
        trigger: is put before captions that do not have it, see `with_trigger`.
        literal_brackets: captions in which ( ) are no emphasis to ComfyUI's text encoders.

    Raises:
        DatasetError: as `list_pictures`; captions that are missing or cannot be read, all in one message.
    """
    listed = list_pictures(folder)
    words, faults = _captions(listed)
    missing = [picture for picture, caption in words.items() if caption is None]
    if missing and not default_caption.strip() and not trigger.strip():
        faults.insert(
            0,
            f"{listed.folder}: no caption for {named((path.name for path in missing), MOST_TOLD)}. Write it "
            f"to a text file of the same name ({missing[0].stem}.txt), or give a default caption",
        )
    refuse(faults)
    spoken = {path: default_caption.strip() if text is None else text for path, text in words.items()}
    spoken = {path: with_trigger(text, trigger) for path, text in spoken.items()}
    if literal_brackets:
        spoken = {path: without_emphasis(text) for path, text in spoken.items()}
    pictures = [DatasetPicture(path, text) for path, text in spoken.items()]
    return Dataset(pictures, listed.left_out, notes_on(words, spoken))


def _captions(listed: PictureList) -> tuple[dict[Path, str | None], list[str]]:
    """The words of each picture, None without a file; and what is wrong with files that cannot be read."""
    words: dict[Path, str | None] = {}
    faults = []
    for picture in listed.pictures:
        file = listed.captions.get(picture)
        try:
            words[picture] = None if file is None else read_caption(file)
        except (ValueError, OSError) as error:
            faults.append(str(error))
    return words, faults


def refuse(faults: Sequence[str]) -> None:
    """Raise DatasetError if there are any, with all of them."""
    if faults:
        more = [f"and {len(faults) - MOST_TOLD} more"] if len(faults) > MOST_TOLD else []
        raise DatasetError("\n".join([*faults[:MOST_TOLD], *more]))


def dataset_folder(folder: str | Path) -> Path:
    """Where a folder is that somebody named; ``~`` is the home folder.

    Raises:
        DatasetError: no name, or the home folder of a user that this computer does not know.
    """
    if not str(folder).strip(" \t\n\"'"):
        raise DatasetError("no folder given. Give the path of the folder that holds your training pictures")
    try:
        return named_path(folder)
    except ValueError as error:
        raise DatasetError(str(error)) from error


def picture_files(folder: str | Path, recursive: bool = False) -> list[Path]:
    """The pictures of `list_pictures`."""
    return list_pictures(folder, recursive).pictures


def check_is_folder(folder: Path) -> None:
    """Raise DatasetError unless there is a folder of this name, which is not opened."""
    with _opening(folder):
        if folder.is_file():
            raise DatasetError(
                f"{folder}: a file, not a folder. Give the folder that it is in: {folder.parent}"
            )
        if not folder.is_dir():
            raise DatasetError(
                f"{folder}: no such folder. Give the path of the folder that holds your training pictures"
            )


@contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """What the file system refuses, as a DatasetError."""
    try:
        yield
    except PermissionError as error:
        raise DatasetError(not_allowed(folder)) from error
    except OSError as error:
        raise DatasetError(
            f"{folder}: cannot be opened ({error.strerror}). Let the user that this program runs as read it"
        ) from error


def list_pictures(folder: str | Path, recursive: bool = False, bounds: Bounds | None = None) -> PictureList:
    """The pictures of a folder by name with their caption files, and what is left out.

    Args:
        recursive: those of its subfolders too, after its own; a folder that is linked twice counts once.
        bounds: how far to look; without them, as far as it goes.

    Raises:
        DatasetError: no such folder, one that cannot be opened, no picture in it, or two pictures of one stem
            in one folder.
    """
    folder = dataset_folder(folder)
    check_is_folder(folder)
    with _opening(folder):
        listed = list_folder(folder, recursive, bounds)
    if not listed.pictures:
        seen = f". What is there: {'; '.join(listed.left_out)}" if listed.left_out else ""
        raise DatasetError(
            f"{folder}: no picture in it. Put files of type {', '.join(PICTURE_SUFFIXES)} there{seen}"
        )
    refuse(_shared_stems(listed.pictures))
    return listed


def _shared_stems(pictures: Sequence[Path]) -> list[str]:
    """What is wrong with pictures that have their stem from another in the same folder."""
    return [
        f"{path.parent}: {first.name} and {path.name} would share one caption and one mask file: rename one "
        "of them"
        for first, path in sharing(pictures)
    ]


def sharing(pictures: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Pictures whose stem in its folder is that of an earlier one, and this one: Photo.jpg and photo.png too
    where the disk takes them for one name.
    """
    first: dict[tuple[str, str], Path] = {}
    alike: dict[tuple[str, str], Path] = {}
    for path in pictures:
        folder, stem = os.path.dirname(path), path.stem
        other = first.setdefault((folder, stem), path)
        if other is path:
            looks_like = alike.setdefault((folder, stem.casefold()), path)
            other = looks_like if looks_like is not path and folds_case(path) else path
        if other is not path:
            yield other, path


def dataset_files(folder: str | Path) -> list[Path]:
    """The picture files of a folder and the texts beside them: all that `scan` and `load_picture` read there.

    Raises:
        DatasetError: as `list_pictures`.
    """
    pictures = picture_files(folder)
    stems = {path.stem for path in pictures}
    texts = [path for path in pictures[0].parent.iterdir() if path.suffix.lower() in CAPTION_SUFFIXES]
    return pictures + sorted(path for path in texts if path.stem in stems)


def caption_of(picture: Path) -> str | None:
    """The words of the caption file beside a picture; None when it has none.

    Raises:
        DatasetError: it cannot be read, or is no text.
    """
    path = caption_file_of(picture)
    try:
        return None if path is None else read_caption(path)
    except ValueError as error:
        raise DatasetError(str(error)) from error


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its EXIF orientation says.

    Only that field is looked at: Pillow's own function writes all of them again, and fails where a camera
    wrote another one wrongly.
    """
    turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def pixels_of(picture: Path) -> int:
    """How many pixels a picture file says it has; 0 where that cannot be read."""
    try:
        with opened_picture(picture) as file:
            return file.width * file.height
    except Exception:  # damaged files make Pillow raise nearly anything
        return 0


def load_picture(path: str | Path) -> Tensor:
    """Float[H, W, 3] in 0..1, upright (EXIF orientation applied); transparent parts become white.

    Of several frames, the first is read.

    Raises:
        FileNotFoundError: there is no such file.
        DatasetError: the file is damaged, no picture, may not be read, or has too many pixels.
    """
    path = Path(path)
    try:
        with opened_picture(path) as file:
            if problem := too_large(file.height, file.width):
                raise DatasetError(f"{path}: {problem}")
            picture = upright(file)
            if picture.mode.startswith("I"):  # 16-bit grey; "I" in older versions of Pillow
                pixels = np.asarray(picture, dtype=np.float32)[..., None].repeat(3, -1) / 65535
                return torch.from_numpy(pixels)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture)
            pixels = np.array(picture if picture.mode == "RGB" else picture.convert("RGB"), dtype=np.float32)
            pixels /= 255
    except (FileNotFoundError, DatasetError):
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything: struct.error, TypeError ...
        raise DatasetError(why_unreadable(path, error)) from error
    return torch.from_numpy(pixels)


def pictures_on_disk(paths: Sequence[Path]) -> list[OnDisk]:
    """`load_picture` of each file as Float[1, H, W, 3]; they wait on the disk.

    Each is read once to see that it can be. One that is used after its file was changed raises DatasetError.

    Raises:
        DatasetError: some cannot be read; all of them are named.
    """
    waiting, faults = [], []
    for path in paths:
        try:
            state = _state(path)
            shape = (1, *load_picture(path).shape)
        except (ValueError, OSError) as error:
            faults.append(str(error))
        else:
            waiting.append(OnDisk(partial(_read_again, path, state), shape))
    refuse(faults)
    return waiting


def _read_again(path: Path, state: tuple[int, ...] | None) -> Tensor:
    if _state(path) != state:
        raise DatasetError(
            f"{path}: it was changed, moved or deleted after the folder had been read. Run again, with the "
            "file as it is to be"
        )
    return load_picture(path)[None]


def _state(path: Path) -> tuple[int, ...] | None:
    """Tells one version of a file from another; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
