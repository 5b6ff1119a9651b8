"""Where inputs and outputs of jobs are: paths, or URLs that fsspec reaches."""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from ..datasets.tars.store import Store, StoreError, is_url
from ..files.names import leads_out
from ..files.writing import make_folder, write_bytes

PIECE = 1 << 20


class Place(ABC):
    """A file, or a folder, at a path or a URL.

    Attributes:
        name: what messages call it.
    """

    name: str

    @abstractmethod
    def stamp(self) -> str | None:
        """Tells one content from another by what can be had without reading it; None: nothing is there."""

    @abstractmethod
    def fetched(self, folder: Path) -> Path:
        """A file or folder with the content: itself, or a copy in this folder."""

    @abstractmethod
    def beside(self, ending: str) -> "Place":
        """The file beside it whose name has this ending in the place of its own."""

    @abstractmethod
    def read(self) -> bytes:
        """Its content; of small files."""

    @abstractmethod
    def write(self, content: bytes) -> None:
        """Let it have this content: all of it, or what it was before."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the file, if it is there."""


def place_at(text: str, base: Path, puts: bool = False) -> Place:
    """What a job names.

    Args:
        text: a URL, or a path that is relative to `base`.
        puts: whether something will be put there.

    Raises:
        StoreError: a URL of a store that is not known, or needs what is not installed.
    """
    return InStore(text, Store(text, puts)) if is_url(text) else OnDisk(base / Path(text).expanduser())


class OnDisk(Place):
    """A path."""

    def __init__(self, path: Path):
        self.path, self.name = path, str(path)

    def stamp(self) -> str | None:
        if self.path.is_dir():
            return _told_together({name: _told(self.path / name) for name in names_below(self.path)})
        try:
            return _told(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def fetched(self, folder: Path) -> Path:
        return self.path

    def beside(self, ending: str) -> "OnDisk":
        return OnDisk(self.path.with_name(self.path.stem + ending))

    def read(self) -> bytes:
        return self.path.read_bytes()

    def write(self, content: bytes) -> None:
        write_bytes(self.path, [content])

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


class InStore(Place):
    """A URL."""

    def __init__(self, url: str, store: Store):
        self.name, self._store, self._path = url, store, store.path.rstrip("/")

    def stamp(self) -> str | None:
        if (own := self._store.version(self._path)) is None:
            return None
        below = self._below()
        if not below:
            return own
        return _told_together({name: self._store.version(path) or "" for name, path in below.items()})

    def _below(self) -> dict[str, str]:
        """Name -> path of the objects below it; of one object nothing."""
        found = {}
        for path in self._store.below(self._path):
            name = path.removeprefix(self._path).lstrip("/")
            parts = PurePosixPath(name).parts
            if name and not any(part.startswith(".") for part in parts):
                found[name] = path
        return found

    def fetched(self, folder: Path) -> Path:
        target, below = folder / PurePosixPath(self._path).name, self._below()
        if not below:
            make_folder(folder)
            self._store.fetch(self._path, target)
            return target
        for name, path in below.items():
            if leads_out(name):
                raise StoreError(f"{self.name}: {name} leads out of it. Give it another name")
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            self._store.fetch(path, target / name)
        return target

    def beside(self, ending: str) -> "InStore":
        url = self.name[: -len(PurePosixPath(self._path).suffix)] + ending
        return InStore(url, Store(url))

    def read(self) -> bytes:
        return self._store.part(self._path, 0, None)

    def write(self, content: bytes) -> None:
        self._store.put(self._path, content)

    def remove(self) -> None:
        self._store.remove(self._path)


def names_below(folder: Path) -> list[str]:
    """The files below a folder by their names in it, with "/", in the order of their bytes; none whose name,
    or whose folder's, begins with a dot.
    """
    found = []
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name).relative_to(folder).as_posix() for name in files if name[0] != "."]
    return sorted(found, key=os.fsencode)


def sha256_of(path: Path, without: str | None = None) -> str:
    """64 hex digits; of a folder over those of its files and their names, as docs/jobs.md has it.

    Args:
        without: files whose names end so are left out.
    """
    digest = hashlib.sha256()
    if path.is_dir():
        for name in names_below(path):
            if without is not None and name.endswith(without):
                continue
            digest.update(sha256_of(path / name).encode() + b"  " + os.fsencode(name) + b"\n")
        return digest.hexdigest()
    with open(path, "rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _told(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} bytes {status.st_mtime_ns}"


def _told_together(stamps: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    for line in _lines(stamps):
        digest.update(line)
    return f"{len(stamps)} files {digest.hexdigest()}"


def _lines(stamps: Mapping[str, str]) -> Iterator[bytes]:
    for name, stamp in sorted(stamps.items()):
        yield os.fsencode(f"{name}\n{stamp}\n")
