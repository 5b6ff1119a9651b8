"""What is in a folder and in the folders below it, found within bounds."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..files.text import printable, some

CHECK_EVERY = 256
"""Entries between two looks at the clock."""
MOST_NAMED = 3
"""Folders that a sentence names; the others are counted."""


@dataclass(frozen=True)
class Bounds:
    """How far a walk goes.

    Attributes:
        entries: of all folders together; None: however many there are.
        seconds: None: however long it takes.
        check: called again and again; it ends the walk by an exception.
        refused: why a folder below the first is not opened; empty when it is.
    """

    entries: int | None = None
    seconds: float | None = None
    check: Callable[[], object] = lambda: None
    refused: Callable[[Path], str] = lambda folder: ""


@dataclass(frozen=True)
class FolderEntries:
    """What is in one folder, by name; hidden entries are left out. `odd` is neither file nor folder."""

    path: Path
    files: list[Path]
    below: list[Path]
    odd: list[Path]


@dataclass
class Walk:
    """Looks through a folder; `left_out` says afterwards what was not looked at, in printable sentences."""

    bounds: Bounds = field(default_factory=Bounds)
    left_out: list[str] = field(default_factory=list)
    _refused: list[str] = field(default_factory=list)
    _closed: list[Path] = field(default_factory=list)
    _count: int = 0
    _end: float | None = None

    def folders(self, folder: Path, recursive: bool) -> Iterator[FolderEntries]:
        """A folder, then each folder below.

        A folder that is linked twice counts once.

        Raises:
            OSError: the first folder cannot be opened.
        """
        self._end = None if self.bounds.seconds is None else time.monotonic() + self.bounds.seconds
        waiting, seen = [folder], set[tuple[int, int]]()
        while waiting:
            here = waiting.pop()
            if here is not folder and (reason := self.bounds.refused(here)):
                self._refused.append(printable(reason))
                continue
            try:
                status = os.stat(here)
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
                found, bound = self._look(here)
            except OSError:
                if here is folder:
                    raise
                self._closed.append(here)
                continue
            yield found
            if bound:
                self.left_out.append(bound)
                break
            waiting += reversed(found.below) if recursive else []
        self.left_out += self._refused[:MOST_NAMED]
        if (more := len(self._refused) - MOST_NAMED) > 0:
            self.left_out.append(f"{more} more folders may not be read either")
        if self._closed:
            self.left_out.append(f"folders that cannot be opened: {some(self._closed, MOST_NAMED)}")

    def _look(self, folder: Path) -> tuple[FolderEntries, str]:
        """What is in a folder, and the bound that was met."""
        files, below, odd, bound = [], [], [], self._met()
        with os.scandir(folder) as entries:
            for entry in entries:
                if self._count % CHECK_EVERY == 0 or self._count == self.bounds.entries:
                    bound = self._met()
                if bound:
                    break
                self._count += 1
                if not entry.name.startswith("."):
                    (below if _is(entry.is_dir) else files if _is(entry.is_file) else odd).append(entry.name)
        found = ([folder / name for name in sorted(names)] for names in (files, below, odd))
        return FolderEntries(folder, *found), bound

    def _met(self) -> str:
        self.bounds.check()
        way_out = "choose a folder further down, or switch recursive off"
        if self.bounds.entries is not None and self._count >= self.bounds.entries:
            return f"only the first {self.bounds.entries} files and folders were looked at: {way_out}"
        if self._end is not None and time.monotonic() > self._end:
            return f"not all was looked at, it took more than {self.bounds.seconds:g} seconds: {way_out}"
        return ""


def folders_below(roots: Iterable[Path], bounds: Bounds) -> Iterator[FolderEntries]:
    """The folders at and below some roots; those that are not there, or may not be opened, have none.

    Args:
        bounds: how far to look below each root.
    """
    for root in roots:
        try:
            yield from Walk(bounds).folders(root, recursive=True)
        except OSError:
            continue


def _is(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # a link to what cannot be reached
        return False
