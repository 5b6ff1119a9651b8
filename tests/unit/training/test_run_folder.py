"""The folder of a training: whose it is, what stays in it, and what is passed over."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from semantic_focus.datasets import claims
from semantic_focus.datasets.claims import LOCK_FILE
from semantic_focus.lora.file import save_lora
from semantic_focus.lora.metadata import lora_metadata
from semantic_focus.training.run_folder import CURVES_FILE, RUN_FILE, Keep, RunFolder, choose_run
from semantic_focus.training.state import TrainState, TrainStateError
from semantic_focus.training.step_record import SampleRecord, StepRecord

HOLDER = """
import runpy, sys
from pathlib import Path
held = runpy.run_path(sys.argv[1])["claim"](Path(sys.argv[2]))
print("claimed" if held else "refused", flush=True)
sys.stdin.readline()
"""

IDENTITY: dict[str, Any] = {"model": "m", "training": {"steps": 4, "anchors": (0.5, 1.0)}}


def state(step: int) -> TrainState:
    return TrainState(step, {"adapters.a": torch.full((3,), float(step))}, {"at_once": 1}, IDENTITY)


def record(step: int, **values) -> StepRecord:
    sample = SampleRecord(1, 0.5, {"face": 0.1}, {"face": 0.2}, {"face": 0.3})
    fields: dict[str, Any] = {"regions": {"face": 0.5}, "base": 0.25, "prior": 0.0, **values}
    return StepRecord(
        step=step, total=1 / 3, learning_rate=1e-4, gradient_share={"face": 1.0}, samples=(sample,), **fields
    )


def choose(root: Path, identity=IDENTITY, resume: bool = True) -> tuple[RunFolder, TrainState | None]:
    return choose_run(root, "person", identity, resume)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != LOCK_FILE)


class TestChoice:
    def test_a_new_run_says_what_it_trains(self, tmp_path: Path):
        run, found = choose(tmp_path / "runs")
        assert run.path == tmp_path / "runs" / "person" and found is None
        content = json.loads((run.path / RUN_FILE).read_text())
        assert content["finished"] is False and content["identity"]["training"]["anchors"] == [0.5, 1.0]

    def test_an_unfinished_run_of_the_same_kind_is_gone_on_with(self, tmp_path: Path):
        run, _ = choose(tmp_path)
        run.save_state(state(2))
        run.release()
        again, found = choose(tmp_path)
        assert again.path == run.path and found is not None and found.step == 2

    def test_one_that_was_killed_before_its_first_state_begins_again_in_its_place(self, tmp_path: Path):
        choose(tmp_path)[0].release()
        again, found = choose(tmp_path)
        assert again.path == tmp_path / "person" and found is None

    @pytest.mark.parametrize("leftover", ["", f".{RUN_FILE}.0123abcd.part", LOCK_FILE])
    def test_one_that_was_killed_before_it_wrote_anything_too(self, leftover: str, tmp_path: Path):
        (tmp_path / "person").mkdir()
        if leftover:
            (tmp_path / "person" / leftover).touch()
        assert choose(tmp_path)[0].path == tmp_path / "person"

    def test_what_a_killed_training_left_half_written_is_removed(self, tmp_path: Path):
        run, _ = choose(tmp_path)
        run.save_state(state(2))
        run.release()
        (run.path / ".state_000004.safetensors.0123abcd.part").write_bytes(b"half")
        (run.path / ".mine.part").touch()
        choose(tmp_path)
        assert names(run.path) == [".mine.part", RUN_FILE, "state_000002.safetensors"]

    @pytest.mark.parametrize(
        "why", ["finished", "another identity", "not wanted", "in use here", "a file", "somebody's pictures"]
    )
    def test_otherwise_the_next_free_name_is_taken(self, why: str, tmp_path: Path):
        identity, place = IDENTITY, tmp_path / "person"
        if why == "a file":
            place.touch()
        elif why == "somebody's pictures":
            place.mkdir()
            (place / "me.jpg").touch()
        else:
            run, _ = choose(tmp_path)
            run.save_state(state(2))
            if why == "finished":
                run.finish()
            if why != "in use here":
                run.release()
            if why == "another identity":
                identity = {**IDENTITY, "model": "other"}
        second, found = choose(tmp_path, identity, resume=why != "not wanted")
        third, _ = choose(tmp_path, identity, resume=False)
        assert (second.path.name, third.path.name, found) == ("person_2", "person_3", None)

    def test_a_run_at_work_in_another_process_is_not_taken(self, tmp_path: Path):
        run, _ = choose(tmp_path)
        run.release()
        program = [sys.executable, "-c", HOLDER, claims.__file__, str(run.path / RUN_FILE)]
        with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout and holder.stdout.readline().strip() == "claimed"
            assert choose(tmp_path)[0].path.name == "person_2"
            holder.communicate("\n")
        assert choose(tmp_path)[0].path.name == "person"

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "  ",
            ".",
            "..",
            "a/b",
            "a\\b",
            "/tmp",
            "a:b",
            "a*",
            "a?",
            'a"',
            "a<b",
            "a|b",
            "a\0",
            "a\n",
            "n" * 201,
        ],
    )
    def test_names_that_are_no_folder_names_are_refused(self, name: str, tmp_path: Path):
        with pytest.raises(ValueError, match="plain folder name, such as my_person"):
            choose_run(tmp_path, name, IDENTITY, True)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"identity": 3}', "\xff"])
    def test_a_damaged_description_is_not_gone_on_with(self, content: str, tmp_path: Path):
        (tmp_path / "person").mkdir()
        (tmp_path / "person" / RUN_FILE).write_text(content, encoding="latin-1")
        assert choose(tmp_path)[0].path.name == "person_2"

    @pytest.mark.parametrize(
        "content", [None, "", "{", '{"identity": {', "[]", '{"finished": false}', "\xff"]
    )
    def test_but_its_states_know_what_they_belong_to(
        self, content: str | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ):
        run, _ = choose(tmp_path)
        whole = (run.path / RUN_FILE).read_text()
        run.save_state(state(2))
        run.release()
        (run.path / RUN_FILE).unlink()
        if content is not None:
            (run.path / RUN_FILE).write_text(content, encoding="latin-1")
        again, found = choose(tmp_path)
        assert again.path == run.path and found is not None and found.step == 2
        assert (run.path / RUN_FILE).read_text() == whole and "damaged or missing" in caplog.text
        again.release()
        (run.path / RUN_FILE).write_text("{")
        assert choose(tmp_path, {**IDENTITY, "model": "other"})[0].path.name == "person_2"

    def test_a_description_that_says_something_else_than_the_states_is_the_damaged_one(self, tmp_path: Path):
        run, _ = choose(tmp_path)
        run.save_state(state(2))
        run.release()
        content = bytearray((run.path / RUN_FILE).read_bytes())
        content[content.index(b'"m"') + 1] ^= 1
        (run.path / RUN_FILE).write_bytes(content)
        again, found = choose(tmp_path)
        assert again.path == run.path and found is not None


class TestStates:
    def run(self, path: Path, keep_last: int, *steps: int) -> RunFolder:
        run = RunFolder(path, Keep(keep_last))
        for step in steps:
            run.lora_path(step).parent.mkdir(exist_ok=True, parents=True)
            run.lora_path(step).touch()
            run.save_state(state(step))
        return run

    def test_the_last_few_states_stay_and_all_loras(self, tmp_path: Path):
        self.run(tmp_path, 2, 2, 4, 6, 10, 100)
        expected = [
            *(f"lora_{step:06}.safetensors" for step in (2, 4, 6, 10, 100)),
            *(f"state_{step:06}.safetensors" for step in (10, 100)),
        ]
        assert names(tmp_path) == expected

    def test_a_finished_run_is_gone_on_with_once_it_is_opened_again(self, tmp_path: Path):
        run, _ = choose(tmp_path)
        run.save_state(state(4))
        run.finish()
        run.release()
        other, _ = choose(tmp_path)
        other.release()
        assert other.path.name == "person_2"
        run.reopen()
        again, found = choose(tmp_path)
        assert again.path == run.path and found is not None and found.step == 4

    def test_where_no_state_can_be_read_the_next_free_name_is_taken(self, tmp_path: Path):
        """What there is stays for the user to look at."""
        run, _ = choose(tmp_path)
        run.save_state(state(2)).write_bytes(b"damaged")
        run.release()
        assert choose(tmp_path)[0].path.name == "person_2"

    def test_what_is_not_a_state_or_lora_of_ours_is_neither_removed_nor_replaced(self, tmp_path: Path):
        others = {
            "state_000001.safetensors": b"damaged, or of another program",
            "state_000004.safetensors": b"in the way",
        }
        for name, content in others.items():
            (tmp_path / name).write_bytes(content)
        self.run(tmp_path, 1, 2, 4, 6)
        assert (tmp_path / "state_000001.safetensors").read_bytes() == others["state_000001.safetensors"]
        assert (tmp_path / "state_000004.safetensors.before").read_bytes() == b"in the way"
        assert sorted(path.name for path in tmp_path.glob("state_*.safetensors")) == [
            "state_000001.safetensors",
            "state_000006.safetensors",
        ]

    def test_fewer_than_one_is_refused(self, tmp_path: Path):
        for kept in ({"states": 0}, {"loras": 0}):
            with pytest.raises(ValueError, match="0 .* are to stay: .* give 1 or more"):
                RunFolder(tmp_path, Keep(**kept))

    @pytest.mark.parametrize(
        ("keep", "steps_left"),
        [(Keep(), "2 4 6 10"), (Keep(1, 1), "10"), (Keep(2, 2), "6 10"), (Keep(None, None), "2 4 6 10")],
        ids=["default", "last", "two", "all"],
    )
    def test_loras_and_states_of_the_last_steps_stay_and_the_best(
        self, keep: Keep, steps_left: str, tmp_path: Path
    ):
        run = RunFolder(tmp_path, keep)
        header = lora_metadata({}, "comfyui")
        for step in (2, 4, 6, 10):
            save_lora(run.lora_path(step), {"a": torch.zeros(1)}, header)
            if step == 4:
                run.save_best(state(4), {"a": torch.zeros(1)}, header)
            run.save_state(state(step))
        foreign = run.lora_path(1)
        foreign.write_bytes(b"of another program")
        run.save_state(state(10))
        left = [int(step) for step in steps_left.split()]
        states = [4, 6, 10] if keep == Keep() else left
        best = ["lora_best.safetensors", "state_best.safetensors"]
        assert names(tmp_path) == sorted(
            [
                *best,
                foreign.name,
                *(f"lora_{step:06}.safetensors" for step in left),
                *(f"state_{step:06}.safetensors" for step in states),
            ]
        )
        run.remove_saved()
        assert names(tmp_path) == sorted([*best, foreign.name])

    def test_the_newest_is_found(self, tmp_path: Path):
        assert RunFolder(tmp_path).newest_state() is None
        found = self.run(tmp_path, 3, 2, 10, 4).newest_state()
        assert found is not None and found.step == 10 and found.tensors["adapters.a"].tolist() == [10.0] * 3

    def test_more_than_a_million_steps_are_still_in_order(self, tmp_path: Path):
        found = self.run(tmp_path, 3, 999_999, 1_000_000).newest_state()
        assert found is not None and found.step == 1_000_000

    @pytest.mark.parametrize("damage", [b"", b"\0" * 100, None], ids=["empty", "zeros", "cut"])
    def test_a_damaged_newest_is_passed_over_and_named(
        self, damage: bytes | None, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ):
        run = self.run(tmp_path, 3, 2, 4)
        newest = tmp_path / "state_000004.safetensors"
        newest.write_bytes(newest.read_bytes()[:-4] if damage is None else damage)
        found = run.newest_state()
        assert found is not None and found.step == 2
        assert str(newest) in caplog.text and "damaged" in caplog.text

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (
                {"identity": {**IDENTITY, "model": "other"}},
                "belongs to another training: model: other, now m",
            ),
            ({"tensors": {"adapters.a": torch.tensor([float("nan")])}}, "no finite numbers"),
            ({"tensors": {"adapters.b": torch.zeros(1)}}, "there is no a"),
        ],
        ids=["another training", "no numbers", "other adapters"],
    )
    def test_one_with_wrong_contents_is_passed_over_for_the_older_one_and_it_is_said(
        self, change: dict, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ):
        run, _ = choose(tmp_path)
        for step in (2, 4):
            run.save_state(state(step))
        run.save_state(dataclasses.replace(state(6), **change))
        run.release()

        def accept(found: TrainState) -> None:
            if "adapters.a" not in found.tensors:
                raise TrainStateError("there is no a")

        again, found = choose_run(tmp_path, "person", IDENTITY, True, accept=accept)
        assert again.path == run.path and found is not None and found.step == 4
        assert why in caplog.text and "6" in caplog.text

    def test_a_damaged_one_of_a_later_step_does_not_push_out_what_is_written(self, tmp_path: Path):
        """The training goes on from before it, so its next states are older than that."""
        run = self.run(tmp_path, 1, 100)
        (tmp_path / "state_000100.safetensors").write_bytes(b"damaged")
        assert run.newest_state() is None
        assert run.save_state(state(50)).exists()
        found = run.newest_state()
        assert found is not None and found.step == 50


class TestCurves:
    def test_they_come_back_equal(self, tmp_path: Path):
        run = RunFolder(tmp_path / "new")
        written = [record(step) for step in (1, 2, 3)]
        for one in written:
            run.add_curve(one)
        assert run.curves() == written

    def test_no_number_is_null_in_the_file_and_no_number_again_when_read(self, tmp_path: Path):
        run = RunFolder(tmp_path)
        run.add_curve(record(1, prior=math.nan, regions={"face": math.nan, "hair": 1.0}))
        json.loads((tmp_path / CURVES_FILE).read_text(), parse_constant=pytest.fail)
        (found,) = run.curves()
        assert math.isnan(found.prior) and math.isnan(found.regions["face"]) and found.regions["hair"] == 1.0

    def test_a_line_that_a_kill_cut_short_is_left_out(self, tmp_path: Path):
        run = RunFolder(tmp_path)
        assert run.curves() == []
        for step in (1, 2):
            run.add_curve(record(step))
        path = tmp_path / CURVES_FILE
        whole = path.read_text()
        for length in range(whole.index("\n") + 1, len(whole) - 1):
            path.write_text(whole[:length])
            assert [one.step for one in run.curves()] == [1]

    @pytest.mark.parametrize(
        "line",
        [
            "",
            "{",
            '{"step": 2, "to',
            "\xff",
            "3",
            "[]",
            "null",
            "[" * 100_000,
            '{"step": ' + "9" * 400 + "}",
            ("total", "1e999"),
            ("total", "null"),
            ("total", "9" * 400),
            ("total", '"0.5"'),
            ("total", "true"),
            ("step", "2.5"),
            ("step", "-1"),
            ("step", '"2"'),
            ("step", "[2]"),
            ("regions", '{"fbce": 0.5}'),
            ("regions", "[0.5]"),
            ("regions", '{"face": "0.5"}'),
            ("gradient_share", "3"),
            ("samples", "[{}]"),
            ("samples", '{"picture": 1}'),
        ],
        ids=lambda line: line[:20] if isinstance(line, str) else " ".join(line),
    )
    def test_a_damaged_line_is_left_out_and_it_is_said(
        self, line: str | tuple[str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
    ):
        run = RunFolder(tmp_path)
        for step in (1, 2, 3, 4):
            run.add_curve(record(step))
        path = tmp_path / CURVES_FILE
        lines = path.read_text().splitlines()
        if isinstance(line, tuple):
            content = json.loads(lines[1])
            content[line[0]] = "HERE"
            line = json.dumps(content).replace('"HERE"', line[1])
        lines[1] = line
        path.write_text("\n".join(lines) + "\n", encoding="latin-1")
        assert [one.step for one in run.curves()] == [1, 3, 4]
        assert f"{path}: 1 of its lines are damaged" in caplog.text

    def test_lines_that_came_twice_or_changed_places_count_once(self, tmp_path: Path):
        run = RunFolder(tmp_path)
        for step in (1, 2, 2, 4, 3, 5):
            run.add_curve(record(step))
        assert [one.step for one in run.curves()] == [1, 2, 4, 5]

    def test_they_are_cut_where_the_training_goes_on(self, tmp_path: Path):
        run = RunFolder(tmp_path)
        for step in (1, 2, 3):
            run.add_curve(record(step))
        with (tmp_path / CURVES_FILE).open("a") as file:
            file.write('{"step": 4, "to')
        found = run.curves(until=2)
        assert [one.step for one in found] == [1, 2]
        run.write_curves(found)
        run.add_curve(record(3))
        assert [one.step for one in run.curves()] == [1, 2, 3] and names(tmp_path) == [CURVES_FILE]
