"""Mask files for a whole dataset: what is there is checked by header, the rest is segmented.

A run may be killed at any moment, run again, and run twice at once: every mask file is complete or absent,
and claims (see `claims.py`) keep two programs from doing the same work.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from ..files.writing import TEMPORARY, check_can_write, mark_of
from ..regions.large import LARGE
from ..regions.memory import give_back
from ..segmenters.protocol import MissingWeightsError, SegmentRequest
from ..segmenters.table import LazySegmenter
from . import claims
from .bulk_work import CacheSettings, Decoded, Work
from .folder import DatasetError, pixels_of
from .freshness import Due, Freshness, PictureResult
from .mask_file import mask_path
from .staleness import request_fields

log = logging.getLogger("semantic_focus.datasets.bulk")

SECONDS_BETWEEN_LOOKS = 0.1
"""How often to look at pictures that another program is busy with."""

WRITTEN_BETWEEN_TRIMS = 16
"""Mask files after which free memory is given back; of large pictures, after each."""

MOST_PIXELS_AT_ONCE = 24_000_000
"""Pixels of all pictures in memory, unless it is one alone."""


class SegmenterLoadError(RuntimeError):
    """The segmenter has its weights but could not be loaded; no picture can be segmented."""


def cache_pictures(
    pictures: Sequence[Path],
    request: SegmentRequest,
    segmenter: LazySegmenter,
    settings: CacheSettings | None = None,
    on_result: Callable[[PictureResult], None] = lambda result: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[PictureResult]:
    """Bring the mask files of all pictures up to date.

    One bad picture does not stop the others, a full disk does. Whatever ends a run, mask files are complete
    or absent; a KeyboardInterrupt is raised again when the files under way are written.

    Args:
        pictures: no two of one stem in a folder.
        segmenter: loaded only if some picture has no fresh mask file.
        on_result: told of each picture once, from the calling thread; fresh ones first.
        should_stop: asked before each picture; the pictures under way are finished, the others left.

    Returns:
        One result per picture, in the order in which they were settled.

    Raises:
        ValueError: two pictures share a mask file.
        DatasetError: no mask file can be written there; nothing was segmented.
        MissingWeightsError, SegmenterLoadError: a picture needs the segmenter, and it cannot be loaded.
    """
    _refuse_shared_files(pictures)
    run = _Run(request, segmenter, settings or CacheSettings(), on_result, should_stop)
    due = run.check_all(pictures)
    if not run.settings.dry_run:
        run.remove_leftovers(pictures)
        try:
            run.segment_all(due)
        finally:
            run.remove_leftovers(pictures)  # another program may have been killed meanwhile
            for folder in {picture.parent for picture in pictures}:
                claims.remove_unused_lock_file(folder)
    return run.results


def _refuse_shared_files(pictures: Sequence[Path]) -> None:
    first: dict[str, Path] = {}
    for picture in pictures:
        if (other := first.setdefault(str(mask_path(picture)), picture)) is not picture:
            raise ValueError(f"{other} and {picture.name} would share one mask file: rename one of them")


@dataclass(frozen=True)
class _Reading:
    """A claimed picture that is being read."""

    due: Due
    claim: claims.Claim
    future: "Future[Decoded | PictureResult]"
    pixels: int


@dataclass(frozen=True)
class _Writing:
    """A claimed picture whose masks are being written."""

    due: Due
    claim: claims.Claim
    future: "Future[PictureResult]"
    pixels: int


class _Run:
    """One run: what is wanted, and what has been settled."""

    def __init__(
        self,
        request: SegmentRequest,
        segmenter: LazySegmenter,
        settings: CacheSettings,
        on_result: Callable[[PictureResult], None],
        should_stop: Callable[[], bool],
    ):
        self.request, self.segmenter, self.settings = segmenter.answerable(request), segmenter, settings
        self.on_result, self.should_stop = on_result, should_stop
        self.freshness = Freshness(
            request_fields(request, segmenter), settings.encoding, self.request.labels, settings.forget
        )
        self.work = Work(self.freshness, settings)
        self.results: list[PictureResult] = []
        self.written = 0

    def settle(self, result: PictureResult) -> None:
        self.results.append(result)
        self.on_result(result)

    def check_all(self, pictures: Sequence[Path]) -> list[Due]:
        """Settle every picture that needs no work, by headers alone; the others."""
        due = []
        for position, picture in enumerate(pictures):
            if self.should_stop():
                due += [Due(later, "") for later in pictures[position:]]
                break
            found = self.freshness.check(picture, self.settings.force)
            if isinstance(found, Due) and self.settings.dry_run:
                found = self.freshness.foresee(found)
            if isinstance(found, PictureResult):
                self.settle(found)
            else:
                due.append(found)
        if self.settings.dry_run:
            for later in due:
                self.settle(PictureResult(later.picture, "left"))
        return due

    def remove_leftovers(self, pictures: Sequence[Path]) -> None:
        """Remove what killed runs left of the pictures' mask files, unless somebody is at work on them."""
        ours: dict[Path, dict[str, Path]] = {}
        for path in map(mask_path, pictures):
            ours.setdefault(path.parent, {}).update({mark_of(path.name): path, path.name: path})
        for folder, by_mark in ours.items():
            for path in list(folder.iterdir()) if folder.is_dir() else ():
                named = TEMPORARY.fullmatch(path.name)
                if named is None or (mask_file := by_mark.get(named["mark"])) is None:
                    continue
                turn = claims.turn_of(mask_file)
                with claims.claimed_if_free(mask_file) as claimed, claims.claimed_if_free(turn) as nobody:
                    if claimed and nobody:
                        _remove(path)

    def segment_all(self, due: Sequence[Due]) -> None:
        """Read ahead, segment one by one, write behind; then the pictures that others were busy with."""
        waiting, busy = deque(self._that_can_be_kept(due)), deque[Due]()
        reading: deque[_Reading] = deque()
        writing: deque[_Writing] = deque()
        pool = ThreadPoolExecutor(self.settings.workers, "masks")
        try:
            while waiting or reading or writing or busy:
                if self.work.is_full or self.should_stop():
                    self._leave(waiting, busy, reading)
                while waiting and self._has_room(waiting[0], (*reading, *writing)):
                    self._start(waiting.popleft(), pool, reading, busy)
                while writing and (writing[0].future.done() or not reading):
                    self._finish(writing[0])
                    writing.popleft()
                if reading:
                    self._segment(reading.popleft(), pool, writing)
                elif busy and not waiting:
                    time.sleep(SECONDS_BETWEEN_LOOKS)
                    waiting, busy = busy, deque()
        finally:
            for job in reading:
                job.future.cancel()
            pool.shutdown(wait=True)
            for job in reading:
                job.claim.release()
            settled = {result.picture for result in self.results}
            for job in writing:
                if job.due.picture in settled:  # an interrupt came between that and forgetting the job
                    job.claim.release()
                else:
                    self._finish(job)

    def _that_can_be_kept(self, due: Sequence[Due]) -> list[Due]:
        """The pictures beside which files can be written; the others fail before anything is segmented.

        Raises:
            DatasetError: there are only others.
        """
        one_of: dict[Path, Path] = {}
        for later in due:
            if not later.only_stamp:
                one_of.setdefault(later.picture.parent, later.mask_file)
        problems: dict[Path, OSError] = {}
        for folder, mask_file in one_of.items():
            try:
                check_can_write(mask_file)
            except OSError as error:
                problems[folder] = error
        refused = [later for later in due if later.picture.parent in problems and not later.only_stamp]
        if refused and len(refused) == len(due):
            raise DatasetError(f"no picture was segmented: {next(iter(problems.values()))}")
        for later in refused:
            self.settle(PictureResult(later.picture, "failed", str(problems[later.picture.parent])))
        left_out = {later.picture for later in refused}
        return [later for later in due if later.picture not in left_out]

    def _has_room(self, due: Due, jobs: "Sequence[_Reading | _Writing]") -> bool:
        """Whether one more picture may be in memory; any may be there alone."""
        if not jobs:
            return True
        under_way = sum(job.pixels for job in jobs)
        few = len(jobs) < self.settings.workers + 2
        return few and under_way + pixels_of(due.picture) <= MOST_PIXELS_AT_ONCE

    def _leave(self, waiting: deque[Due], busy: deque[Due], reading: deque[_Reading]) -> None:
        """Settle the pictures that are not segmented yet as left."""
        for job in reading:
            job.future.cancel()
            wait([job.future])
            job.claim.release()
        for due in (*(job.due for job in reading), *waiting, *busy):
            self.settle(PictureResult(due.picture, "left"))
        for queue in (waiting, busy, reading):
            queue.clear()

    def _start(self, due: Due, pool: ThreadPoolExecutor, reading: deque[_Reading], busy: deque[Due]) -> None:
        try:
            claim = claims.claim(due.mask_file)
        except OSError as error:
            self.settle(PictureResult(due.picture, "failed", str(error)))
            return
        if claim is None:
            busy.append(due)
        else:
            future = pool.submit(self.work.read, due)
            reading.append(_Reading(due, claim, future, pixels_of(due.picture)))

    def _segment(self, job: _Reading, pool: ThreadPoolExecutor, writing: deque[_Writing]) -> None:
        """Segment a picture that was read and have its masks written, or settle it if there is no need."""
        try:
            decoded = job.future.result()
            if isinstance(decoded, PictureResult):
                job.claim.release()
                self.settle(decoded)
                return
            segmenter = self._loaded()
            try:
                masks = segmenter.segment(decoded.image[None], self.request)
            except MissingWeightsError:
                raise
            except Exception as error:
                job.claim.release()
                reason = f"the segmenter failed on it: {type(error).__name__}: {error}"
                self.settle(PictureResult(job.due.picture, "failed", reason))
                return
            future = pool.submit(self.work.write, job.due, masks, decoded)
            writing.append(_Writing(job.due, job.claim, future, job.pixels))
        except BaseException:
            job.claim.release()
            raise

    def _loaded(self):
        try:
            return self.segmenter.get()
        except MissingWeightsError:
            raise
        except Exception as error:
            raise SegmenterLoadError(
                f"segmentation backend {self.segmenter.name!r} could not be loaded "
                f"({type(error).__name__}: {error}). Check its weight files, or choose another backend"
            ) from error

    def _finish(self, job: _Writing) -> None:
        try:
            result = job.future.result()
        finally:
            job.claim.release()
        self.settle(result)
        self.written += 1
        if self.written % WRITTEN_BETWEEN_TRIMS == 0 or job.pixels > LARGE:
            give_back()


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        log.warning("%s: a leftover of a killed run cannot be removed (%s). Delete it", path, error)
