"""One training step, and the loop around it. Everything random comes from one seeded CPU generator."""

import contextlib
import copy
import dataclasses
import logging
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..lora.network import LoraAdapters
from ..objective.total import Objective, ObjectiveValue
from .data import UNCONDITIONAL, Batch, TrainingPictures, VelocityModel, compute_dtype
from .ema import MovingAverage
from .loss_scale import LossScale
from .not_finite import trace
from .optimizers import make_optimizer
from .passes import Passes
from .processes import Processes
from .random_numbers import SEEDS
from .sampler import PictureSampler
from .settings import TrainingSettings
from .shortage import TrainingOutOfMemory, out_of_memory
from .state import TrainState, TrainStateError, differences, pack_optimizer, same_groups, unpack_optimizer
from .step_record import StepRecord, ValidationRecord
from .step_report import JudgedPass, report
from .untrained import check_something_to_learn
from .validation import Validation, ValidationSettings


class TrainingDiverged(RuntimeError):
    """The loss or a gradient is no longer a finite number. The adapters still hold the last good step."""

    def __init__(self, step: int, what: str, cause: str):
        super().__init__(f"step {step}: the {what} is not a finite number, {cause}")
        self.step = step


def training_loss(
    model: VelocityModel, adapters: LoraAdapters, objective: Objective, batch: Batch, with_prior: bool = True
) -> tuple[ObjectiveValue, Tensor]:
    """The objective on one batch, and the prediction it judged. Adapters must be attached."""
    noisy, sigma, target = model.corrupt(batch.clean, batch.noise, batch.u)
    v_base = None
    if with_prior and objective.needs_base_prediction:
        with adapters.disabled(), torch.no_grad():
            v_base = model.predict(noisy, sigma, batch.prompts)
    v_pred = model.predict(noisy, sigma, batch.prompts)
    level = model.noise_level(batch.u) if objective.needs_noise_position else None
    return objective(v_pred, target, batch.masks, v_base, level), v_pred


class Trainer:
    """A training between two steps: everything it needs to go on is in `state`.

    The adapters must be attached (``with adapters.attached():``) while `step` runs.

    Args:
        model: frozen; see `VelocityModel`.
        adapters: trained in place.
        identity: what was trained how, kept in the state; see `TrainState.identity`. None: pictures and
            settings.
        validation: what is held out. It is for who runs the training to measure, see `run_training`.
        processes: that share each step.

    Raises:
        ValueError: no picture has any region that the objective trains, or none can be held out.
    """

    def __init__(
        self,
        model: VelocityModel,
        adapters: LoraAdapters,
        data: TrainingPictures,
        objective: Objective,
        settings: TrainingSettings,
        identity: Mapping[str, Any] | None = None,
        validation: ValidationSettings | None = None,
        processes: Processes | None = None,
    ):
        self.processes = processes or Processes()
        pictures = settings.batch_size * settings.accumulation
        if pictures < self.processes.size:
            raise ValueError(
                f"{self.processes.size} processes and {pictures} pictures in a step (batch_size "
                f"{settings.batch_size} × accumulation {settings.accumulation}): some would have nothing "
                "to do. Raise accumulation, or start fewer processes"
            )
        self.model, self.adapters, self.data = model, adapters, data
        self.objective, self.settings = objective, settings
        self.steps_done = 0
        self.is_whole = True
        """False after an error in the midst of an update: no state that could be gone on from."""
        if identity is None:
            identity = {"data": data.digest(), "training": dataclasses.asdict(settings)}
        self._identity = dict(identity)
        self.validation: Validation | None = None
        if validation is not None and validation.hold_out != "off":
            self.validation = Validation(model, adapters, data, objective, validation, settings)
            self._identity.setdefault("validation", dataclasses.asdict(validation))
        held_out = self.validation.held_out if self.validation else ()
        check_something_to_learn(data, objective, held_out)
        self._parameters = adapters.parameters()
        self._optimizer = make_optimizer(
            settings.optimizer,
            adapters.parameter_groups(settings.learning_rate, settings.up_rate_ratio),
            settings.learning_rate,
            settings.weight_decay,
        )
        self._rate_factors = [group["lr"] / settings.learning_rate for group in self._optimizer.param_groups]
        self._average = MovingAverage(self._parameters, settings.ema_decay) if settings.ema_decay else None
        self._generator = torch.Generator().manual_seed(settings.seed)
        self._sampler = PictureSampler(
            [tuple(latent.shape) for latent in data.latents],
            data.repeats,
            settings.batch_size,
            self._generator,
            held_out,
        )
        self._passes = Passes(
            model, adapters, self._backward, self._accompany, settings.batch_size, self.processes
        )
        self._loss_scale = LossScale.of(compute_dtype(model))

    def step(self, check: Callable[[], None] = lambda: None) -> StepRecord:
        """One update.

        Args:
            check: called before each pass through the model; what it raises (a cancel, say) ends the step
                as if it had not begun.

        Raises:
            TrainingDiverged: the loss or a gradient became NaN or infinite.
            TrainingOutOfMemory: not even one picture at a time fits.
        """
        before = self._generator.get_state(), self._sampler.state_dict()
        scale = self._loss_scale
        try:
            with self.processes.ending():
                record = self._step(check)
        except BaseException:
            self._generator.set_state(before[0])
            self._sampler.load_state_dict(before[1])
            self._loss_scale = scale
            raise
        if change := self._loss_scale.change_since(scale):
            logging.info(f"LoRA training: from step {record.step} on, {change}")
        return record

    def _step(self, check: Callable[[], None]) -> StepRecord:
        number, rate = self.steps_done + 1, self.settings.rate_at(self.steps_done)
        batches = self._draw()
        seed = int(torch.randint(SEEDS, (), generator=self._generator))
        while True:
            judged = self._passes.gradients(batches, seed, number, check)
            self._loss_scale.divide_out(self._parameters)
            norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.settings.max_grad_norm or math.inf)
            record = report(number, rate, judged, norm, self.objective)
            overflowed = math.isfinite(record.total) and not math.isfinite(record.gradient_norm)
            if not overflowed or self._loss_scale.factor == 1:
                break
            self._loss_scale = self._loss_scale.after_overflow()
        for what, value in (("loss", record.total), ("gradient", record.gradient_norm)):
            if not math.isfinite(value):
                cause = trace(self.model, self.adapters, self.data, batches, seed, rate)
                raise TrainingDiverged(number, what, cause)
        self.is_whole = False
        if record.gradient_norm > 0:  # else nothing was to be learnt, and momentum alone must not move
            self._update(rate)
        self._passes.clear()
        if self._average:
            self._average.update()
        self._loss_scale = self._loss_scale.after_step()
        self.steps_done = number
        self.is_whole = True
        return record

    def measured(self, check: Callable[[], None]) -> ValidationRecord | None:
        """The validation of the last step, if one is due.

        Args:
            check: called before each pass through the model; what it raises ends it.
        """
        if self.validation is None or not self.validation.due(self.steps_done):
            return None
        with self.result():
            return self.validation.measure(self.processes.in_company(check))

    def next_batches(self, pictures: int = 1) -> list[Batch]:
        """The first batches of the next steps, one step's at least and with so many pictures or more; the
        steps will draw them again.
        """
        before = self._generator.get_state(), self._sampler.state_dict()
        drawn = self.settings.batch_size * self.settings.accumulation
        try:
            return [batch for _ in range(math.ceil(pictures / drawn)) for batch in self._draw()]
        finally:
            self._generator.set_state(before[0])
            self._sampler.load_state_dict(before[1])

    def _update(self, rate: float) -> None:
        """Let the optimizer step."""
        for group, factor in zip(self._optimizer.param_groups, self._rate_factors, strict=True):
            group["lr"] = rate * factor
        try:
            self._optimizer.step()
        except RuntimeError as error:
            if out_of_memory(error):
                raise TrainingOutOfMemory(
                    f"step {self.steps_done + 1}: out of memory in the optimizer ({error}). Choose one that "
                    "needs less (adafactor, adamw8bit), or lower the rank"
                ) from error
            raise

    def _draw(self) -> list[Batch]:
        """The batches of one update; noise positions are stratified over all of them."""
        settings, generator = self.settings, self._generator
        chosen = [self._sampler.next_batch() for _ in range(settings.accumulation)]
        positions = settings.timesteps.sample(settings.batch_size * settings.accumulation, generator)
        batches = []
        parts = zip(chosen, positions.split(settings.batch_size), strict=True)
        for number, (pictures, u) in enumerate(parts):
            clean, masks = self.data.batch(pictures)
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            prompts = pictures
            if settings.caption_dropout:
                dropped = torch.rand(len(pictures), generator=generator) < settings.caption_dropout
                prompts = [
                    UNCONDITIONAL if drop else index
                    for index, drop in zip(pictures, dropped.tolist(), strict=True)
                ]
            first = number * settings.batch_size
            batches.append(Batch(clean, noise, masks, pictures, prompts, u.to(clean.device), first))
        return batches

    def _backward(self, batch: Batch, share: float) -> JudgedPass:
        value, v_pred = self._there(batch)
        scale = self._loss_scale.factor
        seen: list[Tensor] = []
        if value.total.requires_grad:
            v_pred.register_hook(seen.append)
            (value.total * (share * scale)).backward()
        elif self.processes.in_step:
            self._back_for_nothing(v_pred)
        return JudgedPass.of(batch, value, seen[0] / scale if seen else torch.zeros_like(v_pred))

    def _there(self, batch: Batch) -> tuple[ObjectiveValue, Tensor]:
        with_prior = self.objective.needs_base_prediction_at(self.steps_done)
        return training_loss(self.model, self.adapters, self.objective, batch, with_prior=with_prior)

    def _accompany(self, batch: Batch) -> None:
        """A pass that others are in need of, and that counts for nothing."""
        self._back_for_nothing(self._there(batch)[1])

    def _back_for_nothing(self, v_pred: Tensor) -> None:
        torch.autograd.grad(v_pred.sum(), self._parameters, allow_unused=True)

    def state(self) -> TrainState:
        """Everything needed to go on as if nothing had stopped, copied."""
        tensors = {f"adapters.{key}": tensor for key, tensor in self.adapters.state_dict().items()}
        optimizer, values = pack_optimizer(self._optimizer)
        tensors.update((f"optimizer.{key}", tensor) for key, tensor in optimizer.items())
        if self._average:
            averages = self._average.tensors()
            tensors.update((f"average.{index}", tensor) for index, tensor in enumerate(averages))
        tensors["generator"] = self._generator.get_state()
        return TrainState(
            self.steps_done,
            tensors,
            {
                "optimizer": values,
                "sampler": self._sampler.state_dict(),
                "averaged": self._average.updates if self._average else 0,
                "at_once": self._passes.at_once,
                **self._loss_scale.values(),
            },
            copy.deepcopy(self._identity),
        )

    def load(self, state: TrainState) -> None:
        """Go on from a state; after an error everything is as it was.

        Adapters keep the state's alpha, random numbers its seed. Where it comes from a training of other
        pictures or another batch size, the walk through the dataset starts anew; where it comes from another
        optimizer or other groups of parameters, the optimizer's memory does. Both are logged.

        Raises:
            TrainStateError: the adapters do not fit, or something is missing or damaged in it.
        """
        if not _same(state.identity, self._identity, "adapters", "fixed"):
            raise TrainStateError(
                "the state and this training differ in what stays as it is of the LoRA that they started "
                "from (convolutions, norms, DoRA): connect it to start_from, or train without the state"
            )
        before = self.state()
        try:
            self._load(state)
        except Exception as error:  # what is wrong in it makes torch and its optimizers raise nearly anything
            self._load(before)
            if isinstance(error, RuntimeError) and out_of_memory(error):
                raise
            raise TrainStateError(_said(error)) from error

    def _load(self, state: TrainState) -> None:
        before, now = state.identity, self._identity
        self.adapters.load_state_dict(state.part("adapters."))
        self.steps_done = state.step
        self._generator.set_state(state.tensors["generator"])
        if all(
            _same(before, now, *keys) for keys in (("data",), ("training", "batch_size"), ("validation",))
        ):
            self._sampler.load_state_dict(state.values["sampler"])
            at_once = int(state.values["at_once"])
            self._passes.at_once = min(max(1, at_once), self.settings.batch_size)
        else:
            logging.warning("LoRA training: other pictures or batch size, the walk through them starts anew")
        self._loss_scale = self._loss_scale.loaded(state.values)
        settings = self.settings
        if differences(before, now) and settings.schedule != "constant" and not settings.schedule_steps:
            logging.warning(
                f"LoRA training: the learning rate goes on at {settings.rate_at(state.step):g}; for one "
                "schedule over all pieces, set schedule_steps to their sum in each"
            )
        values = state.values["optimizer"]
        if _same(before, now, "training", "optimizer") and same_groups(self._optimizer, values):
            unpack_optimizer(self._optimizer, state.part("optimizer."), values)
        else:
            logging.warning("LoRA training: another optimizer or other groups, it starts without memory")
        if self._average:
            averages = state.part("average.")
            if averages:
                ordered = [averages[str(index)] for index in range(len(averages))]
                self._average.load(ordered, int(state.values["averaged"]))
            else:
                self._average = MovingAverage(self._parameters, self.settings.ema_decay)

    def result(self) -> "contextlib.AbstractContextManager[None]":
        """Let the adapters hold the result for a while: the average where there is one."""
        return self._average.applied() if self._average else contextlib.nullcontext()

    def lora(self) -> dict[str, Tensor]:
        """The result so far, as `LoraAdapters.lora` gives it."""
        with self.result():
            return self.adapters.lora()


def _said(error: Exception) -> str:
    """In words: those of our own errors, else what is wrong with the state."""
    if type(error) is ValueError:
        return str(error)
    return f"its content is damaged or of another kind of training ({type(error).__name__}: {error})"


def _same(one: Mapping[str, Any], other: Mapping[str, Any], *keys: str) -> bool:
    for key in keys:
        one, other = one.get(key, {}), other.get(key, {})
    return one == other


def train(
    model: VelocityModel,
    adapters: LoraAdapters,
    data: TrainingPictures,
    objective: Objective,
    settings: TrainingSettings,
    on_step: Callable[[StepRecord], None] = lambda record: None,
) -> list[StepRecord]:
    """Train the adapters in place; afterwards they hold the result.

    Args:
        on_step: called after each update; what it raises (a cancel, say) ends the training with the adapters
            as they are after that update.

    Raises:
        TrainingDiverged: the loss or gradient became NaN or infinite.
        TrainingOutOfMemory: not even one picture at a time fits.
        ValueError: no picture has any region that the objective trains.
    """
    trainer = Trainer(model, adapters, data, objective, settings)
    history = []
    with adapters.attached():
        while trainer.steps_done < settings.steps:
            history.append(trainer.step())
            on_step(history[-1])
    with trainer.result():
        result = adapters.state_dict()
    adapters.load_state_dict(result)
    return history
