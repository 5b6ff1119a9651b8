"""The config.toml of a whole training without a graph; docs/headless.md has one with every key.

Keys of the trainer None_Z-image-Turbo_trainer that say the same as ours are read under their own names; those
that mean nothing here are kept in `TrainConfig.ignored`.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from ..datasets.cached_latents import DatasetSource
from ..lora.adapters import ADAPTER_KINDS, AdapterSettings
from ..lora.keys import KEY_STYLES
from ..lora.layers import LAYER_CHOICES
from ..lora.patterns import layer_patterns
from ..objective.timesteps import TimestepSampling
from ..objective.total import Objective
from ..training.learning_rate import RATE_SCHEDULES
from ..training.memory import MemorySetting
from ..training.optimizers import OPTIMIZERS
from ..training.run_folder import Keep
from ..training.settings import TrainingSettings
from ..training.validation import HoldOut, ValidationSettings
from .model import MODEL, ModelSettings, model_of
from .objective import SECTION, objective_of
from .origin import ORIGIN_KEYS, ORIGIN_SECTIONS
from .scenes import SCENES, SceneSettings, scenes_of
from .timesteps import ACRF, TIMESTEPS, timesteps_of
from .toml import (
    ALL,
    JsonFile,
    Setting,
    Tables,
    TomlFile,
    check_keys,
    flag,
    given,
    meant,
    memory,
    number,
    one_of,
    parsed,
    saved_steps,
    text,
    texts,
    whole,
)

LORA_DTYPES = ("fp32", "bf16", "fp16")
RECIPE_MODES = ("auto", "off")
MAX_SEED = 2**64 - 1
MOST_REPEATS = 100_000
"""Of one source; `TrainingPictures` has a limit for their sum."""


@dataclass(frozen=True)
class LoraSettings:
    """[lora] besides the adapter itself.

    Attributes:
        layers: one of `LAYER_CHOICES`.
        continue_from: LoRA file to start from.
        key_style: one of `KEY_STYLES`.
        dtype: of the file that is written.
    """

    layers: str = next(iter(LAYER_CHOICES))
    continue_from: Path | None = None
    key_style: str = "comfyui"
    dtype: str = "fp32"


@dataclass(frozen=True)
class RunPlan:
    """What of [training] does not change the result.

    Attributes:
        output: folder of all runs and LoRAs.
        name: of the run's folder and of the LoRA file.
        save_every: steps between two states on disk.
        save_every_epochs: passes over the dataset between two states; takes the place of `save_every`.
        keep_last: how many states stay; all LoRAs do.
        keep_saved: of how many of the last steps that are saved state and LoRA stay, `ALL`: of all; 0: of
            none once the LoRA is in the output folder, on the way of the last. None: `keep_last` says it.
        resume: go on with an unfinished run of the same settings.
        gradient_checkpointing: less memory, a third more time.
        memory: how much of the model waits in RAM.
        runs: folder of the runs; None: "runs" below `output`.
    """

    output: Path = Path("output")
    name: str = "lora"
    save_every: int = 100
    save_every_epochs: int | None = None
    keep_last: int = 3
    keep_saved: int | None = None
    resume: bool = True
    gradient_checkpointing: bool = True
    memory: MemorySetting = MemorySetting()
    runs: Path | None = None

    @property
    def keep(self) -> Keep:
        """What stays in the run's folder on the way."""
        if self.keep_saved is None:
            return Keep(states=self.keep_last)
        count = None if self.keep_saved == ALL else max(1, self.keep_saved)
        return Keep(count, count)


@dataclass(frozen=True)
class TrainConfig:
    """A config.toml.

    Attributes:
        epochs: passes over the dataset; takes the place of the steps in `training`.
        empty_prompt: text file of the empty caption.
        ignored: keys of the origin trainer without a meaning here, "[section] key".
        recipe: "auto" has what is not stated filled with the values of the model's family, see `filling.py`.
        stated: names of the settings that the file gives.
        tensors: folder of what a graph trained on, in place of `sources`, see `datasets/given_tensors.py`.
        state: of an earlier training that this one goes on from; the steps count from its beginning.
    """

    model: ModelSettings
    sources: tuple[DatasetSource, ...]
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    run: RunPlan = field(default_factory=RunPlan)
    objective: Objective = field(default_factory=Objective)
    validation: ValidationSettings = ValidationSettings()
    scenes: SceneSettings | None = None
    epochs: int | None = None
    empty_prompt: Path | None = None
    ignored: tuple[str, ...] = ()
    recipe: str = "off"
    stated: frozenset[str] = frozenset()
    tensors: Path | None = None
    state: Path | None = None

    def for_pictures(self, repeats: Iterable[int]) -> "TrainConfig":
        """The same with steps in the place of epochs, for pictures with these repeats."""
        own = self.scenes.shares.own if self.scenes else 1.0
        updates = sum(repeats) / own / (self.training.batch_size * self.training.accumulation)
        training, run = self.training, self.run
        if self.epochs is not None:
            training = replace(training, steps=math.ceil(self.epochs * updates))
        if run.save_every_epochs is not None:
            run = replace(run, save_every=math.ceil(run.save_every_epochs * updates), save_every_epochs=None)
        return replace(self, training=training, run=run, epochs=None)


def _lower_case_of(names: Iterable[str]) -> Any:
    choose = one_of(names)
    return lambda value: choose(value.lower() if isinstance(value, str) else value)


def _patterns(value: Any) -> tuple[str, ...]:
    patterns = texts(value)
    layer_patterns(patterns)
    return patterns


def _origin_schedule(value: Any) -> str:
    """The origin trainer's schedulers by the names of diffusers; of restarts, one period."""
    same = {"constant_with_warmup": "constant", "cosine_with_restarts": "cosine"}
    return one_of(RATE_SCHEDULES)(same.get(value, value) if isinstance(value, str) else value)


ADAPTER = {
    "kind": Setting(one_of(ADAPTER_KINDS), ("lora.kind",)),
    "rank": Setting(whole(1), ("lora.rank", "lora.network_dim", "network.dim")),
    "alpha": Setting(number(above=True), ("lora.alpha", "lora.network_alpha", "network.alpha")),
    "dropout": Setting(number(below=1), ("lora.dropout",)),
    "factor": Setting(whole(1), ("lora.factor",)),
    "include": Setting(_patterns, ("lora.include",)),
    "exclude": Setting(_patterns, ("lora.exclude",)),
}
LORA = {
    "layers": Setting(one_of(LAYER_CHOICES), ("lora.layers",)),
    "continue_from": Setting(text, ("lora.continue_from", "lora.resume_lora")),
    "key_style": Setting(one_of(KEY_STYLES), ("lora.key_style",)),
    "dtype": Setting(one_of(LORA_DTYPES), ("lora.dtype",)),
}
TRAINING = {
    "steps": Setting(whole(1), ("training.steps",)),
    "batch_size": Setting(whole(1), ("training.batch_size", "dataset.batch_size")),
    "accumulation": Setting(
        whole(1),
        (
            "training.accumulation",
            "training.gradient_accumulation_steps",
            "advanced.gradient_accumulation_steps",
        ),
    ),
    "learning_rate": Setting(number(above=True), ("training.learning_rate",)),
    "schedule": Setting(
        one_of(RATE_SCHEDULES),
        ("training.schedule", "training.lr_scheduler"),
        {"training.lr_scheduler": _origin_schedule},
    ),
    "schedule_steps": Setting(whole(0), ("training.schedule_steps",)),
    "warmup": Setting(whole(0), ("training.warmup", "training.lr_warmup_steps")),
    "optimizer": Setting(
        one_of(OPTIMIZERS),
        ("training.optimizer", "training.optimizer_type", "optimizer.type"),
        {place: _lower_case_of(OPTIMIZERS) for place in ("training.optimizer_type", "optimizer.type")},
    ),
    "up_rate_ratio": Setting(number(above=True), ("training.up_rate_ratio",)),
    "weight_decay": Setting(number(), ("training.weight_decay",)),
    "max_grad_norm": Setting(number(), ("training.max_grad_norm", "advanced.max_grad_norm")),
    "ema_decay": Setting(number(below=1), ("training.ema_decay",)),
    "caption_dropout": Setting(number(below=1), ("training.caption_dropout",)),
    "seed": Setting(whole(0, MAX_SEED), ("training.seed", "advanced.seed")),
}
RUN = {
    "output": Setting(text, ("training.output", "model.output_dir")),
    "name": Setting(text, ("training.name", "training.output_name")),
    "save_every": Setting(whole(0), ("training.save_every",)),
    "save_every_epochs": Setting(
        whole(1),
        ("training.save_every_epochs", "training.save_every_n_epochs", "advanced.save_every_n_epochs"),
    ),
    "keep_last": Setting(whole(1), ("training.keep_last",)),
    "keep_saved": Setting(saved_steps, ("training.keep",)),
    "resume": Setting(flag, ("training.resume",)),
    "gradient_checkpointing": Setting(
        flag, ("training.gradient_checkpointing", "advanced.gradient_checkpointing")
    ),
    "memory": Setting(memory, ("training.memory",)),
    "runs": Setting(text, ("training.runs",)),
}
STATE = {"state": Setting(text, ("training.state",))}
RECIPE = {"recipe": Setting(one_of(RECIPE_MODES), ("training.recipe",))}
EPOCHS = {
    "epochs": Setting(
        whole(1), ("training.epochs", "training.num_train_epochs", "advanced.num_train_epochs")
    ),
}
VALIDATION = {
    "hold_out": Setting(one_of(get_args(HoldOut)), ("validation.hold_out",)),
    "share": Setting(number(above=True), ("validation.share",)),
    "every": Setting(whole(0), ("validation.every",)),
}
DATASET = {
    "empty_prompt": Setting(text, ("dataset.empty_prompt",)),
    "tensors": Setting(text, ("dataset.tensors",)),
}
SOURCE = {
    "cache_directory": text,
    "num_repeats": whole(1, MOST_REPEATS),
    "resolution_limit": whole(0),
    "image_directory": text,
}
"""Keys of [[dataset.sources]]."""
GROUPS = (
    MODEL, ADAPTER, LORA, TRAINING, RECIPE, RUN, STATE, EPOCHS, TIMESTEPS, ACRF, VALIDATION, SCENES, DATASET,
)  # fmt: skip
"""What the sections hold."""


def load_config(path: str | Path) -> TrainConfig:
    """Read the config.toml of a training, or the same as .json; what it leaves out has its default.

    Paths in it are relative to its folder.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: not TOML, no model or no dataset, an unknown key, or a value that cannot be used.
    """
    return config_of(JsonFile(path) if Path(path).suffix == ".json" else TomlFile(path))


def config_of(file: Tables) -> TrainConfig:
    """The same of tables that were read; paths in them are relative to the folder of `file.path`.

    Raises:
        ConfigError: as `load_config`.
    """
    ignored = _check_all_keys(file)
    model = model_of(file)
    epochs = given(file, EPOCHS).get("epochs")
    training, run = given(file, TRAINING), given(file, RUN)
    if {"keep_last", "keep_saved"} <= run.keys():
        raise file.error(
            "training", "keep_last", "says how many states stay, and so does keep: keep one of them"
        )
    for steps, passes, values in (("steps", "epochs", training), ("save_every", "save_every_epochs", run)):
        if steps in values and (epochs if passes == "epochs" else values.get(passes)):
            raise file.error("training", steps, f"and {passes} are both given: keep one of them")
    if model.shard and (waiting := run.get("memory", MemorySetting())).swap:
        raise file.error(
            "model", "shard", f'and [training] memory = "{waiting.said()}" do not go together: set memory to '
            '"auto", with which all that a process holds stays on its device'
        )  # fmt: skip
    dataset = file.with_paths(given(file, DATASET), *DATASET)
    if training.get("caption_dropout") and not dataset:
        raise file.error(
            "training", "caption_dropout", "needs [dataset] empty_prompt: the text file of an empty caption"
        )
    lora, adapter = file.with_paths(given(file, LORA), "continue_from"), given(file, ADAPTER)
    if lora.get("key_style") == "diffusers" and adapter.get("kind", "lora") != "lora":
        raise file.error(
            "lora", "key_style", "is diffusers, which has no LoHa or LoKr: choose kohya or comfyui"
        )
    timesteps, recipe = timesteps_of(file), given(file, RECIPE)
    stated = {**training, **lora, **adapter, **({"timesteps": timesteps} if timesteps else {})}
    stated |= {"steps": epochs} if epochs else {}
    return TrainConfig(
        model,
        _sources(file, dataset),
        AdapterSettings(**adapter),
        LoraSettings(**lora),
        TrainingSettings(**training, timesteps=timesteps or TimestepSampling()),
        RunPlan(**file.with_paths({"output": str(RunPlan.output), **run}, "output", "runs")),
        objective_of(file) if SECTION in file.tables else Objective(),
        _validation(file),
        scenes_of(file),
        epochs,
        ignored=ignored,
        stated=frozenset(stated),
        **recipe,
        **dataset,
        **file.with_paths(given(file, STATE), "state"),
    )


def _check_all_keys(file: Tables) -> tuple[str, ...]:
    """The keys that are ignored; ConfigError for those that nobody knows."""
    known: dict[str, list[str]] = {section: [] for section in (SECTION, "dataset", *ORIGIN_SECTIONS)}
    for group in GROUPS:
        for setting in group.values():
            for place in setting.places:
                section, key = place.split(".")
                known.setdefault(section, []).append(key)
    known["dataset"].append("sources")
    ignored = []
    for section in file.tables:
        if section not in known:
            raise file.error(section, "", f"is not known: {meant(section, list(known))}")
        foreign = ORIGIN_KEYS.get(section, "").split()
        if section in ORIGIN_SECTIONS:
            foreign = list(file.table(section))
        unread = [key for key in file.table(section) if key in foreign and key not in known[section]]
        ignored += [f"[{section}] {key}" for key in unread]
        if section != SECTION:
            rest = {key: value for key, value in file.table(section).items() if key not in unread}
            check_keys(file, section, rest, known[section])
    return tuple(ignored)


def _sources(file: Tables, dataset: Mapping[str, Any]) -> tuple[DatasetSource, ...]:
    section = "dataset.sources"
    sources = []
    if "tensors" in dataset:
        for other in ("sources", "empty_prompt"):
            if other in file.table("dataset"):
                raise file.error(
                    "dataset", other, "and tensors are both given, which has all of it: keep one of them"
                )
        return ()
    for index, table in enumerate(file.tables_of("dataset", "sources")):
        check_keys(file, section, table, SOURCE, index)
        values = {key: parsed(file, section, key, value, SOURCE[key], index) for key, value in table.items()}
        if "cache_directory" not in values:
            raise file.error(section, "", "has no cache_directory: give the folder of cached latents", index)
        sources.append(DatasetSource(**file.with_paths(values, "cache_directory", "image_directory")))
    if not sources:
        raise file.error(
            "dataset", "", "has no [[dataset.sources]]: name at least one folder of cached latents"
        )
    return tuple(sources)


def _validation(file: Tables) -> ValidationSettings:
    try:
        return ValidationSettings(**given(file, VALIDATION))
    except ValueError as error:
        raise file.error("validation", "", f"cannot be used: {error}") from error
