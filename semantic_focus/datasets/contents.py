"""What lies in a dataset folder: its pictures with their captions, and what is left out, with the reason."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .captions import by_stem, is_caption, named
from .formats import PICTURE_SUFFIXES, PICTURES_NOT_READ
from .listing import Bounds, FolderEntries, Walk

FOREIGN_MASK_SUFFIX = "-masklabel"
"""Stem ending of the mask pictures that other trainers keep beside the pictures."""
FOREIGN_MASK_SUFFIXES = (FOREIGN_MASK_SUFFIX, "-condlabel")

REASONS = {
    "not_read": "a kind of picture that is not read: save it as PNG or JPEG",
    "link": "a link to nothing",
    "not_allowed": "the user that runs this program may not read it",
    "no_file": "no file that can be read",
    "subfolder": "a folder with pictures of its own: give that folder, or include subfolders (recursive)",
    "unseen": "a folder that was not looked into",
    "mask": "a mask picture of another trainer",
    "unused": "two captions of one picture: the latter is used",
    "lonely": "a caption without a picture of its name",
    "other": "no picture",
}
"""Why something is left out, the gravest first."""

KNOWN_BESIDE_PICTURES = re.compile(
    r"_zi(_masks|_te|_latent|_prepared)?\.safetensors(\.(damaged|before)(_\d+)?)?$"
    r"|^(thumbs\.db|desktop\.ini)$",
    re.I,
)
"""What belongs beside pictures: masks, what was prepared for training, caches of latents and texts,
also what was moved aside, and what file managers leave."""

MOST_LOOKED_AT = 2000
"""Entries of subfolders that are looked at, to tell whether pictures are in them."""


@dataclass(frozen=True)
class PictureList:
    """What lies in a folder.

    Attributes:
        pictures: by name; those of subfolders after it.
        left_out: all else that is not hidden and does not belong beside pictures: a line for each reason with
            the names, the gravest first.
        captions: the caption file of each picture that has one.
    """

    folder: Path
    pictures: list[Path]
    left_out: list[str]
    captions: Mapping[Path, Path] = field(default_factory=dict)


def list_folder(folder: Path, recursive: bool = False, bounds: Bounds | None = None) -> PictureList:
    """Look at everything in a folder; hidden files are passed over.

    Args:
        folder: there is one.
        recursive: its subfolders too; a folder that is linked twice counts once.
        bounds: how far to look; without them, as far as it goes.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    listing, walk = _Listing(folder, recursive), Walk(bounds or Bounds())
    for found in walk.folders(folder, recursive):
        listing.look(found)
    return PictureList(folder, listing.pictures, [*listing.lines(), *walk.left_out], listing.captions)


class _Listing:
    """What was found so far."""

    def __init__(self, folder: Path, recursive: bool):
        self.folder, self.recursive = folder, recursive
        self.pictures: list[Path] = []
        self.captions: dict[Path, Path] = {}
        self.left_out: dict[str, list[str]] = {}
        self._looks_left = MOST_LOOKED_AT

    def look(self, found: FolderEntries) -> None:
        pictures, captions, others = [], [], []
        for path in found.files:
            (pictures if is_picture(path) else captions if is_caption(path) else others).append(path)
        self.pictures += pictures
        texts = by_stem(captions)
        for picture in pictures if texts else ():
            if words := texts.pop(picture.with_suffix(""), None):
                self.captions[picture], *unused = words
                for other in unused:
                    self._leave(other, "unused", f" beside {words[0].name}")
        for path in found.odd:
            self._leave(path, _why_odd(path))
        for path in captions:
            if path.with_suffix("") in texts:
                self._leave(path, "lonely")
        for path in others:
            self._leave_file(path)
        if not self.recursive:
            for path in found.below:
                self._look_below(path)

    def lines(self) -> list[str]:
        """The names of what is left out, by reason."""
        found = ((reason, self.left_out.get(kind)) for kind, reason in REASONS.items())
        return [f"{named(names)} ({reason})" for reason, names in found if names]

    def _leave(self, path: Path, kind: str, end: str = "") -> None:
        self.left_out.setdefault(kind, []).append(path.relative_to(self.folder).as_posix() + end)

    def _leave_file(self, path: Path) -> None:
        if KNOWN_BESIDE_PICTURES.search(path.name):
            return
        if path.suffix.lower() in PICTURE_SUFFIXES:
            self._leave(path, "mask")
        else:
            self._leave(path, "not_read" if path.suffix.lower() in PICTURES_NOT_READ else "other")

    def _look_below(self, folder: Path) -> None:
        found = self._has_pictures(folder)
        if found is None or found:
            self._leave(folder, "unseen" if found is None else "subfolder", "/")

    def _has_pictures(self, folder: Path) -> bool | None:
        """Whether a picture is in a folder or one below it; None when that takes too long to find out."""
        try:
            for entry in _below(folder):
                if self._looks_left <= 0:
                    return None
                self._looks_left -= 1
                if is_picture(Path(entry.name)) and entry.is_file():
                    return True
        except OSError:
            return None
        return False


def is_picture(path: Path) -> bool:
    """Whether a file's name is one of a training picture."""
    stem, suffix = os.path.splitext(path.name.lower())
    return suffix in PICTURE_SUFFIXES and not stem.endswith(FOREIGN_MASK_SUFFIXES)


def _below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The files of a folder and of its own folders."""
    folders: Sequence[str | Path] = [folder]
    for _ in range(2):
        deeper: list[str | Path] = []
        for place in folders:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        deeper.append(entry.path)
                    yield entry
        folders = deeper


def _why_odd(path: Path) -> str:
    """Why something is neither file nor folder, as a key of REASONS."""
    try:
        path.stat()
    except PermissionError:
        return "not_allowed"
    except OSError:  # also a link that leads to itself
        return "link" if path.is_symlink() else "no_file"
    return "no_file"
