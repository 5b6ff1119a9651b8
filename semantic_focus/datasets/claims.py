"""Claims on mask files, so that two programs on one folder do not make the same file at the same time.

A claim is a lock on one byte of the file `.zi_masks.lock` in the folder, at a place that depends on the mask
file's name. The operating system frees it when its process ends, however that ends; the lock file goes with
the last claim. Locks work between processes, and over a network share if its server has locks.
"""

import contextlib
import errno
import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

log = logging.getLogger("semantic_focus.datasets.claims")

LOCK_FILE = ".zi_masks.lock"
PLACES = 1 << 30
"""How many bytes names are spread over. Two names at one place wait for each other, no more than that;
Windows wants places below 2 GiB."""

MOST_SECONDS, SECONDS_BETWEEN_LOOKS = 30.0, 0.01
"""How long to wait for a turn to write, and the time between two looks."""

MOST_TRIES = 100
"""How often to open the lock file anew when somebody removes it just then."""

if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int, place: int) -> None:
        os.lseek(handle, place, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int, place: int) -> None:
        os.lseek(handle, place, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

    def _discard(handle: int, path: Path) -> None:
        os.close(handle)
        with contextlib.suppress(OSError):  # Windows removes no file that somebody has open
            path.unlink()

    def _is_open_at(handle: int, path: Path) -> bool:
        return True  # for the same reason
else:
    import fcntl

    def _lock(handle: int, place: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)

    def _unlock(handle: int, place: int) -> None:
        fcntl.lockf(handle, fcntl.LOCK_UN, 1, place)

    def _discard(handle: int, path: Path) -> None:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # all of it: nobody else has a claim
            if _is_open_at(handle, path):
                path.unlink()
        except OSError:
            pass  # whoever has a claim removes the file later
        finally:
            os.close(handle)

    def _is_open_at(handle: int, path: Path) -> bool:
        """Whether a descriptor is that of the file which is at `path` now."""
        try:
            return os.path.samestat(os.fstat(handle), path.stat())
        except OSError:
            return False


TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
"""What a lock call says when somebody else has the lock."""


class _LockFile:
    """The one open lock file of a folder in this process, and the places claimed in it.

    There must be only one: POSIX locks belong to the process, and closing any descriptor of a file frees
    them all.
    """

    def __init__(self, path: Path):
        self.path = path
        self.handle: int | None = _open(path)
        self.places: set[int] = set()

    def claim(self, place: int) -> bool:
        if place in self.places:
            return False
        for _ in range(MOST_TRIES):
            if self.handle is None:
                break
            try:
                _lock(self.handle, place)
            except OSError as error:
                if error.errno in TAKEN:
                    return False
                self._do_without(str(error))
                break
            if _is_open_at(self.handle, self.path):
                break
            self._reopen()  # another process removed the file between our opening and locking it
        else:
            self._do_without("the lock file is another one whenever it is opened")
        self.places.add(place)
        return True

    def _do_without(self, reason: str) -> None:
        _warn_once(self.path, reason)
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None
        with contextlib.suppress(OSError):
            self.path.unlink()

    def _reopen(self) -> None:
        if self.handle is not None:
            os.close(self.handle)
        self.handle = handle = _open(self.path)
        if handle is not None:
            for place in self.places:
                with contextlib.suppress(OSError):
                    _lock(handle, place)

    def release(self, place: int) -> None:
        self.places.discard(place)
        if self.handle is None:
            return
        if not self.places:
            _discard(self.handle, self.path)
            self.handle = None
            return
        with contextlib.suppress(OSError):
            _unlock(self.handle, place)


# Of the process, like the locks themselves.
_GUARD = threading.Lock()
_OPEN: dict[tuple[int, int, str], _LockFile] = {}


class Claim:
    """The right to make one mask file, until `release` or the end of a `with`."""

    def __init__(self, folder: tuple[int, int, str], place: int):
        self._folder, self._place = folder, place

    def release(self) -> None:
        """Give it up; at once when that was done before."""
        with _GUARD:
            lock_file = _OPEN.get(self._folder)
            if lock_file is None or self._place < 0:
                return
            lock_file.release(self._place)
            self._place = -1
            if not lock_file.places:
                del _OPEN[self._folder]

    def __enter__(self) -> "Claim":
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def claim(mask_file: Path) -> Claim | None:
    """Claim a mask file that need not exist; None when this or another process has it already.

    Never waits. Where the file system has no locks, or the folder cannot be written, every claim is granted,
    and the log says so once for each folder.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    folder = _identity(mask_file.parent)
    place = _place(mask_file.name)
    with _GUARD:
        lock_file = _OPEN.get(folder) or _LockFile(mask_file.parent / LOCK_FILE)
        claimed = lock_file.claim(place)
        if lock_file.places:
            _OPEN[folder] = lock_file
        elif lock_file.handle is not None:
            os.close(lock_file.handle)
    return Claim(folder, place) if claimed else None


@contextlib.contextmanager
def claimed_if_free(mask_file: Path) -> Iterator[bool]:
    """Hold the claim on a mask file meanwhile, if it can be had; says whether."""
    held = claim(mask_file) if os.path.isdir(mask_file.parent) else None
    try:
        yield held is not None
    finally:
        if held is not None:
            held.release()


@contextlib.contextmanager
def turn_to_write(mask_file: Path, seconds: float = MOST_SECONDS) -> Iterator[None]:
    """Read a mask file and write it anew, while no other program of ours does so.

    Whoever makes a mask file claims it for long; this turn is short, and everybody waits for his.

    Raises:
        FileNotFoundError: there is no such folder.
        TimeoutError: it was not free for so long.
    """
    place, end = turn_of(mask_file), time.monotonic() + seconds
    while (held := claim(place)) is None:
        if time.monotonic() > end:
            raise TimeoutError(f"{mask_file}: another program writes there. Try again when it has ended")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    with held:
        yield


def turn_of(mask_file: Path) -> Path:
    """The name by which the turns at a mask file are claimed."""
    return mask_file.with_name(f"{mask_file.name}.turn")


def remove_unused_lock_file(folder: Path) -> None:
    """Remove the lock file that a killed process left in a folder, unless somebody has a claim there."""
    path = folder / LOCK_FILE
    with _GUARD, contextlib.suppress(OSError):
        if _identity(folder) not in _OPEN and path.is_file():
            _discard(os.open(path, os.O_RDWR), path)


def _identity(folder: Path) -> tuple[int, int, str]:
    status = folder.stat()
    return status.st_dev, status.st_ino, "" if status.st_ino else os.path.realpath(folder)


def _place(name: str) -> int:
    digest = hashlib.sha256(name.casefold().encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % PLACES


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        _warn_once(path, str(error))
        return None


@lru_cache(maxsize=1024)
def _warn_once(path: Path, reason: str) -> None:
    log.warning(
        "%s: the folder has no locks (%s). Run only one program at a time on it, or two may do the same work",
        path,
        reason,
    )
