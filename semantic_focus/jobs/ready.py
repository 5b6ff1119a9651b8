"""A training job that was looked at: its inputs are there, and it is known whether its LoRA is, too."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .inputs import Inputs, Seen
from .job import Job, table_of
from .output import Output
from .places import OnDisk


@dataclass(frozen=True)
class Ready:
    """A training job.

    Attributes:
        identity: see `Job.identity`.
        seen: its inputs.
        is_done: its LoRA is there.
        is_begun: an earlier process has begun with it, or done it.
    """

    job: Job
    output: Output
    identity: str
    seen: Mapping[str, Seen]
    is_done: bool
    is_begun: bool

    def begin(self) -> None:
        """Say whose LoRA will be there."""
        self.output.begin(self.identity, self.seen)

    def finish(self, lora: Path) -> None:
        """Put the LoRA there, and say so."""
        self.output.finish(self.identity, self.seen, lora)

    def came_meanwhile(self) -> bool:
        """Whether somebody else has done the same job just now."""
        return self.output.is_done(self.output.record(), self.identity)

    def target(self, inputs: Inputs) -> Path:
        """Where the training is to put its LoRA on this machine."""
        place = self.output.place
        return place.path if isinstance(place, OnDisk) else inputs.scratch() / "output" / _name(place.name)

    def tables(self, inputs: Inputs) -> dict[str, Any]:
        """The config with the places of everything on this machine, as whole paths.

        Raises:
            StoreError: an input cannot be had.
        """
        local = inputs.local(self.job, self.seen)
        tables = copy.deepcopy(self.job.config.tables)
        for it in self.job.inputs():
            table_of(tables, it)[it.key] = str(local[it.given].absolute())
        comfyui = tables.get("comfyui")
        if isinstance(comfyui, dict) and isinstance(path := comfyui.get("path"), str) and path:
            comfyui["path"] = str((self.job.base / Path(path).expanduser()).absolute())
        if self.job.output is not None:
            target = self.target(inputs).absolute()
            training = tables.setdefault("training", {})
            if isinstance(training, dict):
                training.update(output=str(target.parent), name=target.stem)
        return tables


def ready(job: Job, inputs: Inputs) -> Ready:
    """Look at a training job.

    Raises:
        JobError: it cannot be done as it is.
        StoreError: a store cannot be used.
    """
    output = Output(job)
    record = output.record()
    seen = inputs.seen(job, record.inputs if record else {})
    identity = job.identity({given: one.sha256 for given, one in seen.items()})
    is_begun = record is not None and record.identity == identity
    return Ready(job, output, identity, seen, output.is_done(record, identity), is_begun)


def _name(url: str) -> str:
    return PurePosixPath(url).name
