"""What a run over a dataset has to do, picture by picture, and what became of each; whoever does the work.

Mask files are looked at while pictures are handed out, those that have none first: so the first picture is
begun at once, however many are fresh.
"""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ...files.writing import check_can_write
from ..folder import DatasetError
from ..freshness import Due, PictureResult
from ..mask_file import mask_name
from .order import Order

SECONDS_BETWEEN_LOOKS = 0.1
"""How often to look at pictures that another program is busy with."""

LOOKS_AT_A_TIME = 32
"""Mask files that are looked at before whoever asks for a picture is heard again."""

MOST_TO_BLAME = 2
"""Pictures with a worker that is killed, of which each may be the reason."""
MOST_DEATHS = 2
"""How many workers may be killed at work on a picture."""


class Plan:
    """One run: what is wanted, what is left to do, and what has been settled. Of one thread.

    Attributes:
        results: one for each picture that was settled, in that order.
        folder: of some picture; None where there is none.
    """

    def __init__(
        self,
        pictures: Sequence[Path],
        order: Order,
        on_result: Callable[[PictureResult], None] = lambda result: None,
        should_stop: Callable[[], bool] = lambda: False,
    ):
        self.order, self.on_result, self.should_stop = order, on_result, should_stop
        self.results: list[PictureResult] = []
        self.folder = pictures[0].parent if pictures else None
        self._unseen = deque(pictures if order.settings.dry_run else missing_first(pictures))
        self._again = deque[Due]()
        self._busy = deque[tuple[float, Due]]()
        self._deaths = Counter[Path]()
        self._takes_files: dict[Path, OSError | None] = {}
        self._refused: list[Due] = []
        self._some_can_be_kept = False

    @property
    def has_unseen(self) -> bool:
        """Whether there are mask files that were not looked at."""
        return bool(self._unseen)

    @property
    def is_over(self) -> bool:
        """Whether no picture is left to be handed out."""
        return not (self._unseen or self._again or self._busy)

    @property
    def most_left(self) -> int:
        """How many pictures are yet to be handed out, if none of those is fresh that were not looked at."""
        return len(self._unseen) + len(self._again) + len(self._busy)

    def next(self) -> Due | None:
        """A picture to work on; None when none was found just now: see `is_over`, and ask again."""
        if self._again:
            return self._again.popleft()
        for _ in range(LOOKS_AT_A_TIME):
            if not self._unseen or self.should_stop():
                break
            found = self._looked_at(self._unseen.popleft())
            if found is not None:
                return found
        if not self._unseen and self._busy and self._busy[0][0] <= time.monotonic():
            return self._busy.popleft()[1]
        return None

    def wait(self) -> None:
        """Let time pass when other programs are busy with all that is left."""
        if not self._unseen and not self._again and self._busy:
            time.sleep(max(0.0, self._busy[0][0] - time.monotonic()))

    def settle(self, result: PictureResult) -> None:
        """Tell what became of a picture."""
        self.results.append(result)
        self.on_result(result)

    def busy(self, due: Due) -> None:
        """Take a picture back that another program is busy with, for later."""
        self._busy.append((time.monotonic() + SECONDS_BETWEEN_LOOKS, due))

    def give_back(self, dues: Iterable[Due]) -> None:
        """Take pictures back that nobody has begun."""
        self._again.extend(dues)

    def lost(self, dues: Sequence[Due], how: str) -> None:
        """Take pictures back that were under way when their worker was killed.

        One on which two workers were killed is settled as failed. Where many were under way, that makes them
        suspects and counts for none of them yet: most were only near.

        Args:
            how: what ended the worker, for the message.
        """
        for due in dues:
            self._deaths[due.picture] += len(dues) <= MOST_TO_BLAME
            if self._deaths[due.picture] < MOST_DEATHS:
                self._again.append(due)
                continue
            reason = (
                f"{due.picture}: {MOST_DEATHS} workers were killed while they were at work on it (the last "
                f"one: {how}). Give it a look, or more memory to the workers, and run the same command again"
            )
            self.settle(PictureResult(due.picture, "failed", reason))

    def is_suspect(self, due: Due) -> bool:
        """Whether a worker was killed while it had this picture: it is to be worked on alone."""
        return bool(self._deaths) and due.picture in self._deaths  # paths are slow to look up

    def leave(self, dues: Iterable[Due] = ()) -> None:
        """Settle these pictures and all that were not handed out as left."""
        waiting = (*dues, *self._again, *(due for _, due in self._busy))
        for picture in (*(due.picture for due in waiting), *self._unseen):
            self.settle(PictureResult(picture, "left"))
        for queue in (self._again, self._busy, self._unseen):
            queue.clear()

    def look_at_all(self) -> None:
        """Settle every picture without work on any: a dry run."""
        while self._unseen and not self.should_stop():
            picture = self._unseen.popleft()
            found = self._found(picture)
            self.settle(self.order.freshness.foresee(found) if isinstance(found, Due) else found)
        self.leave()

    def finish(self) -> None:
        """Settle the pictures beside which no file can be written.

        Raises:
            DatasetError: nothing else was due.
        """
        for due in self._refused:
            error = self._takes_files[due.picture.parent]
            if not self._some_can_be_kept:
                raise DatasetError(f"no picture was segmented: {error}")
            self.settle(PictureResult(due.picture, "failed", str(error)))
        self._refused.clear()

    def _found(self, picture: Path) -> Due | PictureResult:
        return self.order.freshness.check(picture, self.order.settings.force)

    def _looked_at(self, picture: Path) -> Due | None:
        """Settle a picture by the header of its mask file; or hand it out, if its masks could be kept."""
        found = self._found(picture)
        if isinstance(found, PictureResult):
            self.settle(found)
            return None
        if found.only_stamp or self._can_be_kept(found):
            self._some_can_be_kept = True
        else:
            self._refused.append(found)
            found = None
        if self._some_can_be_kept:
            self.finish()
        return found

    def _can_be_kept(self, due: Due) -> bool:
        folder = due.picture.parent
        if folder not in self._takes_files:
            try:
                check_can_write(due.mask_file)
            except OSError as error:
                self._takes_files[folder] = error
            else:
                self._takes_files[folder] = None
        return self._takes_files[folder] is None


def missing_first(pictures: Sequence[Path]) -> list[Path]:
    """The pictures beside which no mask file lies, by the names in their folders; then the others."""
    names: dict[str, set[str]] = {}
    first, second = [], []
    for picture in pictures:
        folder = os.path.dirname(picture)
        if folder not in names:
            names[folder] = _names(folder)
        (second if mask_name(picture) in names[folder] else first).append(picture)
    return first + second


def _names(folder: str) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()
