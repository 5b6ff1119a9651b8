"""A dataset in shards, of which each of several machines takes one, without knowing of the others.

A picture belongs to a shard by a digest of its name in the dataset: it stays there when others are added.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

COUNT_OF_INDEXED_JOBS = "SEMANTIC_FOCUS_SHARDS"
"""Kubernetes tells the pods of an indexed job their index, and not how many there are. This variable does."""


class ShardError(ValueError):
    """No shard, or none that can be told; the message says what is to be given."""


@dataclass(frozen=True)
class Shard:
    """Shard `index` of `count`, from 1 on."""

    index: int
    count: int

    def __post_init__(self):
        if not 1 <= self.index <= self.count:
            raise ShardError(f"{self}: there are the shards 1/{self.count} to {self.count}/{self.count}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def takes(self, name: str) -> bool:
        """Whether what has this name belongs to it."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1

    def of(self, pictures: Sequence[Path], folder: Path) -> list[Path]:
        """The pictures in a folder, or below it, that belong to it. No file is looked at."""
        return [path for path in pictures if self.takes(path.relative_to(folder).as_posix())]


def parsed(text: str) -> Shard:
    """A shard that is given as `2/5`.

    Raises:
        ShardError: it is not.
    """
    found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
    if found is None:
        raise ShardError(f"{text!r} is no shard: give I/N as in 2/5, or auto")
    return Shard(int(found[1]), int(found[2]))


def told_by(environment: Mapping[str, str]) -> Shard:
    """The shard of a task of a Slurm job (srun's tasks, a job array, or both) or of a Kubernetes indexed job.

    Raises:
        ShardError: the variables tell none; it names those that are missing.
    """
    if "SLURM_ARRAY_TASK_ID" in environment or "SLURM_PROCID" in environment:
        array = _of_array(environment) if "SLURM_ARRAY_TASK_ID" in environment else (0, 1)
        task = (0, 1)
        if "SLURM_PROCID" in environment:
            task = (_number(environment, "SLURM_PROCID"), _number(environment, "SLURM_NTASKS"))
        return Shard(array[0] * task[1] + task[0] + 1, array[1] * task[1])
    if "JOB_COMPLETION_INDEX" in environment:
        hint = f". In the job's template, set {COUNT_OF_INDEXED_JOBS} to its number of completions"
        count = _number(environment, COUNT_OF_INDEXED_JOBS, hint)
        return Shard(_number(environment, "JOB_COMPLETION_INDEX") + 1, count)
    raise ShardError(
        "no variable tells which shard this is: neither Slurm's SLURM_PROCID or SLURM_ARRAY_TASK_ID nor "
        "Kubernetes' JOB_COMPLETION_INDEX is set. Start it as a task of such a job, or give I/N as in 2/5"
    )


def _of_array(environment: Mapping[str, str]) -> tuple[int, int]:
    """Place of a task in a job array, from 0 on, and the number of its tasks."""
    task, low, high, count = (
        _number(environment, f"SLURM_ARRAY_TASK_{name}") for name in ("ID", "MIN", "MAX", "COUNT")
    )
    step, odd = divmod(high - low, count - 1) if count > 1 else (1, 0)
    if odd or not step or (task - low) % step:
        raise ShardError(
            f"SLURM_ARRAY_TASK_ID is {task}, one of {count} from {low} to {high}: these are not evenly "
            "spaced, so the shard cannot be told. Use an array like 0-15, or give I/N as in 2/5"
        )
    return (task - low) // step, count


def _number(environment: Mapping[str, str], name: str, hint: str = "") -> int:
    text = environment.get(name, "")
    if not text:
        raise ShardError(f"{name} is not set, so the shard cannot be told{hint or '. Give I/N as in 2/5'}")
    if not text.isdecimal():
        raise ShardError(f"{name} is {text!r}, no number, so the shard cannot be told. Give I/N as in 2/5")
    return int(text)
