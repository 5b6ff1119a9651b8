"""Dataset folders: pictures and captions."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor

from ..files import named_path
from .mask_file import mask_path, size_problem

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
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
FOREIGN_MASK_SUFFIX = "-masklabel"
"""Stem ending of the mask pictures that other trainers keep beside the pictures."""


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


def scan(folder: str | Path, default_caption: str = "") -> list[DatasetPicture]:
    """All pictures of a folder (not of its subfolders) by name, each with its caption from `<stem>.txt`.

    Args:
        default_caption: for pictures without a caption file; when empty, such a picture is an error.

    Raises:
        DatasetError: no such folder, no picture in it, two pictures of one stem, or a caption that is
            missing.
    """
    folder = dataset_folder(folder)
    files = picture_files(folder)
    pictures = [DatasetPicture(path, caption_of(path) or default_caption.strip()) for path in files]
    missing = [picture.path.name for picture in pictures if not picture.caption]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DatasetError(
            f"{folder}: no caption for {', '.join(missing[:3])}{more}. Write it to a text file of the same "
            f"name ({Path(missing[0]).stem}.txt), or give a default caption"
        )
    return pictures


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
    """All picture files of a folder by name; hidden ones and mask pictures of other trainers are none.

    Args:
        recursive: those of its subfolders too, after its own; a folder that is linked twice counts once.

    Raises:
        DatasetError: no such folder, no picture in it, or two pictures of one stem in one folder.
    """
    folder = dataset_folder(folder)
    if folder.is_file():
        raise DatasetError(f"{folder}: a file, not a folder. Give the folder that it is in: {folder.parent}")
    if not folder.is_dir():
        raise DatasetError(
            f"{folder}: no such folder. Give the path of the folder that holds your training pictures"
        )
    files = _picture_files(folder, set() if recursive else None)
    if not files:
        raise DatasetError(
            f"{folder}: no picture in it. Put files of type {', '.join(PICTURE_SUFFIXES)} there"
        )
    by_stem: dict[Path, Path] = {}
    for path in files:
        stem = path.with_suffix("")
        if stem in by_stem:
            raise DatasetError(
                f"{path.parent}: {by_stem[stem].name} and {path.name} would share one caption and one mask "
                "file: rename one of them"
            )
        by_stem[stem] = path
    return files


def _picture_files(folder: Path, seen: set[Path] | None) -> list[Path]:
    """Pictures of a folder, and of its subfolders unless `seen` (the folders so far) is None."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = [
        path
        for path in entries
        if path.suffix.lower() in PICTURE_SUFFIXES
        and not path.stem.endswith(FOREIGN_MASK_SUFFIX)
        and path.is_file()
    ]
    if seen is not None:
        seen.add(folder.resolve())
        for path in entries:
            if path.is_dir() and path.resolve() not in seen:
                files += _picture_files(path, seen)
    return files


def caption_of(picture: Path) -> str:
    """The words of `<stem>.txt` beside a picture; empty when it has none.

    Raises:
        DatasetError: it is not UTF-8 text.
    """
    path = picture.with_suffix(".txt")
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text ({error}). Save the caption as UTF-8") from error


def upright(picture: Image.Image) -> Image.Image:
    """A picture turned as its EXIF orientation says.

    Only that field is looked at: Pillow's own function writes all of them again, and fails where a camera
    wrote another one wrongly.
    """
    turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    return picture if turn is None else picture.transpose(turn)


def load_picture(path: str | Path) -> Tensor:
    """Float[H, W, 3] in 0..1, upright (EXIF orientation applied); transparent parts become white.

    Raises:
        DatasetError: the file is damaged, no picture, or larger than masks can be.
    """
    path = Path(path)
    try:
        with Image.open(path) as file:
            if problem := size_problem(file.height, file.width):
                raise DatasetError(f"{path}: {problem}")
            picture = upright(file)
            if picture.mode.startswith("I"):  # 16-bit grey; "I" in older versions of Pillow
                pixels = np.asarray(picture, dtype=np.float32)[..., None].repeat(3, -1) / 65535
                return torch.from_numpy(pixels)
            if picture.has_transparency_data:
                picture = picture.convert("RGBA")
                white = Image.new("RGBA", picture.size, "white")
                picture = Image.alpha_composite(white, picture)
            pixels = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
    except (FileNotFoundError, DatasetError):
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything: struct.error, TypeError ...
        raise DatasetError(
            f"{path}: cannot be read as a picture ({error}). Replace the file or remove it"
        ) from error
    return torch.from_numpy(pixels)
