"""The command "run" before ComfyUI is needed: what is done, what cannot be done, and how both are told."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from semantic_focus.commands.jobs import codes
from semantic_focus.commands.jobs.training import OfJob
from semantic_focus.commands.main import main
from semantic_focus.datasets.tars.store import StoreError, StoreUnreachable
from semantic_focus.files.writing import NotWrittenError
from semantic_focus.jobs.inputs import Inputs
from semantic_focus.jobs.job import load_job
from semantic_focus.jobs.ready import ready
from semantic_focus.lora.file import load_lora, save_lora
from semantic_focus.lora.metadata import lora_metadata
from semantic_focus.training.run_folder import RunFolder

CONFIG = {"model": {"path": "model.safetensors"}, "dataset": {"sources": [{"cache_directory": "cache"}]}}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job whose inputs are there, as far as it has been looked at."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "a.txt").write_text("a")
    (tmp_path / "model.safetensors").write_bytes(b"model")
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"schema": 1, "kind": "train", "config": CONFIG, "output": "me.safetensors"}))
    return path


@pytest.fixture
def done(job: Path) -> Path:
    """The same with its LoRA."""
    with Inputs() as inputs:
        found = ready(load_job(job), inputs)
        found.begin()
        (job.parent / "me.safetensors").write_bytes(b"lora")
        found.finish(job.parent / "me.safetensors")
    return job


def changed(job: Path, **more: Any) -> None:
    job.write_text(json.dumps({**json.loads(job.read_text()), **more}))


def test_a_job_that_is_done_is_left_alone(done: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["run", str(done)]) == 0
    output, messages = capsys.readouterr()
    assert output == f"{done.parent / 'me.safetensors'}\n" and "nothing to do" in messages


def test_it_is_known_without_torch_comfyui_or_a_store(done: Path, repo: Path):
    code = "import sys; from semantic_focus.commands.main import main; code = main(sys.argv[1:]); "
    code += (
        "print([name for name in ('torch', 'numpy', 'comfy', 'fsspec', 'ray') if name in sys.modules], code)"
    )
    told = subprocess.run(
        [sys.executable, "-c", code, "run", str(done)], cwd=repo, capture_output=True, text=True, check=True
    )
    assert told.stdout.splitlines()[-1] == "[] 0"


def test_its_events_are_the_first_and_the_last(done: Path, capfd: pytest.CaptureFixture[str]):
    assert main(["run", str(done), "--events", "-"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["opened", "done"]
    assert events[1]["lora"] == str(done.parent / "me.safetensors") and events[1]["exit_code"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda job: job.write_text("{"), "not valid JSON"),
        (lambda job: changed(job, kind="sing"), 'kind is "sing"'),
        (lambda job: changed(job, digests={"cache": "ab" * 32}), 'digests "cache" is abab'),
        (lambda job: (job.parent / "model.safetensors").unlink(), "[model] path"),
        (lambda job: changed(job, output="gs://bucket/me.bin"), 'output is "gs://bucket/me.bin"'),
        (lambda job: changed(job, output="ftp://host/me.safetensors"), "mount it, and give its folder"),
        (lambda job: changed(job, output="gs://b/me.safetensors"), "To install it:"),
        (
            lambda job: changed(job, config={**CONFIG, "training": {"stepz": 3}}),
            "config [training] stepz is not known: did you mean steps?",
        ),
        (lambda job: changed(job, output="no/folder/me.safetensors"), "there is no folder"),
        (
            lambda job: (job.parent / "me.safetensors").write_bytes(b"mine"),
            "me.safetensors: is there already, and no job of this program has made it",
        ),
        (
            lambda job: changed(job, kind="masks", output=None, config={"dataset": "cache", "tier": "nice"}),
            "output is for trainings",
        ),
    ],
)
def test_what_cannot_be_done_ends_with_2_and_an_event(
    change: Callable[[Path], Any], said: str, job: Path, capsys: pytest.CaptureFixture[str]
):
    change(job)
    before = (job.parent / "me.safetensors").exists()
    events = job.parent / "events.jsonl"
    code = main(["run", str(job), "--events", str(events)])
    output, messages = capsys.readouterr()
    assert (code, output) == (2, "") and said in messages and "Traceback" not in messages
    last = json.loads(events.read_text().splitlines()[-1])
    assert (last["event"], last["exit_code"]) == ("failed", 2) and said in last["error"]
    assert (job.parent / "me.safetensors").exists() == before


def test_one_job_is_not_done_by_each_process_of_a_launcher(
    job: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    for name, value in (("RANK", "1"), ("WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert main(["run", str(job)]) == 2
    assert "one of 4 processes, and all would do the same job" in capsys.readouterr().err
    assert not (job.parent / "me.record.json").exists()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"dataset": "cache", "tier": "nice"}, "job.json: config: tier: invalid choice: 'nice'"),
        ({"dataset": "nowhere"}, "nowhere: "),
        (
            {"dataset": "cache", "backend": "mediapipe", "tier": "fast"},
            "config: tier: not allowed with backend",
        ),
    ],
)
def test_masks_that_cannot_be_made_end_with_2(
    config: dict[str, Any], said: str, job: Path, capsys: pytest.CaptureFixture[str]
):
    job.write_text(json.dumps({"schema": 1, "kind": "masks", "config": config}))
    assert main(["run", str(job)]) == 2
    assert said in capsys.readouterr().err


def test_a_digest_of_pictures_leaves_their_masks_out(job: Path, capsys: pytest.CaptureFixture[str]):
    content = {"schema": 1, "kind": "masks", "config": {"dataset": "cache"}}
    job.write_text(json.dumps({**content, "digests": {"cache": "ab" * 32}}))
    assert main(["run", str(job)]) == 2
    first = capsys.readouterr().err
    (job.parent / "cache" / "a_zi_masks.safetensors").write_text("masks")
    assert main(["run", str(job)]) == 2
    assert 'digests "cache" is abab' in first and capsys.readouterr().err == first


@pytest.mark.parametrize("is_begun", [False, True])
def test_a_finished_run_without_its_lora_is_gone_on_with_if_it_is_the_jobs_own(job: Path, is_begun: bool):
    run = RunFolder(job.parent / "runs" / "me")
    run.path.mkdir(parents=True)
    run.begin({"model": "m"})
    run.finish()
    with Inputs() as inputs:
        if is_begun:
            ready(load_job(job), inputs).begin()
        config = OfJob(ready(load_job(job), inputs), inputs).config()
        assert (config.run.output, config.run.name) == (job.parent, "me")
        assert ready(load_job(job), inputs).is_begun
    assert (run.description() or {})["finished"] is not is_begun


@pytest.mark.parametrize("others_finish", [False, True])
def test_a_lora_without_its_record_stays_until_there_is_another(job: Path, others_finish: bool):
    """Of a process that was killed, or of one that is about to write it."""
    lora, own = job.parent / "me.safetensors", job.parent / "me_2.safetensors"
    with Inputs() as inputs:
        other = ready(load_job(job), inputs)
        other.begin()
        save_lora(lora, {"a": torch.zeros(1)}, lora_metadata({}, "comfyui"))
        again = OfJob(ready(load_job(job), inputs), inputs)
        again.config()
        assert load_lora(lora)["a"].item() == 0
        if others_finish:
            other.finish(lora)
        save_lora(own, {"a": torch.ones(1)}, lora_metadata({}, "comfyui"))
        assert again.put(own) == str(lora)
        assert load_lora(lora)["a"].item() == (0 if others_finish else 1) and not own.exists()
        assert ready(load_job(job), inputs).is_done


def test_what_is_no_lora_of_ours_is_never_replaced(job: Path):
    lora = job.parent / "me.safetensors"
    with Inputs() as inputs:
        ready(load_job(job), inputs).begin()
        lora.write_bytes(b"mine")
        with pytest.raises(FileExistsError, match="something else came there since the job was begun"):
            OfJob(ready(load_job(job), inputs), inputs).config()
        assert lora.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnreachable("no route to host"), 75),
        (StoreError("nothing is there"), 2),
        (NotWrittenError(Path("runs"), OSError(28, "No space left on device")), 75),
        (NotWrittenError(Path("runs"), OSError(122, "Disk quota exceeded")), 75),
        (NotWrittenError(Path("runs"), OSError(13, "Permission denied")), 2),
        (ValueError("a mistake"), 2),
    ],
    ids=str,
)
def test_what_may_be_other_elsewhere_has_a_code_of_its_own(error: Exception, code: int):
    assert codes.code_of(error, 2) == code
    outer = RuntimeError("the LoRA could not be written")
    outer.__cause__ = error
    assert codes.code_of(outer, 2) == code


def test_a_spool_that_is_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["work", "--spool", str(tmp_path / "spool")]) == 2
    assert f"--spool {tmp_path / 'spool'}: no such folder" in capsys.readouterr().err
