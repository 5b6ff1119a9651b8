"""A worker does jobs with the model code of a real ComfyUI: the same files as programs of their own."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semantic_focus.files.lines import new_lines
from semantic_focus.training.events import EventReader
from semantic_focus.training.status import TrainingStatus, Watched

from .graphs import PATIENCE
from .test_headless import config, dataset, program  # noqa: F401 (fixtures)


def settings(model: Path, data: Path, seed: int, **more: Any) -> dict[str, Any]:
    return {
        "model": {"path": str(model), "device": "cpu"},
        "lora": {"rank": 4, "alpha": 4.0},
        "training": {"steps": 4, "learning_rate": 1e-3, "seed": seed, "gradient_checkpointing": False},
        "semantic_cosine": {"face_weight": 1.0, "background_weight": 0.0},
        "dataset": {"sources": [{"cache_directory": str(data)}]},
        **more,
    }


def test_a_worker_loads_the_model_once_and_makes_the_loras_of_programs_of_their_own(
    program: Callable[..., subprocess.Popen],  # noqa: F811
    dataset: Path,  # noqa: F811
    stand_in_model: Path,
    tmp_path: Path,
):
    """One job is a folder and keeps nothing on the way, one cannot be done, one diverges."""
    spool = tmp_path / "spool"
    (spool / "b").mkdir(parents=True)
    (spool / "out").mkdir()
    jobs = {
        "0.json": (1, "out/0.safetensors", {}),
        "a.json": (1, "out/a.safetensors", {}),
        "b/job.json": (2, "b.safetensors", {}),
        "c.json": (3, "out/c.safetensors", {"timesteps": {"kind": "sometimes"}}),
    }
    for name, (seed, output, more) in jobs.items():
        job = {"schema": 1, "kind": "train", "config": settings(stand_in_model, dataset, seed, **more)}
        extra = {"b/job.json": {"keep": 0}, "0.json": {"learning_rate": 1e30, "warmup": 0}}
        job["config"]["training"] |= extra.get(name, {})
        (spool / name).write_text(json.dumps({**job, "output": output}))
    worker = program(tmp_path, "work", "--spool", spool, "--once", "--events", tmp_path / "all.jsonl")
    output, messages = worker.communicate(timeout=PATIENCE)
    assert (worker.returncode, output) == (1, ""), messages
    assert messages.count(f"{stand_in_model}: loaded") == 1 == messages.count("is still loaded") - 1
    assert {path.relative_to(spool).as_posix() for path in spool.rglob("*.json*")} - {
        *("out/a.record.json", "b/b.record.json", "a.events.jsonl", "b/job.events.jsonl", "c.events.jsonl"),
        *("0.events.jsonl", "out/0.record.json", "out/runs/0/run.json", "out/runs/0/curves.jsonl"),
    } == {
        *("0.json.failed", "a.json.done", "b/job.json.done", "c.json.failed"),
        *(f"{place}/{name}" for place in ("out/runs/a", "b/runs/b") for name in ("run.json", "curves.jsonl")),
    }
    assert not list((spool / "b" / "runs").rglob("*.safetensors"))
    assert len(list((spool / "out" / "runs" / "a").rglob("*.safetensors"))) == 2
    reader = EventReader(lambda clock: TrainingStatus(Watched(None, "1"), 0, clock=clock))
    for line in new_lines(spool / "b" / "job.events.jsonl")[0]:
        assert reader.read(line)
    report = reader.status.report()
    assert (report["state"], report["step"], report["steps"]) == ("finished", 4, 4)
    events = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text().splitlines()]
    ends = {event["job"]: event for event in events if "exit_code" in event}
    codes = {"0.json": 1, "a.json": 0, "b/job.json": 0, "c.json": 2}
    assert {job: end["exit_code"] for job, end in ends.items()} == codes
    assert "not a finite number" in ends["0.json"]["error"]
    assert f"{spool / 'c.json'}: config [timesteps] kind is" in ends["c.json"]["error"]

    alone = tmp_path / "alone"
    alone.mkdir()
    job = {
        "schema": 1,
        "kind": "train",
        "config": settings(stand_in_model, dataset, 2),
        "output": "b.safetensors",
    }
    (alone / "job.json").write_text(json.dumps(job))
    process = program(tmp_path, "run", alone / "job.json", "--events", "-")
    output, messages = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, messages
    last = json.loads(output.splitlines()[-1])
    assert (last["event"], last["lora"]) == ("done", str(alone / "b.safetensors"))
    assert (alone / "b.safetensors").read_bytes() == (spool / "b" / "b.safetensors").read_bytes()
