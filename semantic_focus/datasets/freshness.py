"""Whether a picture's mask file is fresh, told by its header, and what becomes of it if not."""

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .cache import is_untouched, picture_digest, stale_reason
from .folder import DatasetError, load_picture
from .mask_file import SUFFIX, check_file, mask_path, read_header
from .ownership import (
    DamagedMaskFileError,
    ForeignMaskFileError,
    MaskFileError,
    header_of_ours,
    place_to_write,
)

STATUSES = ("fresh", "segmented", "due", "kept", "failed", "left")
"""fresh: its mask file answers the request. segmented: made now. due: would be made (dry run). kept: made by
hand, never replaced. failed: see the reason. left: not reached, the run was stopped."""

MISSING = "it has no mask file"


@dataclass(frozen=True)
class PictureResult:
    """What became of one picture: one of STATUSES, and why."""

    picture: Path
    status: str
    reason: str = ""


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
    """

    wanted: Mapping[str, str]
    encoding: str

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
        reason = stale_reason(header, self.wanted)
        if not reason and self.encoding == "float" != header.get("encoding"):
            reason = f"its encoding is {header.get('encoding', 'unknown')}, now float"
        if reason or force:
            return Due(picture, f"its mask file is stale: {reason}" if reason else "forced", had=had)
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
                digest = picture_digest(load_picture(due.picture))
                if read_header(due.mask_file).get("image_digest") == digest:
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


def has_digest(path: Path, digest: str) -> bool:
    try:
        return read_header(path).get("image_digest") == digest
    except (OSError, MaskFileError):
        return False
