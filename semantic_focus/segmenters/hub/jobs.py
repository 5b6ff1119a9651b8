"""Fetches in the background, one after the other: what is asked of each, how far it is, how it ended."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...files.text import in_short
from .errors import CancelledError, FetchError
from .fetch import Reporter, discard, fetch, kept_of

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
ENDED = (DONE, FAILED, CANCELLED)


@dataclass
class Job:
    """One fetch. `done` and `total` are bytes; `kind`, `values` and `error` are those of its FetchError."""

    name: str
    place: Path
    state: str = WAITING
    done: int = 0
    total: int = 0
    error: str = ""
    kind: str = ""
    values: dict[str, str] = field(default_factory=dict)
    cancelled: threading.Event = field(default_factory=threading.Event, repr=False)

    def told(self) -> dict[str, Any]:
        """What a panel shows of it."""
        shown = ("name", "state", "done", "total", "error", "kind", "values")
        return {name: getattr(self, name) for name in shown}


class Fetches:
    """The fetches since the server began, the latest of each model.

    They run in one thread that does not keep the program from ending: what has come by then is kept.

    Args:
        bring: fetches; see `fetch.fetch`.
    """

    def __init__(self, bring: Callable[[str, Path, Reporter], Any] = fetch):
        self._bring, self._jobs, self._due = bring, dict[str, Job](), list[Job]()
        self._change, self._works = threading.Condition(), False

    def start(self, name: str, place: Path) -> Job:
        """Fetch a model, soon; nothing new when it is under way."""
        with self._change:
            known = self._jobs.get(name)
            if known and known.state not in ENDED:
                return known
            job = self._jobs[name] = Job(name, place, done=kept_of(place))
            self._due.append(job)
            if not self._works:
                self._works = True
                threading.Thread(target=self._work, name="fetch weights", daemon=True).start()
            return job

    def cancel(self, name: str) -> None:
        """End a fetch, at once also where it waits for the network; what has come is kept."""
        with self._change:
            job = self._jobs.get(name)
            if job and job.state not in ENDED:
                job.cancelled.set()
                self._end(job, CancelledError(name))

    def discard(self, name: str, place: Path) -> None:
        """Throw away what has come of a model whose fetch has ended.

        Raises:
            ValueError: it is under way.
            OSError: it cannot be removed.
        """
        with self._change:
            job = self._jobs.get(name)
            if job and job.state not in ENDED:
                raise ValueError(f"{name} is being fetched: cancel that first")
            self._jobs.pop(name, None)
        discard(place)

    def told(self) -> dict[str, dict[str, Any]]:
        """Every job by the name of its model."""
        with self._change:
            return {name: job.told() for name, job in self._jobs.items()}

    def _work(self) -> None:
        while True:
            with self._change:
                self._due = [job for job in self._due if job.state not in ENDED]
                if not self._due:
                    self._works = False
                    return
                job = self._due.pop(0)
                job.state, job.done = RUNNING, 0
            fault: FetchError | None = None
            try:
                self._bring(job.name, job.place, self._reporter(job))
            except FetchError as error:
                fault = error
            except Exception as error:  # a thread has nobody else to tell
                fault = FetchError("unknown", job.name, error=in_short(error))
            with self._change:
                if job.state not in ENDED:
                    self._end(job, fault)

    def _reporter(self, job: Job) -> Reporter:
        def of(size: int) -> None:
            job.total = size

        def more(count: int) -> None:
            job.done += count

        return Reporter(of, more, job.cancelled.is_set)

    def _end(self, job: Job, fault: FetchError | None) -> None:
        if fault is None:
            job.state = DONE
            return
        job.state = CANCELLED if isinstance(fault, CancelledError) else FAILED
        job.error, job.kind = str(fault), fault.kind
        job.values = {key: str(value) for key, value in fault.values.items()}
