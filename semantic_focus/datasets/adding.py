"""Pictures and captions that a person adds to a dataset folder: whole, and never over another file."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ..files.names import name_problem
from ..files.text import shortened
from ..files.writing import is_regular, nothing_is_there, write_bytes
from ..regions.large import too_large
from .captions import is_caption, read_caption
from .folder import DatasetError
from .formats import PICTURE_SUFFIXES, opened_picture, why_unreadable

NEW, SAME, RENAMED = "new", "same", "renamed"
"""What became of an added file."""


@dataclass(frozen=True)
class Added:
    """The name that an added file has now, and whether it is `NEW`, was there already, or got that name."""

    name: str
    outcome: str


def add_file(folder: Path, name: str, content: bytes) -> Added:
    """Keep a picture or a caption in a folder; nothing that is there is ever replaced.

    A picture whose name, or whose name with another ending, is taken gets a number: pictures of one stem
    would share a caption and a mask file. A caption belongs to the picture of its name and is not renamed.

    Raises:
        DatasetError: a name that not every system takes, no kind of file that is read, a damaged picture, or
            a caption where another one is.
        NotWrittenError: the disk is full, say.
    """
    if problem := name_problem(name):
        raise DatasetError(f"{shortened(name)!r}: {problem}. Rename the file")
    path = folder / name
    if is_caption(path):
        return _add_caption(path, content)
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise DatasetError(f"{name} (a kind of picture that is not read: save it as PNG or JPEG)")
    return _add_picture(path, content)


def _add_caption(path: Path, content: bytes) -> Added:
    if _is(path, content):
        return Added(path.name, SAME)

    def make_way(temporary: Path) -> bool:
        try:
            read_caption(temporary)
        except ValueError as error:
            raise DatasetError(_of(path, temporary, str(error))) from error
        return nothing_is_there(path)(temporary)

    try:
        write_bytes(path, [content], make_way)
    except FileExistsError as error:
        raise DatasetError(f"{path.name}: another caption is there, and stays") from error
    return Added(path.name, NEW)


def _add_picture(path: Path, content: bytes) -> Added:
    for candidate in _names(path):
        if _is(candidate, content):
            return Added(candidate.name, SAME)
        if _has_picture(candidate):
            continue

        def make_way(temporary: Path, place: Path = candidate) -> bool:
            _check_picture(temporary, path)
            return nothing_is_there(place)(temporary)

        try:
            write_bytes(candidate, [content], make_way)
        except FileExistsError:
            continue
        return Added(candidate.name, NEW if candidate == path else RENAMED)
    raise AssertionError("there is always another number")


def _names(path: Path) -> Iterator[Path]:
    yield path
    yield from (path.with_stem(f"{path.stem}_{number}") for number in count(2))


def _has_picture(path: Path) -> bool:
    """Whether a picture of this stem is in its folder, in capitals or not."""
    stem = path.stem.casefold()
    return any(
        other.stem.casefold() == stem and other.suffix.lower() in PICTURE_SUFFIXES
        for other in path.parent.iterdir()
    )


def _is(path: Path, content: bytes) -> bool:
    """Whether a file is there with just this content."""
    return is_regular(path) and path.stat().st_size == len(content) and path.read_bytes() == content


def _check_picture(temporary: Path, path: Path) -> None:
    """Raise DatasetError unless the file can be decoded to the end."""
    try:
        with opened_picture(temporary) as file:
            if problem := too_large(file.height, file.width):
                raise DatasetError(f"{path.name}: {problem}")
            file.load()
    except DatasetError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise DatasetError(_of(path, temporary, why_unreadable(temporary, error))) from error


def _of(path: Path, temporary: Path, sentence: str) -> str:
    """A sentence about a temporary file, as one about the file that it was to be."""
    return sentence.replace(str(temporary), path.name)
