"""How many processes a machine has room for: its cores, memory and GPUs, as far as it may use them."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch

GIB = 1 << 30
GIB_OF_A_PROCESS = {"fast": 1.5, "standard": 4.0, "best": 10.0}
"""Memory that a process with a segmenter of each tier has need of, at most, with large pictures."""

CGROUPS = Path("/sys/fs/cgroup")
GPUS = "CUDA_VISIBLE_DEVICES"


def processes_for(tier: str, device: str) -> int:
    """As many processes as there are GPUs, if `device` is "cuda"; else as many as cores, if memory allows."""
    if gpus := gpus_of(device):
        return len(gpus)
    memory = free_memory()
    fit = cores() if memory is None else int(memory / (GIB_OF_A_PROCESS[tier] * GIB))
    return max(1, min(cores(), fit))


def gpus_of(device: str) -> list[str]:
    """The GPUs that processes share out, as CUDA_VISIBLE_DEVICES names them.

    None for another device, nor for one GPU that was named (cuda:1), which all of them then use.
    """
    if device != "cuda":
        return []
    named = [name.strip() for name in os.environ.get(GPUS, "").split(",") if name.strip()]
    return named or [str(index) for index in range(torch.cuda.device_count())]


def environment_of(position: int, gpus: list[str]) -> dict[str, str]:
    """Environment variables of one of several processes: one thread, and one GPU if there are some."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    return {**threads, **({GPUS: gpus[position % len(gpus)]} if gpus else {})}


def cores(root: Path = CGROUPS) -> int:
    """Cores that this process may use: by its affinity, and by the quota of the container it is in."""
    counts: list[float] = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):
        counts.append(len(os.sched_getaffinity(0)))
    for group in _groups(root):
        quota, period = [*(_words(group / "cpu.max") or ["max"]), "100000"][:2]
        if quota != "max":
            counts.append(int(quota) / int(period))
    return max(1, math.floor(min(counts)))


def free_memory(root: Path = CGROUPS, told_by: Path = Path("/proc/meminfo")) -> int | None:
    """Bytes that are available on the machine and in the container; None where that is not told."""
    words = _words(told_by)
    if "MemAvailable:" not in words:
        return None
    free = [int(words[words.index("MemAvailable:") + 1]) * 1024]
    for group in _groups(root):
        most, used = _words(group / "memory.max"), _words(group / "memory.current")
        if most and used and most[0] != "max":
            free.append(max(0, int(most[0]) - int(used[0])))
    return min(free)


def _groups(root: Path) -> Iterator[Path]:
    """The control group of this process (version 2) and those that it is in."""
    named = [line.removeprefix("0::") for line in _words(Path("/proc/self/cgroup")) if line.startswith("0::")]
    place = root / (named[0] if named else "").strip("/")
    while True:
        yield place
        if place == root or root not in place.parents:
            return
        place = place.parent


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").split()
    except OSError:
        return []
