"""A folder of jobs that workers on any number of machines share: no job is done by two of them.

A job is a file NAME.json in the folder, or a folder in it with job.json. What becomes of it is the ending of
that file's name, so that each change is one rename, which one worker alone succeeds with:

    a.json              waits; a.json.retry1, a.json.retry2: once more, after what may be other elsewhere
    a.json.taken0.ID    a worker is at it (at its first, second, third try) and touches it every so often
    a.json.done
    a.json.failed

The file stays in its folder, so that paths in the job mean the same all the time. A taken file that nobody
has touched for long was a dead worker's, and is given back.
"""

import contextlib
import os
import re
import secrets
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files.writing import write_text

JOB_FILE = "job.json"
NAME = re.compile(
    r"(?P<job>.+\.json)(?:\.retry(?P<tries>\d{1,3})|\.taken(?P<taken>\d{1,3})\.(?P<worker>[\w.-]+))?"
)
RECORDS = ".record.json"
EVENTS = ".events.jsonl"
MOST_TRIES = 3
"""Of a job that ends its worker, or asks for another machine."""
STALE = 300.0
"""Seconds after which an untouched claim is a dead worker's."""
BEATS = 10
"""How often a claim is touched in that time."""


@dataclass
class Taken:
    """A job that this worker has.

    Attributes:
        path: the job file, as it is called meanwhile.
        name: as it was called when it was put into the spool.
        tries: that it has had before.
    """

    path: Path
    name: str
    tries: int

    @property
    def job(self) -> Path:
        """The path under which it was put into the spool."""
        return self.path.with_name(self.name)

    @property
    def events(self) -> Path:
        """Where its events go: beside it."""
        return self.path.with_name(self.name.removesuffix(".json") + EVENTS)


class Spool:
    """The jobs of a folder, for one worker.

    Args:
        stale: seconds without a touch after which a claim is a dead worker's.
    """

    def __init__(self, folder: Path, stale: float = STALE):
        self._folder, self._stale = folder, stale
        self.worker = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._clock = folder / f".{self.worker}.clock"

    def take(self, without: frozenset[str] = frozenset()) -> Taken | None:
        """The first job that waits, by name; None: none does.

        Args:
            without: jobs that this worker leaves to others for now, by their paths.
        """
        files = list(self._files())
        if self._give_back_stale(files):
            files = list(self._files())
        for path, found in files:
            if found["worker"] is None and str(path.with_name(found["job"])) not in without:
                tries = int(found["tries"] or 0)
                target = path.with_name(f"{found['job']}.taken{tries}.{self.worker}")
                if self._renamed(path, target):
                    return Taken(target, found["job"], tries)
        return None

    def _files(self) -> Iterator[tuple[Path, re.Match[str]]]:
        """The job files that wait or are taken, by name."""
        for entry in sorted(os.scandir(self._folder), key=lambda entry: entry.name):
            if entry.name.startswith("."):
                continue
            paths = [Path(entry.path)]
            if entry.is_dir():
                with contextlib.suppress(OSError):  # it went just now
                    paths = sorted(path for path in paths[0].iterdir() if path.name.startswith(JOB_FILE))
            for path in paths:
                found = NAME.fullmatch(path.name)
                if found and not found["job"].endswith(RECORDS) and not path.is_dir():
                    yield path, found

    def _renamed(self, path: Path, target: Path) -> bool:
        """Whether this worker alone has given a file this name; its claim counts from now on."""
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)
            os.rename(path, target)
        return target.exists()  # a file server may say that it is gone to whom it has just obeyed

    def _give_back_stale(self, files: Sequence[tuple[Path, re.Match[str]]]) -> bool:
        """Give back what dead workers had; whether there was any."""
        taken = [(path, found) for path, found in files if found["worker"] not in (None, self.worker)]
        now = self._now() if taken else 0.0
        stale = 0
        for path, found in taken:
            with contextlib.suppress(FileNotFoundError):
                if now - path.stat().st_mtime > self._stale:
                    self._set_free(path, found["job"], int(found["taken"]) + 1)
                    stale += 1
        return stale > 0

    def _now(self) -> float:
        """By the clock that dates the claims: of the machine whose disk it is."""
        write_text(self._clock, "")
        return self._clock.stat().st_mtime

    def close(self) -> None:
        """Remove what is this worker's alone."""
        with contextlib.suppress(OSError):
            self._clock.unlink(missing_ok=True)

    def _set_free(self, path: Path, job: str, tries: int) -> None:
        """A job that has had so many tries waits, or has failed."""
        target = path.with_name(job)
        if tries >= MOST_TRIES:
            target = path.with_name(f"{job}.failed")
        elif tries or target.exists():
            target = path.with_name(f"{job}.retry{tries}")
        with contextlib.suppress(FileNotFoundError):
            os.rename(path, target)

    def done(self, taken: Taken) -> None:
        """It is done."""
        self._end(taken, ".done")

    def failed(self, taken: Taken) -> None:
        """It cannot be done."""
        self._end(taken, ".failed")

    def give_back(self, taken: Taken, tried: bool) -> None:
        """Another worker is to do it, or this one later.

        Args:
            tried: it counts as one of its tries.
        """
        self._set_free(taken.path, taken.name, taken.tries + tried)

    def _end(self, taken: Taken, ending: str) -> None:
        with contextlib.suppress(FileNotFoundError):  # it was given to another, who does the same
            os.rename(taken.path, taken.job.with_name(taken.name + ending))

    @contextlib.contextmanager
    def held(self, taken: Taken) -> Iterator["Heartbeat"]:
        """Touch a claim meanwhile."""
        beat = Heartbeat(taken.path, self._stale / BEATS)
        try:
            yield beat
        finally:
            beat.stop()


class Heartbeat:
    """Touches a file every so often, in a thread of its own.

    Attributes:
        is_lost: somebody has taken it away: another worker has the job.
    """

    def __init__(self, path: Path, seconds: float):
        self._path, self._seconds = path, seconds
        self.is_lost = False
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                os.utime(self._path)
            except FileNotFoundError:
                self.is_lost = True
                return
            except OSError:  # a file server that does not answer: the next time it may
                continue

    def stop(self) -> None:
        """No more."""
        self._ended.set()
        self._thread.join()
