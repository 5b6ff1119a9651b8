"""Masks by several processes: the files of one, whatever is killed meanwhile, and nothing left behind."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semantic_focus.commands import main as cli
from semantic_focus.datasets.mask_file import read_masks

from ..forks import Fork, Forks

Program = Callable[..., Fork]
SECONDS = 120


@pytest.fixture
def program(repo: Path, forks: Forks) -> Program:
    """Start cache_masks.py in a process of its own, with the fake backend."""

    def start(*arguments: object) -> Fork:
        command = [str(repo / "cache_masks.py"), None, {}, *map(str, arguments)]
        return forks.start("commands/fake_backend.py", "cache_masks", *command)

    return start


def make(dataset: Path, count: int, **others: tuple[int, int, int]) -> Path:
    """Red pictures, all different, and others of one colour."""
    dataset.mkdir()
    for number in range(count):
        pixels = np.full((48, 64, 3), (200, 30, 30), dtype=np.uint8)
        pixels[20, 20] = (number % 256, number // 256, 7)
        Image.fromarray(pixels).save(dataset / f"{number:03}.png")
    for name, colour in others.items():
        Image.new("RGB", (64, 48), colour).save(dataset / f"{name}.png")
    return dataset


def masks_of(dataset: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in dataset.glob("*_zi_masks.safetensors")}


def hidden(dataset: Path) -> list[str]:
    return [path.name for path in dataset.glob(".*")]


def workers_of(process: Fork) -> list[int]:
    """Ids of the processes that segment for it."""
    found = []
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            found.append(int(child))
    return found


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Also one that has ended and that nobody has asked for its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def finished(process: Fork, code: int = 0) -> tuple[dict, str]:
    assert process.end() == code, process.errors
    return json.loads(process.output), process.errors


def test_two_make_the_files_of_one_and_a_warm_run_starts_none(program: Program, tmp_path: Path):
    one, two = make(tmp_path / "one", 12, blue=(0, 0, 255)), make(tmp_path / "two", 12, blue=(0, 0, 255))
    alone, _ = finished(program(one), 1)
    both, err = finished(program(two, "--processes", "2"), 1)
    assert masks_of(two) == masks_of(one) and len(masks_of(one)) == 12 and hidden(two) == []
    assert both["counts"] == alone["counts"] and both.keys() == alone.keys()
    assert [(Path(one["picture"]).name, one["reason"]) for one in both["failed"]] == [
        ("blue.png", "the segmenter failed on it: RuntimeError: cannot do blue")
    ]
    assert err.count("LOADED") == 2
    again, err = finished(program(two, "--processes", "2", "--dry-run"))
    assert again["counts"]["fresh"] == 12 and again["counts"]["due"] == 1 and "LOADED" not in err
    (two / "blue.png").unlink()
    again, err = finished(program(two, "--processes", "2"))
    assert again["counts"]["fresh"] == 12 and "LOADED" not in err


def test_of_two_runs_of_two_processes_each_picture_is_made_once(program: Program, tmp_path: Path):
    dataset = make(tmp_path / "set", 40)
    both = [program(dataset, "--processes", "2") for _ in range(2)]
    counts = [finished(process)[0]["counts"] for process in both]
    assert sum(count["segmented"] for count in counts) == 40
    assert all(count["segmented"] + count["fresh"] == 40 for count in counts)
    assert len(masks_of(dataset)) == 40 and hidden(dataset) == []


def test_a_process_that_is_killed_costs_nothing_but_time(program: Program, tmp_path: Path):
    dataset = make(tmp_path / "set", 60)
    process = program(dataset, "--processes", "2")
    for goal in (2, 12):
        wait_for(lambda goal=goal: len(masks_of(dataset)) >= goal)
        os.kill(workers_of(process)[0], signal.SIGKILL)
    summary, err = finished(process)
    assert summary["counts"]["segmented"] + summary["counts"]["fresh"] == 60
    assert len(masks_of(dataset)) == 60 and hidden(dataset) == [] and "Traceback" not in err
    for name in masks_of(dataset):
        read_masks(dataset / name)


def test_a_picture_that_kills_is_named_and_the_rest_is_made(program: Program, tmp_path: Path):
    dataset = make(tmp_path / "set", 12, **{"005_green": (0, 255, 0)})
    summary, err = finished(program(dataset, "--processes", "2"), 1)
    assert summary["counts"]["segmented"] + summary["counts"]["fresh"] == 12
    assert [Path(one["picture"]).name for one in summary["failed"]] == ["005_green.png"]
    assert "2 workers were killed while they were at work on it (the last one: SIGKILL)" in err
    assert len(masks_of(dataset)) == 12 and hidden(dataset) == []


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("broken", "'fake' could not be loaded (RuntimeError: no such device)"),
        ("deadly", "a worker could not start (SIGKILL)"),
    ],
)
def test_processes_that_cannot_start_are_said_once(
    device: str, message: str, program: Program, tmp_path: Path
):
    dataset = make(tmp_path / "set", 6)
    process = program(dataset, "--processes", "2", "--device", device)
    assert process.end() == 2 and process.output == ""
    assert process.errors.count(message) == 1 and "Traceback" not in process.errors
    assert "failed:" not in process.errors and len(os.listdir(dataset)) == 6


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_all_and_keeps_what_is_done(number: str, program: Program, tmp_path: Path):
    dataset = make(tmp_path / "set", 300)
    process = program(dataset, "--processes", "2")
    wait_for(lambda: len(masks_of(dataset)) >= 5)
    workers = workers_of(process)
    for pid in (*workers, process.pid):  # as a terminal or a scheduler does
        os.kill(pid, signal.Signals[number])
    summary, err = finished(process, 128 + signal.Signals[number])
    made = len(masks_of(dataset))
    assert summary["interrupted"] and "run the same command again" in err
    assert 5 <= made == summary["counts"]["segmented"] < 300 and hidden(dataset) == []
    assert summary["counts"]["left"] == 300 - made
    assert len(workers) == 2 and all(map(is_gone, workers))


def test_without_their_parent_they_end(program: Program, tmp_path: Path):
    dataset = make(tmp_path / "set", 60)
    process = program(dataset, "--processes", "2")
    wait_for(lambda: len(masks_of(dataset)) >= 5)
    workers = workers_of(process)
    process.send(signal.SIGKILL)
    assert process.end() == -signal.SIGKILL and len(workers) == 2
    wait_for(lambda: all(map(is_gone, workers)))
    summary, _ = finished(program(dataset))
    assert summary["counts"]["fresh"] >= 5 and len(masks_of(dataset)) == 60 and hidden(dataset) == []


@pytest.mark.parametrize("count", ["0", "-1", "two"])
def test_a_number_that_is_none_is_refused(count: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as refused:
        cli.main(["masks", str(tmp_path), "--processes", count])
    assert refused.value.code == 2
    assert "is neither a number of 1 or more nor auto" in capsys.readouterr().err
