"""The mask status of a dataset's pictures, for whoever looks at a folder again and again.

No model is loaded. What was found out about a picture is remembered as long as neither it nor its mask file
changes, so that only the first look at a dataset takes time.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from PIL import Image

from .backends import LazySegmenter, SegmentRequest
from .cache import request_fields
from .dataset import PICTURE_SUFFIXES, DatasetError, picture_files
from .dataset_cache import MISSING, CacheSettings, PictureResult, cache_pictures
from .dataset_report import Entry, survey
from .mask_file import mask_path

MOST_REMEMBERED = 50_000
"""Pictures whose results a memory keeps."""

_Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class PictureStatus:
    """What is known of one picture of a folder.

    Attributes:
        name: relative to the folder, with slashes.
        status: "ok", "missing", "stale", "by hand" (never overwritten), "failed" (it cannot be read), or
            "unchecked": there was no time to look.
        reason: why, in a sentence; may be empty.
        captioned: a text file with words lies beside it.
        persons: how many; None when the mask file does not tell persons apart.
        coverage: share of the picture, 0..1, by category; empty without a readable mask file.
        problems: what stands out, in sentences.
        stamp, mask_stamp: another one when the picture or its mask file changes; empty without a file.
    """

    name: str
    status: str
    reason: str
    captioned: bool
    persons: int | None
    coverage: Mapping[str, float]
    problems: Sequence[str]
    stamp: str
    mask_stamp: str


@dataclass
class StatusMemory:
    """Results by picture, mask file and request; safe to share between threads."""

    _results: "OrderedDict[_Key, PictureResult]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: _Key) -> PictureResult | None:
        """What was found, if nothing that matters has changed since."""
        with self._lock:
            if (found := self._results.get(key)) is not None:
                self._results.move_to_end(key)
            return found

    def put(self, key: _Key, result: PictureResult) -> None:
        """Remember a result; the ones not asked for longest go."""
        with self._lock:
            self._results[key] = result
            self._results.move_to_end(key)
            while len(self._results) > MOST_REMEMBERED:
                self._results.popitem(last=False)


def dataset_status(
    folder: str | Path,
    request: SegmentRequest,
    segmenter: LazySegmenter,
    recursive: bool = False,
    memory: StatusMemory | None = None,
    seconds: float = 2.0,
) -> list[PictureStatus]:
    """Every picture of a folder by name, with what a run with this request would make of it.

    Args:
        segmenter: asked for its name and weights only.
        memory: what earlier calls found out.
        seconds: after this long, the rest is "unchecked"; a later call with the same memory goes on.

    Raises:
        DatasetError: no such folder, no picture in it, or two pictures of one stem.
        MissingWeightsError: the segmenter's weights are not there.
    """
    pictures = picture_files(folder, recursive)
    root = Path(folder).expanduser()
    results = _results(pictures, request, segmenter, memory or StatusMemory(), seconds)
    entries = {entry.picture: entry for entry in survey(root, list(results.values())).entries}
    return [_status(picture, root, results[picture], entries[picture]) for picture in pictures]


def picture_in(folder: str | Path, name: str) -> Path:
    """The picture file of this name in a folder or below it.

    A link is followed wherever it leads, as everywhere in datasets: the name must stay in the folder; where
    a link leads is its owner's decision.

    Raises:
        DatasetError: the name leads out of the folder, or is none of a picture.
        FileNotFoundError: there is no such file.
    """
    relative = PurePath(name)
    # a drive or root is an anchor; a zero byte would make the system call fail in its own way
    if not name or relative.anchor or ".." in relative.parts or "\0" in name:
        raise DatasetError(f"{name!r} leads out of the folder: give a name relative to it, without ..")
    if relative.suffix.lower() not in PICTURE_SUFFIXES:
        raise DatasetError(f"{name!r} is no picture: its ending is none of {', '.join(PICTURE_SUFFIXES)}")
    path = Path(folder).expanduser() / relative
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Refresh the list of pictures")
    return path


def caption_beside(picture: Path) -> str:
    """The caption of a picture; empty when it has none.

    Raises:
        DatasetError: it is not UTF-8 text.
    """
    path = picture.with_suffix(".txt")
    try:
        return path.read_text(encoding="utf-8-sig").strip() if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text ({error}). Save the caption as UTF-8") from error


def _results(
    pictures: Sequence[Path],
    request: SegmentRequest,
    segmenter: LazySegmenter,
    memory: StatusMemory,
    seconds: float,
) -> dict[Path, PictureResult]:
    """One result per picture, from the memory where it has one."""
    wanted = repr(sorted(request_fields(request, segmenter).items()))
    keys = {
        picture: (str(picture.absolute()), _stamp(picture), _stamp(mask_path(picture)), wanted)
        for picture in pictures
    }
    known = {picture: memory.get(key) for picture, key in keys.items()}
    results = {picture: result for picture, result in known.items() if result is not None}
    deadline = time.monotonic() + seconds
    checked = cache_pictures(
        [picture for picture in pictures if picture not in results],
        request,
        segmenter,
        CacheSettings(dry_run=True),
        should_stop=lambda: time.monotonic() > deadline,
    )
    for result in checked:
        if result.status == "due":
            result = _unless_unreadable(result)
        results[result.picture] = result
        if result.status != "left":
            memory.put(keys[result.picture], result)
    return results


def _unless_unreadable(result: PictureResult) -> PictureResult:
    """A picture that is to be segmented, or that it cannot be: its header alone is read."""
    try:
        with Image.open(result.picture):
            return result
    except Exception as error:  # damaged files make Pillow raise nearly anything
        reason = f"{result.picture}: cannot be read as a picture ({error}). Replace the file or remove it"
        return PictureResult(result.picture, "failed", reason)


def _status(picture: Path, root: Path, result: PictureResult, entry: Entry) -> PictureStatus:
    mask_file = _stamp(mask_path(picture))
    problems = [problem for problem in entry.problems if problem != result.reason]
    if result.status == "left":
        problems = []
    try:
        captioned = bool(caption_beside(picture))
    except (DatasetError, OSError) as error:
        captioned = True
        problems.append(str(error))
    return PictureStatus(
        picture.relative_to(root).as_posix(),
        _word(result),
        result.reason if result.status != "left" else "",
        captioned,
        entry.persons,
        entry.coverage,
        problems,
        _stamp(picture),
        mask_file,
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
