"""config.toml <-> settings of the objective. Unknown keys, wrong types and negative weights name key and
line.
"""

import difflib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from .atomic import write_atomically
from .categories import PRESETS, SEMANTIC_CATEGORIES
from .losses import CosineKind, Normalisation
from .noise_weighting import SigmaWindow, window_of
from .objective import BaseLoss, Objective
from .region_sums import RESIDUAL

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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


class ConfigError(ValueError):
    """A config file that cannot be used; the message names file, line and key."""


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
    path = Path(path)
    text, document = _read(path)
    section = document.get(SECTION)
    if not isinstance(section, dict):
        raise ConfigError(f"{path}: no section [{SECTION}] in it")
    try:
        return objective_from_table(section)
    except _KeyProblem as problem:
        line = _line_of(text, problem.key)
        place = f"{path}, line {line}" if line else path
        raise ConfigError(f"{place}: {problem}") from problem
    except ValueError as error:
        raise ConfigError(f"{path}: [{SECTION}]: {error}") from error


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    """A TOML file as text and as a table."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return text, tomllib.loads(text)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


class _KeyProblem(ValueError):
    def __init__(self, key: str, message: str):
        super().__init__(f"{key} {message}")
        self.key = key


def objective_from_table(section: Mapping[str, Any]) -> Objective:
    """An objective from the key-value pairs of [semantic_cosine]."""
    enabled = section.get("enabled", True)
    if not isinstance(enabled, bool):
        raise _KeyProblem("enabled", f"is {enabled!r}: it must be true or false")
    preset = section.get("preset")
    if preset is not None and preset not in tuple(PRESETS):
        raise _KeyProblem("preset", f"is {preset!r}: choose one of {', '.join(PRESETS)}")
    weights = {name: category.default_weight for name, category in SEMANTIC_CATEGORIES.items()}
    if preset is not None:
        weights.update(PRESETS[preset].weights)
        enabled = section.get("enabled", PRESETS[preset].enabled)
    terms: dict[str, Any] = {}
    for key, value in section.items():
        if key in ("enabled", "preset", OWN_CATEGORIES, WINDOWS):
            continue
        if key in (*TERMS, FLOOR):
            terms[key] = _weight(key, value)
        elif key in CHOICES:
            terms[key] = _choice(key, value)
        elif key == EVERY:
            terms[key] = _count(key, value)
        elif key.removesuffix(WEIGHT_SUFFIX) in SEMANTIC_CATEGORIES and key.endswith(WEIGHT_SUFFIX):
            weights[key.removesuffix(WEIGHT_SUFFIX)] = _weight(key, value)
        else:
            raise _KeyProblem(key, f"is not known in [{SECTION}]: {_meant(key, _known_keys())}")
    own = section.get(OWN_CATEGORIES, {})
    if not isinstance(own, Mapping):
        raise _KeyProblem(OWN_CATEGORIES, f"is {own!r}: it must be a table, name = weight")
    for name, value in own.items():
        if name in SEMANTIC_CATEGORIES:
            raise _KeyProblem(name, f"is no category of your own: write {name}{WEIGHT_SUFFIX} = {value}")
        weights[name] = _weight(name, value)
    windows = _windows(section.get(WINDOWS, {}), (*weights, RESIDUAL))
    return Objective(weights=weights, enabled=enabled, windows=windows, **terms)


def _windows(table: Any, regions: Sequence[str]) -> dict[str, SigmaWindow]:
    if not isinstance(table, Mapping):
        raise _KeyProblem(WINDOWS, f"is {table!r}: it must be a table, name = [low, high]")
    windows = {}
    for name, value in table.items():
        if name not in regions:
            raise _KeyProblem(name, f"in [{SECTION}.{WINDOWS}] is no region: {_meant(name, regions)}")
        if not isinstance(value, list) or any(
            isinstance(part, bool) or not isinstance(part, int | float) for part in value
        ):
            raise _KeyProblem(name, f"is {value!r}: write [low, high] or [low, high, ramp]")
        try:
            windows[name] = window_of(value, name)
        except ValueError as error:
            raise _KeyProblem(name, f"cannot be used: {error}") from None
    return windows


def _choice(key: str, value: Any) -> str:
    options = get_args(CHOICES[key])
    if value not in options:
        raise _KeyProblem(key, f"is {value!r}: choose one of {', '.join(options)}")
    return value


def _count(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _KeyProblem(key, f"is {value!r}: it must be a whole number of 1 or more")
    return value


def _meant(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else f"keys are {', '.join(known)}"


def _weight(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _KeyProblem(key, f"is {value!r}: it must be a number")
    if not 0 <= value < float("inf"):
        raise _KeyProblem(key, f"is {value}: it must be a finite number of 0 or more")
    return float(value)


def _known_keys() -> list[str]:
    return [
        "enabled",
        "preset",
        OWN_CATEGORIES,
        WINDOWS,
        *(name + WEIGHT_SUFFIX for name in SEMANTIC_CATEGORIES),
        *TERMS,
        *CHOICES,
        FLOOR,
        EVERY,
    ]


def _line_of(text: str, key: str) -> int:
    """1-based line of a key in the section, 0 if it cannot be told (a dotted or inline form)."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            inside = header.group(1) in (SECTION, f"{SECTION}.{OWN_CATEGORIES}", f"{SECTION}.{WINDOWS}")
        elif inside and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", line):
            return number
    return 0


def save_objective(path: str | Path, objective: Objective) -> None:
    """Write a file of [semantic_cosine] alone, so that `load_objective` gives the same objective again.

    Raises:
        ConfigError: the file is there and has other settings too, which would be lost.
    """
    path = Path(path)
    if path.is_file():
        others = [name for name in _read(path)[1] if name != SECTION]
        if others:
            raise ConfigError(
                f"{path}: it also has [{others[0]}], which would be lost. Write to another file"
            )
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
        lines += [f"{_quoted(name)} = {float(weight)!r}" for name, weight in own.items()]
    if objective.windows:
        lines += ["", f"[{SECTION}.{WINDOWS}]"]
        lines += [
            f"{_quoted(name)} = {[float(window.low), float(window.high), float(window.ramp)]!r}"
            for name, window in objective.windows.items()
        ]
    write_atomically(path, lambda temporary: temporary.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def _quoted(key: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(key, ensure_ascii=False)
