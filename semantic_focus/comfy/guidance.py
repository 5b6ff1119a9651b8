"""Embedded guidance: the number that a guidance-distilled model gets beside its prompt."""

import dataclasses
from collections.abc import Sequence

from ..settings.recipes import Recipe
from .conditioning import Conditioning
from .request import TrainingRequest

GUIDANCE = "guidance"
"""Its name among the extras of a conditioning; the node Flux Guidance writes it."""

NO_GUIDANCE = (
    "{family} is trained at the guidance 3.5 that ComfyUI gives to prompts without one; it is best trained "
    "at {guidance}: set recipe to auto"
)


def missing_guidance(recipe: Recipe, conditionings: Sequence[Conditioning]) -> float | None:
    """The guidance to train at, if the family takes one and a prompt has none."""
    bare = (GUIDANCE not in extras for conditioning in conditionings for _, extras in conditioning)
    return recipe.guidance if any(bare) else None


def guided(request: TrainingRequest, guidance: float) -> TrainingRequest:
    """The same training, its prompts without a guidance with this one."""
    prompts = list(request.conditionings)
    empty = [] if request.unconditional is None else [request.unconditional]
    made = _with_guidance([*prompts, *empty], guidance)
    return dataclasses.replace(
        request, conditionings=made[: len(prompts)], unconditional=made[-1] if empty else None
    )


def _with_guidance(conditionings: Sequence[Conditioning], guidance: float) -> list[Conditioning]:
    """What was one object stays one, so that it is encoded once."""
    made: dict[int, Conditioning] = {}
    for conditioning in conditionings:
        if id(conditioning) not in made:
            made[id(conditioning)] = [(text, {GUIDANCE: guidance, **extras}) for text, extras in conditioning]
    return [made[id(conditioning)] for conditioning in conditionings]
