"""How pictures are dealt to several workers and taken back from those that are killed, wherever they run."""

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...segmenters.protocol import MissingWeightsError
from ..freshness import Due, PictureResult
from .messages import Busy, Full, Gone, Message, Ready, Said
from .order import SegmenterLoadError
from .plan import Plan

log = logging.getLogger("semantic_focus.datasets.engines.crew")

SECONDS_BETWEEN_LOOKS = 0.5
"""How often a signal to stop is looked for, while nothing is told."""
MOST_REMEMBERED = 1000
"""Lines of the log that are not said again when another worker says them."""
MOST_KILLED_STARTING = 3
"""How many workers in a row may be killed before they are ready."""


class Worker(ABC):
    """A segmenter somewhere else, and the pictures that were dealt to it."""

    def __init__(self, position: int):
        self.position = position
        self.is_ready = False
        self.dealt: dict[Path, Due] = {}

    @property
    @abstractmethod
    def load(self) -> int:
        """How many batches it has."""

    @property
    @abstractmethod
    def under_way(self) -> Sequence[Due]:
        """The pictures that it may have begun."""

    @abstractmethod
    def give(self, batch: Sequence[Due]) -> None:
        """Send it pictures."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to finish what is under way and to leave the rest."""


class Crew(ABC):
    """Workers that are started when there is something for them to do. An engine, for plans of one order."""

    def __init__(self, count: int):
        if count < 1:
            raise ValueError(f"there must be 1 worker or more, got {count}")
        self.count = count
        self._workers: list[Worker] = []
        self._killed_starting = 0
        self._is_full = False
        self._said: set[Said] = set()

    @abstractmethod
    def _started(self, plan: Plan, position: int) -> Worker:
        """Start a worker; it tells when it is ready. `position`: from 0 on, no other has it now."""

    @abstractmethod
    def _heard(self, seconds: float) -> Iterable[tuple[Worker, Message]]:
        """What workers tell; waits so long for the first message."""

    def _ahead(self, plan: Plan) -> int:
        """How many batches a worker is given at a time."""
        return 2

    def _size(self, plan: Plan) -> int:
        """How many pictures a batch is to have now."""
        return 1

    def __call__(self, plan: Plan) -> None:
        """Have all pictures of a plan segmented.

        Raises:
            MissingWeightsError, SegmenterLoadError: a worker cannot start.
        """
        waiting = deque[Due]()
        is_stopped = False
        while True:
            if not is_stopped and (self._is_full or plan.should_stop()):
                is_stopped = True
                plan.leave(waiting)
                waiting.clear()
                for worker in self._workers:
                    worker.stop()
            wanted = 0 if is_stopped else self.count * self._size(plan)
            while len(waiting) < wanted and (due := plan.next()) is not None:
                waiting.append(due)
            self._deal(plan, waiting)
            self._start_some(plan, len(waiting))
            if plan.is_over and not waiting and not any(worker.dealt for worker in self._workers):
                return
            has_to_look = plan.has_unseen and len(waiting) < wanted
            for worker, message in self._heard(0.0 if has_to_look else SECONDS_BETWEEN_LOOKS):
                self._take(plan, worker, message)
            if is_stopped:
                plan.leave()  # what was with a worker that was killed meanwhile

    def _deal(self, plan: Plan, waiting: deque[Due]) -> None:
        while waiting and (able := self._able(plan, waiting[0])):
            worker = min(able, key=lambda worker: worker.load)
            batch, size = [waiting.popleft()], self._size(plan)
            if not plan.is_suspect(batch[0]):
                while waiting and len(batch) < size and not plan.is_suspect(waiting[0]):
                    batch.append(waiting.popleft())
            worker.dealt.update({due.picture: due for due in batch})
            worker.give(batch)

    def _able(self, plan: Plan, due: Due) -> list[Worker]:
        """Who can be given a picture: one on which a worker was killed is worked on alone."""
        ahead = 1 if plan.is_suspect(due) else self._ahead(plan)
        ready = [worker for worker in self._workers if worker.is_ready and worker.load < ahead]
        return [worker for worker in ready if not any(map(plan.is_suspect, worker.dealt.values()))]

    def _start_some(self, plan: Plan, pictures: int) -> None:
        """Start as many workers as have something to do."""
        starting = sum(not worker.is_ready for worker in self._workers)
        for _ in range(min(self.count - len(self._workers), pictures - starting)):
            taken = {worker.position for worker in self._workers}
            position = next(number for number in range(self.count) if number not in taken)
            self._workers.append(self._started(plan, position))

    def _take(self, plan: Plan, worker: Worker, message: Message) -> None:
        match message:
            case PictureResult():
                del worker.dealt[message.picture]
                plan.settle(message)
            case Busy(due):
                del worker.dealt[due.picture]
                plan.busy(due)
            case Ready(wanted, where):
                plan.order.check_same(wanted, where)
                worker.is_ready, self._killed_starting = True, 0
            case Said(logger, level, text):
                if message not in self._said:
                    self._said |= {message} if len(self._said) < MOST_REMEMBERED else set()
                    logging.getLogger(logger).log(level, "%s", text)
            case Full():
                self._is_full = True
            case MissingWeightsError() | SegmenterLoadError():
                raise message
            case Gone():
                self._bury(plan, worker, message)

    def _bury(self, plan: Plan, worker: Worker, gone: Gone) -> None:
        """Take back what was with a worker that has ended.

        Raises:
            SegmenterLoadError: it did not come to be ready, another would not either, and none is at work.
        """
        self._workers.remove(worker)
        if not worker.is_ready:
            self._killed_starting += 1
            if not gone.is_killed or self._killed_starting == MOST_KILLED_STARTING:
                self._do_with_fewer(gone)
        begun = list(worker.under_way)
        plan.lost(begun, gone.how)
        plan.give_back(due for due in worker.dealt.values() if due not in begun)

    def _do_with_fewer(self, gone: Gone) -> None:
        """Go on with the workers that are at work.

        Raises:
            SegmenterLoadError: there is none.
        """
        said = (
            f"a worker could not start ({gone.how}). Look at what it wrote above; where memory is short, "
            f"give fewer than {self.count} with --processes"
        )
        at_work = sum(worker.is_ready for worker in self._workers)
        if not at_work:
            raise SegmenterLoadError(said)
        log.warning("%s. The run goes on with %d", said, at_work)
        self.count, self._killed_starting = at_work, 0
