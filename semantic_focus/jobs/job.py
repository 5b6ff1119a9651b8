"""A job file: what to do, with what, and where the result goes. docs/jobs.md says what it holds."""

import copy
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..datasets.tars.store import is_url
from ..files.text import parsed_json, shortened
from ..settings.toml import ConfigError, Tables, TomlFile, flag, meant, shown, text, whole

SCHEMA = 1
KINDS = ("train", "masks")
MOST_BYTES = 1 << 20
LORA_ENDING = ".safetensors"
DIGEST = re.compile(r"[0-9a-fA-F]{64}")

KEYS = {
    "train": ("schema", "kind", "config", "output", "digests"),
    "masks": ("schema", "kind", "config", "digests"),
}
FILES = (
    "model.path", "model.training_adapter", "lora.continue_from", "lora.resume_lora", "dataset.empty_prompt",
    "training.state",
)  # fmt: skip
"""Keys of a config that name a file which is read."""
FOLDERS = ("dataset.tensors", "scenes.cache_directory", "scenes.with_trigger")
SOURCE_FOLDERS = ("cache_directory", "image_directory")
"""Of each of [[dataset.sources]]."""
WITHOUT_EFFECT = (
    "comfyui.path", "training.output", "training.name", "training.output_name", "model.output_dir",
    "training.runs",
)  # fmt: skip
"""Keys that do not change the result."""


def _number_or_auto(value: Any) -> int | str:
    return value if value == "auto" else whole(1)(value)


MASKS: Mapping[str, Callable[[Any], Any]] = {
    "dataset": text,
    "tier": text,
    "backend": text,
    "models": text,
    "keywords": text,
    "refine": text,
    "keep_overlaps": flag,
    "float": flag,
    "recursive": flag,
    "by_hand": text,
    "device": text,
    "workers": whole(1),
    "processes": _number_or_auto,
}
"""The config of masks: the arguments of the command, by their names."""


class JobError(ConfigError):
    """A job that cannot be done as it is; the message names file, key and value, and the way out."""


@dataclass(frozen=True)
class Input:
    """A file or folder that a training reads.

    Attributes:
        section, key: where the config names it; of the `number`-th of [[dataset.sources]].
        given: the path or URL as it is written there.
    """

    section: str
    key: str
    number: int
    given: str
    is_folder: bool

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"[{self.section}] {self.key}"


class JobTables(Tables):
    """A config that is in the job file itself."""

    def error(self, section: str, key: str, problem: str, number: int = 0) -> ConfigError:
        error = super().error(section, key, problem, number)
        return JobError(str(error).replace(f"{self.path}: ", f"{self.path}: config ", 1))


@dataclass(frozen=True)
class Job:
    """A job file.

    Attributes:
        path: of the file.
        config: of a training as of a config.toml; of masks {"masks": the arguments}.
        output: path or URL of the LoRA; None: as the config has it.
        digests: sha256 by path or URL, as the config names it.
    """

    path: Path
    kind: str
    config: Tables
    output: str | None
    digests: Mapping[str, str]

    @property
    def base(self) -> Path:
        """The folder that paths of the config are relative to."""
        return self.config.path.parent

    def error(self, key: str, problem: str) -> JobError:
        """An error about a key of the job file."""
        return JobError(f"{self.path}: {key} {problem}")

    def inputs(self) -> list[Input]:
        """What the training reads, as far as its config is as it should be."""
        return list(_inputs(self.config.tables))

    def identity(self, digests: Mapping[str, str]) -> str:
        """Equal for jobs with the same result, wherever their inputs are: 64 hex digits.

        Args:
            digests: of all inputs, by path or URL as the config names it.
        """
        tables = copy.deepcopy(self.config.tables)
        for it in self.inputs():
            digest = {"sha256": digests[it.given]}
            own = digest if it.is_folder else {"name": PurePosixPath(it.given).name, **digest}
            table_of(tables, it)[it.key] = own
        for place in WITHOUT_EFFECT:
            section, key = place.split(".")
            if isinstance(tables.get(section), dict):
                tables[section].pop(key, None)
        tables = {section: table for section, table in tables.items() if table != {}}
        told = json.dumps([SCHEMA, self.kind, tables], sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()


def table_of(tables: Mapping[str, Any], it: Input) -> dict[str, Any]:
    """The table of a config that names an input."""
    return tables["dataset"]["sources"][it.number] if it.section == "dataset.sources" else tables[it.section]


def _inputs(tables: Mapping[str, Any]) -> Iterator[Input]:
    for places, is_folder in ((FILES, False), (FOLDERS, True)):
        for place in places:
            section, _, key = place.partition(".")
            table = tables.get(section)
            if isinstance(table, dict) and isinstance(value := table.get(key), str) and value:
                yield Input(section, key, 0, value, is_folder)
    dataset = tables.get("dataset")
    sources = dataset.get("sources") if isinstance(dataset, dict) else None
    for number, source in enumerate(sources if isinstance(sources, list) else []):
        for key in SOURCE_FOLDERS:
            if isinstance(source, dict) and isinstance(value := source.get(key), str) and value:
                yield Input("dataset.sources", key, number, value, True)


def load_job(file: Path, called: Path | None = None) -> Job:
    """Read a job file; of a config in it only what all configs have in common is checked.

    Args:
        called: in the same folder, what messages call it.

    Raises:
        JobError: not JSON, an unknown key, or a value that cannot be used.
        ConfigError: the same of the config.toml that it names.
    """
    path = called or file
    found = _read(file, path)
    if found.get("schema") != SCHEMA or isinstance(found["schema"], bool):
        raise JobError(
            f"{path}: schema is {shown(found['schema']) if 'schema' in found else 'missing'}: this program "
            f"knows {SCHEMA}. Write it, or take a newer program"
        )
    kind = found.get("kind")
    if kind not in KINDS:
        what = shown(kind) if "kind" in found else "missing"
        raise JobError(f"{path}: kind is {what}: {meant(str(kind), KINDS)}")
    known = KEYS[kind]
    for key in found:
        if key not in known:
            if key == "output":
                raise JobError(
                    f"{path}: output is for trainings: masks go beside their pictures, leave it out"
                )
            raise JobError(f"{path}: {shortened(key)} is not known: {meant(key, known)}")
    output = found.get("output")
    if output is not None and not (isinstance(output, str) and output.endswith(LORA_ENDING)):
        raise JobError(
            f"{path}: output is {shown(output)}: give a path or URL of the LoRA that ends with {LORA_ENDING}"
        )
    job = Job(path, kind, _config(path, kind, found), output, _digests(path, found.get("digests", {})))
    _check_digests(job)
    if kind == "train":
        _check_output(job)
    return job


def _read(file: Path, path: Path) -> dict[str, Any]:
    try:
        size = file.stat().st_size
        if size > MOST_BYTES:
            raise JobError(f"{path}: is {size} bytes long, a job file at most {MOST_BYTES}")
        found = parsed_json(file.read_bytes().decode("utf-8-sig"), once=True)
    except FileNotFoundError as error:
        raise JobError(f"{path}: no such job file. Correct the path") from error
    except OSError as error:
        raise JobError(f"{path}: cannot be read ({error.strerror}). Give a JSON file") from error
    except JobError:
        raise
    except ValueError as error:
        raise JobError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(found, dict):
        raise JobError(f"{path}: is {shown(found)}: a job is an object, {{...}}")
    return found


def _config(path: Path, kind: str, found: Mapping[str, Any]) -> Tables:
    config = found.get("config")
    if kind == "train" and isinstance(config, str) and config:
        if is_url(config):
            raise JobError(f"{path}: config is {shown(config)}: give a path, or the settings themselves")
        return TomlFile(path.parent / Path(config).expanduser())
    if not isinstance(config, dict):
        what = shown(config) if "config" in found else "missing"
        ways = "write the settings, {...}" + (", or the path of a config.toml" if kind == "train" else "")
        raise JobError(f"{path}: config is {what}: {ways}")
    if kind == "train":
        return JobTables(path, config)
    for key, value in config.items():
        if key not in MASKS:
            raise JobError(f"{path}: config {shortened(key)} is not known: {meant(key, list(MASKS))}")
        try:
            MASKS[key](value)
        except ValueError as error:
            raise JobError(f"{path}: config {key} is {shown(value)}: {error}") from error
    if "dataset" not in config:
        raise JobError(f"{path}: config dataset is missing: give the folder of pictures, or a URL of tars")
    return JobTables(path, {"masks": config})


def _digests(path: Path, found: Any) -> Mapping[str, str]:
    if not isinstance(found, dict):
        raise JobError(f'{path}: digests is {shown(found)}: write {{"a path of the config": "its sha256"}}')
    for name, digest in found.items():
        if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
            raise JobError(
                f"{path}: digests {shortened(name)} is {shown(digest)}: it must be a sha256, 64 hex digits"
            )
    return {name: digest.lower() for name, digest in found.items()}


def _check_digests(job: Job) -> None:
    if job.kind == "masks":
        dataset = job.config.tables["masks"]["dataset"]
        known = [] if is_url(dataset) else [dataset]
    else:
        known = [it.given for it in job.inputs()]
    for name in job.digests:
        if name not in known:
            way = meant(name, known) if known else "tars are known by their versions, leave it out"
            raise job.error(f"digests {shortened(name)}", f"is no path of its config: {way}")


def _check_output(job: Job) -> None:
    places = ("training.output", "training.name", "training.output_name", "model.output_dir")
    for place in places if job.output is not None else ():
        section, key = place.split(".")
        table = job.config.tables.get(section)
        if isinstance(table, dict) and key in table:
            problem = f"says where the LoRA goes, and so does output of {job.path}: keep one of them"
            raise job.config.error(section, key, problem)
