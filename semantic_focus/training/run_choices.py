"""Run folders that somebody may choose from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..datasets.listing import Bounds, folders_below
from .run_folder import CURVES_FILE, RUN_FILE

MOST_CHOICES = 200


@dataclass(frozen=True)
class RunChoice:
    """A run folder, and when a step or its description was written last, in seconds since the epoch."""

    path: Path
    written: float


def run_folders_below(roots: Iterable[Path], bounds: Bounds) -> list[RunChoice]:
    """The run folders at and below some roots, the `MOST_CHOICES` that were written last, the latest first.

    Roots that are not there, or may not be opened, have none.

    Args:
        bounds: how far to look below each root.
    """
    found: dict[Path, RunChoice] = {}
    for here in folders_below(roots, bounds):
        if any(file.name == RUN_FILE for file in here.files):
            found.setdefault(here.path, RunChoice(here.path, _written(here.files)))
    return sorted(found.values(), key=lambda choice: -choice.written)[:MOST_CHOICES]


def _written(files: Iterable[Path]) -> float:
    times = [0.0]
    for file in files:
        if file.name in (CURVES_FILE, RUN_FILE):
            try:
                times.append(file.stat().st_mtime)
            except OSError:  # it is gone since
                continue
    return max(times)
