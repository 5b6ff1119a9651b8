"""What LoRA Train Step takes from its model's recipe, and which of its inputs other nodes overrule."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..semantic_focus.comfy.guidance import NO_GUIDANCE, guided, missing_guidance
from ..semantic_focus.comfy.request import TrainingRequest
from ..semantic_focus.lora.adapters import AdapterSettings
from ..semantic_focus.objective.timesteps import TimestepSampling
from ..semantic_focus.settings.filling import COLUMNS, Choice, Filled, fill, said
from ..semantic_focus.settings.recipes import Recipe
from ..semantic_focus.training.state import TrainState

RECIPE = "recipe {family}: {values}"
OVERRULED = "{inputs}: not used, because {by} is connected and has its own"

OF_THE_ADAPTERS = ("rank", "alpha", "layers")
"""Those of a training that is gone on with are its own, and the other fields of its `AdapterSettings` too."""
OVERRULED_BY: Mapping[str, tuple[str, ...]] = {
    "train_state": ("seed", "rank", "alpha", "layers"),
    "adapter": ("rank", "alpha"),
    "timestep_options": ("timesteps",),
    "start_from": ("rank", "alpha", "layers"),
}
"""By optional input: those that have no effect where it is connected."""


@dataclass(frozen=True)
class Note:
    """One thing to know before the first step: its kind, the sentence, and the values in it."""

    kind: str
    text: str
    values: Mapping[str, str]


def filled_by_recipe(
    values: Mapping[str, Any], defaults: Mapping[str, Any], recipe: Recipe, pictures: int
) -> Filled:
    """The node's values, and those of the recipe where an input has its default and nothing overrules it.

    Args:
        values: of the inputs, by name.
        pictures: how many are trained on.
    """
    choice = Choice(
        values["steps"],
        values["learning_rate"],
        values["rank"],
        values["alpha"],
        values["layers"],
        TimestepSampling(values["timesteps"]),
    )
    state = values.get("train_state")
    if state:
        kept = {name: _of_state(state, name) for name in OF_THE_ADAPTERS}
        choice = replace(choice, **{name: value for name, value in kept.items() if value is not None})
    if _is_off(values, defaults):
        return Filled(choice, ())
    untouched = {name for name in COLUMNS if values[name] == defaults[name]}
    untouched -= {name for name, _ in _overruled(values)}
    if state:
        untouched -= {"steps", *OF_THE_ADAPTERS}  # how long a piece is, only the user knows
    options = {"batch_size": values["batch_size"], **values.get("options", {})}
    per_step = options["batch_size"] * options.get("accumulation", 1)
    return fill(choice, recipe, untouched, pictures, per_step, options.get("optimizer", "adamw"))


def adapter_settings(values: Mapping[str, Any], choice: Choice) -> AdapterSettings:
    """Those of Adapter Options, else of the node; of a training that is gone on with all but the dropout are
    its own, as far as its state has them.
    """
    settings = values.get("adapter") or AdapterSettings(rank=choice.rank, alpha=choice.alpha)
    state = values.get("train_state")
    kept = state.identity.get("adapters") if state else None
    if not isinstance(kept, Mapping):
        return settings
    names = {field.name for field in fields(AdapterSettings)} - {"dropout"}
    own = {name: kept[name] for name in names & set(kept)}
    return replace(settings, **{name: tuple(v) if isinstance(v, list) else v for name, v in own.items()})


def before_training(
    request: TrainingRequest,
    recipe: Recipe,
    filled: Filled,
    values: Mapping[str, Any],
    defaults: Mapping[str, Any],
) -> tuple[TrainingRequest, list[Note]]:
    """The training with the guidance that its model wants, and what is to be said of the node's inputs:
    which values are the recipe's, and which that were changed have no effect.
    """
    notes = []
    guidance = missing_guidance(recipe, request.conditionings)
    if _is_off(values, defaults):
        if guidance is not None:
            notes.append(_note("no_guidance", NO_GUIDANCE, family=recipe.name, guidance=f"{guidance:g}"))
    else:
        if guidance is not None:
            request = guided(request, guidance)
        if taken := said(filled, guidance):
            notes.append(_note("recipe", RECIPE, family=recipe.name, values=taken))
    changed: dict[str, list[str]] = {}
    for name, by in _overruled(values):
        if values[name] not in (defaults[name], _instead(values[by], by, name)):
            changed.setdefault(by, []).append(f"{name} {values[name]}")
    for by, inputs in changed.items():
        notes.append(_note("overruled", OVERRULED, inputs=", ".join(inputs), by=by))
    return request, notes


def _is_off(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> bool:
    return values.get("recipe", defaults["recipe"]) == "off"


def _note(kind: str, text: str, **values: str) -> Note:
    return Note(kind, text.format(**values), values)


def _instead(given: Any, by: str, name: str) -> Any:
    """The value that takes the place of an input's, as far as it is known."""
    if by == "adapter":
        return getattr(given, name, None)
    if by == "timestep_options":
        return given.kind
    return _of_state(given, name) if by == "train_state" else None


def _of_state(state: TrainState, name: str) -> Any:
    """A number or name that an earlier training had; None if its state does not say."""
    for part in ("adapters", "training"):
        found = state.identity.get(part)
        if isinstance(found, dict) and isinstance(found.get(name), int | float | str):
            return found[name]
    return None


def _overruled(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Inputs without an effect, each with the first that overrules it."""
    seen = set()
    for by, names in OVERRULED_BY.items():
        if by not in values:
            continue
        more = ("layers",) if by == "adapter" and values[by].include else ()
        for name in (*names, *more):
            if name not in seen:
                seen.add(name)
                yield name, by
