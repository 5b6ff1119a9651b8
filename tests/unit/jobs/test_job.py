"""Job files: what is wrong with one is said with file, key, value and the way out."""

import json
from pathlib import Path
from typing import Any

import pytest

from semantic_focus.jobs.job import FILES, FOLDERS, SOURCE_FOLDERS, Job, load_job
from semantic_focus.settings import training as settings
from semantic_focus.settings.scenes import SCENES
from semantic_focus.settings.toml import ConfigError, text

CONFIG = {"model": {"path": "model.safetensors"}, "dataset": {"sources": [{"cache_directory": "cache"}]}}
TRAIN = {"schema": 1, "kind": "train", "config": CONFIG, "output": "out/person.safetensors"}
MASKS = {"schema": 1, "kind": "masks", "config": {"dataset": "pictures"}}
DIGEST = "ab" * 32


def written(folder: Path, content: Any) -> Path:
    path = folder / "job.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def without(job: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name != key}


def masks(**config: Any) -> dict[str, Any]:
    return {**MASKS, "config": {"dataset": "pictures", **config}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[1]", "is [1]: a job is an object"),
        ('{"schema": 1, "schema": 1}', "the key 'schema' is there twice"),
        ('{"schema": NaN}', "not valid JSON"),
        ("[" * 100_000, "brackets too deep"),
        (" " * (1 << 20) + "{}", "is 1048578 bytes long, a job file at most 1048576"),
        ({}, "schema is missing: this program knows 1"),
        ({**TRAIN, "schema": 2}, "schema is 2: this program knows 1"),
        ({**TRAIN, "schema": True}, "schema is true"),
        ({**TRAIN, "schema": "1"}, 'schema is "1"'),
        (without(TRAIN, "kind"), "kind is missing: choose from train, masks"),
        ({**TRAIN, "kind": "trian"}, 'kind is "trian": did you mean train?'),
        ({**TRAIN, "kind": None}, "kind is null: choose from train, masks"),
        ({**TRAIN, "kind": ["train"]}, "kind is ['train']"),
        ({**TRAIN, "outptu": "x"}, "outptu is not known: did you mean output?"),
        ({**TRAIN, "output": "person.bin"}, 'output is "person.bin": give a path or URL'),
        ({**TRAIN, "output": 3}, "output is 3: give a path or URL"),
        (without(TRAIN, "config"), "config is missing: write the settings, {...}, or the path of a config"),
        ({**TRAIN, "config": 3}, "config is 3: write the settings"),
        ({**TRAIN, "config": ""}, 'config is "": write the settings'),
        ({**TRAIN, "config": "s3://bucket/config.toml"}, "give a path, or the settings themselves"),
        ({**TRAIN, "config": "nothing.toml"}, "nothing.toml: no such config file"),
        ({**TRAIN, "digests": []}, "digests is []: write {"),
        (
            {**TRAIN, "digests": {"cache": "abc"}},
            'digests cache is "abc": it must be a sha256, 64 hex digits',
        ),
        ({**TRAIN, "digests": {"cache": 3}}, "digests cache is 3"),
        (
            {**TRAIN, "digests": {"cahce": DIGEST}},
            "digests cahce is no path of its config: did you mean cache?",
        ),
        (
            {**TRAIN, "config": {**CONFIG, "training": {"name": "me"}}},
            "config [training] name says where the LoRA goes, and so does output of",
        ),
        ({**MASKS, "output": "out"}, "output is for trainings: masks go beside their pictures, leave it out"),
        (without(MASKS, "config"), "config is missing: write the settings, {...}"),
        ({**MASKS, "config": "config.toml"}, 'config is "config.toml": write the settings'),
        ({**MASKS, "config": {}}, "config dataset is missing: give the folder of pictures, or a URL of tars"),
        (masks(teir="best"), "config teir is not known: did you mean tier?"),
        (masks(tier=3), "config tier is 3: it must be a text in quotes"),
        (masks(recursive="yes"), 'config recursive is "yes": it must be true or false'),
        (masks(workers=0), "config workers is 0: it must be a whole number of 1 or more"),
        (masks(processes="all"), 'config processes is "all": it must be a whole number'),
        (masks(dataset=" "), 'config dataset is " ": it must be a text in quotes'),
        ({**MASKS, "digests": {"picture": DIGEST}}, "digests picture is no path of its config: did you mean"),
        (
            {**masks(dataset="s3://b/*.tar"), "digests": {"s3://b/*.tar": DIGEST}},
            "tars are known by their versions, leave it out",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 100 else "",
)
def test_what_is_wrong_is_said(content: Any, said: str, tmp_path: Path):
    path = written(tmp_path, content)
    with pytest.raises((ConfigError, FileNotFoundError)) as found:
        load_job(path)
    assert said in str(found.value) and str(tmp_path) in str(found.value)


def test_a_file_that_is_not_there_or_a_folder_is_named(tmp_path: Path):
    for path, said in ((tmp_path / "job.json", "no such job file"), (tmp_path, "cannot be read")):
        with pytest.raises(ConfigError, match=said):
            load_job(path)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"training": {"stepz": 4}}, "job.json: config [training] stepz is not known: did you mean steps?"),
        ({"training": {"steps": "4"}}, 'config [training] steps is "4": it must be a whole number'),
        ({"training": {"steps": None}}, "config [training] steps is null"),
        ({"training": 3}, "config [training] is 3: it must be a section"),
        ({"trainign": {}}, "config [trainign] is not known: did you mean training?"),
        ({"dataset": {"sources": {}}}, "config [dataset] sources is {}"),
        ({"lora": {"kind": "lora2"}}, 'config [lora] kind is "lora2": did you mean'),
    ],
)
def test_settings_in_a_job_are_checked_as_those_of_a_config(
    config: dict[str, Any], said: str, tmp_path: Path
):
    job = load_job(written(tmp_path, {**TRAIN, "config": {**CONFIG, **config}}))
    with pytest.raises(ConfigError) as found:
        settings.config_of(job.config)
    assert said in str(found.value)


def test_a_config_file_and_the_same_settings_in_the_job_are_the_same_training(tmp_path: Path):
    (tmp_path / "config.toml").write_text("""
[model]
path = "model.safetensors"
[training]
steps = 40
output = "out"
name = "person"
[[dataset.sources]]
cache_directory = "cache"
""")
    jobs = [
        load_job(written(tmp_path, {**without(TRAIN, "output"), "config": config}))
        for config in ("config.toml", {**CONFIG, "training": {"steps": 40, "output": "x", "name": "y"}})
    ]
    first, second = (settings.config_of(job.config) for job in jobs)
    assert first.training == second.training and first.sources == second.sources
    digests = {"model.safetensors": DIGEST, "cache": DIGEST}
    assert jobs[0].identity(digests) == jobs[1].identity(digests)


def identity(folder: Path, config: dict[str, Any], **digests: str) -> str:
    job = load_job(written(folder, {**without(TRAIN, "output"), "config": config}))
    return job.identity({it.given: digests.get(it.key, "cd" * 32) for it in job.inputs()})


def test_a_job_is_the_same_wherever_its_inputs_are_and_another_where_they_or_its_settings_are(tmp_path: Path):
    own = identity(tmp_path, CONFIG)
    elsewhere = {
        "model": {"path": "s3://models/model.safetensors"},
        "dataset": {"sources": [{"cache_directory": "/data/7"}]},
        "comfyui": {"path": "/opt/ComfyUI"},
        "training": {"output": "there", "name": "me"},
    }
    assert identity(tmp_path, elsewhere) == own
    others = [
        identity(tmp_path, CONFIG, path="ef" * 32),
        identity(tmp_path, CONFIG, cache_directory="ef" * 32),
        identity(tmp_path, {**CONFIG, "model": {"path": "other.safetensors"}}),
        identity(tmp_path, {**CONFIG, "training": {"seed": 1}}),
    ]
    assert len({own, *others}) == 5


def test_every_path_of_a_config_is_known_as_an_input(tmp_path: Path):
    """Found by what parses them: texts that are no names and no words of a choice."""
    no_inputs = {"run.output", "run.runs", "run.name", "model.comfyui"}
    groups = {"model": settings.MODEL, "lora": settings.LORA, "run": settings.RUN}
    groups |= {"dataset": settings.DATASET, "scenes": SCENES, "state": settings.STATE}
    expected = {
        place
        for group, table in groups.items()
        for name, setting in table.items()
        if setting.parse is text and f"{group}.{name}" not in no_inputs
        for place in setting.places
    }
    assert {*FILES, *FOLDERS} == expected
    assert set(SOURCE_FOLDERS) == {name for name, parse in settings.SOURCE.items() if parse is text}


def test_a_job_may_be_called_otherwise_than_its_file(tmp_path: Path):
    path = written(tmp_path, {**TRAIN, "schema": 9})
    with pytest.raises(ConfigError) as found:
        load_job(path, tmp_path / "mine.json")
    assert str(found.value).startswith(f"{tmp_path / 'mine.json'}: schema is 9")


def test_inputs_are_what_the_config_names(tmp_path: Path):
    config = {
        **CONFIG,
        "lora": {"continue_from": "before.safetensors", "rank": 4},
        "scenes": {"cache_directory": "scenes"},
        "dataset": {"sources": [{"cache_directory": "a"}, {"cache_directory": "b", "image_directory": "c"}]},
    }
    job: Job = load_job(written(tmp_path, {**TRAIN, "config": config}))
    assert [(it.name, it.number, it.given, it.is_folder) for it in job.inputs()] == [
        ("[model] path", 0, "model.safetensors", False),
        ("[lora] continue_from", 0, "before.safetensors", False),
        ("[scenes] cache_directory", 0, "scenes", True),
        ("[dataset.sources] cache_directory", 0, "a", True),
        ("[dataset.sources] cache_directory", 1, "b", True),
        ("[dataset.sources] image_directory", 1, "c", True),
    ]
