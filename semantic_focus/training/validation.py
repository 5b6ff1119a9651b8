"""Validation while training: pictures that are held out, on noise and noise positions that stay the same."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..lora.network import LoraAdapters
from ..objective.total import Objective
from .data import Batch, TrainingPictures, VelocityModel
from .random_numbers import own_random_numbers
from .settings import TrainingSettings
from .step_record import ValidationRecord

HoldOut = Literal["off", "auto", "pictures", "crops"]
"""What a training does not see: whole pictures, or nothing, and crops of its pictures are judged."""

FEW = 10
"""Pictures from which on "auto" holds whole ones out."""
MOST_PICTURES = 16
"""That are held out or cropped; more would take more time and say little more."""
FEWEST_PASSES = 4
"""Through the model in one validation, so that as many noise positions are judged."""
SHARE_OF_TIME = 0.02
"""Of a training's passes through the model that automatic validations may take."""
MOST_VALIDATIONS = 100
"""That are spread over a training automatically."""
CROP = 0.75
"""Side of a crop over that of its picture."""
SEED = 1_000_033
"""Of the held-out choice and its noise: the same for all trainings, so that they can be compared."""


@dataclass(frozen=True)
class ValidationSettings:
    """What is held out, and how often it is judged.

    Attributes:
        hold_out: "auto" takes pictures where there are `FEW` or more that the objective trains, else crops.
        share: of the pictures; at least one, at most `MOST_PICTURES`.
        every: steps between two validations; 0: so many that they take about `SHARE_OF_TIME`.
    """

    hold_out: HoldOut = "off"
    share: float = 0.1
    every: int = 0

    def __post_init__(self):
        if self.hold_out not in get_args(HoldOut):
            raise ValueError(f"hold_out {self.hold_out!r}: choose one of {', '.join(get_args(HoldOut))}")
        if not 0 < self.share <= 0.5:
            raise ValueError(f"share is {self.share}: it must be above 0 and at most 0.5 of the pictures")
        if self.every < 0:
            raise ValueError(f"every is {self.every}: it must be 0 (automatic) or more")


class Validation:
    """Judges the adapters on what a training does not see; it leaves the training as it is.

    Every pass has the same picture, noise and noise position each time; the positions are spread as those
    that are trained. One picture at a time: no more memory than a step takes.

    Args:
        settings: not "off".

    Raises:
        ValueError: there are too few pictures to hold any out.
    """

    def __init__(
        self,
        model: VelocityModel,
        adapters: LoraAdapters,
        data: TrainingPictures,
        objective: Objective,
        settings: ValidationSettings,
        training: TrainingSettings,
    ):
        self._model, self._adapters, self._data = model, adapters, data
        self._objective = replace(objective, prior_every=1)
        pictures, self._cropped = _judged(settings, data, objective)
        self.held_out: frozenset[int] = frozenset() if self._cropped else _with_same_names(pictures, data)
        """Pictures that must not be trained."""
        self._pictures = [*pictures] * math.ceil(FEWEST_PASSES / len(pictures))
        self._timesteps, self._steps = training.timesteps, training.steps
        self.every = settings.every or automatic_interval(len(self._pictures), objective, training)
        """Steps between two validations."""
        self._base: list[Tensor] = []

    def due(self, step: int) -> bool:
        """Whether the adapters are judged after this step: every so often, and after the last one."""
        return step == self._steps or step % self.every == 0

    def measure(self, check: Callable[[], None] = lambda: None) -> ValidationRecord:
        """Judge the adapters, which must be attached, as they are now.

        Args:
            check: called before each pass through the model; what it raises ends the validation.
        """
        if not self._base:
            with self._adapters.disabled():
                self._base = [answer.cpu() for _, answer in self._answers(check)]
        found = [
            self._judge(batch, answer, base.to(answer))
            for (batch, answer), base in zip(self._answers(check), self._base, strict=True)
        ]
        loss, loss_before = torch.stack([torch.stack(losses) for losses, _, _ in found]).mean(0).tolist()
        values = torch.stack([table for _, table, _ in found]).nanmean(0).tolist()
        names = found[0][2]
        after, before, drift = (
            {name: value for name, value in zip(names, row, strict=True) if math.isfinite(value)}
            for row in values
        )
        return ValidationRecord(_finite(loss), _finite(loss_before), after, before, drift)

    def _answers(self, check: Callable[[], None]) -> Iterator[tuple[Batch, Tensor]]:
        """Every pass, and the prediction of the model as it is now."""
        generator = torch.Generator().manual_seed(SEED)
        positions = self._timesteps.sample(len(self._pictures), generator)
        for number, picture in enumerate(self._pictures):
            check()
            batch = self._batch(picture, positions[number : number + 1], number, generator)
            noisy, sigma, _ = self._model.corrupt(batch.clean, batch.noise, batch.u)
            with torch.no_grad(), own_random_numbers(SEED + number, self._data.device):
                answer = self._model.predict(noisy, sigma, batch.prompts)
            yield batch, answer

    def _batch(self, picture: int, u: Tensor, turn: int, generator: torch.Generator) -> Batch:
        clean, masks = self._data.batch([picture])
        if self._cropped:
            rows, columns = self._window(masks, clean.shape[-2:], turn)
            clean = clean[..., rows, columns].contiguous()
            masks = {name: mask[..., rows, columns] for name, mask in masks.items()}
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        return Batch(clean, noise, masks, [picture], [picture], u.to(clean.device))

    def _window(self, masks: Mapping[str, Tensor], size: Sequence[int], turn: int) -> tuple[slice, slice]:
        """The crop at a corner that holds most of what is weighted; of equal ones another at each turn."""
        corners = list(itertools.product(_ends(size[0]), _ends(size[1])))
        turn %= len(corners)

        def weighted(corner: tuple[slice, slice]) -> float:
            weights = self._objective.weights
            cuts = {name: mask[..., corner[0], corner[1]] for name, mask in masks.items()}
            return sum(weights.get(name, 0) * float(cut.sum()) for name, cut in cuts.items())

        return max(corners[turn:] + corners[:turn], key=weighted)

    def _judge(
        self, batch: Batch, answer: Tensor, base: Tensor
    ) -> tuple[tuple[Tensor, Tensor], Tensor, tuple[str, ...]]:
        """The losses with and without the adapters, and Float[3, K] for the named regions: their values with
        and without, and the drift; NaN where a region is absent.
        """
        _, _, target = self._model.corrupt(batch.clean, batch.noise, batch.u)
        level = self._model.noise_level(batch.u) if self._objective.needs_noise_position else None
        with torch.no_grad():
            after, before = (
                self._objective(prediction, target, batch.masks, base, level) for prediction in (answer, base)
            )
        regions = after.masks[0]
        moved = (answer - base).float().square().mean(1)[0]
        drift = (regions * moved).flatten(1).sum(1) / regions.flatten(1).sum(1)
        count = len(regions)  # without the one of everything, where regions are switched off
        table = torch.stack((after.region_loss[0, :count], before.region_loss[0, :count], drift))
        present = after.present[0, :count]
        absent = torch.full_like(table, math.nan)
        return (after.total, before.total), torch.where(present, table, absent).cpu(), after.names[:count]


def automatic_interval(passes: int, objective: Objective, training: TrainingSettings) -> int:
    """Steps between two validations of so many passes, so that all of them, and the base model's own answers
    once, take about `SHARE_OF_TIME` of a training; once at the end, if even that is more.

    A pass forward and backward counts as two forward, which is less than it takes.
    """
    of_step = training.accumulation * (2 + objective.needs_base_prediction / objective.prior_every)
    count = int(SHARE_OF_TIME * of_step * training.steps / passes) - 1
    return math.ceil(training.steps / min(max(count, 1), MOST_VALIDATIONS))


def _judged(
    settings: ValidationSettings, data: TrainingPictures, objective: Objective
) -> tuple[tuple[int, ...], bool]:
    """The pictures that are judged, and whether crops of them are, because all of them are trained."""
    useful = [index for index in data.own if objective.trains(data.batch([index])[1])]
    as_crops = settings.hold_out == "crops" or (settings.hold_out == "auto" and len(useful) < FEW)
    if not as_crops and len(useful) < 2:
        raise ValueError(
            f"{len(useful)} of the pictures hold anything that is weighted: none can be held out for the "
            "validation. Set its hold_out to crops, or off"
        )
    count = min(max(1, round(settings.share * len(useful))), MOST_PICTURES, len(useful))
    if as_crops:
        count = min(max(count, FEWEST_PASSES), len(useful))
    order = torch.randperm(len(useful), generator=torch.Generator().manual_seed(SEED)).tolist()
    return tuple(sorted(useful[place] for place in order[:count])), as_crops


def _with_same_names(pictures: Sequence[int], data: TrainingPictures) -> frozenset[int]:
    """These pictures, the same ones in other sizes as far as their names are known, and their composites."""
    names = {data.names[index] for index in pictures if index < len(data.names)}
    same = frozenset(pictures) | {index for index, name in enumerate(data.names) if name in names}
    first = len(data.own)
    return same | {first + number for number, picture in enumerate(data.under) if picture in same}


def _ends(size: int) -> tuple[slice, slice]:
    """Crops at both ends of one side, in whole patches of any model where there is room for that."""
    step = 8 if size >= 32 else 2
    length = min(size, max(step, int(CROP * size) // step * step))
    return slice(0, length), slice(size - length, size)


def _finite(value: float) -> float:
    return value if math.isfinite(value) else math.nan
