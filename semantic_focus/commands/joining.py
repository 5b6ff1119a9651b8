"""Which of the processes of a training this one is, by the variables that it was started with; how they meet.

torchrun and `accelerate launch` set RANK, WORLD_SIZE, LOCAL_RANK and MASTER_*, Slurm's srun SLURM_PROCID and
its like; `--processes N` has variables of its own.
"""

import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch

from ..training.processes import Processes, ProcessLost, StopTraining
from .outcome import CannotStartError

RANK, SIZE, FOLDER, STARTED_BY = (
    f"SEMANTIC_FOCUS_{name}" for name in ("PROCESS", "PROCESSES", "MEETING", "STARTED_BY")
)
MEETING, ENDED = "meeting", "ended"
"""Files in the folder of `--processes N`: in which they meet, and which says that one of them has ended."""
PATIENCE = timedelta(minutes=10)
"""For the others to come."""
PORTS = range(20_000, 60_000)
"""From which a job of Slurm's gets the one where its processes meet."""


@dataclass(frozen=True)
class Place:
    """This process among those of a training.

    Attributes:
        rank, size: its number from 0, and how many there are.
        on_machine: its number on its machine.
        is_local: all of them are on this machine: what they say to each other stays on it.
        folder: where they meet; None: by MASTER_ADDR and MASTER_PORT.
        started_by: process that must go on; 0: any may end.
        own_device: the one who started it shows each process its own device alone.
    """

    rank: int
    size: int
    on_machine: int
    is_local: bool
    folder: Path | None = None
    started_by: int = 0
    own_device: bool = False

    def check(self) -> None:
        """Raise StopTraining when whoever started this process is gone."""
        if self.started_by and os.getppid() != self.started_by:
            raise StopTraining("the end of the process that started it")


def place_of(variables: Mapping[str, str]) -> Place | None:
    """This process's place; None where it is the only one.

    Raises:
        CannotStartError: a variable is missing or is no number.
    """
    numbers = _Numbers(variables)
    if RANK in variables:
        rank = numbers[RANK]
        return Place(rank, numbers[SIZE], rank, True, Path(variables[FOLDER]), started_by=numbers[STARTED_BY])
    if "RANK" in variables and "WORLD_SIZE" in variables:
        rank, size = numbers["RANK"], numbers["WORLD_SIZE"]
        local, here = numbers.get("LOCAL_RANK", rank), numbers.get("LOCAL_WORLD_SIZE", 0)
        found = Place(rank, size, local, here == size)
    elif {"SLURM_STEP_ID", "SLURM_PROCID"} <= variables.keys():  # without a step it is the batch script
        rank, size = numbers["SLURM_PROCID"], numbers["SLURM_NTASKS"]
        machines = numbers.get("SLURM_STEP_NUM_NODES", numbers.get("SLURM_NNODES", 0))
        found = Place(rank, size, numbers["SLURM_LOCALID"], machines == 1, own_device=True)
    else:
        return None
    return found if found.size > 1 else None


class _Numbers:
    """The variables that are whole numbers."""

    def __init__(self, variables: Mapping[str, str]):
        self._variables = variables

    def __getitem__(self, name: str) -> int:
        text = self._variables.get(name, "")
        if not text.isdecimal():
            raise CannotStartError(
                f"{name} is {text!r}, no whole number: start the processes with --processes N, torchrun, "
                "accelerate launch or srun, which set it"
            )
        return int(text)

    def get(self, name: str, default: int) -> int:
        return self[name] if name in self._variables else default


def join(place: Place, check: Callable[[], None]) -> Processes:
    """Meet the other processes.

    Args:
        check: called while they are waited for; what it raises ends that.

    Raises:
        ProcessLost: they do not come.
        CannotStartError: it is not said where they meet.
    """
    import torch.distributed as dist

    from ..training.process_group import ProcessGroup

    if place.is_local:
        _stay_on_this_machine()
    if place.folder is not None:
        store: Any = dist.FileStore(str(place.folder / MEETING), place.size)  # pyright: ignore[reportPrivateImportUsage]
    else:
        store = _store_over_the_net(place)
    store.set(f"here/{place.rank}", "")
    missing = [f"here/{rank}" for rank in range(place.size)]
    end = time.monotonic() + PATIENCE.total_seconds()
    while not store.check(missing):
        check()
        if place.folder is not None and (place.folder / ENDED).exists():
            raise ProcessLost("a process has ended before the training began")
        if time.monotonic() > end:
            raise ProcessLost(f"not all of the {place.size} processes came within {PATIENCE}")
        time.sleep(0.05)
    return ProcessGroup(place.rank, place.size, store)


def _store_over_the_net(place: Place) -> Any:
    import torch.distributed as dist

    variables = os.environ
    if "MASTER_ADDR" not in variables and place.is_local:
        variables["MASTER_ADDR"] = "127.0.0.1"
    if "MASTER_PORT" not in variables and "SLURM_JOB_ID" in variables:
        number = int(variables["SLURM_JOB_ID"]) * 31 + int(variables.get("SLURM_STEP_ID", "0"))
        variables["MASTER_PORT"] = str(PORTS[number % len(PORTS)])
    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in variables]:
        raise CannotStartError(
            f"{' and '.join(missing)} not set: give all processes the name of the machine of process 0, as "
            "MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1), and a free port of it"
        )
    try:
        meeting: Any = dist.rendezvous  # pyright: ignore[reportPrivateImportUsage]
        return next(meeting("env://", place.rank, place.size, timeout=PATIENCE))[0]
    except RuntimeError as error:
        where = f"{variables['MASTER_ADDR']}:{variables['MASTER_PORT']}"
        raise CannotStartError(f"process 0 is not reached at {where} ({error})") from error


def _stay_on_this_machine() -> None:
    """Let connections between the processes use the loopback, unless something else was chosen."""
    names = [name for _, name in socket.if_nameindex() if name.startswith("lo")]
    if names:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", names[0])
        os.environ.setdefault("NCCL_SOCKET_IFNAME", names[0])


def take_device(place: Place) -> None:
    """Let this process compute on the GPU of its number, where there are any.

    Raises:
        CannotStartError: there are fewer than processes.
    """
    if not torch.cuda.is_available():
        return
    count = torch.cuda.device_count()
    number = 0 if place.own_device and count == 1 else place.on_machine
    if number >= count:
        raise CannotStartError(
            f"process {place.rank} has no GPU of its own, {count} can be seen here: start no more processes "
            "than there are GPUs, or set [model] device to cpu"
        )
    torch.cuda.set_device(number)
