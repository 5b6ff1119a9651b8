"""What an objective asks for and the pictures do not have: weights, and pictures, that train nothing."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from ..objective.total import Objective
from .data import TrainingPictures

NO_MASK = (
    "no mask is called {regions}: that weight trains nothing. Name it in the keywords of the node that "
    "segments, with a segmenter that finds things by words"
)
EMPTY_REGION = (
    "{regions}: weighted, but empty in every picture, so that weight trains nothing. Correct its masks, its "
    "words or the weight"
)
IDLE_PICTURES = (
    "{count} of {total} pictures hold nothing that is weighted and train nothing, by their place in the "
    "list: {pictures}"
)
IDLE_NAMED = "{count} of {total} pictures hold nothing that is weighted and train nothing: {pictures}"
MOST_NAMED = 20
"""Pictures that are named; more are counted."""


@dataclass(frozen=True)
class Untrained:
    """One thing to know before the first step: its kind, the sentence, and the values in it."""

    kind: str
    text: str
    values: Mapping[str, str]


def untrained(objective: Objective, data: TrainingPictures) -> list[Untrained]:
    """What trains nothing although it is there or has a weight; nothing where regions are switched off."""
    if not objective.enabled:
        return []
    wanted = [name for name, weight in objective.weights.items() if weight > 0]
    there = {
        label for mask in data.masks for label, layer in zip(data.labels, mask, strict=True) if layer.any()
    }
    missing = [name for name in wanted if name not in data.labels]
    empty = [name for name in wanted if name in data.labels and name not in there]
    idle = [
        data.names[index] if data.names else str(index + 1)
        for index, mask in enumerate(data.masks[: len(data.own)])
        if not objective.trains({name: layer[None] for name, layer in zip(data.labels, mask, strict=True)})
    ]
    found = []
    if missing:
        found.append(_said("no_mask", NO_MASK, regions=", ".join(missing)))
    if empty:
        found.append(_said("empty_region", EMPTY_REGION, regions=", ".join(empty)))
    if idle:
        names = ", ".join(idle[:MOST_NAMED]) + (" …" if len(idle) > MOST_NAMED else "")
        counts = {"count": str(len(idle)), "total": str(len(data.own))}
        kind, sentence = ("idle_named", IDLE_NAMED) if data.names else ("idle_pictures", IDLE_PICTURES)
        found.append(_said(kind, sentence, pictures=names, **counts))
    return found


def check_something_to_learn(
    data: TrainingPictures, objective: Objective, held_out: Container[int] = ()
) -> None:
    """Raise ValueError where no picture that is trained has a region with a weight above 0."""
    trained = [index for index in data.own if index not in held_out]
    if not any(objective.trains(data.batch([index])[1]) for index in trained):
        wanted = ", ".join(name for name, weight in objective.weights.items() if weight > 0)
        raise ValueError(
            f"none of the {len(trained)} pictures has a region with a weight above 0 ({wanted}): "
            "check the segmentation preview, or raise global_fallback"
        )


def _said(kind: str, text: str, **values: str) -> Untrained:
    return Untrained(kind, text.format(**values), values)
