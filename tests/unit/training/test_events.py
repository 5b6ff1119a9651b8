"""Events of a training: another process shows the same by them."""

import dataclasses
import json
import math
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from semantic_focus.training.events import EventReader, EventWriter
from semantic_focus.training.kept import Kept
from semantic_focus.training.status import TrainingStatus, Watched
from semantic_focus.training.step_record import SampleRecord, StepRecord, ValidationRecord

NODE = Watched("workflow-1", "9", "prompt-1")
BEGIN = datetime(2026, 12, 1, tzinfo=timezone.utc)


def step(number: int, held_out: float | None = None) -> StepRecord:
    sample = SampleRecord(0, 0.5, {"face": 0.3}, {"face": 0.1}, {"face": 1 / 3})
    tables = ({"face": 0.2}, {"face": 0.4}, {"hair": 0.01})
    return StepRecord(
        number,
        1 / number,
        {"face": 0.5 / number, "hair": math.nan},
        0.0,
        math.nan if number % 2 else 0.125,
        1e-4,
        0.7,
        {"face": 0.25},
        (sample,),
        None if held_out is None else ValidationRecord(held_out, 0.9, *tables),
    )


class Watch:
    """A clock that a test moves: seconds for a status, the date for a writer."""

    def __init__(self):
        self.seconds = 0.0

    def status(self) -> float:
        return self.seconds

    def writer(self) -> datetime:
        return BEGIN + timedelta(seconds=self.seconds)


ROWS = [{"region": "face", "first": 0.5, "last": 0.1, "share": None, "cover": 1 / 3}]
Told = list[tuple[float, Callable[[Any], None]]]


def begun(history: list[StepRecord]) -> Told:
    odd = b"\xff.png".decode("utf-8", "surrogateescape")
    return [
        (0.0, lambda it: it.note("distilled", f"{odd} is odd", model=odd)),
        (0.1, lambda it: it.needs(7 * 2**30, 12 * 2**30, 0.55, True)),
        (0.2, lambda it: it.started(Path("/runs/person"), history, 40)),
    ]


def steps(first: int, last: int) -> Told:
    """A step each half second, every third one with a validation."""

    def told(number: int) -> Callable[[Any], None]:
        return lambda it: it.stepped(step(number, 1 / number if number % 3 == 0 else None))

    return [(0.5 * number, told(number)) for number in range(first, last + 1)]


KEPT = Kept(12, Path("/runs/person/state_000012.safetensors"), None, "SIGTERM")
ENDS: dict[str, Told] = {
    "finished": [(30.0, lambda it: it.finished(ROWS))],
    "worse": [
        (30.0, lambda it: it.note("raised", "made it worse", loss="2", before="1")),
        (30.0, lambda it: it.finished(ROWS, worse=True)),
    ],
    "stopped": [(30.0, lambda it: it.kept(KEPT)), (30.1, lambda it: it.stopped())],
    "failed": [(30.0, lambda it: it.kept(KEPT)), (30.1, lambda it: it.stopped("out of memory"))],
    "running": [],
}


@pytest.mark.parametrize("history", [[], [step(1), step(2, 0.5)]], ids=["new", "resumed"])
@pytest.mark.parametrize("end", ENDS)
def test_a_status_fed_by_events_reports_what_one_fed_directly_does(history: list[StepRecord], end: str):
    watch, lines, heard = Watch(), [], ([], [])
    direct = TrainingStatus(NODE, 0, heard[0].append, watch.status)
    writer = EventWriter(lines.append, now=watch.writer)
    told = [*begun(history), *steps(len(history) + 1, 12)]
    told.insert(8, (2.6, lambda it: it.sampled(4, {"filename": "step_000004.png", "type": "output"})))
    writer.opened()
    for seconds, tell in [*told, *ENDS[end]]:
        watch.seconds = seconds
        tell(direct)
        tell(writer)
    reader = EventReader(lambda clock: TrainingStatus(NODE, 0, heard[1].append, clock))
    assert all(reader.read(line.encode()) for line in lines) and reader.damaged == 0
    assert without_run(reader.status.report()) == without_run(direct.report())
    assert [without_run(report) for report in heard[1]] == [without_run(report) for report in heard[0]]
    assert reader.status.report()["state"] == {"worse": "finished"}.get(end, end)


def without_run(report: dict[str, Any]) -> dict[str, Any]:
    """A report but for what is each status's own; the pace as far as milliseconds tell it."""
    rate = report["rate"] and pytest.approx(report["rate"], rel=1e-3)
    return {name: value for name, value in report.items() if name != "run"} | {"rate": rate}


def test_each_line_is_one_object_of_json_with_kind_and_time():
    watch, lines = Watch(), []
    writer = EventWriter(lines.append, {"job": "a.json"}, now=watch.writer)
    watch.seconds = 61.5
    writer.opened(config="config.toml")
    writer.started(Path("/runs/person"), [step(1, 0.5)], 40)
    for record in (step(2, 0.25), step(3, 0.3), step(4)):
        writer.stepped(dataclasses.replace(record, gradient_norm=math.inf))
    events = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert {(event["time"], event["job"]) for event in events} == {("2026-12-01T00:01:01.500Z", "a.json")}
    assert [event["event"] for event in events] == [
        *("opened", "earlier", "begun", "step", "validated", "step", "validated", "step")
    ]
    assert events[2] | {"folder": "/runs/person", "steps": 40, "step": 1} == events[2]
    assert [(it["step"], it["loss"], it["best"]) for it in events if it["event"] == "validated"] == [
        *((2, 0.25, True), (3, 0.3, False))
    ]
    assert events[3]["regions"] == {"face": 0.25, "hair": None} and events[3]["gradient_norm"] is None


def test_a_later_process_of_the_same_file_begins_a_new_status():
    lines, made = [], []

    def make(clock: Callable[[], float]) -> TrainingStatus:
        made.append(TrainingStatus(NODE, 0, clock=clock))
        return made[-1]

    for history in ([], [step(1)]):
        writer = EventWriter(lines.append)
        writer.opened()
        writer.started(Path("/runs/person"), history, 3)
        writer.stepped(step(len(history) + 1))
        writer.stepped(step(len(history) + 2))
    reader = EventReader(make)
    for line in lines:
        reader.read(line.encode())
    assert len(made) == 2 and made[1] is reader.status
    assert [status.report()["points"]["step"] for status in made] == [[1, 2], [1, 2, 3]]
    assert [note["kind"] for note in made[1].report()["notes"]] == ["resumed"]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b'{"event": "note"',
        b"\xff\xfe",
        b"[1, 2]",
        b'"note"',
        b'{"event": "note", "time": "2026-12-01T00:00:00Z"}',
        b'{"event": "note", "time": "yesterday", "kind": "a", "text": "b", "values": {}}',
        b'{"event": "step", "time": "2026-12-01T00:00:00Z", "step": "one"}',
        b'{"event": "step", "time": "2026-12-01T00:00:00Z", "step": 1, "total": NaN}',
        b'{"event": "memory", "time": "2026-12-01T00:00:00Z", "needed": "much", "free": 1, "swap": 0}',
        b"[" * 100_000,
        b'{"event": "note", "time": "2026-12-01T00:00:00Z", "text": "' + b"x" * (1 << 20) + b'"}',
    ],
    ids=range(12),
)
def test_damaged_lines_are_left_out_and_counted(line: bytes):
    reader = EventReader(lambda clock: TrainingStatus(NODE, 3, clock=clock))
    before = reader.status.report()
    assert reader.read(line) is None and reader.damaged == 1
    assert reader.status.report() == before


def test_events_of_a_later_version_are_passed_over():
    reader = EventReader(lambda clock: TrainingStatus(NODE, 3, clock=clock))
    assert reader.read(b'{"event": "weather", "time": "2026-12-01T00:00:00Z", "sun": true}')
    assert reader.damaged == 0 and reader.status.report()["state"] == "starting"


def test_what_could_not_be_written_is_told_with_what_follows():
    lines = []
    writer = EventWriter(lines.append, lost=lambda: len(lines))
    writer.note("a", "first")
    writer.note("a", "second")
    assert ["lost" in json.loads(line) for line in lines] == [False, True]
    EventWriter().note("a", "to nobody")


def test_events_of_another_writer_get_the_fields_that_all_have():
    lines = []
    EventWriter(lambda line: EventWriter(lines.append, {"job": "a.json"}).hand_on(line)).note("a", "ä")
    EventWriter(lambda line: EventWriter(lines.append).hand_on(line)).note("b", "ä")
    assert [(event["kind"], event["text"], event.get("job")) for event in map(json.loads, lines)] == [
        *(("a", "ä", "a.json"), ("b", "ä", None))
    ]
