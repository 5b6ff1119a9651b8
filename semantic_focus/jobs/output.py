"""The LoRA of a job, and the record beside it by which a job that is done is known.

The record says whose the LoRA is before it is there: a LoRA without one is nobody's to replace.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.tars.store import is_url
from ..files.text import parsed_json
from .inputs import Seen
from .job import LORA_ENDING, Job, JobError
from .places import OnDisk, Place, place_at, sha256_of

RECORD_ENDING, RUN_ENDING = ".record.json", ".run.tar"
KEY, FORMAT = "semantic_focus_record", 1
BEGUN, DONE = "begun", "done"


@dataclass(frozen=True)
class Record:
    """What is known of the LoRA beside it.

    Attributes:
        identity: of its job, see `Job.identity`.
        state: `BEGUN`: the LoRA may be there; `DONE`: it is.
        inputs: by path or URL.
        lora: the LoRA itself, once it is there.
    """

    identity: str
    state: str
    inputs: Mapping[str, Seen]
    lora: Seen | None = None

    def text(self) -> str:
        """As it is written."""
        return json.dumps({KEY: FORMAT, **dataclasses.asdict(self)}, indent=2) + "\n"


def parsed(content: bytes) -> Record:
    """The record that was written so.

    Raises:
        ValueError: it is none.
    """
    found = parsed_json(content.decode("utf-8"))
    if not isinstance(found, dict) or found.get(KEY) != FORMAT:
        raise ValueError(f"it has no {KEY} {FORMAT}")
    try:
        inputs = {str(name): _seen(one) for name, one in found["inputs"].items()}
        lora = None if found["lora"] is None else _seen(found["lora"])
        return Record(str(found["identity"]), str(found["state"]), inputs, lora)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{error} is missing or of another kind") from error


def _seen(found: Mapping[str, Any]) -> Seen:
    return Seen(str(found["stamp"]), str(found["sha256"]))


class Output:
    """Where the LoRA of a job goes."""

    def __init__(self, job: Job):
        self.place = _place(job)
        self.is_local = isinstance(self.place, OnDisk)
        self._record = self.place.beside(RECORD_ENDING)
        self.run = self.place.beside(RUN_ENDING)
        """The run of a job that was stopped, where it goes on from another machine; for URLs alone."""

    def record(self) -> Record | None:
        """What is known of it so far.

        Raises:
            JobError: something else is where the record would be.
        """
        if self._record.stamp() is None:
            return None
        try:
            return parsed(self._record.read())
        except ValueError as error:
            raise JobError(
                f"{self._record.name}: is no record of a job ({error}), and is never replaced. Move it away, "
                "or give the job another output"
            ) from error

    def is_done(self, record: Record | None, identity: str) -> bool:
        """Whether the LoRA of the job is there.

        Raises:
            JobError: what is there is not of this job.
        """
        stamp = self.place.stamp()
        if stamp is None:
            return False
        if record is None:
            raise self._taken("is there already, and no job of this program has made it")
        if record.identity != identity:
            raise self._taken("is there already: the LoRA of a job with other settings or inputs")
        if record.state == BEGUN or record.lora is None:
            return False
        if stamp == record.lora.stamp or (self.is_local and self._sha256() == record.lora.sha256):
            return True
        raise self._taken("is there already, and was changed since this job made it")

    def _sha256(self) -> str:
        assert isinstance(self.place, OnDisk)
        return sha256_of(self.place.path)

    def _taken(self, problem: str) -> JobError:
        return JobError(f"{self.place.name}: {problem}. Give another output, or move it away")

    def begin(self, identity: str, inputs: Mapping[str, Seen]) -> None:
        """Say whose LoRA will be there."""
        self._record.write(Record(identity, BEGUN, inputs).text().encode())

    def finish(self, identity: str, inputs: Mapping[str, Seen], lora: Path) -> None:
        """Put the LoRA there, unless it is, and say that it is."""
        digest = sha256_of(lora)
        if not self.is_local:
            self.place.write(lora.read_bytes())
            self.run.remove()
        made = Seen(self.place.stamp() or "", digest)
        self._record.write(Record(identity, DONE, inputs, made).text().encode())


def _place(job: Job) -> Place:
    if job.output is not None:
        return place_at(job.output, job.path.parent, puts=True)
    tables = job.config.tables
    folder = _text(tables, "output", ("training", "output"), ("model", "output_dir"))
    name = _text(tables, "lora", ("training", "name"), ("training", "output_name"))
    if is_url(folder):
        raise job.config.error(
            "training", "output", f"is {folder}: give a URL in the key output of {job.path}, or a path here"
        )
    return place_at(f"{folder}/{name}{LORA_ENDING}", job.base, puts=True)


def _text(tables: Mapping[str, Any], default: str, *places: tuple[str, str]) -> str:
    for section, key in places:
        table = tables.get(section)
        if isinstance(table, dict) and isinstance(value := table.get(key), str) and value.strip():
            return value
    return default
