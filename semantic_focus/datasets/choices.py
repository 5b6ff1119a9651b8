"""Folders with pictures that somebody may choose from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .formats import PICTURE_SUFFIXES
from .listing import Bounds, folders_below

MOST_CHOICES = 200


@dataclass(frozen=True)
class Choice:
    """A folder that has pictures of its own, and how many."""

    path: Path
    pictures: int


def folders_with_pictures(roots: Iterable[Path], bounds: Bounds) -> list[Choice]:
    """The folders at and below some roots that have pictures, the first `MOST_CHOICES` by path.

    Roots that are not there, or may not be opened, have none.

    Args:
        bounds: how far to look below each root.
    """
    found: dict[Path, Choice] = {}
    for here in folders_below(roots, bounds):
        if number := sum(file.suffix.lower() in PICTURE_SUFFIXES for file in here.files):
            found.setdefault(here.path, Choice(here.path, number))
    return [found[path] for path in sorted(found)][:MOST_CHOICES]
