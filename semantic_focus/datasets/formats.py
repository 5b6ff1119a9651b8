"""Which picture files are read, and opening one: by a list of formats, so that no other program starts."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from PIL import Image, UnidentifiedImageError

from ..files.names import not_allowed

SUFFIXES_BY_FORMAT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "PNG": (".png", ".apng"),
        "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
        "WEBP": (".webp",),
        "BMP": (".bmp",),
        "GIF": (".gif",),
        "TIFF": (".tif", ".tiff"),
        "JPEG2000": (".jp2", ".j2k"),
        # Pillow has it from version 11.3 on
        **({"AVIF": (".avif",)} if find_spec("PIL.AvifImagePlugin") else {}),
    }
)
"""What Pillow decodes by itself. It would hand an EPS to Ghostscript, whatever the file is called."""

FORMATS = tuple(SUFFIXES_BY_FORMAT)
PICTURE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES_BY_FORMAT.values() for suffix in suffixes)

PICTURES_NOT_READ = (
    (
        ".heic",
        ".heif",
        ".hif",
        ".jxl",
        ".avif",
        ".avifs",
        ".psd",
        ".psb",
        ".xcf",
        ".kra",
        ".svg",
        ".eps",
        ".ps",
    )
    + (".ai", ".pdf", ".tga", ".dds", ".exr", ".hdr", ".ppm", ".pgm", ".pbm", ".pnm", ".pcx", ".qoi", ".ico")
    + (".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".wmf", ".emf", ".jpx", ".jpf")
    + (".dib", ".sgi", ".mp4", ".mov", ".mkv", ".webm", ".avi")
)
"""Endings of pictures and films that somebody may take for training pictures."""

_LOOKS_LIKE: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%!PS", "an EPS or PostScript drawing"),
    (0, b"\xc5\xd0\xd3\xc6", "an EPS drawing"),
    (0, b"%PDF", "a PDF"),
    (4, b"ftypheic", "a HEIC photograph"),
    (4, b"ftypheix", "a HEIC photograph"),
    (4, b"ftypmif1", "a HEIF photograph"),
    (4, b"ftypavif", "an AVIF picture, which Pillow reads from version 11.3 on"),
    (4, b"ftyp", "a film"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"gimp xcf", "a GIMP document"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (0, b"version https://git-lfs", "a Git LFS pointer: run 'git lfs pull' to get the file itself"),
    (0, b"<svg", "an SVG drawing"),
    (0, b"<!DOCTYPE", "a web page: download the picture itself"),
    (0, b"<!doctype", "a web page: download the picture itself"),
    (0, b"<html", "a web page: download the picture itself"),
)
"""Offset and bytes by which files are known that are called pictures now and then."""


@contextmanager
def opened_picture(path: str | Path) -> Iterator[Image.Image]:
    """A picture file, not decoded yet; the first frame of several.

    Raises:
        ValueError: its pixels are numbers of no known range.
        OSError, and nearly anything where the file is damaged: see `why_unreadable`.
    """
    with Image.open(path, formats=FORMATS) as file:
        if file.mode == "F" or (file.mode == "I" and file.format == "TIFF"):
            raise ValueError("its pixels are numbers of 32 bits. Save it with 8 or 16 bits for each channel")
        yield file


def why_unreadable(path: Path, error: Exception) -> str:
    """What is wrong with a picture file that could not be opened or decoded, and the way out."""
    if isinstance(error, PermissionError):
        return not_allowed(path)
    problem = _looks_like(path) if isinstance(error, UnidentifiedImageError) else str(error)
    return f"{path}: cannot be read as a picture ({problem}). Replace the file or remove it"


def _looks_like(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except OSError as error:
        return str(error)
    if not start:
        return "it is empty"
    for offset, mark, what in _LOOKS_LIKE:
        if start[offset:].startswith(mark):
            return f"it looks like {what}"
    return f"it is none of {', '.join(FORMATS)}"


def has_several_frames(path: Path) -> bool:
    """Whether only the first frame or page of a picture file is read; False for one that cannot be opened."""
    if path.suffix.lower() in (*SUFFIXES_BY_FORMAT["JPEG"], *SUFFIXES_BY_FORMAT["BMP"]):
        return False  # cameras keep previews beside the picture, which nobody takes for frames
    try:
        with opened_picture(path) as file:
            return file.format != "MPO" and bool(getattr(file, "is_animated", False))
    except Exception:  # damaged files make Pillow raise nearly anything, and whoever reads it says so
        return False
