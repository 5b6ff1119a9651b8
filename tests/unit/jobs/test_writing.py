"""The job file of a training's folder says what the folder holds."""

import json
from pathlib import Path

import pytest

from semantic_focus.jobs.inputs import Inputs
from semantic_focus.jobs.job import JobError, load_job
from semantic_focus.jobs.places import sha256_of
from semantic_focus.jobs.writing import write_training_job

CONFIG = """
[model]
path = "{model}"
[lora]
continue_from = "data/before.safetensors"
[dataset]
tensors = "data"
"""


def test_what_is_in_the_folder_has_digests_and_the_model_elsewhere_may_be_another(tmp_path: Path):
    folder = tmp_path / "job"
    (folder / "data").mkdir(parents=True)
    for name in ("before.safetensors", "index.json"):
        (folder / "data" / name).write_text(name)
    model = tmp_path / "model.safetensors"
    model.write_text("a model")
    (folder / "config.toml").write_text(CONFIG.format(model=model))
    path = write_training_job(folder / "config.toml")
    digests = json.loads(path.read_text())["digests"]
    assert digests == {
        "data": sha256_of(folder / "data"),
        "data/before.safetensors": sha256_of(folder / "data" / "before.safetensors"),
    }
    folder = folder.rename(tmp_path / "moved")
    job = load_job(folder / "job.json")
    with Inputs() as inputs:
        assert inputs.seen(job, {}).keys() == {*digests, str(model)}
    (folder / "data" / "index.json").write_text("changed")
    with Inputs() as inputs, pytest.raises(JobError, match="not what the job was made for"):
        inputs.seen(job, {})
