"""A spool: each job is done by one worker, and what a dead one had is given back."""

import json
import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from semantic_focus.jobs.spool import Spool

JOBS = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spool = tmp_path / "spool"
    spool.mkdir()
    return spool


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.json*"))


def test_jobs_are_files_and_folders_taken_by_name_and_nothing_else(folder: Path):
    put(folder, "b.json", "a/job.json", "c.record.json", "c.events.jsonl", "a/config.json", ".d.json")
    put(folder, "e.json.done", "f.json.failed", "c/other.json", "notes.txt", "runs/run.json")
    spool = Spool(folder)
    taken = [spool.take() for _ in range(3)]
    assert [one and one.job for one in taken] == [folder / "a" / "job.json", folder / "b.json", None]
    assert taken[0] and taken[0].path.parent == folder / "a"
    assert taken[1] and taken[1].events == folder / "b.events.jsonl"


def test_what_becomes_of_a_job_is_the_ending_of_its_name(folder: Path):
    put(folder, *(f"{letter}.json" for letter in "abcd"))
    spool = Spool(folder)
    for letter in "abcd":
        taken = spool.take(frozenset({str(folder / "a.json")} if letter == "d" else ()))
        assert taken and taken.name == f"{letter}.json" and not taken.job.exists()
        match letter:
            case "a":
                spool.done(taken)
            case "b":
                spool.failed(taken)
            case "c":
                spool.give_back(taken, tried=True)
                taken = spool.take()
                assert taken and (taken.name, taken.tries) == ("c.json", 1)
                spool.done(taken)
            case "d":
                spool.give_back(taken, tried=False)
    assert names(folder) == ["a.json.done", "b.json.failed", "c.json.done", "d.json"]


def test_a_job_fails_with_its_third_try(folder: Path):
    put(folder, "a.json")
    spool = Spool(folder)
    for tries in range(3):
        taken = spool.take()
        assert taken and taken.tries == tries
        spool.give_back(taken, tried=True)
    assert names(folder) == ["a.json.failed"] and spool.take() is None


def test_one_that_is_left_to_others_waits(folder: Path):
    put(folder, "a.json", "b.json")
    taken = Spool(folder).take(without=frozenset({str(folder / "a.json")}))
    assert taken and taken.name == "b.json"


def work(folder: Path, log: Path) -> None:
    spool = Spool(folder)
    with log.open("w") as file:
        while (taken := spool.take()) is not None:
            file.write(f"{taken.name}\n")
            time.sleep(0.001)
            spool.done(taken)


def test_several_workers_do_each_job_once(folder: Path, tmp_path: Path):
    put(folder, *(f"{number:03}.json" for number in range(JOBS)))
    context = multiprocessing.get_context("fork")
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    workers = [context.Process(target=work, args=(folder, log)) for log in logs]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    done = Counter(name for log in logs for name in log.read_text().split())
    assert done == Counter(f"{number:03}.json" for number in range(JOBS))
    assert names(folder) == [f"{number:03}.json.done" for number in range(JOBS)]
    assert sum(bool(log.read_text()) for log in logs) > 1


def hang(folder: Path) -> None:
    spool = Spool(folder, stale=1.0)
    taken = spool.take()
    assert taken
    with spool.held(taken):
        time.sleep(600)


def test_the_job_of_a_killed_worker_is_given_back_and_that_of_a_slow_one_is_not(folder: Path):
    put(folder, "a.json")
    worker = multiprocessing.get_context("fork").Process(target=hang, args=(folder,))
    worker.start()
    spool = Spool(folder, stale=1.0)
    while names(folder) == ["a.json"]:
        time.sleep(0.01)
    end = time.monotonic() + 1.6
    while time.monotonic() < end:
        assert spool.take() is None
        time.sleep(0.1)
    assert worker.pid
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert spool.take() is None
    while (taken := spool.take()) is None:
        time.sleep(0.05)
        assert time.monotonic() < end + 30
    assert (taken.name, taken.tries) == ("a.json", 1)
    spool.close()
    assert [path.name for path in folder.iterdir() if path.name.endswith(".clock")] == []


def test_a_worker_whose_job_was_taken_away_knows_it_and_changes_nothing(folder: Path):
    put(folder, "a.json")
    first, second = Spool(folder, stale=0.3), Spool(folder, stale=0.3)
    taken = first.take()
    assert taken
    os.utime(taken.path, (1, 1))
    again = second.take()
    assert again and again.tries == 1
    with first.held(taken) as beat:
        end = time.monotonic() + 30
        while not beat.is_lost:
            time.sleep(0.01)
            assert time.monotonic() < end
    first.done(taken)
    first.give_back(taken, tried=True)
    assert names(folder) == [again.path.name]


def test_a_job_of_the_same_name_that_came_meanwhile_is_not_replaced(folder: Path):
    put(folder, "a.json")
    spool = Spool(folder)
    taken = spool.take()
    assert taken
    (folder / "a.json").write_text(json.dumps("another"))
    spool.give_back(taken, tried=False)
    assert names(folder) == ["a.json", "a.json.retry0"]
    assert json.loads((folder / "a.json").read_text()) == "another"


def test_a_claim_counts_from_when_it_is_made(folder: Path):
    """A job may have waited for long before."""
    put(folder, "a.json")
    os.utime(folder / "a.json", (1, 1))
    taken = Spool(folder).take()
    assert taken and Spool(folder).take() is None and taken.path.exists()
