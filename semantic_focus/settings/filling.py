"""What a recipe fills in: what a user has left untouched, and nothing else."""

from collections.abc import Collection
from dataclasses import dataclass, replace

from ..objective.timesteps import TimestepSampling
from .recipes import Recipe
from .training import TrainConfig

RATE_IS_FOR = ("adamw", "adamw8bit")
"""Optimizers that the learning rates of the recipes are meant for."""

COLUMNS = ("steps", "learning_rate", "rank", "alpha", "layers", "timesteps")
"""What is filled, by the names of the node's inputs."""


@dataclass(frozen=True)
class Choice:
    """What a training is set to, as far as a recipe has something to say."""

    steps: int
    learning_rate: float
    rank: int
    alpha: float
    layers: str
    timesteps: TimestepSampling


@dataclass(frozen=True)
class Filled:
    """A choice after a recipe, and the names of `COLUMNS` that are the recipe's."""

    choice: Choice
    taken: tuple[str, ...]


def fill(
    choice: Choice,
    recipe: Recipe,
    untouched: Collection[str],
    pictures: int,
    pictures_per_step: int,
    optimizer: str,
) -> Filled:
    """The choice with the recipe's values in the place of what is untouched.

    Rank and alpha are one thing: where either was touched, both stay. The learning rate stays with an
    optimizer that wants another one.

    Args:
        untouched: names of `COLUMNS` that may be filled.
    """
    fillable = set(untouched)
    if not {"rank", "alpha"} <= fillable:
        fillable -= {"rank", "alpha"}
    if optimizer not in RATE_IS_FOR:
        fillable.discard("learning_rate")
    taken = tuple(name for name in COLUMNS if name in fillable)
    row = Choice(
        recipe.steps(pictures, pictures_per_step),
        recipe.learning_rate,
        recipe.rank,
        recipe.alpha,
        recipe.layers,
        recipe.timesteps,
    )
    return Filled(replace(choice, **{name: getattr(row, name) for name in taken}), taken)


def said(filled: Filled, guidance: float | None = None) -> str:
    """What was filled as a line of text, "steps 1500, learning_rate 0.0001"; empty: nothing was."""
    words = [f"{name} {_shown(getattr(filled.choice, name))}" for name in filled.taken]
    return ", ".join(words + ([] if guidance is None else [f"guidance {guidance:g}"]))


def _shown(value: object) -> str:
    if isinstance(value, TimestepSampling):
        inner = {"logit_normal": f" (mean {value.mean:g})", "shifted": f" (shift {value.shift:g})"}
        return value.kind + inner.get(value.kind, "")
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def fill_config(config: TrainConfig, recipe: Recipe, pictures: int) -> tuple[TrainConfig, Filled]:
    """A config.toml with what it leaves out as the recipe has it.

    Args:
        pictures: how many there are.
    """
    training, adapter = config.training, config.adapter
    choice = Choice(
        training.steps,
        training.learning_rate,
        adapter.rank,
        adapter.alpha,
        config.lora.layers,
        training.timesteps,
    )
    untouched = set(COLUMNS) - config.stated
    if config.lora.continue_from is not None:  # it has its own
        untouched -= {"rank", "alpha", "layers"}
    if adapter.kind != "lora":  # a rank means something else there
        untouched -= {"rank", "alpha"}
    if adapter.include:
        untouched -= {"layers"}
    per_step = training.batch_size * training.accumulation
    filled = fill(choice, recipe, untouched, pictures, per_step, training.optimizer)
    now = filled.choice
    return replace(
        config,
        training=replace(training, steps=now.steps, learning_rate=now.learning_rate, timesteps=now.timesteps),
        adapter=replace(adapter, rank=now.rank, alpha=now.alpha),
        lora=replace(config.lora, layers=now.layers),
    ), filled
