"""What is done about one picture of a run, in a thread: read it if there is need, and write its masks."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from ..files.writing import check_can_write
from ..regions.masks import SemanticMasks
from .cache import picture_digest, picture_stamp, renew_stamp
from .folder import DatasetError, load_picture
from .freshness import Due, Freshness, PictureResult, identity
from .hand_file import check_size, forget_hand, save_around_hand
from .mask_file import ENCODINGS, MaskFileError, read_header
from .mask_header import by_hand_of

log = logging.getLogger("semantic_focus.datasets.bulk")


BY_HAND = ("keep", "forget")
"""What becomes of what a person made of masks."""


@dataclass(frozen=True)
class CacheSettings:
    """How a dataset is cached.

    Attributes:
        force: segment fresh pictures too.
        dry_run: write nothing, say what would be done.
        workers: threads that read pictures and write mask files; up to `workers` + 2 pictures are in memory,
            fewer if they are large.
        encoding: of new mask files, see `mask_file.py`. A "float" file also answers a request for "png".
        by_hand: "keep" what a person made of masks, and have the segmenter's part made around it; "forget"
            takes it back. Masks that were made by hand as a whole are kept in either case.
    """

    force: bool = False
    dry_run: bool = False
    workers: int = 2
    encoding: str = "png"
    by_hand: str = "keep"

    def __post_init__(self):
        if self.workers < 1:
            raise ValueError(f"workers must be 1 or more, got {self.workers}")
        if self.encoding not in ENCODINGS:
            raise ValueError(f"encoding must be one of {', '.join(ENCODINGS)}; got {self.encoding!r}")
        if self.by_hand not in BY_HAND:
            raise ValueError(f"by_hand must be one of {', '.join(BY_HAND)}; got {self.by_hand!r}")

    @property
    def forget(self) -> bool:
        return self.by_hand == "forget"


@dataclass(frozen=True)
class Decoded:
    """A picture in memory, Float[H, W, 3], with the header fields that its mask file gets."""

    image: Tensor
    fields: Mapping[str, str]
    said: str = ""


class Work:
    """The work of one run; safe to share between threads.

    Attributes:
        is_full: whether the last mask file could not be written, nor can any other.
    """

    def __init__(self, freshness: Freshness, settings: CacheSettings):
        self.freshness, self.settings = freshness, settings
        self.is_full = False

    def read(self, due: Due) -> Decoded | PictureResult:
        """Look at a claimed picture again, and read it if there is work to do. Runs in the pool."""
        force = self.settings.force and identity(due.mask_file) == due.had
        said = ""
        if self.settings.forget:
            try:
                said = _told("taken back what was made by hand", forget_hand(due.mask_file))
            except (MaskFileError, OSError) as error:
                log.warning("%s", error)
        found = replace(self.freshness, forget=False).check(due.picture, force)
        if isinstance(found, PictureResult):
            by_another = found.status == "fresh" and not due.only_stamp and not said
            reason = "made meanwhile by another program" if by_another else found.reason
            return replace(found, reason=reason, said=said or found.said)
        try:
            stamp = picture_stamp(due.picture)  # before reading: a later edit is noticed by the next run
            image = load_picture(due.picture)
            digest = picture_digest(image)
            header = _header(due)
            check_size(due.mask_file, header, image)
        except (DatasetError, MaskFileError, OSError, MemoryError) as error:
            return PictureResult(due.picture, "failed", str(error) or type(error).__name__)
        is_same = header.get("image_digest") == digest
        if not is_same:
            said = said or _told("the picture was edited, what was made by hand is kept", by_hand_of(header))
        if found.only_stamp and (is_same or self.freshness.leaves_nothing(header)):
            renewed = {"picture_stamp": stamp, "image_digest": digest}
            if self._is_renewed(due, renewed):
                return PictureResult(due.picture, "fresh", due.reason, said)
        fields = {**self.freshness.wanted, "image_digest": digest, "picture_stamp": stamp}
        return Decoded(image, fields, said)

    def _is_renewed(self, due: Due, fields: Mapping[str, str]) -> bool:
        """Give a mask file the stamp of its rewritten picture; False where its masks are damaged."""
        try:
            renew_stamp(due.mask_file, due.picture, fields)
        except MaskFileError as error:
            log.warning("%s; segmenting again", error)
            return False
        except OSError as error:  # the masks are right all the same
            log.info("%s: its stamp could not be renewed (%s)", due.mask_file, error)
        return True

    def write(self, due: Due, masks: SemanticMasks, decoded: Decoded) -> PictureResult:
        """Encode and write the masks of a claimed picture. Runs in the pool."""
        masks = replace(masks, provenance={**masks.provenance, **decoded.fields})
        try:
            save_around_hand(due.mask_file, masks, encoding=self.settings.encoding)
        except MaskFileError as error:  # somebody has put something there meanwhile
            return PictureResult(due.picture, "failed", str(error))
        except OSError as error:
            self._note_if_full(due.mask_file)
            return PictureResult(due.picture, "failed", str(error))
        except Exception as error:
            reason = f"{due.mask_file}: cannot be written ({type(error).__name__}: {error})"
            return PictureResult(due.picture, "failed", reason)
        return PictureResult(due.picture, "segmented", due.reason, decoded.said)

    def _note_if_full(self, mask_file: Path) -> None:
        try:
            check_can_write(mask_file)
        except OSError as error:
            self.is_full = True
            log.error("%s. No more pictures are segmented", error)


def _header(due: Due) -> Mapping[str, str]:
    """Of the mask file as it is now; nothing where there is none that can be read."""
    try:
        return read_header(due.mask_file)
    except (OSError, MaskFileError):
        return {}


def _told(what: str, regions: tuple[str, ...]) -> str:
    return f"{what}: {', '.join(regions)}" if regions else ""
