"""The training loop on a tiny model: reproducible, local to the wanted regions, never losing its state."""

import dataclasses
import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.timesteps import TimestepSampling
from semantic_focus.objective.total import Objective
from semantic_focus.training.evaluation import compare, predictions
from semantic_focus.training.sampler import PictureSampler
from semantic_focus.training.trainer import (
    Batch,
    StepRecord,
    TrainingDiverged,
    TrainingPictures,
    TrainingSettings,
    train,
    training_loss,
)

SHORT = TrainingSettings(steps=4, batch_size=2, learning_rate=1e-2, warmup=1)
FACE_ONLY = Objective(weights={"face": 1.0}, global_fallback=0.0, prior_weight=0.0)


def new_adapters(model: nn.Module, seed: int = 0) -> LoraAdapters:
    return LoraAdapters(linear_layers(model, "all linear layers"), AdapterSettings(rank=4, alpha=4.0), seed)


def trained(
    model,
    data: TrainingPictures,
    objective: Objective = FACE_ONLY,
    settings: TrainingSettings = SHORT,
    **options,
) -> tuple[dict[str, Tensor], list[StepRecord]]:
    adapters = new_adapters(model)
    history = train(model, adapters, data, objective, settings, **options)
    return adapters.state_dict(), history


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def hooks(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


class TestReproducible:
    def test_same_seed_same_adapters_bit_for_bit(self, model, data: TrainingPictures):
        objective = Objective()
        first, history = trained(model, data, objective)
        torch.rand(3)  # somebody else uses the global generator meanwhile
        second, again = trained(model, data, objective)
        assert equal(first, second)
        assert [record.total for record in history] == [record.total for record in again]

    def test_another_seed_gives_other_adapters(self, model, data: TrainingPictures):
        first, _ = trained(model, data)
        second, _ = trained(model, data, settings=dataclasses.replace(SHORT, seed=1))
        assert not equal(first, second)

    def test_the_global_generator_is_left_alone(self, model, data: TrainingPictures):
        state = torch.get_rng_state()
        trained(model, data)
        assert torch.equal(torch.get_rng_state(), state)

    def test_the_model_is_left_as_it_was(self, model, data: TrainingPictures):
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        trained(model, data, Objective())
        assert equal(dict(model.state_dict()), before) and hooks(model) == 0
        assert all(parameter.grad is None for parameter in model.parameters())


class TestRegions:
    SETTINGS = TrainingSettings(
        steps=80, batch_size=4, learning_rate=2e-2, warmup=2, timesteps=TimestepSampling("uniform")
    )

    def changes(self, model, data: TrainingPictures, objective: Objective):
        adapters, positions = new_adapters(model), (0.3, 0.6, 0.9)
        before = predictions(model, data, positions=positions)
        train(model, adapters, data, objective, self.SETTINGS)
        with adapters.attached():
            return {row.region: row for row in compare(before, model, data)}

    def test_a_weight_on_the_face_teaches_the_face_and_the_prior_keeps_the_rest(
        self, model, data: TrainingPictures
    ):
        free = self.changes(model, data, FACE_ONLY)
        kept = self.changes(model, data, dataclasses.replace(FACE_ONLY, prior_weight=10.0))
        for rows in (free, kept):
            gain = {name: row.error_after / row.error_before for name, row in rows.items()}
            assert gain["face"] < 0.7 and gain["face"] < gain["hair"] and gain["face"] < gain["background"]
        assert kept["background"].drift < 0.5 * free["background"].drift
        assert kept["hair"].drift < 0.5 * free["hair"].drift
        assert kept["background"].drift < 0.2 * kept["face"].drift

    def test_with_regions_off_everything_is_learnt(self, model, data: TrainingPictures):
        rows = self.changes(model, data, Objective(enabled=False))
        assert all(rows[name].error_after < 0.8 * rows[name].error_before for name in data.labels)

    def test_the_loss_falls(self, model, data: TrainingPictures):
        _, history = trained(model, data, Objective(), self.SETTINGS)
        totals = [record.total for record in history]
        assert sum(totals[-10:]) < 0.8 * sum(totals[:10])


class TestOneStep:
    def test_the_loss_of_a_step_is_the_objective_on_prediction_target_and_base(
        self, model, data: TrainingPictures
    ):
        """Noise and positions are given, so everything can be computed beside it."""
        objective, adapters = Objective(weights={"face": 1.0}, global_fallback=0.0), new_adapters(model)
        with torch.no_grad():
            for index, parameter in enumerate(adapters.parameters()):
                generator = torch.Generator().manual_seed(index)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        clean, masks = data.batch([0, 2])
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(5))
        u = torch.tensor([0.25, 0.75])
        noisy = torch.stack((0.75 * clean[0] + 0.25 * noise[0], 0.25 * clean[1] + 0.75 * noise[1]))
        base = model.predict(noisy, u, [0, 2])
        with adapters.attached():
            value, prediction = training_loss(
                model, adapters, objective, Batch(clean, noise, masks, [0, 2], [0, 2], u)
            )
            adapted = model.predict(noisy, u, [0, 2])
        expected = objective(adapted, noise - clean, masks, base)
        assert value.prior > 0 and torch.equal(prediction, adapted)
        assert value.total.item() == pytest.approx(expected.total.item(), rel=1e-6)

    def test_the_loop_is_adamw_on_the_clipped_gradient_of_each_batch_alone(
        self, model, data: TrainingPictures
    ):
        """With one picture and a fixed noisy input every step is the same problem: a plain loop beside it."""
        clean, target = data.latents[0][None], torch.ones(1, 3, 8, 8)
        sigma = torch.tensor([0.5])
        model.corrupt = lambda clean, noise, u: (clean, sigma, target)
        one = TrainingPictures(data.latents[:1], data.masks[:1], data.labels)
        settings = dataclasses.replace(SHORT, batch_size=1, max_grad_norm=0.1, weight_decay=0.2)
        found, _ = trained(model, one, Objective(enabled=False, cosine_weight=0.0), settings)

        adapters = new_adapters(model)
        parameters = adapters.parameters()
        first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
        for step in range(settings.steps):
            with adapters.attached():
                loss = (model.predict(clean, sigma, [0]) - target).square().mean()
            gradients = torch.autograd.grad(loss, parameters)
            length = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
            rate = settings.rate_at(step)
            with torch.no_grad():
                for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                    g = g * min(1.0, 0.1 / length)
                    m.mul_(0.9).add_(0.1 * g)
                    v.mul_(0.999).add_(0.001 * g * g)
                    mean, square = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
                    p.mul_(1 - rate * 0.2).sub_(rate * mean / (square.sqrt() + 1e-8))
        for key, tensor in adapters.state_dict().items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-3, atol=1e-5)

    def test_the_base_model_is_asked_only_when_the_prior_needs_it(self, model, data: TrainingPictures):
        trained(model, data, dataclasses.replace(FACE_ONLY, prior_weight=0.0))
        without = len(model.calls)
        trained(model, data, dataclasses.replace(FACE_ONLY, prior_weight=1.0))
        assert (without, len(model.calls) - without) == (4, 8)

    def test_the_records_say_what_happened(self, model, data: TrainingPictures):
        seen: list[StepRecord] = []
        _, history = trained(model, data, Objective(), on_step=seen.append)
        assert seen == history and [record.step for record in history] == [1, 2, 3, 4]
        assert [record.learning_rate for record in history] == [SHORT.rate_at(step) for step in range(4)]
        assert set(history[0].regions) == {"face", "hair", "background", "residual"}
        assert all(math.isfinite(record.total) for record in history)

    def test_clipping_bounds_the_gradient_and_0_means_none(self, model, data: TrainingPictures):
        """Adam's first step does not depend on the gradient's length, later ones do."""
        runs = [
            trained(model, data, settings=dataclasses.replace(SHORT, max_grad_norm=norm))[0]
            for norm in (0.0, 1e9, 1e-3)
        ]
        assert equal(runs[0], runs[1]) and not equal(runs[0], runs[2])


class TestEndings:
    def test_a_cancel_keeps_the_adapters_and_detaches_them(self, model, data: TrainingPictures):
        class Cancelled(Exception):
            pass

        states: dict[int, dict[str, Tensor]] = {}
        adapters = new_adapters(model)

        def cancel_at_3(record: StepRecord) -> None:
            states[record.step] = adapters.state_dict()
            if record.step == 3:
                raise Cancelled

        with pytest.raises(Cancelled):
            train(model, adapters, data, FACE_ONLY, SHORT, cancel_at_3)
        assert equal(adapters.state_dict(), states[3]) and not equal(states[3], states[2])
        assert hooks(model) == 0

    def test_a_cancelled_run_is_the_beginning_of_the_uninterrupted_one(self, model, data: TrainingPictures):
        states: list[dict[str, Tensor]] = []
        adapters = new_adapters(model)
        train(model, adapters, data, FACE_ONLY, SHORT, lambda record: states.append(adapters.state_dict()))
        stopped = new_adapters(model)

        def stop(record: StepRecord) -> None:
            if record.step == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(model, stopped, data, FACE_ONLY, SHORT, stop)
        assert equal(stopped.state_dict(), states[1])

    def test_a_loss_that_is_no_number_stops_with_the_last_good_adapters(self, model, data: TrainingPictures):
        states: list[dict[str, Tensor]] = []
        adapters, predict = new_adapters(model), model.predict

        def breaks_at_the_third(noisy, sigma, pictures):
            return predict(noisy, sigma, pictures) * (math.nan if len(states) == 2 else 1)

        model.predict = breaks_at_the_third
        with pytest.raises(
            TrainingDiverged, match="step 3: the loss is not a finite.*The base model.s own prediction"
        ) as caught:
            train(
                model, adapters, data, FACE_ONLY, SHORT, lambda record: states.append(adapters.state_dict())
            )
        assert caught.value.step == 3 and equal(adapters.state_dict(), states[1])
        assert all(torch.isfinite(tensor).all() for tensor in adapters.state_dict().values())
        assert hooks(model) == 0

    def test_a_gradient_that_is_no_number_stops_as_well(self, model, data: TrainingPictures):
        """The square root has an infinite slope at 0: the loss is finite, its gradient is not."""
        adapters, predict = new_adapters(model), model.predict

        def steep(noisy, sigma, pictures):
            prediction = predict(noisy, sigma, pictures)
            return prediction + (prediction - prediction.detach()).sqrt()

        model.predict = steep
        before = adapters.state_dict()
        with pytest.raises(TrainingDiverged, match="step 1: the gradient is not a finite"):
            train(model, adapters, data, FACE_ONLY, SHORT)
        assert equal(adapters.state_dict(), before)

    def test_an_error_in_the_model_leaves_no_hook(self, model, data: TrainingPictures):
        def broken(noisy, sigma, pictures):
            raise MemoryError("out of memory")

        model.predict = broken
        with pytest.raises(MemoryError):
            trained(model, data)
        assert hooks(model) == 0


class TestBatches:
    def pictures(self, *sizes: tuple[int, int]) -> TrainingPictures:
        return TrainingPictures(
            tuple(torch.zeros(3, *size) for size in sizes),
            tuple(torch.ones(1, *size) for size in sizes),
            ("face",),
        )

    def first(self, data: TrainingPictures, batch_size: int, count: int) -> list[list[int]]:
        sizes = [tuple(latent.shape) for latent in data.latents]
        sampler = PictureSampler(sizes, data.repeats, batch_size, torch.Generator().manual_seed(0))
        return [sampler.next_batch() for _ in range(count)]

    def test_every_picture_is_used_equally_often(self):
        data = self.pictures(*[(8, 8)] * 5)
        uses = Counter(index for batch in self.first(data, 2, 50) for index in batch)
        assert uses == dict.fromkeys(range(5), 20)

    def test_within_one_pass_every_picture_comes_once_in_an_order_that_changes(self):
        data = self.pictures(*[(8, 8)] * 6)
        batches = self.first(data, 2, 30)
        passes = [sum(batches[k : k + 3], []) for k in range(0, 30, 3)]
        assert all(sorted(one) == list(range(6)) for one in passes)
        assert len({tuple(one) for one in passes}) > 5

    def test_a_batch_has_one_size_and_is_always_full(self):
        sizes = [(8, 8), (4, 16), (8, 8), (16, 4), (8, 8)]
        data = self.pictures(*sizes)
        batches = self.first(data, 2, 100)
        assert all(len(batch) == 2 and len({sizes[i] for i in batch}) == 1 for batch in batches)
        uses = Counter(index for batch in batches for index in batch)
        assert max(uses.values()) - min(uses.values()) <= 2

    def test_a_batch_may_be_larger_than_the_dataset(self):
        (batch,) = self.first(self.pictures((8, 8), (8, 8), (8, 8)), 8, 1)
        assert len(batch) == 8 and set(Counter(batch).values()) == {2, 3}

    def test_training_goes_over_all_sizes(self, model):
        data = self.pictures((8, 8), (4, 16), (16, 4))
        settings = dataclasses.replace(SHORT, steps=6, batch_size=2)
        trained(model, data, settings=settings)
        assert Counter(index for call in model.calls for index in call) == {0: 4, 1: 4, 2: 4}

    def test_training_with_a_batch_larger_than_the_dataset(self, model, data: TrainingPictures):
        _, history = trained(model, data, settings=dataclasses.replace(SHORT, batch_size=7))
        assert len(history) == 4 and all(len(call) == 7 for call in model.calls)


class TestNothingToLearn:
    def test_no_picture_with_a_weighted_region_is_refused_before_the_first_step(self, model, data):
        nobody = dataclasses.replace(
            data, masks=tuple(mask * torch.tensor([0, 1, 1]).view(3, 1, 1) for mask in data.masks)
        )
        with pytest.raises(
            ValueError, match=r"none of the 4 pictures has a region .*\(face\).*segmentation preview"
        ):
            trained(model, nobody)
        assert not model.calls

    def test_one_picture_with_the_region_is_enough(self, model, data: TrainingPictures):
        empty = tuple(torch.zeros(3, 8, 8) for _ in range(3))
        some = dataclasses.replace(data, masks=(data.masks[0], *empty))
        before = new_adapters(model).state_dict()
        adapters, history = trained(model, some)
        assert len(history) == 4 and not equal(adapters, before)

    @pytest.mark.parametrize(
        ("latents", "masks", "message"),
        [
            ((), (), "no picture to train on"),
            ((torch.zeros(3, 8, 8),), (), "1 latents but masks for 0 pictures"),
            (
                (torch.zeros(3, 8, 8),),
                (torch.zeros(1, 64, 64),),
                r"picture 1: masks are \[1, 64, 64\].*Masks To Latent",
            ),
            ((torch.zeros(3, 8, 8),), (torch.zeros(2, 8, 8),), "picture 1: .*there are 1 regions"),
        ],
        ids=["none", "count", "grid", "regions"],
    )
    def test_pictures_and_masks_that_do_not_fit_are_refused(self, latents, masks, message: str):
        with pytest.raises(ValueError, match=message):
            TrainingPictures(latents, masks, ("face",))


class TestSettings:
    def rates(self, **settings) -> list[float]:
        values = TrainingSettings(steps=8, learning_rate=2.0, **settings)
        return [values.rate_at(step) for step in range(8)]

    def test_constant_after_a_linear_rise(self):
        """Three warm-up steps: a quarter, two quarters, three quarters, then the peak."""
        assert self.rates(schedule="constant", warmup=3) == pytest.approx([0.5, 1, 1.5, 2, 2, 2, 2, 2])

    def test_cosine_falls_from_the_peak_to_nearly_0(self):
        """1 + cos(π·k/8) for k = 0..7."""
        expected = [2, 1.92388, 1.70711, 1.38268, 1, 0.61732, 0.29289, 0.07612]
        assert self.rates(schedule="cosine", warmup=0) == pytest.approx(expected, abs=1e-5)

    def test_cosine_with_warm_up_is_the_product_of_both(self):
        assert self.rates(schedule="cosine", warmup=1)[:3] == pytest.approx([1, 1.92388, 1.70711], abs=1e-5)

    def test_a_warm_up_longer_than_the_training_never_reaches_the_peak(self):
        assert self.rates(schedule="constant", warmup=99)[-1] == pytest.approx(2 * 8 / 100)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"steps": 0}, "steps is 0"),
            ({"batch_size": 0}, "batch_size is 0"),
            ({"learning_rate": 0.0}, "learning_rate is 0"),
            ({"learning_rate": math.nan}, "learning_rate is nan"),
            ({"schedule": "step"}, "'step': choose one of cosine, constant, linear"),
            ({"warmup": -1}, "warmup is -1"),
            ({"weight_decay": -0.1}, "weight_decay is -0.1"),
            ({"max_grad_norm": math.nan}, "max_grad_norm is nan"),
        ],
        ids=str,
    )
    def test_settings_that_cannot_work_are_named(self, settings: dict, message: str):
        with pytest.raises(ValueError, match=message):
            TrainingSettings(**settings)
