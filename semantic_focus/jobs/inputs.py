"""The inputs of jobs: whether they are there and what they should be, and copies of those that have URLs."""

import shutil
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..files.text import shortened
from .job import Input, Job, JobError
from .places import OnDisk, Place, place_at, sha256_of


@dataclass(frozen=True)
class Seen:
    """One content of an input.

    Attributes:
        stamp: by which it is known again without being read, see `Place.stamp`.
        sha256: as `sha256_of` gives it.
    """

    stamp: str
    sha256: str


class Inputs:
    """Inputs of one job after the other; while entered, copies of those with URLs are in a folder of its own.

    What was read once is known again by its stamp. Copies of files stay for the next job that needs them,
    those of folders for one job.
    """

    def __init__(self):
        self._seen: dict[str, Seen] = {}
        self._copies: dict[tuple[str, str], Path] = {}
        self._folder: Path | None = None

    def __enter__(self) -> "Inputs":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def scratch(self) -> Path:
        """A folder that is gone in the end."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="semantic_focus_"))
        return self._folder

    def seen(self, job: Job, known: Mapping[str, Seen]) -> dict[str, Seen]:
        """The inputs of a training by path or URL, as its config names them.

        Args:
            known: what an earlier process has seen.

        Raises:
            JobError: one is not there, or has another digest than the job says.
            StoreError: one cannot be had.
        """
        found: dict[str, Seen] = {}
        for it in job.inputs():
            if it.given not in found:
                found[it.given] = self._see(job, it, known.get(it.given))
        return found

    def _see(self, job: Job, it: Input, known: Seen | None) -> Seen:
        place = self._place(job, it)
        stamp = self._stamp(job, it, place)
        own = self._seen.get(place.name)
        seen = next((one for one in (own, known) if one is not None and one.stamp == stamp), None)
        if seen is None:
            seen = Seen(stamp, sha256_of(self._copy(place, stamp)))
        self._seen[place.name] = seen
        wanted = job.digests.get(it.given)
        if wanted not in (None, seen.sha256):
            raise job.error(
                f'digests "{shortened(it.given)}"',
                f"is {wanted}, and {place.name} has {seen.sha256}: it is not what the job was made for. "
                "Bring the right one there, or correct the digest",
            )
        return seen

    def _place(self, job: Job, it: Input) -> Place:
        return place_at(it.given, job.base)

    def _stamp(self, job: Job, it: Input, place: Place) -> str:
        try:
            stamp = place.stamp()
        except OSError as error:
            raise _of(job, it, f"{place.name}: cannot be read ({error.strerror})") from error
        if stamp is None:
            kind = "folder" if it.is_folder else "file"
            raise _of(job, it, f"{place.name}: no such {kind}. Bring it there, or correct the path")
        if isinstance(place, OnDisk) and place.path.is_dir() != it.is_folder:
            kinds = ("a file, not a folder", "a folder, not a file")
            raise _of(job, it, f"{place.name}: {kinds[not it.is_folder]}. Correct the path")
        return stamp

    def _copy(self, place: Place, stamp: str) -> Path:
        key = place.name, stamp
        if key not in self._copies:
            number = len(self._copies)
            folder = Path() if isinstance(place, OnDisk) else self.scratch() / f"input_{number}"
            self._copies[key] = place.fetched(folder)
        return self._copies[key]

    def local(self, job: Job, seen: Mapping[str, Seen]) -> dict[str, Path]:
        """Where the inputs are on this machine, by path or URL as the config names them; those of earlier
        jobs that this one does not need are gone.

        Raises:
            StoreError: one cannot be had.
        """
        needed = {it.given: (self._place(job, it), it) for it in job.inputs()}
        wanted = {(place.name, seen[given].stamp) for given, (place, _) in needed.items()}
        self._forget(key for key in list(self._copies) if key not in wanted)
        return {given: self._copy(place, seen[given].stamp) for given, (place, _) in needed.items()}

    def done_with(self, job: Job) -> None:
        """Remove the copies of the folders that a job has read."""
        folders = {self._place(job, it).name for it in job.inputs() if it.is_folder}
        self._forget(key for key in list(self._copies) if key[0] in folders)

    def _forget(self, keys: Iterable[tuple[str, str]]) -> None:
        for key in keys:
            path = self._copies.pop(key)
            if self._folder is not None and self._folder in path.parents:
                shutil.rmtree(path.parent, ignore_errors=True)


def _of(job: Job, it: Input, problem: str) -> JobError:
    return JobError(str(job.config.error(it.section, it.key, problem, it.number)))
