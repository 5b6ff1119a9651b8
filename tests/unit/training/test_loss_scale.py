"""The loss of an fp16 network is scaled: nothing vanishes or overflows, and nobody else notices."""

import dataclasses
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective, ObjectiveValue
from semantic_focus.training import loss_scale
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.loss_scale import GOOD_STEPS, LARGEST, START, LossScale
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.state import TrainStateError, load_train_state, save_train_state
from semantic_focus.training.trainer import Trainer, TrainingDiverged

from .tiny_velocity import TinyVelocity

SETTINGS = TrainingSettings(steps=6, batch_size=2, accumulation=2, learning_rate=1e-2, warmup=1)
OBJECTIVE = Objective(weights={"face": 1.0}, prior_every=2)
LARGEST_HALF = 65520
"""fp16 rounds what is below to 65504, and the rest to infinity."""


class SaysHalf(TinyVelocity):
    """Computes in fp32 and says that it is fp16."""

    compute_dtype = torch.float16


class Half(SaysHalf):
    """The gradient on its prediction goes back in fp16."""

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        prediction = super().predict(noisy, sigma, pictures)
        if prediction.requires_grad:
            prediction.register_hook(lambda gradient: gradient.half().float())
        return prediction.clone()


@dataclasses.dataclass(frozen=True)
class Times(Objective):
    """The objective times a factor, as another number of elements would have it."""

    factor: float = 1.0

    def __call__(self, *arguments: Any) -> ObjectiveValue:
        value = super().__call__(*arguments)
        return dataclasses.replace(value, total=value.total * self.factor)


def times(factor: float) -> Times:
    return Times(weights={"face": 1.0}, prior_every=2, factor=factor)


def trainer_of(
    model: TinyVelocity, data: TrainingPictures, objective: Objective = OBJECTIVE, **changes: Any
) -> Trainer:
    layers = linear_layers(model, "all linear layers")
    adapters = LoraAdapters(layers, AdapterSettings(rank=4, alpha=4.0, dropout=0.1), 0)
    return Trainer(model, adapters, data, objective, dataclasses.replace(SETTINGS, **changes))


def steps(trainer: Trainer, count: int) -> list[str]:
    with trainer.adapters.attached():
        return [repr(trainer.step()) for _ in range(count)]


def scale_of(trainer: Trainer) -> dict[str, int]:
    return trainer.state().values["loss_scale"]


def gradients(trainer: Trainer) -> Tensor:
    """Of the next step, as the optimizer is given them."""
    found: list[Tensor] = []

    def note(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        parameters = (parameter for group in optimizer.param_groups for parameter in group["params"])
        found.extend(parameter.grad.flatten().clone() for parameter in parameters)

    handle = register_optimizer_step_pre_hook(note)
    try:
        steps(trainer, 1)
    finally:
        handle.remove()
    return torch.cat(found)


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


class TestTheScale:
    @pytest.mark.parametrize(
        ("dtype", "factor"), [(torch.float16, START), (torch.bfloat16, 1), (torch.float32, 1)]
    )
    def test_only_fp16_needs_one(self, dtype: torch.dtype, factor: int):
        scale = LossScale.of(dtype)
        assert scale.factor == factor and bool(scale.values()) == (factor > 1)
        for _ in range(GOOD_STEPS):
            scale = scale.after_step()
        assert scale.factor == (2 * factor if factor > 1 else 1)

    @pytest.mark.parametrize(
        ("change", "before", "after"),
        [
            ("after_overflow", (8, 5), (4, 0)),
            ("after_overflow", (1, 5), (1, 0)),
            ("after_step", (8, 5), (8, 6)),
            ("after_step", (8, GOOD_STEPS - 1), (16, 0)),
            ("after_step", (LARGEST, GOOD_STEPS - 1), (LARGEST, 0)),
        ],
    )
    def test_it_halves_and_doubles(self, change: str, before: tuple[int, int], after: tuple[int, int]):
        scale = getattr(LossScale(before[0], LARGEST, before[1]), change)()
        assert (scale.factor, scale.good_steps) == after


class TestATraining:
    def test_a_power_of_two_changes_no_bit(self, data: TrainingPictures):
        """Accumulation, clipping, prior, dropout and what is reported included."""
        plain, scaled = trainer_of(TinyVelocity(), data), trainer_of(SaysHalf(), data)
        assert steps(scaled, 6) == steps(plain, 6)
        assert equal(scaled.lora(), plain.lora())
        assert scale_of(scaled) == {"factor": START, "good_steps": 6}
        assert "loss_scale" not in plain.state().values

    def test_what_would_vanish_in_fp16_is_learnt(
        self, data: TrainingPictures, monkeypatch: pytest.MonkeyPatch
    ):
        """Most of the gradient on the prediction is below the least number of fp16."""
        small = times(2.0**-21)
        expected = gradients(trainer_of(TinyVelocity(), data, small))

        def error() -> float:
            found = gradients(trainer_of(Half(), data, small))
            return ((found - expected).norm() / expected.norm()).item()

        assert error() < 1e-3
        monkeypatch.setattr(loss_scale, "START", 1)
        assert error() > 0.1

    def test_what_overflows_is_done_again_with_half_the_scale(
        self, data: TrainingPictures, caplog: pytest.LogCaptureFixture
    ):
        """The same pictures, noise and dropout; the new scale is the largest that fits."""
        seen: list[float] = []

        class Watched(TinyVelocity):
            def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
                prediction = super().predict(noisy, sigma, pictures)
                if prediction.requires_grad:
                    prediction.register_hook(lambda gradient: seen.append(gradient.abs().max().item()))
                return prediction

        large = times(3000.0)
        watched, half = trainer_of(Watched(), data, large), trainer_of(Half(), data, large)
        (reference,), expected = steps(watched, 1), 1
        while max(seen) * 2 * expected < LARGEST_HALF:
            expected *= 2
        assert 1 < expected < START / 2, "more than one overflow"
        with caplog.at_level(logging.INFO):
            (record,) = steps(half, 1)
        assert scale_of(half) == {"factor": expected, "good_steps": 1}
        (said,) = (one.message for one in caplog.records if "scaled" in one.message)
        assert f"from step 1 on, the loss of this fp16 model is scaled by {expected} instead of 65536" in said
        assert record.split("gradient_norm")[0] == reference.split("gradient_norm")[0]
        assert record.split("samples")[1] == reference.split("samples")[1]
        for name, tensor in half.lora().items():
            assert (tensor - watched.lora()[name]).abs().max() <= 1e-3, name

    def test_it_grows_again_after_enough_good_steps(
        self, data: TrainingPictures, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        monkeypatch.setattr(loss_scale, "GOOD_STEPS", 3)
        trainer = trainer_of(SaysHalf(), data)
        with caplog.at_level(logging.INFO):
            steps(trainer, 4)
        assert scale_of(trainer) == {"factor": 2 * START, "good_steps": 1}
        assert (
            "from step 3 on, the loss of this fp16 model is scaled by 131072 instead of 65536" in caplog.text
        )

    @pytest.mark.parametrize(
        ("spoil", "what", "tries"),
        [
            (lambda p: p + (p - p.detach()).sqrt(), "gradient", 17),  # an infinite slope: 65536 = 2**16
            (lambda p: p * math.nan, "loss", 1),
        ],
    )
    def test_what_no_scale_helps_is_said_as_ever(
        self, spoil: Callable[[Tensor], Tensor], what: str, tries: int, data: TrainingPictures
    ):
        class Spoilt(SaysHalf):
            calls: list

            def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
                prediction = super().predict(noisy, sigma, pictures)
                return spoil(prediction) if prediction.requires_grad else prediction

        model = Spoilt()
        trainer = trainer_of(model, data, dataclasses.replace(OBJECTIVE, prior_weight=0.0), accumulation=1)
        before = trainer.lora()
        model.calls.clear()
        with pytest.raises(TrainingDiverged, match=f"step 1: the {what} is not a finite number, in a batch"):
            steps(trainer, 1)
        to_find_the_cause = 2
        assert len(model.calls) == tries + to_find_the_cause
        assert equal(trainer.lora(), before) and scale_of(trainer) == {"factor": START, "good_steps": 0}


class TestItsState:
    def test_a_training_that_is_stopped_anywhere_goes_on_bit_for_bit(
        self, data: TrainingPictures, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ):
        """The scale falls at once, and from then on grows too far every second step."""
        monkeypatch.setattr(loss_scale, "GOOD_STEPS", 2)
        whole, scales = trainer_of(Half(), data, times(300.0)), []
        expected = []
        for _ in range(6):
            expected += steps(whole, 1)
            scales.append(tuple(scale_of(whole).values()))
        assert len({factor for factor, _ in scales}) > 1 and {good for _, good in scales} == {0, 1}
        for stop in range(1, 6):
            first, second = (trainer_of(Half(), data, times(300.0)) for _ in range(2))
            assert steps(first, stop) == expected[:stop]
            save_train_state(tmp_path / "state.safetensors", first.state())
            second.load(load_train_state(tmp_path / "state.safetensors"))
            assert steps(second, 6 - stop) == expected[stop:]
            assert equal(second.lora(), whole.lora())
            assert scale_of(second) == scale_of(whole)

    def test_a_cancel_after_an_overflow_ends_the_step_as_if_it_had_not_begun(self, data: TrainingPictures):
        trainer, calls = trainer_of(Half(), data, times(300.0)), []

        def cancel() -> None:
            calls.append(1)
            if len(calls) == 3:  # of the second try, after two passes of the first
                raise KeyboardInterrupt

        before = trainer.state()
        with trainer.adapters.attached(), pytest.raises(KeyboardInterrupt):
            trainer.step(cancel)
        after = trainer.state()
        assert after.values == before.values and equal(dict(after.tensors), dict(before.tensors))

    @pytest.mark.parametrize("model", [SaysHalf, TinyVelocity])
    def test_one_without_a_scale_is_gone_on_from(self, model: type[TinyVelocity], data: TrainingPictures):
        """As version 0.2.0 has them, and trainings in fp32; and one with a scale in fp32."""
        expected = trainer_of(TinyVelocity(), data)
        steps(expected, 3)
        plain, scaled = trainer_of(model(), data), trainer_of(SaysHalf(), data)
        steps(scaled, 2)
        plain.load(scaled.state())
        plain.load(expected.state())
        assert steps(plain, 3) == steps(expected, 3) and equal(plain.lora(), expected.lora())
        assert plain.state().values.get("loss_scale", {}) == (
            {"factor": START, "good_steps": 3} if model is SaysHalf else {}
        )

    @pytest.mark.parametrize(
        "kept",
        [
            {"factor": 3, "good_steps": 0},
            {"factor": 0, "good_steps": 0},
            {"factor": 2.0, "good_steps": 0},
            {"factor": True, "good_steps": 0},
            {"factor": 2 * LARGEST, "good_steps": 0},
            {"factor": 2, "good_steps": -1},
            {"factor": 2, "good_steps": GOOD_STEPS},
            {"factor": 2},
            [2, 0],
            "2",
        ],
        ids=str,
    )
    def test_one_that_no_training_has_written_is_refused(self, kept: Any, data: TrainingPictures):
        trainer, state = trainer_of(SaysHalf(), data), trainer_of(SaysHalf(), data).state()
        damaged = dataclasses.replace(state, values={**state.values, "loss_scale": kept})
        with pytest.raises(TrainStateError):
            trainer.load(damaged)
        assert scale_of(trainer) == {"factor": START, "good_steps": 0}
