"""Whether a picture's mask file is fresh, told by its header, and what becomes of it if not."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from .cache import is_untouched, picture_digest, refuse_foreign, stale_reason
from .folder import DatasetError, load_picture
from .mask_file import ForeignMaskFileError, MaskFileError, check_file, mask_path, read_header

STATUSES = ("fresh", "segmented", "due", "kept", "failed", "left")
"""fresh: its mask file answers the request. segmented: made now. due: would be made (dry run). kept: made by
hand, never overwritten. failed: see the reason. left: not reached, the run was stopped."""

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
        path = mask_path(picture)
        try:
            had = identity(path)
            if had is None:
                picture.stat()
                return Due(picture, MISSING)
            header = read_header(path)
            refuse_foreign(path, header)
            reason = stale_reason(header, self.wanted)
            if not reason and self.encoding == "float" != header.get("encoding"):
                reason = f"its encoding is {header.get('encoding', 'unknown')}, now float"
            if reason or force:
                return Due(picture, f"its mask file is stale: {reason}" if reason else "forced", had=had)
            if not is_untouched(picture, path, header):
                return Due(picture, "the picture file was written again", only_stamp=True, had=had)
            check_file(path)
            return PictureResult(picture, "fresh")
        except ForeignMaskFileError as error:
            return PictureResult(picture, "kept", str(error))
        except MaskFileError as error:
            return Due(picture, f"its mask file is damaged: {error}", had=identity(path))
        except OSError as error:
            return PictureResult(picture, "failed", str(error))

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
