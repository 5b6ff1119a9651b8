"""How many processes a machine has room for, from made-up machines."""

import os
from pathlib import Path

import pytest
import torch

from semantic_focus.datasets.engines import capacity
from semantic_focus.datasets.engines.capacity import (
    cores,
    environment_of,
    free_memory,
    gpus_of,
    processes_for,
)

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """16 cores, of which this process may use 12; 64 GiB, of which 40 are free; no control groups yet."""
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(12)), raising=False)
    (tmp_path / "meminfo").write_text(f"MemTotal: {64 << 20} kB\nMemAvailable: {40 << 20} kB\n")
    return tmp_path


@pytest.mark.parametrize(
    ("quota", "expected"),
    [(None, 12), ("max 100000", 12), ("250000 100000", 2), ("50000 100000", 1), ("3200000 100000", 12)],
)
def test_cores_are_those_of_affinity_and_quota(machine: Path, quota: str | None, expected: int):
    if quota:
        (machine / "cpu.max").write_text(quota + "\n")
    assert cores(machine) == expected


@pytest.mark.parametrize(
    ("most", "used", "expected"),
    [(None, None, 40), ("max", 5 * GIB, 40), (8 * GIB, 5 * GIB, 3), (GIB, 2 * GIB, 0)],
)
def test_memory_is_what_machine_and_container_leave(machine: Path, most, used, expected: int):
    if most:
        (machine / "memory.max").write_text(f"{most}\n")
        (machine / "memory.current").write_text(f"{used}\n")
    assert free_memory(machine, machine / "meminfo") == expected * GIB
    assert free_memory(machine, machine / "no such file") is None


@pytest.mark.parametrize(
    ("tier", "memory", "expected"),
    [
        ("fast", 40, 12),
        ("fast", 6, 4),
        ("standard", 40, 10),
        ("best", 40, 4),
        ("best", 1, 1),
        ("fast", None, 12),
    ],
)
def test_auto_takes_cores_as_far_as_memory_goes(monkeypatch, tier: str, memory: int | None, expected: int):
    monkeypatch.setattr(capacity, "cores", lambda: 12)
    monkeypatch.setattr(capacity, "free_memory", lambda: None if memory is None else memory * GIB)
    assert processes_for(tier, "cpu") == expected


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("cuda", None, ["0", "1", "2"]),
        ("cuda", "2,GPU-5a", ["2", "GPU-5a"]),
        ("cuda:1", None, []),
        ("cpu", "0", []),
    ],
)
def test_gpus_are_shared_out_in_turn(monkeypatch, device: str, visible: str | None, expected: list[str]):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_of(device) == expected
    given = [environment_of(position, expected).get("CUDA_VISIBLE_DEVICES") for position in range(4)]
    assert given == [expected[position % len(expected)] if expected else None for position in range(4)]
    assert environment_of(0, expected)["OMP_NUM_THREADS"] == "1"
    assert processes_for("fast", device) == len(expected) or not expected
