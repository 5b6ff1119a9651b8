"""A config.toml as text: what `load_config` reads back to the same settings."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..training.memory import MemorySetting
from .model import MODEL
from .objective import objective_lines
from .scenes import SCENES
from .timesteps import TIMESTEPS
from .toml import ALL, Setting, quoted
from .training import (
    ADAPTER,
    DATASET,
    EPOCHS,
    LORA,
    RECIPE,
    RUN,
    STATE,
    TRAINING,
    VALIDATION,
    RunPlan,
    TrainConfig,
)


def config_text(config: TrainConfig, folder: Path) -> str:
    """The text of a config.toml that gives these settings, each of them stated; paths below its folder are
    written relative to it.

    Args:
        config: whose scenes, if it has any, are beside its tensors where it has those.
        folder: where the file will be, absolute.
    """
    scenes = config.scenes
    parts: list[tuple[Mapping[str, Setting], Mapping[str, Any]]] = [
        (MODEL, vars(config.model)),
        (ADAPTER, vars(config.adapter)),
        (LORA, vars(config.lora)),
        (EPOCHS, {"epochs": config.epochs}),
        (TRAINING, _without(vars(config.training), "steps", config.epochs)),
        (RECIPE, {"recipe": config.recipe}),
        (RUN, _run_values(config.run)),
        (STATE, {"state": config.state}),
        (TIMESTEPS, vars(config.training.timesteps)),
        (VALIDATION, vars(config.validation)),
        (DATASET, {name: getattr(config, name) for name in DATASET}),
    ]
    if scenes is not None:
        source = {} if scenes.source is None else vars(scenes.source)
        parts.append((SCENES, {**source, **asdict(scenes.shares)}))
    sections: dict[str, list[str]] = {}
    for settings, values in parts:
        for name, setting in settings.items():
            section, key = setting.places[0].split(".")
            sections.setdefault(section, [])
            if (value := values.get(name)) not in (None, ""):
                sections[section].append(f"{key} = {toml(value, folder)}")
    blocks = [[f"[{section}]", *lines] for section, lines in sections.items() if lines]
    blocks += [["[[dataset.sources]]", *_lines(vars(source), folder)] for source in config.sources]
    return "\n\n".join("\n".join(lines) for lines in [*blocks, objective_lines(config.objective)]) + "\n"


def _run_values(run: RunPlan) -> dict[str, Any]:
    values = _without(vars(run), "save_every", run.save_every_epochs)
    kept = _without(values, "keep_last", run.keep_saved)
    return {**kept, "keep_saved": "all"} if run.keep_saved == ALL else kept


def _without(values: Mapping[str, Any], name: str, instead: Any) -> dict[str, Any]:
    """The values, but for the one of this name where another takes its place."""
    return {key: value for key, value in values.items() if key != name or instead is None}


def _lines(values: Mapping[str, Any], folder: Path) -> Iterator[str]:
    return (f"{key} = {toml(value, folder)}" for key, value in values.items() if value is not None)


def toml(value: Any, folder: Path) -> str:
    """A setting as TOML writes it."""
    if isinstance(value, MemorySetting):
        value = value.said()
    if isinstance(value, Path):
        inside = value.is_absolute() and value.is_relative_to(folder)
        value = value.relative_to(folder).as_posix() if inside else str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(toml(item, folder) for item in value)}]"
    return quoted(value) if isinstance(value, str) else repr(value)
