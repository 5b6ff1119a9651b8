"""Whether a picture's mask file is fresh, told by its header, and what becomes of it if not."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ..regions.hand import decides_all
from .cache import is_untouched, picture_digest
from .folder import DatasetError, load_picture
from .hand_file import check_size
from .mask_file import SUFFIX, check_file, mask_path, read_header
from .mask_header import EVERYWHERE, by_hand_of, has_hand
from .ownership import (
    DamagedMaskFileError,
    ForeignMaskFileError,
    MaskFileError,
    header_of_ours,
    place_to_write,
)
from .staleness import stale_reason

STATUSES = ("fresh", "segmented", "due", "kept", "failed", "left")
"""fresh: its mask file answers the request. segmented: made now. due: would be made (dry run). kept: made by
hand, never replaced. failed: see the reason. left: not reached, the run was stopped."""

MISSING = "it has no mask file"
MADE_BY_HAND = "made by hand"


@dataclass(frozen=True)
class PictureResult:
    """What became of one picture: one of STATUSES, why, and what to tell whoever started the run."""

    picture: Path
    status: str
    reason: str = ""
    said: str = ""


@dataclass(frozen=True)
class Due:
    """A picture that needs a closer look: why, and which mask file it had when that was found out."""

    picture: Path
    reason: str
    only_stamp: bool = False
    had: tuple[int, ...] | None = None

    @property
    def mask_file(self) -> Path:
        return mask_path(self.picture)


@dataclass(frozen=True)
class Freshness:
    """What is wanted of every mask file of a dataset.

    Attributes:
        wanted: header fields, see `cache.request_fields`.
        encoding: see `mask_file.ENCODINGS`; a "float" file also answers for "png".
        labels: the regions that are asked for.
        forget: whether what a person made of masks is to be taken back.
    """

    wanted: Mapping[str, str]
    encoding: str
    labels: tuple[str, ...] = ()
    forget: bool = False

    def check(self, picture: Path, force: bool = False) -> PictureResult | Due:
        """What the header of a picture's mask file says."""
        try:
            found = self._look(picture, force)
            if isinstance(found, Due) and not found.only_stamp:
                place_to_write(found.mask_file)
            return found
        except ForeignMaskFileError as error:
            return PictureResult(picture, "kept", str(error))
        except MaskFileError as error:
            return PictureResult(picture, "failed", str(error))
        except OSError as error:
            said = _name_too_long(picture) if error.errno == errno.ENAMETOOLONG else str(error)
            return PictureResult(picture, "failed", said)

    def _look(self, picture: Path, force: bool) -> PictureResult | Due:
        path = mask_path(picture)
        had = identity(path)
        if had is None:
            picture.stat()
            return Due(picture, MISSING)
        try:
            header = header_of_ours(path)
        except DamagedMaskFileError as error:
            return Due(picture, f"its mask file is damaged: {error}", had=had)
        if self.forget and has_hand(header):
            return Due(picture, f"{MADE_BY_HAND}: {', '.join(by_hand_of(header))}; to be taken back", had=had)
        if self.leaves_nothing(header):
            return self._unless_written_again(picture, path, header, had)
        reason = stale_reason(header, self.wanted)
        if not reason and self.encoding == "float" != header.get("encoding"):
            reason = f"its encoding is {header.get('encoding', 'unknown')}, now float"
        if reason or force:
            return Due(picture, f"its mask file is stale: {reason}" if reason else "forced", had=had)
        return self._unless_written_again(picture, path, header, had)

    def leaves_nothing(self, header: Mapping[str, str]) -> bool:
        """Whether a person decided everything that is asked for, so that there is nothing to segment."""
        return decides_all(self.labels, by_hand_of(header, EVERYWHERE))

    def _unless_written_again(
        self, picture: Path, path: Path, header: Mapping[str, str], had: tuple[int, ...]
    ) -> PictureResult | Due:
        if not is_untouched(picture, path, header):
            return Due(picture, "the picture file was written again", only_stamp=True, had=had)
        try:
            check_file(path)
        except DamagedMaskFileError as error:
            return Due(picture, f"its mask file is damaged: {error}", had=had)
        return PictureResult(picture, "fresh")

    def foresee(self, due: Due) -> PictureResult:
        """What would become of a picture."""
        if due.only_stamp:
            try:
                image, header = load_picture(due.picture), read_header(due.mask_file)
                check_size(due.mask_file, header, image)
                if header.get("image_digest") == picture_digest(image) or self.leaves_nothing(header):
                    return PictureResult(due.picture, "fresh", due.reason)
            except (DatasetError, OSError, MemoryError, MaskFileError) as error:
                return PictureResult(due.picture, "failed", str(error))
            due = replace(due, reason="its mask file is stale: the picture was edited since")
        return PictureResult(due.picture, "due", due.reason)


def _name_too_long(picture: Path) -> str:
    length, more = len(os.fsencode(picture.name)), len(SUFFIX) - len(picture.suffix)
    return (
        f"{picture}: its name is {length} bytes long, that of its mask file would be {length + more}, more "
        "than a disk holds. Give the picture a shorter name"
    )


def identity(path: Path) -> tuple[int, ...] | None:
    """Tells one version of a file from another; None when there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
