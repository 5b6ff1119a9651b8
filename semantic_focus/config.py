"""config.toml <-> settings of the objective. Unknown keys, wrong types and negative weights name key and
line.
"""

import difflib
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .atomic import write_atomically
from .categories import PRESETS, SEMANTIC_CATEGORIES
from .objective import Objective

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SECTION = "semantic_cosine"
OWN_CATEGORIES = "categories"
"""Table inside the section with weights of categories of the user's own: ``tattoo = 0.8``."""
WEIGHT_SUFFIX = "_weight"
TERMS = (
    "cosine_weight",
    "magnitude_weight",
    "base_weight",
    "prior_weight",
    "area_shrinkage",
    "global_fallback",
)
"""Numbers of the objective that are not the weight of a region."""


class ConfigError(ValueError):
    """A config file that cannot be used; the message names file, line and key."""


def load_objective(path: str | Path) -> Objective:
    """Read the section [semantic_cosine] of a config.toml; what it leaves out has its default.

    `<category>_weight` sets a region's weight, `preset` gives the weights to start from, `enabled = false`
    trains the whole picture alike, the table [semantic_cosine.categories] holds weights of categories of the
    user's own.

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
    terms = {}
    for key, value in section.items():
        if key in ("enabled", "preset", OWN_CATEGORIES):
            continue
        if key in TERMS:
            terms[key] = _weight(key, value)
        elif key.removesuffix(WEIGHT_SUFFIX) in SEMANTIC_CATEGORIES and key.endswith(WEIGHT_SUFFIX):
            weights[key.removesuffix(WEIGHT_SUFFIX)] = _weight(key, value)
        else:
            near = difflib.get_close_matches(key, _known_keys(), 1)
            meant = f"did you mean {near[0]}?" if near else f"keys are {', '.join(_known_keys())}"
            raise _KeyProblem(key, f"is not known in [{SECTION}]: {meant}")
    own = section.get(OWN_CATEGORIES, {})
    if not isinstance(own, Mapping):
        raise _KeyProblem(OWN_CATEGORIES, f"is {own!r}: it must be a table, name = weight")
    for name, value in own.items():
        if name in SEMANTIC_CATEGORIES:
            raise _KeyProblem(name, f"is no category of your own: write {name}{WEIGHT_SUFFIX} = {value}")
        weights[name] = _weight(name, value)
    return Objective(weights=weights, enabled=enabled, **terms)


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
        *(name + WEIGHT_SUFFIX for name in SEMANTIC_CATEGORIES),
        *TERMS,
    ]


def _line_of(text: str, key: str) -> int:
    """1-based line of a key in the section, 0 if it cannot be told (a dotted or inline form)."""
    inside = False
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([^\]]+?)\s*\]", line)
        if header:
            inside = header.group(1) in (SECTION, f"{SECTION}.{OWN_CATEGORIES}")
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
    if own:
        lines += ["", f"[{SECTION}.{OWN_CATEGORIES}]"]
        lines += [f"{_quoted(name)} = {float(weight)!r}" for name, weight in own.items()]
    write_atomically(path, lambda temporary: temporary.write_text("\n".join(lines) + "\n", encoding="utf-8"))


def _quoted(key: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return json.dumps(key, ensure_ascii=False)
