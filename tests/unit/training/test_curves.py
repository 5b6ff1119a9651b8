"""Curves that stay few, and what those who watch a training are told of it."""

import dataclasses
import json
import math
import threading
from pathlib import Path
from typing import Any

import pytest

from semantic_focus.training.curves import TrainingCurves
from semantic_focus.training.kept import Kept
from semantic_focus.training.status import TrainingBoard, TrainingStatus, Watched
from semantic_focus.training.step_record import SampleRecord, StepRecord, ValidationRecord

NODE = Watched("workflow-1", "9", "prompt-1")


def step(number: int, face: float = 0.5, share: float = 0.25, coverage: float = 0.1) -> StepRecord:
    """A step whose total is its number."""
    sample = SampleRecord(0, 0.5, {"face": face}, {"face": face}, {"face": coverage})
    return StepRecord(
        step=number,
        total=float(number),
        regions={"face": face, "hair": 1.0},
        base=0.0,
        prior=math.nan if number % 2 else 0.125,
        learning_rate=1e-4,
        gradient_share={"face": share},
        samples=(sample,),
    )


def curves_of(steps: int, most: int) -> TrainingCurves:
    curves = TrainingCurves(most)
    for number in range(1, steps + 1):
        curves.add(step(number))
    return curves


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[dict[str, Any]]:
    return []


@pytest.fixture
def status(told: list[dict[str, Any]], clock: Clock) -> TrainingStatus:
    return TrainingStatus(NODE, 100, told.append, clock)


def test_absent_values_are_null_and_six_digits_are_left():
    curves = TrainingCurves()
    curves.add(step(1, face=math.nan))
    curves.add(step(2, face=1 / 3))
    assert json.loads(json.dumps(curves.points(), allow_nan=False)) == {
        "step": [1, 2],
        "total": [1.0, 2.0],
        "prior": [None, 0.125],
        "learning_rate": [1e-4, 1e-4],
        "regions": {"face": [None, 0.333333], "hair": [1.0, 1.0]},
    }


def test_every_step_is_kept_while_they_are_few():
    assert curves_of(10, most=10).points()["step"] == list(range(1, 11))


@pytest.mark.parametrize("steps", [11, 37, 40, 41, 1000, 4097])
def test_of_many_steps_every_so_many_th_is_kept_with_the_first_and_the_last(steps: int):
    kept = curves_of(steps, most=10).points()["step"]
    assert len(kept) <= 10
    assert kept[0] == 1 and kept[-1] == steps
    apart = {b - a for a, b in zip(kept[:-1], kept[1:-1], strict=False)}
    assert len(apart) == 1 and apart.pop() in {2**k for k in range(12)}


def test_values_stay_with_their_steps():
    points = curves_of(1000, most=16).points()
    assert points["total"] == [float(number) for number in points["step"]]


def test_only_what_is_beyond_a_step_or_so_many_points_when_asked():
    curves = curves_of(100, most=1000)
    assert curves.points(after=97)["step"] == [98, 99, 100]
    assert curves.points(after=100)["step"] == []
    few = curves.points(most=7)["step"]
    assert few[0] == 1 and few[-1] == 100 and len(few) <= 7


def test_validations_are_told_by_step_with_gaps_and_stay_few():
    curves = TrainingCurves()
    for number in range(1, 1502):
        regions = {"face": 1 / 3} if number % 3 else {"face": 0.5, "hair": math.inf}
        found = ValidationRecord(
            math.nan if number == 1500 else number, 9.0, regions, regions, {"face": 0.125}
        )
        curves.add(dataclasses.replace(step(number), validation=found))
    points = curves.points(after=1498)["validation"]
    assert json.loads(json.dumps(points, allow_nan=False)) == points
    assert points["step"][-1] == 1501 and points["loss"][-1] == 1501
    assert points["regions"]["face"][-1] == 0.333333 and points["drift"]["face"][-1] == 0.125
    assert points["regions"]["hair"][-1] is None and points["drift"]["hair"][-1] is None
    kept = curves.points()["validation"]["step"]
    assert 250 <= len(kept) <= 500 and kept[0] == 1 and sorted(set(kept)) == kept
    assert "validation" not in curves_of(3, 10).points()


def test_shares_and_coverage_are_means_over_all_steps_also_those_that_are_not_kept():
    curves = TrainingCurves(most=2)
    for number, share in enumerate((0.1, 0.2, 0.6), start=1):
        curves.add(step(number, share=share, coverage=share / 2))
    assert curves.shares() == {"face": pytest.approx(0.3)}
    assert curves.coverage() == {"face": pytest.approx(0.15)}


def test_a_curve_needs_two_points():
    with pytest.raises(ValueError, match="most is 1"):
        TrainingCurves(1)


def test_watchers_hear_four_times_a_second_and_miss_no_step(
    status: TrainingStatus, told: list[dict[str, Any]], clock: Clock, tmp_path: Path
):
    status.started(tmp_path)
    for number in range(1, 101):
        clock.now = number * 0.01
        status.stepped(step(number))
    assert 4 <= len(told) <= 5
    status.finished([])
    heard: list[int] = []
    for report in told:
        assert report["after"] == (heard[-1] if heard else 0)
        heard += report["points"]["step"]
    assert heard == list(range(1, 101))
    assert [report["revision"] for report in told] == list(range(1, len(told) + 1))
    assert (told[-1]["state"], told[-1]["step"], told[-1]["steps"]) == ("finished", 100, 100)


def test_what_a_training_needs_is_told_in_gib_before_its_first_step(
    status: TrainingStatus, told: list[dict[str, Any]]
):
    assert status.report()["memory"] is None
    status.needs(7 * 2**30, 12 * 2**30, 0.6, inputs=False)
    assert told[-1]["memory"] == {"needed": 7.0, "free": 12.0, "swap": 60, "inputs": False}
    assert told[-1]["state"] == "starting"


def test_the_pace_is_that_of_late(status: TrainingStatus, clock: Clock, tmp_path: Path):
    status.started(tmp_path)
    for number in range(1, 201):
        clock.now += 1.0 if number <= 100 else 0.5
        status.stepped(step(number))
    assert status.report()["rate"] == pytest.approx(2.0)


def test_a_training_that_goes_on_shows_the_steps_before(
    status: TrainingStatus, told: list[dict[str, Any]], clock: Clock, tmp_path: Path
):
    status.started(tmp_path, [step(1), step(2)])
    clock.now += 1
    status.stepped(step(3))
    assert [report["points"]["step"] for report in told] == [[1, 2], [3]]
    assert [note["text"] for note in told[-1]["notes"]] == ["Resumed at step 2."]
    assert told[-1]["folder"] == str(tmp_path)
    assert told[-1]["loss"] == pytest.approx(step(3).total)


def test_an_early_end_says_what_was_kept(status: TrainingStatus, told: list[dict[str, Any]], tmp_path: Path):
    status.started(tmp_path)
    status.stepped(step(1))
    status.kept(Kept(1, tmp_path / "state", None, "cancelled"))
    status.stopped()
    assert told[-1]["state"] == "stopped"
    assert told[-1]["kept"] == {"step": 1, "state": str(tmp_path / "state"), "lora": None, "again": True}
    status.stopped("out of memory")
    assert (told[-1]["state"], told[-1]["error"]) == ("failed", "out of memory")


def test_what_is_said_of_files_with_broken_names_can_be_printed(status: TrainingStatus):
    name = b"\xff.png".decode("utf-8", "surrogateescape")
    status.note("not_kept", f"{name} is full", error=name)
    status.stopped(f"{name} is gone")
    report = status.report()
    assert report["notes"] == [
        {"kind": "not_kept", "text": "\\xff.png is full", "values": {"error": "\\xff.png"}}
    ]
    assert report["error"] == "\\xff.png is gone"


def test_a_watcher_that_fails_does_not_end_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    calls = []

    def send(report: dict[str, Any]) -> None:
        calls.append(report)
        raise RuntimeError("event loop is closed")

    status = TrainingStatus(NODE, 3, send)
    status.note("distilled", "careful", model="turbo")
    status.started(tmp_path)
    status.stepped(step(1))
    status.finished([])
    assert len(calls) == 1 and "event loop is closed" in caplog.text
    assert status.report()["notes"] == [
        {"kind": "distilled", "text": "careful", "values": {"model": "turbo"}}
    ]


def test_a_report_may_be_asked_for_while_steps_are_done(status: TrainingStatus, tmp_path: Path):
    status.started(tmp_path)
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            for _ in range(200):
                points = status.report()["points"]
                assert len(points["step"]) == len(points["regions"].get("face", points["step"]))
        except BaseException as error:
            failures.append(error)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for number in range(1, 500):
        status.stepped(step(number))
    watcher.join()
    assert failures == []


def test_the_board_shows_the_last_training_of_each_node_and_few_in_all():
    board = TrainingBoard(most=2)
    first, second, other = (
        TrainingStatus(watched, 1) for watched in (NODE, NODE, Watched("workflow-2", NODE.node))
    )
    for status in (first, other, second):
        board.add(status)
    assert board.of("workflow-1") == [second]
    assert board.of("workflow-2") == [other]
    board.add(TrainingStatus(Watched("workflow-3", "1"), 1))
    assert board.of("workflow-2") == []
    assert len(board.of(None)) == 2
