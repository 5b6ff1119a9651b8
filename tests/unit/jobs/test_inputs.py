"""Inputs and outputs of jobs: digests, copies from stores, and the record by which a done job is known."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from semantic_focus.datasets.tars.store import StoreError, StoreUnreachable
from semantic_focus.jobs import carried, places
from semantic_focus.jobs.inputs import Inputs
from semantic_focus.jobs.job import Job, JobError, load_job
from semantic_focus.jobs.places import sha256_of
from semantic_focus.jobs.ready import ready

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def store() -> Any:
    """The store memory:// of this process, empty."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    found.pseudo_dirs[:] = [""]
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cache" / "below").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "model.safetensors").write_bytes(b"model")
    for name in ("b", "a", "below/c", "ä", ".hidden"):
        (tmp_path / "cache" / name).write_text(name)
    return tmp_path


def job_of(folder: Path, model: str = "model.safetensors", cache: str = "cache", **more: Any) -> Job:
    config = {"model": {"path": model}, "dataset": {"sources": [{"cache_directory": cache}]}}
    content = {"schema": 1, "kind": "train", "config": config, "output": "out/me.safetensors", **more}
    (folder / "job.json").write_text(json.dumps(content))
    return load_job(folder / "job.json")


def test_the_digest_of_a_folder_is_what_a_shell_gives(folder: Path):
    command = "find -L . -type f -not -path '*/.*' -printf '%P\\n' | LC_ALL=C sort | xargs -d '\\n' sha256sum"
    told = subprocess.run(
        f"{command} | sha256sum", shell=True, cwd=folder / "cache", capture_output=True, text=True, check=True
    )
    assert sha256_of(folder / "cache") == told.stdout.split()[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: (it / "model.safetensors").unlink(), "[model] path {0}/model.safetensors: no such file"),
        (
            lambda it: shutil.rmtree(it / "cache"),
            "[dataset.sources] cache_directory {0}/cache: no such folder",
        ),
        (
            lambda it: (shutil.rmtree(it / "cache"), (it / "cache").write_text("")),
            "[dataset.sources] cache_directory {0}/cache: a file, not a folder",
        ),
        (
            lambda it: ((it / "model.safetensors").unlink(), (it / "model.safetensors").mkdir()),
            "[model] path {0}/model.safetensors: a folder, not a file",
        ),
    ],
)
def test_an_input_that_is_not_there_is_named_with_its_key(change: Any, said: str, folder: Path):
    change(folder)
    with pytest.raises(JobError) as found, Inputs() as inputs:
        inputs.seen(job_of(folder), {})
    assert f"{folder / 'job.json'}: config " + said.format(folder) in str(found.value)


def test_another_digest_than_the_job_says_is_refused(folder: Path):
    right = {name: sha256_of(folder / name) for name in ("model.safetensors", "cache")}
    with Inputs() as inputs:
        assert inputs.seen(job_of(folder, digests=right), {})["cache"].sha256 == right["cache"]
        (folder / "cache" / "a").write_text("edited")
        with pytest.raises(JobError, match=f'digests "cache" is {right["cache"]}, and .*cache has'):
            inputs.seen(job_of(folder, digests=right), {})


def test_what_was_read_is_known_again_by_its_stamp(folder: Path, monkeypatch: pytest.MonkeyPatch):
    job, read = job_of(folder), []
    monkeypatch.setattr(
        "semantic_focus.jobs.inputs.sha256_of", lambda path: read.append(path.name) or "ab" * 32
    )
    with Inputs() as inputs:
        seen = inputs.seen(job, {})
        assert inputs.seen(job, {}) == seen and read == ["model.safetensors", "cache"]
    with Inputs() as inputs:
        assert inputs.seen(job, seen) == seen and len(read) == 2
        os.utime(folder / "model.safetensors", (1, 1))
        inputs.seen(job, seen)
        assert read[2:] == ["model.safetensors"]
        (folder / "cache" / "new").touch()
        inputs.seen(job, seen)
        assert read[3:] == ["cache"]


def test_inputs_with_urls_are_brought_once_and_those_that_no_job_needs_are_removed(folder: Path, store: Any):
    store.pipe({"/models/base.safetensors": b"model", "/7/a": b"a", "/7/below/b": b"b", "/7/.c": b"c"})
    job = job_of(folder, "memory://models/base.safetensors", "memory://7")
    with Inputs() as inputs:
        seen = inputs.seen(job, {})
        (folder / "same").mkdir()
        (folder / "same" / "below").mkdir()
        for name in ("a", "below/b"):
            (folder / "same" / name).write_text(name[-1])
        assert seen["memory://7"].sha256 == sha256_of(folder / "same")
        local = inputs.local(job, seen)
        model, cache = local["memory://models/base.safetensors"], local["memory://7"]
        assert (model.name, model.read_bytes()) == ("base.safetensors", b"model")
        assert places.names_below(cache) == ["a", "below/b"]
        inputs.done_with(job)
        assert model.is_file() and not cache.exists()
        assert inputs.local(job, seen)["memory://models/base.safetensors"] == model
        inputs.local(job_of(folder), inputs.seen(job_of(folder), {}))
        assert not model.exists()
        scratch = inputs.scratch()
    assert not scratch.exists()


def test_a_store_that_is_not_reached_is_another_error_than_one_without_the_object(
    folder: Path, store: Any, monkeypatch: pytest.MonkeyPatch
):
    job = job_of(folder, "memory://models/base.safetensors")
    with Inputs() as inputs, pytest.raises(JobError, match=r"base.safetensors: no such file"):
        inputs.seen(job, {})

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("no route to host")

    monkeypatch.setattr(type(store), "exists", fail)
    with Inputs() as inputs, pytest.raises(StoreUnreachable, match="no route to host"):
        inputs.seen(job, {})
    with Inputs() as inputs, pytest.raises(StoreError, match="no store that fsspec knows"):
        inputs.seen(job_of(folder, "nosuch://models/base.safetensors"), {})


@pytest.mark.parametrize("output", ["out/me.safetensors", "memory://out/me.safetensors"])
def test_a_done_job_is_known_until_its_inputs_settings_or_lora_change(output: str, folder: Path, store: Any):
    with Inputs() as inputs:
        found = ready(job_of(folder, output=output), inputs)
        assert not found.is_done
        found.begin()
        assert not ready(found.job, inputs).is_done
        target = found.target(inputs)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(b"lora")
        assert not ready(
            found.job, inputs
        ).is_done  # of a process that was killed before its record was whole
        found.finish(target)
        assert found.output.place.read() == b"lora" and ready(found.job, inputs).is_done
        (folder / "cache" / "a").write_text("edited")
        with pytest.raises(JobError, match="the LoRA of a job with other settings or inputs"):
            ready(found.job, inputs)
        (folder / "cache" / "a").write_text("a")
        assert ready(found.job, inputs).is_done
        found.output.place.write(b"another")
        with pytest.raises(JobError, match="was changed since this job made it"):
            ready(found.job, inputs)
        found.output.place.remove()
        assert not ready(found.job, inputs).is_done


def test_what_no_job_made_is_never_replaced(folder: Path):
    (folder / "out" / "me.safetensors").write_bytes(b"mine")
    with Inputs() as inputs, pytest.raises(JobError, match="no job of this program has made it"):
        ready(job_of(folder), inputs)
    (folder / "out" / "me.record.json").write_text('{"my": "notes"}')
    with Inputs() as inputs, pytest.raises(JobError, match="is no record of a job"):
        ready(job_of(folder), inputs)


def test_a_lora_that_was_only_moved_or_copied_is_still_the_jobs(folder: Path):
    with Inputs() as inputs:
        found = ready(job_of(folder), inputs)
        found.begin()
        lora = folder / "out" / "me.safetensors"
        lora.write_bytes(b"lora")
        found.finish(lora)
        os.utime(lora, (1, 1))
        assert ready(found.job, inputs).is_done


def test_the_tables_of_a_job_have_whole_paths(folder: Path):
    with Inputs() as inputs:
        tables = ready(job_of(folder), inputs).tables(inputs)
    assert tables["model"]["path"] == str(folder / "model.safetensors")
    assert tables["dataset"]["sources"][0]["cache_directory"] == str(folder / "cache")
    assert tables["training"] == {"output": str(folder / "out"), "name": "me"}


def test_a_run_is_carried_with_its_newest_state_alone(tmp_path: Path):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    for name in ("run.json", "curves.jsonl", "state_000001.safetensors", "state_000010.safetensors"):
        (run / name).write_text(name)
    (run / "lora_000010.safetensors").write_text("left")
    content = carried.packed(run)
    carried.unpack(content, other)
    assert {path.name: path.read_text() for path in other.iterdir()} == {
        name: name for name in ("run.json", "curves.jsonl", "state_000010.safetensors")
    }
    with pytest.raises(ValueError, match="damaged"):
        carried.unpack(content[: len(content) // 4] + b"\xff" * 600, tmp_path / "other")
