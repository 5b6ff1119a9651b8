"""Writing of anything: complete or absent, and never over what is not ours.

This is the only place that writes (but for `segmenters/embedded/weights.py`, which runs before anything is
installed).
"""

import errno
import filecmp
import hashlib
import itertools
import logging
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image
from PIL.Image import Image as Picture
from PIL.PngImagePlugin import PngInfo

from .names import NAME_BYTES, is_long
from .text import printable

TEMPORARY = re.compile(r"\.(?P<mark>.+)\.[0-9a-f]{8}\.part")
"""Names of temporary files, which a killed program leaves behind; `mark` is `mark_of` the file's name. (Up to
version 0.2.0 it was the name itself.)"""

log = logging.getLogger("semantic_focus.files")

PNG_FIELD = "Software"
"""PNG text that says which part of this pack wrote a picture."""

REASONS = {
    errno.ENOSPC: "the disk is full. Free some space, or give a folder on another disk",
    errno.EDQUOT: "your share of the disk is used up. Free some space, or give a folder on another disk",
    errno.EROFS: "the disk is read-only. Give a folder on another one",
    errno.EACCES: "you have no permission to write there. Change the folder's permissions, or give another",
    errno.EPERM: "you have no permission to write there. Change the folder's permissions, or give another",
    errno.ENOENT: "its folder is gone. Give one that is there",
    errno.ENOTDIR: "a part of its path is a file, not a folder. Give another path",
    errno.EEXIST: "a part of its path is a file, not a folder. Give another path",
    errno.EISDIR: "there is a folder of that name. Give another name",
    errno.ENAMETOOLONG: "its name is too long for the disk. Give a shorter one",
    errno.EFBIG: "it is larger than files may be there. Give a folder on another disk",
}
"""Why a file cannot be written and what to do, by the system's error number."""

PROBE = 1 << 20
"""Bytes that are written to learn whether a disk takes them; more than a usual mask file."""

BUSY_TRIES, BUSY_SECONDS = 10, 0.2
"""How often Windows is asked to replace a file that another program has open, and the time between."""

MakeWay = Callable[[Path], bool]
"""Asked with the complete temporary file, right before it is moved into place: raises to refuse, moves aside
what is there, or answers False to leave it as it is."""

MOST_TRIES = 100
"""How often a place is looked at again in which something has appeared just then."""


class NotWrittenError(OSError):
    """A file that could not be written; the message names it, why, and the way out. `errno` is kept."""

    def __init__(self, path: Path, error: OSError):
        why = REASONS.get(error.errno or 0, error.strerror or str(error))
        super().__init__(f"{path}: cannot be written: {why}")
        self.errno = error.errno


def write_atomically(path: Path, write: Callable[[Path], object], make_way: MakeWay | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and move it into place.

    The folder must be there: a mistyped path makes none. If `write` fails, nothing is left behind and an
    older file stays as it was. The temporary name is short, so that any name that fits the disk can be
    written.

    Args:
        make_way: says whether what is there may be replaced; what appears after its answer is not. None:
            anything may be.

    Raises:
        FileNotFoundError: there is no folder for it.
        NotWrittenError: the disk is full or read-only, say.
    """
    try:
        _write_atomically(path, write, make_way)
    except OSError as error:
        if error.errno is None or isinstance(error, NotWrittenError):
            raise  # not the disk's: what fills the file ended it
        raise NotWrittenError(path, error) from error


def check_can_write(path: Path) -> None:
    """Raise NotWrittenError unless a file of `PROBE` bytes could be written there; nothing is left behind."""
    probe = path.with_name(f".{mark_of(path.name)}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NotWrittenError(path, error) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _write_atomically(path: Path, write: Callable[[Path], object], make_way: MakeWay | None) -> None:
    _check_folder(path)
    temporary = path.with_name(f".{mark_of(path.name)}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)  # 0o666 less the umask, whatever `write` makes of it
        os.close(handle)
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        if make_way is None:
            _move(temporary, path)
        else:
            _move_if_way_is_made(temporary, path, make_way)
    finally:
        with suppress(OSError):  # a folder that vanished, or is read-only now: the first error counts
            temporary.unlink(missing_ok=True)


def _check_folder(path: Path) -> None:
    try:
        if stat.S_ISDIR(os.stat(path.parent).st_mode):
            return
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: there is no folder {path.parent}. Make it first, or correct the path"
        ) from error
    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))


def _move_if_way_is_made(temporary: Path, path: Path, make_way: MakeWay) -> None:
    for _ in range(MOST_TRIES):
        judged = version_of(path)
        if not make_way(temporary):
            return
        if judged is not None and judged == version_of(path):
            _move(temporary, path)
            return
        try:
            _move_to_nothing(temporary, path)
            return
        except FileExistsError:  # somebody was faster: whose is it?
            continue
    raise FileExistsError(f"{path}: somebody else writes there all the time. Give another name")


def version_of(path: Path) -> tuple[int, ...] | None:
    """Tells one version of what is at a path from another, links unfollowed; None when nothing is there."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _move_to_nothing(temporary: Path, path: Path) -> None:
    """Move a file to where nothing is; FileExistsError if something is, also if it came just now."""
    if sys.platform == "win32":
        os.rename(temporary, path)  # it replaces nothing there
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        _move(temporary, path)


def nothing_is_there(path: Path) -> MakeWay:
    """For `write_atomically`: FileExistsError unless nothing is there, not even a dangling link."""

    def make_way(temporary: Path) -> bool:
        if os.path.lexists(path):
            raise FileExistsError(f"{path}: something is there already. Give another name, or move it away")
        return True

    return make_way


def others_aside(path: Path, is_ours: Callable[[Path], bool]) -> MakeWay:
    """For `write_atomically`, where nobody chose the name: what is there and not ours gets another name.

    A file with the same content stays untouched.
    """

    def make_way(temporary: Path) -> bool:
        if is_regular(path) and filecmp.cmp(temporary, path, shallow=False):
            return False
        if os.path.lexists(path) and not (is_regular(path) and is_ours(path)):
            aside = move_aside(path, "before")
            log.warning("%s", printable(f"{path}: it was not ours to replace, and is now {aside.name}"))
        return True

    return make_way


def is_regular(path: Path) -> bool:
    """Whether a path is a file: no folder, link, device, pipe or socket, and not nothing."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def move_aside(path: Path, why: str) -> Path:
    """Rename a file to `<name>.<why>` in its folder, or `<name>.<why>_2` and so on; its new path.

    Nothing is ever replaced by it, and no program takes the file for what it was.
    """
    name = os.fsencode(path.name)[:NAME_BYTES].decode("utf-8", "ignore") if is_long(path.name) else path.name
    for number in range(1, sys.maxsize):
        aside = path.with_name(f"{name}.{why}" + (f"_{number}" if number > 1 else ""))
        try:
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        try:
            os.replace(path, aside)
        except OSError:
            aside.unlink()
            raise
        return aside
    raise AssertionError("there is always another number")


def make_folder(folder: Path) -> None:
    """Make a folder inside one that is there; nothing when it is there itself.

    Raises:
        FileNotFoundError: there is no folder to make it in, as when a path was mistyped.
        FileExistsError: a file of that name.
        NotWrittenError: it cannot be made there.
    """
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder}: there is no folder {folder.parent} to make it in. Correct the path, or make that one"
        ) from error
    except FileExistsError as error:
        raise FileExistsError(f"{folder}: a file, not a folder. Give another path") from error
    except OSError as error:
        raise NotWrittenError(folder, error) from error


def write_new_folder(places: Iterable[Path], fill: Callable[[Path], object]) -> Path:
    """Make a folder, complete or not at all, at the first of many places where nothing is; the place.

    Args:
        places: beside each other, in a folder that is there.
        fill: writes into the empty folder that it is given, which is moved into place then.

    Raises:
        FileNotFoundError: there is no folder for it.
        NotWrittenError: the disk is full or read-only, say.
    """
    places = iter(places)
    for path in places:
        if os.path.lexists(path):
            continue
        temporary = path.with_name(f".{mark_of(path.name)}.{secrets.token_hex(4)}.part")
        make_folder(temporary)
        try:
            fill(temporary)
            return _moved_to_nothing(temporary, itertools.chain([path], places))
        except OSError as error:
            if error.errno is None or isinstance(error, NotWrittenError):
                raise
            raise NotWrittenError(path, error) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    raise FileExistsError("something is there already in every place for the folder")


def _moved_to_nothing(folder: Path, places: Iterable[Path]) -> Path:
    for path in places:
        try:
            if not os.path.lexists(path):
                os.rename(folder, path)
                return path
        except OSError:
            if not os.path.lexists(path):  # else somebody was faster
                raise
    raise FileExistsError("something is there already in every place for the folder")


def mark_of(name: str) -> str:
    """12 hex digits that stand for a file's name in that of its temporary file."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _move(temporary: Path, path: Path) -> None:
    for _ in range(BUSY_TRIES if sys.platform == "win32" else 0):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:  # a virus scanner or a viewer has the target open
            time.sleep(BUSY_SECONDS)
    os.replace(temporary, path)


def write_bytes(path: Path, parts: Iterable[bytes | memoryview], make_way: MakeWay | None = None) -> None:
    """Write the parts one after the other, atomically."""

    def fill(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.writelines(parts)

    write_atomically(path, fill, make_way)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain line ends, atomically."""
    write_bytes(path, [text.encode("utf-8")])


def write_png(
    path: Path,
    picture: Picture,
    mark: str = "",
    make_way: MakeWay | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> None:
    """Write a picture, atomically.

    Args:
        mark: what `has_png_mark` knows it by.
        texts: what it says besides.
        options: Pillow's.
    """
    if mark:
        options["pnginfo"] = info = PngInfo()
        for name, text in {PNG_FIELD: mark, **texts}.items():
            info.add_text(name, text)
    write_atomically(path, lambda temporary: picture.save(temporary, "PNG", **options), make_way)


def has_png_mark(path: Path, mark: str) -> bool:
    """Whether a file, and no link to one, is a picture that `write_png` wrote with this mark."""
    if not is_regular(path):
        return False
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get(PNG_FIELD) == mark
    except (OSError, SyntaxError, ValueError):
        return False


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file. Not atomic: whoever reads it leaves out a line that is cut short.

    Raises:
        NotWrittenError: the disk is full or read-only, say.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o666)
        with os.fdopen(handle, "a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
    except OSError as error:
        raise NotWrittenError(path, error) from error
