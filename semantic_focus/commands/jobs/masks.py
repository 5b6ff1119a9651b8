"""A job of masks: the command "masks", with what the job says in the place of its arguments."""

import argparse
import json
from pathlib import Path
from typing import NoReturn

from ...datasets.ownership import SUFFIX
from ...datasets.tars.store import is_url
from ...jobs.job import Job, JobError
from ...jobs.places import sha256_of
from ...training.events import EventWriter
from .. import masks


class _Parser(argparse.ArgumentParser):
    """Of the arguments that a job stands for."""

    def __init__(self, job: Job):
        super().__init__(add_help=False)
        self._job = job
        masks.add_arguments(self)

    def error(self, message: str) -> NoReturn:
        raise JobError(f"{self._job.path}: config: {message.replace('argument --', '')}")


def make(job: Job, events: EventWriter) -> tuple[int, str]:
    """The exit code, and what the command says to programs.

    Raises:
        JobError: a value that the command does not take, or another digest than the job says.
        CannotStartError, DatasetError, MissingWeightsError, SegmenterLoadError, StoreError: as `masks.make`.
    """
    config = dict(job.config.tables["masks"])
    dataset = _whole(job, config.pop("dataset"))
    if not is_url(dataset):
        _check_digest(job, Path(dataset))
    words = [dataset]
    for name, value in config.items():
        option = "--" + name.replace("_", "-")
        if name == "models" or (name == "keywords" and (job.base / value).is_file()):
            value = _whole(job, value)
        if value is not False:
            words += [option] if value is True else [f"{option}={value}"]
    code, told = masks.make(_Parser(job).parse_args(words), events)
    return code, json.dumps(told)


def _whole(job: Job, text: str) -> str:
    return text if is_url(text) else str(job.base / Path(text).expanduser())


def _check_digest(job: Job, dataset: Path) -> None:
    """Of the pictures alone: their masks are what the job makes."""
    for given, wanted in job.digests.items():
        if not dataset.is_dir():
            raise JobError(f"{job.path}: config dataset {dataset}: no such folder. Correct the path")
        found = sha256_of(dataset, without=SUFFIX)
        if found != wanted:
            raise job.error(
                f'digests "{given}"',
                f"is {wanted}, and {dataset} has {found}: it is not what the job was made for. Bring the "
                "right one there, or correct the digest",
            )
