"""A model from the hub into a weight folder: complete, checked, and in the place of nothing that is there."""

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...files.writing import NotWrittenError, check_can_write, move_aside, nothing_is_there, write_atomically
from ..damage import WEIGHTS, damage
from ..model_files import MODELS, is_one_file
from .errors import FetchError
from .listing import HubFile, Listing, list_model
from .transfer import Patience, Transfer, digest_of

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

PARTS = ".{name}.partial"
"""Folder of what has come of a model. It begins with a dot, and no segmenter looks into such."""
LOCK = "lock"


@dataclass(frozen=True)
class Reporter:
    """Who is told how far a fetch is: `of` once with its size in bytes, `more` with those new on the disk."""

    of: Callable[[int], None] = lambda size: None
    more: Callable[[int], None] = lambda count: None
    is_cancelled: Callable[[], bool] = lambda: False


def place_of(name: str, folder: Path) -> Path:
    """Where a model goes in a weight folder: the file, or the folder when the model is several files."""
    model = MODELS[name]
    return folder.absolute() / Path(model.files[0] if is_one_file(model) else model.hub).name


def partial_folder(place: Path) -> Path:
    """Where the parts of a model wait until they are whole."""
    return place.with_name(PARTS.format(name=place.name))


def kept_of(place: Path) -> int:
    """Bytes of a model that have come so far."""
    try:
        return sum(entry.stat().st_size for entry in os.scandir(partial_folder(place)) if entry.is_file())
    except OSError:
        return 0


def discard(place: Path) -> None:
    """Throw away what has come of a model.

    Raises:
        OSError: it cannot be removed.
    """
    if partial_folder(place).is_dir():
        shutil.rmtree(partial_folder(place))


QUIET, PATIENT = Reporter(), Patience()


def fetch(name: str, place: Path, report: Reporter = QUIET, patience: Patience = PATIENT) -> Path:
    """Bring a model of the table to `place`: goes on with what has come before, and replaces nothing.

    Args:
        place: see `place_of`.

    Returns:
        `place`.

    Raises:
        FetchError: it did not come. Nothing of it is where a segmenter looks.
    """
    if not MODELS[name].hub:
        raise FetchError("no_hub", name, url=MODELS[name].url, place=place)
    listing = list_model(name, patience.seconds)
    targets = {file: place if is_one_file(MODELS[name]) else place / file.name for file in listing.files}
    parts = partial_folder(place)
    with _unwritable_as_fetch_error(name, parts):
        parts.mkdir(parents=True, exist_ok=True)
        check_can_write(parts / "file")
    with _alone(name, parts):
        report.of(listing.size)
        due = _due(name, targets, report)
        _clean(parts, listing)
        report.more(sum(_size_of(_part(parts, file)) for file in due))
        transfer = Transfer(name, listing.headers, report.more, report.is_cancelled, patience)
        # the small ones first: who may not have one of them learns it at once
        for file in sorted(due, key=lambda file: file.size):
            transfer.fetch(listing.url_of(file), file, _part(parts, file))
        with _unwritable_as_fetch_error(name, place):
            for file in sorted(due, key=lambda file: file.name.endswith(WEIGHTS)):
                _put(name, _part(parts, file), targets[file])
    with contextlib.suppress(OSError):
        shutil.rmtree(parts)
    return place


def _part(parts: Path, file: HubFile) -> Path:
    """Named after the content, so that parts of another commit are not gone on with."""
    return parts / f"{file.base_name}.{file.digest.partition(':')[2][:16]}.part"


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _due(name: str, targets: dict[HubFile, Path], report: Reporter) -> list[HubFile]:
    """The files that are not there; FetchError where something else is in the place of one."""
    due = []
    for file, target in targets.items():
        if not os.path.lexists(target):
            due.append(file)
        elif target.is_file() and target.stat().st_size == file.size and _is(file, target, report):
            report.more(file.size)
        elif target.is_file() and target.suffix in WEIGHTS and damage(target):
            due.append(file)  # moved aside when the right one is there
        else:
            raise FetchError("exists", name, file=target)
    return due


def _is(file: HubFile, target: Path, report: Reporter) -> bool:
    return digest_of(target, file.digest, report.is_cancelled) == file.digest


def _clean(parts: Path, listing: Listing) -> None:
    """Remove parts of files that the hub has no more."""
    wanted = {_part(parts, file).name for file in listing.files} | {LOCK}
    for entry in parts.iterdir():
        if entry.name not in wanted and entry.is_file():
            entry.unlink()


def _put(name: str, part: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(target):
        if not (target.is_file() and damage(target)):
            raise FetchError("exists", name, file=target)
        move_aside(target, "damaged")
    write_atomically(target, lambda temporary: os.replace(part, temporary), nothing_is_there(target))


@contextlib.contextmanager
def _unwritable_as_fetch_error(name: str, place: Path) -> Iterator[None]:
    try:
        yield
    except FetchError:
        raise
    except OSError as error:
        said = (
            error if isinstance(error, NotWrittenError) or not error.errno else NotWrittenError(place, error)
        )
        raise FetchError("unwritable", name, error=said) from error


@contextlib.contextmanager
def _alone(name: str, parts: Path) -> Iterator[None]:
    """Two programs do not write one part; the lock ends with its program. A disk without locks has none."""
    handle = os.open(parts / LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        try:
            if sys.platform == "win32":
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FetchError("busy", name, place=parts.parent) from error
        except PermissionError as error:  # how Windows says that it is locked
            raise FetchError("busy", name, place=parts.parent) from error
        except OSError:
            pass
        yield
    finally:
        os.close(handle)
