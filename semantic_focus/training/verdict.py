"""How a training went, in words: whether it made things worse, what stopped getting better, what drifted."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from ..objective.sums import RESIDUAL
from ..objective.total import Objective
from .data import Batch
from .random_numbers import SEEDS, own_random_numbers
from .step_record import StepRecord, ValidationRecord
from .trainer import Trainer

PICTURES = 4
"""Of the next steps, on which the LoRA is set against the base model."""
WORSE = 1.25
"""Loss with the LoRA over that without, from which on the training is said to have made it worse."""
GAINED = 0.95
"""Share of all that a region gains, after which it has stopped getting better."""
LOST = 0.1
"""Share of it that is lost again, from which on the region is said to have got worse."""
DRIFTED = 0.1
"""Drift of what is not trained, over the base model's own error there, from which on it is said."""

RAISED = (
    "The loss on the pictures is {loss}, and {before} without the LoRA: the training made it worse. Lower "
    "the learning rate, or raise the warm-up, and begin anew"
)
BEST = (
    "What is held out had its lowest loss at step {step}: {loss}, {before} without the LoRA, {last} at the "
    "end. LoRA and state of that step are kept as lora_best and state_best"
)
STILL = (
    "What is held out had its lowest loss at the last step: {loss}, {before} without the LoRA. More steps "
    "may make it better still"
)
NO_GAIN = (
    "What is held out never had a lower loss than without the LoRA ({before}); the lowest was {loss} at step "
    "{step}"
)
SATURATED = "{regions}: stopped getting better at step {step}"
OVERTRAINED = "{regions}: best at step {step}, and worse from there on what is held out"
DRIFT = "{regions}: not trained, and began to drift at step {step}"


@dataclass(frozen=True)
class Remark:
    """One thing to know after the last step: its kind, the sentence, and the values in it."""

    kind: str
    text: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Verdict:
    """How a training went.

    Attributes:
        loss, loss_before: mean loss on a few of the pictures that are trained, with the LoRA and without.
        remarks: the most important first.
    """

    loss: float
    loss_before: float
    remarks: tuple[Remark, ...]

    @property
    def is_worse(self) -> bool:
        """Whether the training made worse what it trained on."""
        return made_worse(self.loss, self.loss_before)


def made_worse(loss: float, before: float) -> bool:
    """Whether a loss is so far above that of the base model that it is no chance."""
    return not math.isfinite(loss) or loss > WORSE * before > 0


def verdict(
    trainer: Trainer, history: Sequence[StepRecord], check: Callable[[], None] = lambda: None
) -> Verdict:
    """Judge a training that is done; its adapters must be attached, and hold its result.

    The LoRA is set against the base model on the pictures and noise of the next steps, `PICTURES` passes
    each; the training is left as it is.

    Args:
        check: called before each pass; what it raises ends it.
    """
    found = [_with_and_without(trainer, piece) for piece in _pieces(trainer, check)]
    loss, before = (sum(column) / len(column) for column in zip(*found, strict=True))
    remarks = [*about_validations(history, trainer.objective)]
    if made_worse(loss, before):
        remarks.insert(0, _said("raised", RAISED, loss=_number(loss), before=_number(before)))
    return Verdict(loss, before, tuple(remarks))


def _pieces(trainer: Trainer, check: Callable[[], None]) -> Iterator[Batch]:
    """The next pictures; where there are scenes, only what of them is learnt."""
    drawn = trainer.next_batches(PICTURES * (8 if trainer.data.made else 1))
    singles = [piece for batch in drawn for piece in batch.split(1)]
    if trainer.data.made:
        singles = [piece for piece in singles if trainer.objective.trains(piece.masks)] or singles
    for piece in singles[:PICTURES]:
        check()
        yield piece


def _with_and_without(trainer: Trainer, batch: Batch) -> tuple[float, float]:
    model, objective = trainer.model, replace(trainer.objective, prior_every=1)
    noisy, sigma, target = model.corrupt(batch.clean, batch.noise, batch.u)
    level = model.noise_level(batch.u) if objective.needs_noise_position else None
    with torch.no_grad(), own_random_numbers(SEEDS, trainer.data.device):
        answer = model.predict(noisy, sigma, batch.prompts)
        with trainer.adapters.disabled():
            base = model.predict(noisy, sigma, batch.prompts)
        losses = [float(objective(it, target, batch.masks, base, level).total) for it in (answer, base)]
    return losses[0], losses[1]


def about_validations(history: Sequence[StepRecord], objective: Objective) -> Iterator[Remark]:
    """What the validations of a training say; nothing where there are none that are numbers."""
    found = [
        (record.step, record.validation)
        for record in history
        if record.validation is not None and math.isfinite(record.validation.loss)
    ]
    if not found:
        return
    yield _about_best(found)
    said: dict[tuple[str, int], list[str]] = {}
    for name in dict.fromkeys(name for _, validation in found for name in validation.regions):
        curve = [(step, validation) for step, validation in found if name in validation.regions]
        weight = objective.global_fallback if name == RESIDUAL else objective.weights.get(name, 0.0)
        is_trained = not objective.enabled or weight > 0
        told = _about_trained(name, curve) if is_trained else _about_free(name, curve)
        if told is not None:
            said.setdefault(told, []).append(name)
    for kind, sentence in (("overtrained", OVERTRAINED), ("saturated", SATURATED), ("drift", DRIFT)):
        for (_, step), names in sorted(item for item in said.items() if item[0][0] == kind):
            yield _said(kind, sentence, regions=", ".join(names), step=str(step))


def best_of(validations: Sequence[tuple[int, ValidationRecord]]) -> tuple[int, ValidationRecord]:
    """Step and validation of the lowest loss, the earlier of equal ones."""
    return min(validations, key=lambda item: item[1].loss)


def _about_best(found: Sequence[tuple[int, ValidationRecord]]) -> Remark:
    step, best = best_of(found)
    numbers = {"step": str(step), "loss": _number(best.loss), "before": _number(best.loss_before)}
    if best.loss >= best.loss_before:
        return _said("no_gain", NO_GAIN, **numbers)
    if step == found[-1][0]:
        return _said("still", STILL, loss=numbers["loss"], before=numbers["before"])
    return _said("best", BEST, **numbers, last=_number(found[-1][1].loss))


def _about_trained(name: str, curve: Sequence[tuple[int, ValidationRecord]]) -> tuple[str, int] | None:
    """Kind and step of what is to be said of a region that is trained; None: it gains, or never did."""
    values = [validation.regions[name] for _, validation in curve]
    before, lowest = curve[0][1].regions_before[name], min(values)
    gain = before - lowest
    if gain <= 0:
        return None
    if values[-1] > lowest + LOST * gain:
        return "overtrained", curve[values.index(lowest)][0]
    enough = next(place for place, value in enumerate(values) if value <= before - GAINED * gain)
    # the last but one may be near the lowest in any training
    return ("saturated", curve[enough][0]) if enough < len(curve) - 2 else None


def _about_free(name: str, curve: Sequence[tuple[int, ValidationRecord]]) -> tuple[str, int] | None:
    """From where on a region that is not trained has drifted, up to the end."""
    begun = None
    for step, validation in reversed(curve):
        if validation.drift.get(name, math.inf) <= DRIFTED * validation.regions_before[name]:
            break
        begun = step
    return None if begun is None else ("drift", begun)


def _number(value: float) -> str:
    return f"{value:.4g}"


def _said(kind: str, text: str, **values: str) -> Remark:
    return Remark(kind, text.format(**values), values)
