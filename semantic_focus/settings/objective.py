"""The section [semantic_cosine] of a config.toml <-> settings of the objective."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ..categories import PRESETS, SEMANTIC_CATEGORIES
from ..files.writing import write_text
from ..objective.loss import CosineKind, Normalisation
from ..objective.noise_weighting import SigmaWindow, window_of
from ..objective.sums import RESIDUAL
from ..objective.total import BaseLoss, Objective
from .toml import (
    Parse,
    Tables,
    TomlFile,
    check_keys,
    flag,
    meant,
    number,
    numbers,
    one_of,
    parsed,
    quoted,
    shown,
    whole,
)

SECTION = "semantic_cosine"
OWN_CATEGORIES = "categories"
"""Table inside the section with weights of categories of the user's own: ``tattoo = 0.8``."""
WINDOWS = "windows"
"""Table inside the section with the noise positions of regions: ``face = [low, high]`` or with a ramp."""
WEIGHT_SUFFIX = "_weight"
TERMS = (
    "cosine_weight",
    "magnitude_weight",
    "base_weight",
    "prior_weight",
    "area_shrinkage",
    "global_fallback",
    "huber_delta",
    "snr_gamma",
)
"""Numbers of the objective that are not the weight of a region."""
CHOICES = {"base_loss": BaseLoss, "cosine": CosineKind, "normalise": Normalisation}
FLOOR = "base_mask_floor"
"""A number; left out: no floor, the base loss counts the whole picture."""
EVERY = "prior_every"


SETTINGS: Mapping[str, Parse] = {
    "enabled": flag,
    "preset": one_of(PRESETS),
    **{name + WEIGHT_SUFFIX: number() for name in SEMANTIC_CATEGORIES},
    **{term: number() for term in TERMS},
    **{choice: one_of(get_args(options)) for choice, options in CHOICES.items()},
    FLOOR: number(),
    EVERY: whole(1),
}
"""What the section may hold besides its two tables."""


def load_objective(path: str | Path) -> Objective:
    """Read the section [semantic_cosine] of a config.toml; what it leaves out has its default.

    `<category>_weight` sets a region's weight, `preset` gives the weights to start from, `enabled = false`
    trains the whole picture alike, the table [semantic_cosine.categories] holds weights of categories of the
    user's own, the table [semantic_cosine.windows] the noise positions [low, high] or [low, high, ramp] at
    which a region is trained. The other keys are the attributes of `Objective`.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: not TOML, no such section, unknown key, wrong type, negative weight.
    """
    return objective_of(TomlFile(path))


def objective_of(file: Tables) -> Objective:
    """The same of a file that was read already; errors of `load_objective`."""
    if SECTION not in file.tables:
        raise file.error(SECTION, "", "is missing: it holds the settings of the objective")
    section = file.table(SECTION)
    check_keys(file, SECTION, section, (*SETTINGS, OWN_CATEGORIES, WINDOWS))
    values = {
        key: parsed(file, SECTION, key, section[key], parse)
        for key, parse in SETTINGS.items()
        if key in section
    }
    preset = PRESETS[values.pop("preset")] if "preset" in values else None
    weights = {name: category.default_weight for name, category in SEMANTIC_CATEGORIES.items()}
    if preset is not None:
        weights.update(preset.weights)
    enabled = values.pop("enabled", preset.enabled if preset else True)
    for name in SEMANTIC_CATEGORIES:
        weights[name] = values.pop(name + WEIGHT_SUFFIX, weights[name])
    weights.update(_own_categories(file, section))
    windows = _windows(file, section, (*weights, RESIDUAL))
    try:
        return Objective(weights=weights, enabled=enabled, windows=windows, **values)
    except ValueError as error:
        raise file.error(SECTION, "", f"cannot be used: {error}") from error


def _table(file: Tables, section: Mapping[str, Any], key: str, form: str) -> Mapping[str, Any]:
    """A table inside the section; empty when it is not there."""
    table = section.get(key, {})
    if not isinstance(table, Mapping):
        raise file.error(SECTION, key, f"is {shown(table)}: it must be a table, {form}")
    return table


def _own_categories(file: Tables, section: Mapping[str, Any]) -> dict[str, float]:
    place = f"{SECTION}.{OWN_CATEGORIES}"
    weights = {}
    for name, value in _table(file, section, OWN_CATEGORIES, "name = weight").items():
        if name in SEMANTIC_CATEGORIES:
            raise file.error(
                place, name, f"is no category of your own: write {name}{WEIGHT_SUFFIX} = {value}"
            )
        weights[name] = parsed(file, place, name, value, number())
    return weights


def _windows(file: Tables, section: Mapping[str, Any], regions: Sequence[str]) -> dict[str, SigmaWindow]:
    place = f"{SECTION}.{WINDOWS}"
    windows = {}
    for name, value in _table(file, section, WINDOWS, "name = [low, high]").items():
        if name not in regions:
            raise file.error(place, name, f"is no region: {meant(name, regions)}")
        windows[name] = parsed(file, place, name, value, lambda limits, name=name: _window(limits, name))
    return windows


def _window(limits: Any, name: str) -> SigmaWindow:
    if not isinstance(limits, list):
        raise ValueError("write [low, high] or [low, high, ramp]")
    return window_of(numbers(limits), name)


def save_objective(path: str | Path, objective: Objective) -> None:
    """Write a file of [semantic_cosine] alone, so that `load_objective` gives the same objective again.

    Raises:
        ConfigError: the file is there and has other settings too, which would be lost.
    """
    path = Path(path)
    if path.is_file():
        file = TomlFile(path)
        others = [name for name in file.tables if name != SECTION]
        if others:
            raise file.error(others[0], "", "would be lost: write to another file")
    write_text(path, "\n".join(objective_lines(objective)) + "\n")


def objective_lines(objective: Objective) -> list[str]:
    """The lines of the section and its tables, from which `objective_of` makes the same objective."""
    own = {name: weight for name, weight in objective.weights.items() if name not in SEMANTIC_CATEGORIES}
    lines = [f"[{SECTION}]", f"enabled = {str(objective.enabled).lower()}"]
    for name in SEMANTIC_CATEGORIES:
        lines.append(f"{name}{WEIGHT_SUFFIX} = {float(objective.weights.get(name, 0.0))!r}")
    lines += [f"{term} = {float(getattr(objective, term))!r}" for term in TERMS]
    lines += [f'{choice} = "{getattr(objective, choice)}"' for choice in CHOICES]
    lines.append(f"{EVERY} = {objective.prior_every}")
    if objective.base_mask_floor is not None:
        lines.append(f"{FLOOR} = {float(objective.base_mask_floor)!r}")
    if own:
        lines += ["", f"[{SECTION}.{OWN_CATEGORIES}]"]
        lines += [f"{quoted(name)} = {float(weight)!r}" for name, weight in own.items()]
    if objective.windows:
        lines += ["", f"[{SECTION}.{WINDOWS}]"]
        lines += [
            f"{quoted(name)} = {[float(window.low), float(window.high), float(window.ramp)]!r}"
            for name, window in objective.windows.items()
        ]
    return lines
