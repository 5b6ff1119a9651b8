"""What workers tell of pictures and of themselves, besides a `PictureResult` for each picture."""

from collections.abc import Mapping
from dataclasses import dataclass

from ...segmenters.protocol import MissingWeightsError
from ..freshness import Due, PictureResult
from .order import SegmenterLoadError


@dataclass(frozen=True)
class Ready:
    """The segmenter is loaded. `wanted`: the header fields that mask files made there have."""

    wanted: Mapping[str, str]
    where: str


@dataclass(frozen=True)
class Busy:
    """Another program is at work on a picture."""

    due: Due


@dataclass(frozen=True)
class Said:
    """A line of the log."""

    logger: str
    level: int
    text: str


@dataclass(frozen=True)
class Full:
    """No more mask file can be written."""


@dataclass(frozen=True)
class Gone:
    """The worker has ended, by itself or not. Nobody sends this, it is found out."""

    how: str
    is_killed: bool


Message = PictureResult | Ready | Busy | Said | Full | Gone | MissingWeightsError | SegmenterLoadError
"""The errors: the worker cannot start, and why."""
