"""Masks of one picture after the other: read ahead, segment, write behind.

A picture is claimed (see `claims`) from before it is read until its mask file is written, so that no two
programs do the same work.
"""

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Protocol

from ...regions.large import LARGE
from ...regions.memory import give_back
from ...segmenters.protocol import MissingWeightsError
from .. import claims
from ..bulk_work import Decoded, Work
from ..folder import pixels_of
from ..freshness import Due, PictureResult
from .order import Order

WRITTEN_BETWEEN_TRIMS = 16
"""Mask files after which free memory is given back; of large pictures, after each."""

MOST_PIXELS_AT_ONCE = 24_000_000
"""Pixels of all pictures in memory, unless it is one alone."""


class Source(Protocol):
    """Where pictures come from, and where it is told what became of them. See `plan.Plan`, which is one."""

    @property
    def is_over(self) -> bool: ...
    def should_stop(self) -> bool: ...
    def next(self) -> Due | None: ...
    def wait(self) -> None: ...
    def settle(self, result: PictureResult, /) -> None: ...
    def busy(self, due: Due, /) -> None: ...
    def leave(self, dues: Iterable[Due], /) -> None: ...


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


class Pipeline:
    """Takes pictures from a source until it is over. Its segmenter is loaded for the first that needs it."""

    def __init__(self, order: Order, source: Source):
        self.order, self.source = order, source
        self.work = Work(order.freshness, order.settings)
        self._next: Due | None = None
        self._reading, self._writing = deque[_Reading](), deque[_Writing]()
        self._settled: _Writing | None = None
        self._written = 0

    def run(self) -> None:
        """Work until the source is over.

        Whatever ends it, the mask files under way are written.

        Raises:
            MissingWeightsError, SegmenterLoadError: a picture needs the segmenter, and it cannot be loaded.
        """
        pool = ThreadPoolExecutor(self.order.settings.workers, "masks")
        try:
            while not self._is_done:
                if self.work.is_full or self.source.should_stop():
                    self._leave()
                self._start_what_fits(pool)
                while self._writing and (self._writing[0].future.done() or not self._reading):
                    self._finish(self._writing[0])
                    self._writing.popleft()
                if self._reading:
                    self._segment(self._reading.popleft(), pool)
                elif not self._is_done:
                    self.source.wait()
        finally:
            for job in self._reading:
                job.future.cancel()
            pool.shutdown(wait=True)
            for job in self._reading:
                job.claim.release()
            for job in self._writing:
                if job is self._settled:  # an interrupt came between that and forgetting the job
                    job.claim.release()
                else:
                    self._finish(job)

    @property
    def _is_done(self) -> bool:
        return not (self._next or self._reading or self._writing) and self.source.is_over

    def _start_what_fits(self, pool: ThreadPoolExecutor) -> None:
        while len(self._reading) + len(self._writing) < self.order.settings.workers + 2:
            self._next = self._next or self.source.next()
            if self._next is None or not self._has_room(self._next):
                return
            due, self._next = self._next, None
            self._start(due, pool)

    def _has_room(self, due: Due) -> bool:
        """Whether one more picture may be in memory; any may be there alone."""
        under_way = [job.pixels for job in (*self._reading, *self._writing)]
        return not under_way or sum(under_way) + pixels_of(due.picture) <= MOST_PIXELS_AT_ONCE

    def _leave(self) -> None:
        """Leave the pictures that are not segmented yet."""
        for job in self._reading:
            job.future.cancel()
            wait([job.future])
            job.claim.release()
        waiting = [job.due for job in self._reading] + ([self._next] if self._next else [])
        self._reading.clear()
        self._next = None
        self.source.leave(waiting)

    def _start(self, due: Due, pool: ThreadPoolExecutor) -> None:
        try:
            claim = claims.claim(due.mask_file)
        except OSError as error:
            self.source.settle(PictureResult(due.picture, "failed", str(error)))
            return
        if claim is None:
            self.source.busy(due)
            return
        future = pool.submit(self.work.read, due)
        self._reading.append(_Reading(due, claim, future, pixels_of(due.picture)))

    def _segment(self, job: _Reading, pool: ThreadPoolExecutor) -> None:
        """Segment a picture that was read and have its masks written, or settle it if there is no need."""
        try:
            decoded = job.future.result()
            if isinstance(decoded, PictureResult):
                job.claim.release()
                self.source.settle(decoded)
                return
            segmenter = self.order.loaded()
            try:
                masks = segmenter.segment(decoded.image[None], self.order.asked)
            except MissingWeightsError:
                raise
            except Exception as error:
                job.claim.release()
                reason = f"the segmenter failed on it: {type(error).__name__}: {error}"
                self.source.settle(PictureResult(job.due.picture, "failed", reason))
                return
            future = pool.submit(self.work.write, job.due, masks, decoded)
            self._writing.append(_Writing(job.due, job.claim, future, job.pixels))
        except BaseException:
            job.claim.release()
            raise

    def _finish(self, job: _Writing) -> None:
        try:
            result = job.future.result()
        finally:
            job.claim.release()
        self._settled = job
        self.source.settle(result)
        self._written += 1
        if self._written % WRITTEN_BETWEEN_TRIMS == 0 or job.pixels > LARGE:
            give_back()
