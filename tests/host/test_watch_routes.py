"""The routes by which a run folder is watched, and the node that gives its curves to a report."""

import json
import shutil
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from semantic_focus.settings.access import FILE
from semantic_focus.training.curves_file import curve_line
from semantic_focus.training.step_record import StepRecord

from .graphs import node
from .test_changes import executed
from .test_dataset_routes import ask, post

if TYPE_CHECKING:
    from types import ModuleType

    from host.serve import ComfyServer

SAMPLE = "previews/step_000002.png"


def line(number: int) -> str:
    return curve_line(StepRecord(number, 1 / number, {"face": 0.5}, 0.0, 0.0, 1e-4)) + "\n"


def make_run(folder: Path, steps: int = 3) -> Path:
    """A run of ten steps at this one, with a sample."""
    (folder / "previews").mkdir(parents=True)
    (folder / "run.json").write_text('{"identity": {"training": {"steps": 10}}, "finished": false}')
    (folder / "curves.jsonl").write_text("".join(map(line, range(1, steps + 1))))
    Image.new("RGB", (1500, 300), "red").save(folder / SAMPLE)
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    return make_run(tmp_path / "store" / "运行")


@pytest.fixture
def strict(server: "ComfyServer") -> Iterator[Path]:
    """A server that reads its own folders only, as one that others can reach; its file of rules."""
    rules = server.user_directory / FILE
    rules.write_text("[read]\nstrict = true\n")
    yield rules
    rules.unlink()


def watch(server: "ComfyServer", folder: Path | str, **known: Any) -> dict[str, Any]:
    status, answer = post(server, "training/folder", {"folder": str(folder), **known})
    assert status == 200
    return answer


def sample(server: "ComfyServer", folder: Path, site: str = "same-origin", **query: str) -> tuple[int, Any]:
    asked = urllib.parse.urlencode({"folder": str(folder), "name": SAMPLE, "side": "4096", **query})
    status, headers, _ = ask(
        server, "GET", f"/api/semantic_focus/training/sample?{asked}", kind="", site=site
    )
    return status, headers


def test_only_what_is_new_of_a_run_is_told(server: "ComfyServer", elsewhere: Path):
    first = watch(server, elsewhere)
    assert first["folder"] == str(elsewhere)
    report = first["report"]
    assert (report["state"], report["step"], report["steps"]) == ("running", 3, 10)
    assert report["samples"] == [{"step": 2, "name": SAMPLE}]
    assert report["points"]["total"] == [1.0, 0.5, 0.333333]
    with (elsewhere / "curves.jsonl").open("a") as file:
        file.write(line(4) + line(5)[:20])
    again = watch(server, elsewhere, run=report["run"], after=3)["report"]
    assert (again["run"], again["after"], again["points"]["step"]) == (report["run"], 3, [4])
    assert watch(server, elsewhere, run="another", after=3)["report"]["points"]["step"] == [1, 2, 3, 4]


def test_a_real_training_is_understood(server: "ComfyServer", plain: Path):
    report = watch(server, f"semantic_focus/{plain.name}")["report"]
    assert (report["state"], report["step"], report["steps"]) == ("finished", 3, 3)
    assert [note["values"] for note in report["notes"]] == [{"lora": str(plain / "lora_000003.safetensors")}]
    totals = [json.loads(line)["total"] for line in (plain / "curves.jsonl").read_text().splitlines()]
    assert report["points"]["total"] == pytest.approx(totals, rel=1e-5)


def test_samples_come_from_folders_that_were_watched(server: "ComfyServer", elsewhere: Path):
    assert sample(server, elsewhere)[0] == 403
    watch(server, elsewhere)
    status, headers = sample(server, elsewhere)
    assert (status, headers.get_content_type()) == (200, "image/jpeg")
    assert sample(server, elsewhere, site="cross-site")[0] == 403
    assert sample(server, elsewhere, name="run.json")[0] == 400
    assert sample(server, elsewhere, name="../../secret.png")[0] == 400
    asked = urllib.parse.urlencode({"folder": str(elsewhere), "name": SAMPLE})
    assert ask(server, "GET", f"/api/semantic_focus/thumbnail?{asked}")[0] == 403  # it is no dataset


def test_a_relative_path_is_below_the_output_folder(server: "ComfyServer"):
    place = make_run(server.base_directory / "output" / "semantic_focus" / "watched elsewhere")
    assert watch(server, "semantic_focus/watched elsewhere")["folder"] == str(place)
    status, found = post(server, "training/folders", {})
    assert (status, found["output"]) == (200, str(place.parents[1]))
    (run,) = (one for one in found["runs"] if one["path"] == str(place))
    assert run["name"] == "semantic_focus/watched elsewhere"
    assert run["written"] == pytest.approx((place / "curves.jsonl").stat().st_mtime)
    shutil.rmtree(place)
    assert "not there yet, or no more" in watch(server, "semantic_focus/watched elsewhere")["error"]


def test_what_may_not_be_read_is_not_watched_and_the_roots_are_named(
    server: "ComfyServer", strict: Path, elsewhere: Path
):
    for folder in (elsewhere, elsewhere.parent / "nothing", f"../../..{elsewhere}"):
        said = watch(server, folder)["error"]
        assert "does not read that place" in said and "(input, output, temp, user, models)" in said
    assert "a network or device path" in watch(server, r"\\host\share")["error"]
    assert str(elsewhere) not in [run["path"] for run in post(server, "training/folders", {})[1]["runs"]]
    strict.write_text(f"[read]\nstrict = true\nfolders = [{json.dumps(str(elsewhere.parent))}]\n")
    assert watch(server, elsewhere)["report"]["step"] == 3
    assert str(elsewhere) in [run["path"] for run in post(server, "training/folders", {})[1]["runs"]]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"folder": 3}, "it must be a text"),
        ({"folder": "x", "after": "3"}, "it must be a whole number"),
        ({"folder": "x", "after": True}, "it must be a whole number"),
        ({"folder": "x", "run": "r" * 65}, "run what a report has"),
    ],
)
def test_what_is_no_question_is_refused(server: "ComfyServer", body: dict[str, Any], said: str):
    status, answer = post(server, "training/folder", body)
    assert status == 400 and said in answer["error"]


def test_the_node_gives_the_curves_so_far_and_runs_again_when_they_grow(
    server: "ComfyServer", comfy: "ModuleType", elsewhere: Path
):
    graph = {
        "1": node("SemanticFocusWatch", folder=str(elsewhere)),
        "2": node("SemanticFocusLossReport", loss_map=["1", 0], smoothing=0.0, theme="dark"),
        "3": node("PreviewImage", images=["2", 0]),
    }
    assert executed(server, graph) == {"1", "2", "3"}
    assert executed(server, graph) == set()
    with (elsewhere / "curves.jsonl").open("a") as file:
        file.write(line(4))
    assert executed(server, graph) == {"1", "2", "3"}
    (elsewhere / "curves.jsonl").unlink()
    with pytest.raises(comfy.PromptFailed, match="no step in its curves.jsonl yet"):
        server.run(graph)
