"""A run folder that another program writes: what is told of it, whatever state it is in."""

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semantic_focus.datasets.claims import LOCK_FILE
from semantic_focus.datasets.listing import Bounds
from semantic_focus.training import growing
from semantic_focus.training.curves import TrainingCurves
from semantic_focus.training.curves_file import curve_line
from semantic_focus.training.growing import GrowingCurves
from semantic_focus.training.run_choices import run_folders_below
from semantic_focus.training.run_folder import RunFolder
from semantic_focus.training.state import TrainState
from semantic_focus.training.step_record import SampleRecord, StepRecord, ValidationRecord
from semantic_focus.training.watching import NOTES, RunWatch, RunWatches, WatchError

BEGAN = 1_700_000_000.0


def step(number: int, face: float = 0.5, validated: bool = False) -> StepRecord:
    """A step whose total is its number."""
    sample = SampleRecord(0, 0.5, {"face": face}, {"face": face}, {"face": 0.25})
    found = ValidationRecord(face, 1.0, {"face": face}, {"face": 1.0}, {"face": 0.0}) if validated else None
    regions = {"face": face, "hair": math.nan}
    return StepRecord(
        number, float(number), regions, 0.0, 0.0, 1e-4, 1.0, {"face": 1.0}, (sample,), found
    )  # fmt: skip


def lines(*numbers: int) -> str:
    return "".join(curve_line(step(number)) + "\n" for number in numbers)


class Run:
    """A run folder that a test writes, and the clock that its files go by."""

    def __init__(self, folder: Path):
        self.folder, self.now = folder, BEGAN
        self.curves, self.description = folder / "curves.jsonl", folder / "run.json"
        self.watch = RunWatch(folder, lambda: self.now)

    def begin(self, steps: Any = 10, finished: bool = False) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"identity": {"training": {"steps": steps}}, "finished": finished}
        self.write(self.description, json.dumps(content))

    def write(self, file: Path, text: str) -> None:
        file.write_text(text, encoding="utf-8")
        self.touch(file)

    def add(self, text: str) -> None:
        self.write(self.curves, (self.curves.read_text() if self.curves.exists() else "") + text)

    def touch(self, file: Path) -> None:
        os.utime(file, (self.now, self.now))

    def keep(self, name: str) -> None:
        (self.folder / name).touch()

    def report(self, **asked: Any) -> dict[str, Any]:
        report = self.watch.report(**asked)
        assert json.loads(json.dumps(report, allow_nan=False)) == report
        return report

    def told(self) -> tuple[str, int, int, list[str]]:
        report = self.report()
        return report["state"], report["step"], report["steps"], [it["kind"] for it in report["notes"]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "runs" / "person")


def test_a_run_grows_under_whoever_watches_it(run: Run):
    run.begin()
    assert run.told() == ("begun", 0, 10, [])
    for number in range(1, 10):
        run.now += 2
        run.add(lines(number))
        assert run.told() == ("running", number, 10, [])
    first = run.report()
    assert first["points"]["total"] == [float(number) for number in range(1, 10)]
    assert first["points"]["regions"] == {"face": [0.5] * 9, "hair": [None] * 9}
    assert first["rate"] == pytest.approx(0.5)
    assert (first["gradient_share"], first["coverage"]) == ({"face": 1.0}, {"face": 0.25})
    again = run.report(run=first["run"], after=7)
    assert (again["after"], again["points"]["step"]) == (7, [8, 9])
    assert again["revision"] > first["revision"]
    run.add(lines(10))
    assert run.told()[0] == "running"  # its verdict, say
    run.keep("lora_000010.safetensors")
    assert run.told() == ("finished", 10, 10, ["lora"])


def torn(run: Run) -> None:
    run.add(lines(3)[:-40])


def torn_and_whole(run: Run) -> None:
    whole = lines(3)
    run.add(whole[:-40])
    assert run.told()[:2] == ("running", 2)
    run.add(whole[-40:])


def killed_long_ago(run: Run) -> None:
    run.keep(LOCK_FILE)
    run.keep("state_000002.safetensors")
    run.now += 3600


def stopped(run: Run) -> None:
    run.keep("state_000002.safetensors")
    run.now += 60


def at_a_slow_step(run: Run) -> None:
    run.now += 200


def on_a_machine_whose_clock_is_ahead(run: Run) -> None:
    os.utime(run.curves, (run.now + 7200, run.now + 7200))
    run.watch = RunWatch(run.folder, lambda: run.now)
    run.told()
    run.now += 3600


def on_a_machine_whose_clock_is_behind(run: Run) -> None:
    os.utime(run.curves, (run.now - 7200, run.now - 7200))
    os.utime(run.description, (run.now - 7200, run.now - 7200))
    run.watch = RunWatch(run.folder, lambda: run.now)
    assert run.told()[0] == "silent"
    run.add(lines(3))
    os.utime(run.curves, (run.now - 7190, run.now - 7190))


def from_an_older_copy(run: Run) -> None:
    for file in (run.curves, run.description):
        os.utime(file, (run.now - 7200, run.now - 7200))


def finished_early(run: Run) -> None:
    run.begin(finished=True)


def damaged_line(run: Run) -> None:
    run.add('{"step": 3, "total": \n' + "\0" * 20 + "\n[]\n" + lines(2) + lines(4))


def other_fields(run: Run) -> None:
    run.add(lines(3).replace('{"step": 3,', '{"step": 3, "from_tomorrow": [1],'))


def other_lines(run: Run) -> None:
    run.write(run.curves, '{"iteration": 1, "loss": 0.5}\n{"iteration": 2, "loss": 0.5}\n')


def other_description(run: Run) -> None:
    run.begin(steps="many")


def damaged_description(run: Run) -> None:
    run.write(run.description, run.description.read_text()[:-9])


def no_description(run: Run) -> None:
    run.description.unlink()


def endless_description(run: Run) -> None:
    run.write(run.description, run.description.read_text() + " " * (2 << 20))


@pytest.mark.parametrize(
    ("become", "told"),
    [
        (lambda run: None, ("running", 2, 10, [])),
        (torn, ("running", 2, 10, [])),
        (torn_and_whole, ("running", 3, 10, [])),
        (at_a_slow_step, ("running", 2, 10, [])),
        (killed_long_ago, ("silent", 2, 10, ["silent"])),
        (stopped, ("interrupted", 2, 10, ["left"])),
        (on_a_machine_whose_clock_is_ahead, ("silent", 2, 10, ["silent"])),
        (on_a_machine_whose_clock_is_behind, ("running", 3, 10, [])),
        (from_an_older_copy, ("silent", 2, 10, ["silent"])),
        (finished_early, ("finished", 2, 10, [])),
        (damaged_line, ("running", 4, 10, ["damaged_lines"])),
        (other_fields, ("running", 3, 10, [])),
        (other_lines, ("begun", 0, 10, ["no_steps"])),
        (other_description, ("running", 2, 0, ["run_version"])),
        (damaged_description, ("running", 2, 0, ["run_damaged"])),
        (no_description, ("running", 2, 0, ["run_missing"])),
        (endless_description, ("running", 2, 0, ["run_damaged"])),
    ],
)
def test_what_becomes_of_a_run_is_told(
    become: Callable[[Run], None], told: tuple[str, int, int, list[str]], run: Run
):
    run.begin()
    run.add(lines(1, 2))
    run.told()
    become(run)
    assert run.told() == told
    assert run.told() == told


def test_notes_say_how_much_and_where(run: Run):
    run.begin()
    run.add(lines(1) + "{\n{\n" + lines(2))
    stopped(run)
    left, damaged = run.report()["notes"]
    assert left["text"] == (
        f"State and LoRA of step 2 are in {run.folder}: the same command or graph goes on from there."
    )
    assert damaged["values"] == {"count": "2"} and damaged["text"].endswith("left out: 2.")


def test_panels_have_the_same_words(repo: Path):
    words = json.loads((repo / "locales" / "en" / "main.json").read_text())["semanticFocus"]["training"]
    assert NOTES.items() <= words["notes"].items()
    for state in ("begun", "reading", "running", "silent", "interrupted", "finished"):
        assert words[state]


def test_a_run_that_begins_anew_in_the_same_folder_is_another_one(run: Run):
    run.begin()
    run.add(lines(1, 2, 3))
    first = run.report()
    run.now += 5
    run.write(run.curves, "".join(curve_line(step(number, face=0.75)) + "\n" for number in (1, 2, 3, 4)))
    anew = run.report(run=first["run"], after=3)
    assert anew["run"] != first["run"] and anew["after"] == 0
    assert anew["points"]["regions"]["face"] == [0.75] * 4
    run.curves.unlink()
    empty = run.report(run=anew["run"], after=4)
    assert empty["run"] not in (first["run"], anew["run"])
    assert (empty["state"], empty["points"]["step"], empty["rate"]) == ("begun", [], None)


def test_one_that_goes_on_from_an_earlier_state_is_shown_as_it_is_now(run: Run):
    run.begin()
    run.add(lines(1, 2, 3, 4))
    first = run.report()
    run.now += 5
    run.write(run.curves, lines(1, 2))
    gone_back = run.report(run=first["run"], after=4)
    assert (gone_back["after"], gone_back["points"]["step"]) == (0, [1, 2])


def test_a_folder_that_vanishes_and_comes_back_is_the_same_run(run: Run, tmp_path: Path):
    run.begin()
    run.add(lines(1, 2))
    first = run.report()
    run.folder.rename(tmp_path / "away")
    with pytest.raises(WatchError, match="not there yet, or no more"):
        run.report()
    (tmp_path / "away").rename(run.folder)
    run.add(lines(3))
    again = run.report(run=first["run"], after=2)
    assert (again["run"], again["points"]["step"]) == (first["run"], [3])


def a_file(run: Run) -> None:
    run.folder.parent.mkdir()
    run.folder.touch()


def runs_below(run: Run) -> None:
    for name in ("b", "a"):
        Run(run.folder / name).begin()


def something_else(run: Run) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "one.png").touch()


def a_link_in_a_circle(run: Run) -> None:
    run.folder.parent.mkdir()
    run.folder.symlink_to(run.folder)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda run: None, r"person: not there yet, or no more\. A training makes its folder"),
        (a_file, "person: this is a file: give the folder of a run"),
        (runs_below, "person: runs are below it, not in it: give one of a, b"),
        (
            something_else,
            r"no run in it\. A run folder holds run.json and curves.jsonl: LoRA Train Step",
        ),
        (a_link_in_a_circle, r"person: cannot be opened \("),
    ],
)
def test_a_folder_without_a_run_says_what_is_expected(make: Callable[[Run], None], said: str, run: Run):
    make(run)
    with pytest.raises(WatchError, match=said):
        run.report()


def test_samples_are_told_by_step_and_are_few(run: Run):
    run.begin()
    assert run.report()["samples"] == []
    previews = run.folder / "previews"
    previews.mkdir()
    for number in range(1, 301):
        (previews / f"step_{number:06}.png").touch()
    (previews / "grid.png").touch()
    found = run.report()["samples"]
    assert found[0] == {"step": 1, "name": "previews/step_000001.png"} and found[-1]["step"] == 300
    assert 20 <= len(found) <= 48
    shutil.rmtree(previews)
    assert run.report()["samples"] == []


def test_nothing_is_opened_where_nothing_was_written(run: Run, monkeypatch: pytest.MonkeyPatch):
    run.begin()
    run.add(lines(1, 2))
    first = run.report()
    opened: list[Path] = []
    whole = Path.open

    def noted(path: Path, *more: Any, **named: Any) -> Any:
        opened.append(path)
        return whole(path, *more, **named)

    monkeypatch.setattr(Path, "open", noted)
    assert run.report()["step"] == first["step"]
    assert opened == []
    run.add(lines(3))
    opened.clear()
    assert run.report()["step"] == 3
    assert opened == [run.curves]


def test_a_long_file_is_read_in_pieces_and_every_so_many_th_line_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(growing, "MOST_POINTS", 50)
    path = tmp_path / "curves.jsonl"
    with path.open("w") as file:
        for number in range(1, 1002):
            file.write(curve_line(step(number, validated=number % 100 == 0)) + "\n")
    ticks = iter(range(10_000_000))
    curves = GrowingCurves(path, lambda: float(next(ticks)))
    shares = []
    while not shares or shares[-1] < 1:
        curves.look(300.0)  # ticks, one for each line
        shares.append(curves.share)
    assert len(shares) == 4 and sorted(shares) == shares
    read = curves.curves.points()
    # 1001 lines, 50 points: every 16th step, those that were validated, and the last
    assert read["step"] == sorted({*range(1, 1002, 16), *range(100, 1001, 100), 1001})
    assert read["total"] == [float(number) for number in read["step"]]
    assert read["validation"]["step"] == [*range(100, 1001, 100)]
    assert curves.damaged == 0
    with path.open("a") as file:
        file.write(curve_line(step(1002)) + "\n" + curve_line(step(1003)) + "\n")
    curves.look(300.0)
    assert curves.curves.points(after=1001)["step"] == [1002, 1003]


def test_what_a_training_writes_is_understood(tmp_path: Path):
    ahead = 0.0
    run, watch = RunFolder(tmp_path / "person"), RunWatch(tmp_path / "person", lambda: time.time() + ahead)
    identity = {"training": {"steps": 3}}
    run.path.mkdir()
    assert run.claim()
    run.begin(identity)
    first = watch.report()
    assert (first["state"], first["steps"]) == ("begun", 3)
    run.add_curve(step(1))
    run.save_state(TrainState(1, {"adapters.a": torch.zeros(1)}, {}, identity))
    ahead = 60.0
    assert watch.report()["state"] == "running"  # it is at its second step, and holds the folder
    run.release()
    assert watch.report()["state"] == "interrupted"
    assert run.claim()
    run.write_curves(run.curves())  # as a training does that goes on
    run.add_curve(step(2))
    run.add_curve(step(3))
    again = watch.report(first["run"], after=1)
    assert (again["state"], again["run"], again["points"]["step"]) == ("running", first["run"], [2, 3])
    run.finish()
    assert watch.report()["state"] == "finished"
    run.release()


def test_the_curves_are_those_that_the_training_itself_shows(tmp_path: Path):
    own, path = TrainingCurves(), tmp_path / "curves.jsonl"
    with path.open("w") as file:
        for number in range(1, 200):
            record = step(number, face=1 / number, validated=number % 50 == 0)
            own.add(record)
            file.write(curve_line(record) + "\n")
    curves = GrowingCurves(path)
    curves.look(60.0)
    assert curves.curves.points() == own.points()
    assert curves.curves.shares() == own.shares() and curves.curves.coverage() == own.coverage()


def test_the_last_folders_are_remembered(tmp_path: Path):
    watches = RunWatches(most=2)
    first = watches.of(tmp_path / "a")
    watches.of(tmp_path / "b")
    assert watches.of(tmp_path / "a") is first
    watches.of(tmp_path / "c")
    assert watches.of(tmp_path / "a") is first
    assert watches.of(tmp_path / "b") is not None


def test_runs_to_choose_from_are_the_latest_first_wherever_they_are(tmp_path: Path):
    for number, name in enumerate(("semantic_focus/lora", "runs/deep/er", "runs/old")):
        run = Run(tmp_path / name)
        run.now -= 100 * number
        run.begin()
    (tmp_path / "pictures").mkdir()
    newer = Run(tmp_path / "runs" / "old")
    newer.now += 50
    newer.add(lines(1))
    found = run_folders_below([tmp_path, tmp_path / "absent"], Bounds())
    assert [choice.path.name for choice in found] == ["old", "lora", "er"]
    assert [choice.written for choice in found] == [BEGAN + 50, BEGAN, BEGAN - 100]
