"""The pictures that nodes have shown with masks, so that an editor can mend what is kept of them.

Masks with a mask file are mended there. Those of a picture without one are kept below ComfyUI's user folder,
by the picture's digest: SAM Semantic Segment looks there too.
"""

import secrets
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import folder_paths

from ..semantic_focus.datasets.mask_header import DIGEST
from ..semantic_focus.datasets.ownership import SUFFIX
from ..semantic_focus.files.writing import make_folder
from ..semantic_focus.regions.masks import SemanticMasks
from ..semantic_focus.regions.packed import PackedMasks

MOST_SHOWN, MOST_BYTES = 1024, 256 << 20
"""Pictures that are remembered, and the memory that masks without a file may take; the latest ones."""

NO_SEGMENTER = (
    "these masks are no segmenter's answer any more (persons were chosen, edges refined, or a mask was made "
    "by hand as a whole): mend them at SAM Semantic Segment"
)
MADE_ELSEWHERE = (
    "its masks were made by hand as a whole, or by another program: correct them where they were made"
)
UNSAVED = (
    "a node has put a region in that is not saved here: mend the masks at SAM Semantic Segment, which reads "
    "what is saved"
)
UNKNOWN = "it is not known where these masks are kept: mend them at SAM Semantic Segment"
OTHER_PICTURE = "these masks are of another picture"
BATCH = "of several pictures at once, only what SAM Semantic Segment shows can be mended"


@dataclass(frozen=True)
class Shown:
    """A picture that was shown.

    Attributes:
        picture: its file in ComfyUI's temp folder, at the size that an editor works at.
        size: (height, width) of the picture itself.
        file: its mask file, which need not be there.
        masks: what was shown, where there was no file.
    """

    picture: Path
    size: tuple[int, int]
    file: Path
    masks: PackedMasks | None


@dataclass(frozen=True)
class Kept:
    """Where the masks of a picture are kept that is to be shown, or `why_not`.

    Attributes:
        digest: of the picture.
        masks: of it alone, where there is no file yet.
    """

    digest: str = ""
    file: Path | None = None
    masks: PackedMasks | None = None
    why_not: str = ""


class ShownPictures:
    """What was shown, by an id that a browser sends back; safe to share between threads."""

    def __init__(self):
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._ids: dict[tuple[str, Path], str] = {}
        self._files: OrderedDict[str, Path] = OrderedDict()
        self._lock = Lock()

    def note_file(self, digest: str, file: Path) -> None:
        """Note where the masks of a picture are kept."""
        with self._lock:
            self._files[digest] = file
            self._files.move_to_end(digest)
            while len(self._files) > MOST_SHOWN:
                self._files.popitem(last=False)

    def file_of(self, digest: str) -> Path | None:
        """Where the masks of a picture are kept, if a node of ours has said so."""
        with self._lock:
            return self._files.get(digest)

    def add(self, digest: str, shown: Shown) -> dict[str, Any]:
        """Remember a picture; its place."""
        key = (digest, shown.file)
        with self._lock:
            name = self._ids.setdefault(key, secrets.token_urlsafe(12))
            self._shown[name] = shown
            self._shown.move_to_end(name)
            while len(self._shown) > MOST_SHOWN or self._bytes() > MOST_BYTES:
                gone, _ = self._shown.popitem(last=False)
                self._ids = {key: name for key, name in self._ids.items() if name != gone}
        return {"shown": name}

    def get(self, name: str) -> Shown:
        """What was shown; ValueError when it is not known any more."""
        with self._lock:
            if name not in self._shown:
                raise ValueError(
                    "this picture was shown too long ago, or before ComfyUI was started again: run the node "
                    "again"
                )
            return self._shown[name]

    def _bytes(self) -> int:
        return sum(one.masks.bytes_kept for one in self._shown.values() if one.masks is not None)


SHOWN = ShownPictures()
"""Of this process; lasts as long as it does."""


def kept_folder() -> Path:
    """Where masks are kept of pictures that have no mask file."""
    return Path(folder_paths.get_user_directory(), "semantic_focus", "masks")


def kept_file(digest: str) -> Path:
    """The file of one of these pictures, which need not be there."""
    return kept_folder() / f"{digest}{SUFFIX}"


def make_kept_folder() -> None:
    """Make the folder of `kept_file`. Raises as `make_folder`."""
    make_folder(kept_folder().parent)
    make_folder(kept_folder())


def why_not_here(masks: SemanticMasks, digests: Sequence[str]) -> str:
    """Why masks that a node shows cannot be mended there; nothing when they can.

    Args:
        digests: of the pictures that they are shown on.
    """
    if DIGEST not in masks.provenance:
        return NO_SEGMENTER
    if len(digests) != 1:
        return BATCH
    if masks.provenance[DIGEST] != digests[0]:
        return OTHER_PICTURE
    if masks.hand is not None and masks.hand.new:
        return UNSAVED
    return "" if SHOWN.file_of(digests[0]) is not None else UNKNOWN
