"""The mask status of a dataset's pictures, for whoever looks at a folder again and again.

No model is loaded. What was found out about a picture is remembered as long as the picture, its mask file and
its caption file stay as they are: a later look lists the folder and opens only the files that changed.
"""

import reprlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from ..files.text import printable
from ..regions.doubts import Doubt
from ..regions.large import too_large
from ..segmenters.protocol import SegmentRequest
from ..segmenters.table import LazySegmenter
from .bulk import CacheSettings, cache_pictures
from .cache import request_fields
from .captions import read_caption
from .contents import PictureList
from .folder import DatasetError, dataset_folder
from .formats import PICTURE_SUFFIXES, opened_picture, why_unreadable
from .freshness import MISSING, PictureResult
from .mask_file import mask_path
from .survey import BY_HAND, Entry, judge, read_entry

MOST_REMEMBERED = 100_000
"""Pictures that a memory keeps: of a folder with more, the check would never come to an end."""


@dataclass(frozen=True)
class PictureStatus:
    """What is known of one picture of a folder.

    Attributes:
        name: relative to the folder, with slashes.
        status: "ok", "missing", "stale", "by hand" (never overwritten), "failed" (it cannot be read), or
            "unchecked": there was no time to look.
        reason: why, in a sentence; empty for "ok" and "unchecked".
        captioned: a caption file lies beside it, maybe without words; or there was no time to look.
        persons: how many; None when the mask file does not tell persons apart.
        coverage: share of the picture, 0..1, by category; empty without a readable mask file.
        problems: what stands out, in sentences.
        notes: what is worth knowing and no problem, in sentences.
        doubts: where the segmenter itself is unsure, the gravest first.
        stamp, mask_stamp: another one when the picture or its mask file changes; empty without a file.
    """

    name: str
    status: str
    reason: str
    captioned: bool
    persons: int | None
    coverage: Mapping[str, float]
    problems: Sequence[str]
    notes: Sequence[str]
    doubts: Sequence[Doubt]
    stamp: str
    mask_stamp: str


@dataclass(frozen=True)
class _Files:
    """A picture and what lies beside it, each in one version; the key of a memory."""

    picture: Path
    caption: Path | None
    stamp: str
    mask_stamp: str
    caption_stamp: str
    wanted: str

    @staticmethod
    def of(picture: Path, caption: Path | None, wanted: str) -> "_Files":
        caption_stamp = _stamp(caption) if caption else ""
        return _Files(picture, caption, _stamp(picture), _stamp(mask_path(picture)), caption_stamp, wanted)


@dataclass(frozen=True)
class _Found:
    """What the files of a picture say: their check, the mask file's content, the caption or what ails it."""

    result: PictureResult
    entry: Entry
    captioned: bool
    caption_problem: str = ""
    caption_note: str = ""


@dataclass
class StatusMemory:
    """What was found out, by the versions of the files and the request; safe to share between threads."""

    _found: "OrderedDict[_Files, _Found]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, files: _Files) -> _Found | None:
        """What was found, if nothing that matters has changed since."""
        with self._lock:
            if (found := self._found.get(files)) is not None:
                self._found.move_to_end(files)
            return found

    def put(self, files: _Files, found: _Found) -> None:
        """Remember it; the ones not asked for longest go."""
        with self._lock:
            self._found[files] = found
            self._found.move_to_end(files)
            while len(self._found) > MOST_REMEMBERED:
                self._found.popitem(last=False)


def dataset_status(
    listed: PictureList,
    request: SegmentRequest,
    segmenter: LazySegmenter,
    memory: StatusMemory | None = None,
    seconds: float = 2.0,
    check: Callable[[], object] = lambda: None,
) -> list[PictureStatus]:
    """Each picture of a list with what a run with this request would make of it.

    Args:
        segmenter: asked for its name and weights only.
        memory: what earlier calls found out.
        seconds: after this long of looking into files, no more are opened and the rest is "unchecked"; a
            later call with the same memory goes on.
        check: called again and again; it ends the work by an exception.

    Raises:
        MissingWeightsError: the segmenter's weights are not there.
    """
    wanted = repr(sorted(request_fields(request, segmenter).items()))
    files = {}
    for picture in listed.pictures:
        check()
        files[picture] = _Files.of(picture, listed.captions.get(picture), wanted)
    found = _find(files, request, segmenter, memory or StatusMemory(), seconds, check)
    entries = [one.entry for one in found.values()]
    judged = {entry.picture: entry for entry in judge(listed.folder, entries).entries}
    return [
        _status(picture.relative_to(listed.folder), files[picture], found[picture], judged[picture])
        for picture in listed.pictures
    ]


def picture_in(folder: str | Path, name: str, admit: Callable[[Path], object] = lambda path: None) -> Path:
    """The picture file of this name in a folder or below it.

    The name must stay in the folder. A link is followed wherever it leads, unless `admit` raises.

    Args:
        admit: asked for the picture and for the folder that it is in before either is looked for.

    Raises:
        DatasetError: no folder, the name leads out of it, or is none of a picture.
        FileNotFoundError: there is no such file.
    """
    root = dataset_folder(folder)
    relative = PurePath(name)
    # a drive or root is an anchor; a zero byte would make the system call fail in its own way
    if not name or relative.anchor or ".." in relative.parts or "\0" in name:
        raise DatasetError(
            f"{reprlib.repr(name)} leads out of the folder: give a name relative to it, without .."
        )
    if relative.suffix.lower() not in PICTURE_SUFFIXES:
        raise DatasetError(
            f"{reprlib.repr(name)} is no picture: its ending is none of {', '.join(PICTURE_SUFFIXES)}"
        )
    path = root / relative
    admit(path)
    admit(path.parent)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Refresh the list of pictures")
    return path


def _find(
    files: Mapping[Path, _Files],
    request: SegmentRequest,
    segmenter: LazySegmenter,
    memory: StatusMemory,
    seconds: float,
    check: Callable[[], object],
) -> dict[Path, _Found]:
    """What is known of each picture, from the memory where it has it."""
    known = {picture: memory.get(key) for picture, key in files.items()}
    found = {picture: one for picture, one in known.items() if one is not None}
    deadline: float | None = None

    def late() -> bool:
        nonlocal deadline
        check()
        if deadline is None:  # what comes before takes long for a large folder, and would be all that is done
            deadline = time.monotonic() + seconds
            return False
        return time.monotonic() > deadline

    def settled(result: PictureResult) -> None:
        if result.status == "left":
            found[result.picture] = _Found(result, Entry(result.picture, {}), captioned=True)
            return
        if result.status == "due":
            result = _unless_unreadable(result)
        found[result.picture] = _read(result, files[result.picture].caption)
        memory.put(files[result.picture], found[result.picture])

    cache_pictures(
        [picture for picture in files if picture not in found],
        request,
        segmenter,
        CacheSettings(dry_run=True),
        settled,  # between two checks, so that the deadline holds for all that is read
        should_stop=late,
    )
    return found


def _read(result: PictureResult, caption: Path | None) -> _Found:
    """What lies beside a picture that was checked."""
    entry = read_entry(result)
    if caption is None:
        return _Found(result, entry, captioned=False)
    try:
        note = "" if read_caption(caption) else "its caption file is empty: it is trained without words"
        return _Found(result, entry, captioned=True, caption_note=note)
    except (ValueError, OSError) as error:
        return _Found(result, entry, captioned=True, caption_problem=str(error))


def _unless_unreadable(result: PictureResult) -> PictureResult:
    """A picture that is to be segmented, or that it cannot be: its header alone is read."""
    try:
        with opened_picture(result.picture) as file:
            problem = too_large(file.height, file.width)
        return PictureResult(result.picture, "failed", f"{result.picture}: {problem}") if problem else result
    except Exception as error:  # damaged files make Pillow raise nearly anything
        return PictureResult(result.picture, "failed", why_unreadable(result.picture, error))


def _status(name: PurePath, files: _Files, found: _Found, entry: Entry) -> PictureStatus:
    reason = "" if found.result.status in ("fresh", "left") else printable(found.result.reason)
    problems = [problem for problem in entry.problems if problem != reason]
    if found.caption_problem:
        problems.append(printable(found.caption_problem))
    return PictureStatus(
        name.as_posix(),
        _word(found.result),
        reason,
        found.captioned,
        entry.persons,
        entry.coverage,
        problems,
        [note for note in (*entry.notes, found.caption_note) if note not in ("", BY_HAND)],
        entry.doubts,
        files.stamp,
        files.mask_stamp,
    )


def _word(result: PictureResult) -> str:
    if result.status == "due":
        return "missing" if result.reason == MISSING else "stale"
    return {"fresh": "ok", "kept": "by hand", "left": "unchecked"}.get(result.status, result.status)


def _stamp(path: Path) -> str:
    """Short name of one version of a file; empty when there is none."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size:x}-{status.st_mtime_ns:x}"
