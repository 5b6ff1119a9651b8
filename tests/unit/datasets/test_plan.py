"""What a run has to do, whoever does it: in which order, what is taken back, and what a death costs."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from semantic_focus.datasets.bulk import cache_pictures
from semantic_focus.datasets.bulk_work import CacheSettings
from semantic_focus.datasets.engines import plan as plans
from semantic_focus.datasets.engines.crew import Crew, Worker
from semantic_focus.datasets.engines.messages import Gone, Message, Ready
from semantic_focus.datasets.engines.order import Order, SegmenterLoadError
from semantic_focus.datasets.engines.plan import Plan, missing_first
from semantic_focus.datasets.folder import DatasetError
from semantic_focus.datasets.freshness import Due, PictureResult
from semantic_focus.datasets.mask_file import mask_path

from ..faults import FAULTS, refuse
from .fake_segmenter import REQUEST, FakeLazy, make, run


def plan_of(pictures: list[Path], **more) -> Plan:
    return Plan(pictures, Order(REQUEST, FakeLazy(), CacheSettings()), **more)  # type: ignore[arg-type]


def next_of(plan: Plan) -> Due:
    found = plan.next()
    assert found is not None
    return found


def statuses(plan: Plan) -> dict[str, str]:
    return {result.picture.name: result.status for result in plan.results}


def test_pictures_without_a_mask_file_come_first_in_their_order(tmp_path: Path):
    pictures = make(tmp_path / "a", "1.png", "2.png", "3.png") + make(tmp_path / "b", "1.png", "4.png")
    run([pictures[0], pictures[3]], FakeLazy())
    order = [pictures[1], pictures[2], pictures[4], pictures[0], pictures[3]]
    assert missing_first(pictures) == order
    assert missing_first([tmp_path / "nowhere" / "x.png"]) == [tmp_path / "nowhere" / "x.png"]


def test_the_first_picture_is_handed_out_before_any_mask_file_is_looked_at(tmp_path: Path, monkeypatch):
    pictures = make(tmp_path, *(f"{k:03}.png" for k in range(100)))
    run(pictures[:99], FakeLazy())
    looked = []
    open_file = os.stat

    def stat(path, *arguments, **named):
        looked.append(os.fspath(path)) if isinstance(path, str | Path) else None
        return open_file(path, *arguments, **named)

    plan = plan_of(pictures)
    monkeypatch.setattr(os, "stat", stat)
    assert next_of(plan).picture == pictures[99]
    assert {name for name in looked if name.endswith(".safetensors")} == {str(mask_path(pictures[99]))}
    assert plan.next() is None and len(plan.results) == plans.LOOKS_AT_A_TIME and not plan.is_over
    while not plan.is_over:
        assert plan.next() is None
    assert statuses(plan) == {picture.name: "fresh" for picture in pictures[:99]}


def test_two_deaths_fail_a_picture_and_one_is_forgiven(tmp_path: Path):
    plan = plan_of(make(tmp_path, "a.png", "b.png"))
    first, second = next_of(plan), next_of(plan)
    assert plan.is_over and not plan.is_suspect(first)
    plan.lost([first, second], "SIGKILL")
    assert plan.is_suspect(first) and not plan.is_over and plan.results == []
    assert [next_of(plan), next_of(plan)] == [first, second]
    plan.lost([first], "SIGSEGV")
    plan.settle(PictureResult(second.picture, "segmented"))
    assert plan.is_over and statuses(plan) == {"a.png": "failed", "b.png": "segmented"}
    assert "a.png: 2 workers were killed" in plan.results[0].reason and "SIGSEGV" in plan.results[0].reason


def test_the_death_of_a_worker_with_many_pictures_counts_for_none_of_them(tmp_path: Path):
    plan = plan_of(make(tmp_path, "a.png", "b.png", "c.png"))
    plan.lost([next_of(plan) for _ in range(3)], "SIGKILL")
    again = [next_of(plan) for _ in range(3)]
    assert all(map(plan.is_suspect, again))
    plan.lost(again[:1], "SIGKILL")
    assert next_of(plan) == again[0] and plan.results == []
    plan.lost(again[:1], "SIGKILL")
    assert statuses(plan) == {"a.png": "failed"} and plan.is_over


def test_what_is_given_back_comes_at_once_and_what_is_busy_later(tmp_path: Path):
    plan = plan_of(make(tmp_path, "a.png", "b.png", "c.png"))
    first, second = next_of(plan), next_of(plan)
    plan.busy(first)
    plan.give_back([second])
    assert next_of(plan) == second and not plan.is_suspect(second)
    assert next_of(plan).picture.name == "c.png"
    assert plan.next() is None and not plan.is_over
    plan.wait()
    assert next_of(plan) == first and plan.is_over


def test_a_stop_leaves_all_that_was_not_begun(tmp_path: Path):
    stop = False
    plan = plan_of(make(tmp_path, *(f"{k}.png" for k in range(5))), should_stop=lambda: stop)
    first, second, third = next_of(plan), next_of(plan), next_of(plan)
    plan.settle(PictureResult(first.picture, "segmented"))
    plan.busy(second)
    stop = True
    assert plan.next() is None
    plan.leave([third])
    assert plan.is_over and statuses(plan) == {
        "0.png": "segmented",
        **dict.fromkeys(("1.png", "2.png", "3.png", "4.png"), "left"),
    }


def test_where_no_file_can_be_written_is_said_once_another_folder_is_worked_on(tmp_path: Path, monkeypatch):
    pictures = make(tmp_path / "a", "1.png", "2.png") + make(tmp_path / "b", "3.png")
    refuse(monkeypatch, tmp_path / "a", FAULTS["read-only"])
    alone = plan_of(pictures[:2])
    assert alone.next() is None and alone.is_over and alone.results == []
    with pytest.raises(DatasetError, match="no picture was segmented: .*read-only"):
        alone.finish()
    both = plan_of(pictures)
    assert next_of(both).picture.name == "3.png"
    assert statuses(both) == {"1.png": "failed", "2.png": "failed"}


def test_every_engine_gets_the_plan_and_leftovers_go_after_it(tmp_path: Path):
    pictures = make(tmp_path, "a.png", "b.png")

    def engine(plan: Plan) -> None:
        for due in iter(plan.next, None):
            part = due.mask_file.with_name(f".{due.mask_file.name}.0123abcd.part")
            part.write_bytes(b"half")
            plan.settle(PictureResult(due.picture, "failed", "by this engine"))

    results = cache_pictures(pictures, REQUEST, FakeLazy(), engine=engine)  # type: ignore[arg-type]
    assert [(result.picture, result.reason) for result in results] == [
        (picture, "by this engine") for picture in pictures
    ]
    assert sorted(os.listdir(tmp_path)) == ["a.png", "b.png"]


def test_a_worker_with_other_weights_is_refused():
    order = Order(REQUEST, FakeLazy("v2"), CacheSettings())  # type: ignore[arg-type]
    order.check_same(dict(order.freshness.wanted), "here")
    other = Order(REQUEST, FakeLazy("v1"), CacheSettings())  # type: ignore[arg-type]
    with pytest.raises(SegmenterLoadError, match="node7 would make other masks: .*fake v1 there, fake v2"):
        order.check_same(other.freshness.wanted, "node7")


class Uneasy(Crew):
    """Workers that are killed before they are ready, but for the first, which makes all there is to make."""

    def __init__(self, count: int, first_is_ready: bool):
        super().__init__(count)
        self.started, self.first_is_ready = 0, first_is_ready
        self.told: list[tuple[Worker, Message]] = []

    def _started(self, plan: Plan, position: int) -> Worker:
        self.started += 1
        worker = Diligent(position, self.told)
        is_well = self.first_is_ready and self.started == 1
        ready = Ready(plan.order.freshness.wanted, "here")
        self.told.append((worker, ready if is_well else Gone("SIGKILL", is_killed=True)))
        return worker

    def _heard(self, seconds: float) -> list[tuple[Worker, Message]]:
        told = self.told[:]
        self.told.clear()
        return told


class Diligent(Worker):
    """Makes nothing, and says that it has."""

    def __init__(self, position: int, told: list[tuple[Worker, Message]]):
        super().__init__(position)
        self.told = told

    @property
    def load(self) -> int:
        return len(self.dealt)

    @property
    def under_way(self) -> list[Due]:
        return list(self.dealt.values())

    def give(self, batch: Sequence[Due]) -> None:
        self.told += [(self, PictureResult(due.picture, "segmented")) for due in batch]

    def stop(self) -> None:
        pass


def test_workers_that_are_killed_while_they_start_end_a_run_only_where_none_is_at_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    pictures = make(tmp_path, *(f"{k:02}.png" for k in range(40)))
    crew = Uneasy(3, first_is_ready=False)
    with pytest.raises(SegmenterLoadError, match=r"could not start \(SIGKILL\).*fewer than 3"):
        crew(plan_of(pictures))
    assert crew.started >= 3
    plan = plan_of(pictures)
    crew = Uneasy(3, first_is_ready=True)
    crew(plan)
    assert statuses(plan) == {picture.name: "segmented" for picture in pictures}
    assert crew.count == 1 and caplog.text.count("The run goes on with 1") == 1
