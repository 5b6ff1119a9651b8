"""One update: pieces of a batch, memory that runs out, average, dropped captions, and what it reports."""

import dataclasses
import logging
from collections import Counter

import pytest
import torch
from torch import Tensor

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training import trainer as training_module
from semantic_focus.training.data import UNCONDITIONAL, Batch, TrainingPictures
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.shortage import TrainingOutOfMemory
from semantic_focus.training.step_record import StepRecord
from semantic_focus.training.trainer import Trainer, TrainingDiverged, training_loss

SETTINGS = TrainingSettings(steps=6, batch_size=4, learning_rate=1e-2, warmup=0, schedule="constant")
OBJECTIVE = Objective(weights={"face": 1.0, "hair": 0.5}, global_fallback=0.0)


def new_trainer(
    model,
    data: TrainingPictures,
    settings: TrainingSettings = SETTINGS,
    objective: Objective = OBJECTIVE,
    dropout: float = 0.0,
) -> Trainer:
    layers = linear_layers(model, "all linear layers")
    adapters = LoraAdapters(layers, AdapterSettings(rank=4, alpha=4.0, dropout=dropout), 0)
    return Trainer(model, adapters, data, objective, settings)


def steps(trainer: Trainer, count: int) -> list[StepRecord]:
    with trainer.adapters.attached():
        return [trainer.step() for _ in range(count)]


def values(trainer: Trainer) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in trainer.adapters.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def seen_batches(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """What the trainer gives the model from now on."""
    seen: list[Batch] = []

    def spy(model, adapters, objective, batch, with_prior=True):
        seen.append(batch)
        return training_loss(model, adapters, objective, batch, with_prior)

    monkeypatch.setattr(training_module, "training_loss", spy)
    return seen


def joined(batches: list[Batch]) -> Batch:
    return Batch(
        torch.cat([batch.clean for batch in batches]),
        torch.cat([batch.noise for batch in batches]),
        {name: torch.cat([batch.masks[name] for batch in batches]) for name in batches[0].masks},
        sum((batch.pictures for batch in batches), []),
        sum((batch.prompts for batch in batches), []),
        torch.cat([batch.u for batch in batches]),
    )


class TestAccumulation:
    @pytest.mark.parametrize(("batch_size", "accumulation"), [(2, 2), (1, 4), (3, 2)])
    def test_it_is_one_large_batch(
        self, batch_size: int, accumulation: int, model, data, monkeypatch: pytest.MonkeyPatch
    ):
        """Plain gradient descent without clipping: the update is the gradient of all pictures at once."""
        settings = dataclasses.replace(
            SETTINGS,
            batch_size=batch_size,
            accumulation=accumulation,
            optimizer="sgd",
            weight_decay=0.0,
            max_grad_norm=0.0,
            learning_rate=0.1,
        )
        trainer, seen = new_trainer(model, data, settings), seen_batches(monkeypatch)
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():  # at the start all `up` are 0 and `down` has no gradient
            for parameter in trainer.adapters.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        before = values(trainer)
        (record,) = steps(trainer, 1)
        assert [len(batch.pictures) for batch in seen] == [batch_size] * accumulation

        beside = new_trainer(model, data, settings)
        with torch.no_grad():
            for parameter, value in zip(beside.adapters.parameters(), before, strict=True):
                parameter.copy_(value)
        with beside.adapters.attached():
            value, _ = training_loss(model, beside.adapters, OBJECTIVE, joined(seen))
        gradients = torch.autograd.grad(value.total, beside.adapters.parameters())
        norm = sum(gradient.square().sum().item() for gradient in gradients) ** 0.5
        assert record.total == pytest.approx(value.total.item(), rel=1e-5)
        assert record.gradient_norm == pytest.approx(norm, rel=1e-5)
        assert {name: record.regions[name] for name in ("face", "hair", "background")} == pytest.approx(
            {name: value.regions[name] for name in ("face", "hair", "background")}, rel=1e-5
        )
        for now, was, gradient in zip(values(trainer), before, gradients, strict=True):
            assert gradient.any()
            torch.testing.assert_close(now, was - 0.1 * gradient, rtol=1e-4, atol=1e-6)

    def test_noise_positions_are_stratified_over_all_of_an_update(
        self, model, data, monkeypatch: pytest.MonkeyPatch
    ):
        """The logit-normal of mean 0 has one draw in each quarter; their edges are −0.674, 0 and 0.674."""
        settings = dataclasses.replace(SETTINGS, batch_size=2, accumulation=2)
        trainer, seen = new_trainer(model, data, settings), seen_batches(monkeypatch)
        for _ in range(5):
            seen.clear()
            steps(trainer, 1)
            logits = torch.logit(joined(seen).u).sort().values
            quarters = torch.bucketize(logits, torch.tensor([-0.67449, 0.0, 0.67449]))
            assert quarters.tolist() == [0, 1, 2, 3]


class TestOutOfMemory:
    def limited(self, model, pictures: int, error: BaseException | None = None):
        """The model has memory for so many pictures."""
        predict = model.predict

        def limited(noisy: Tensor, *arguments) -> Tensor:
            if len(noisy) > pictures:
                raise error or torch.cuda.OutOfMemoryError("CUDA out of memory")
            return predict(noisy, *arguments)

        model.predict = limited

    @pytest.mark.parametrize(("fits", "tried"), [(3, [2]), (2, [2]), (1, [2, 1])])
    @pytest.mark.parametrize(("accumulation", "dropout"), [(1, 0.0), (2, 0.0), (2, 0.3)])
    def test_smaller_pieces_give_the_same(
        self,
        fits: int,
        tried: list[int],
        accumulation: int,
        dropout: float,
        model,
        data,
        caplog: pytest.LogCaptureFixture,
    ):
        settings = dataclasses.replace(SETTINGS, accumulation=accumulation, caption_dropout=0.3)
        whole = new_trainer(model, data, settings, dropout=dropout)
        expected = steps(whole, 4)
        self.limited(model, fits)
        pieces = new_trainer(model, data, settings, dropout=dropout)
        with caplog.at_level(logging.WARNING):
            found = steps(pieces, 4)
        for one, other in zip(values(pieces), values(whole), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
        for one, other in zip(found, expected, strict=True):
            assert one.total == pytest.approx(other.total, rel=1e-4)
            assert one.gradient_share == pytest.approx(other.gradient_share, rel=1e-3)
            assert [sample.picture for sample in one.samples] == [s.picture for s in other.samples]
        assert [record.getMessage().split(": ")[1].split(" pictures")[0] for record in caplog.records] == [
            f"out of memory, going on with {size} of 4" for size in tried
        ]

    def test_an_odd_batch_is_split_as_well(self, model, data: TrainingPictures):
        settings = dataclasses.replace(SETTINGS, batch_size=7)
        whole = new_trainer(model, data, settings)
        steps(whole, 2)
        self.limited(model, 3)
        pieces = new_trainer(model, data, settings)
        steps(pieces, 2)
        for one, other in zip(values(pieces), values(whole), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)

    def test_a_resumed_training_does_not_try_again(self, model, data: TrainingPictures):
        self.limited(model, 2)
        first, second = new_trainer(model, data), new_trainer(model, data)
        steps(first, 1)
        second.load(first.state())
        model.calls.clear()
        steps(second, 1)
        assert [len(call) for call in model.calls] == [2] * 4  # with the prior, two for each piece

    def test_when_not_even_one_fits_the_way_out_is_said_and_nothing_has_changed(self, model, data):
        trainer = new_trainer(model, data)
        steps(trainer, 1)
        before = values(trainer)
        self.limited(model, 0)
        with pytest.raises(
            TrainingOutOfMemory, match=r"step 2: out of memory with one picture .*gradient checkpointing on"
        ):
            steps(trainer, 1)
        assert same(values(trainer), before) and trainer.steps_done == 1

    def test_memory_of_the_computer_counts_too_and_other_errors_do_not(self, model, data):
        self.limited(model, 3, RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."))
        steps(new_trainer(model, data), 1)
        self.limited(model, 3, RuntimeError("shapes do not match"))
        with pytest.raises(RuntimeError, match="shapes do not match"):
            steps(new_trainer(model, data), 1)


class TestAverage:
    def test_it_is_what_a_hand_computed_average_is(self, model, data: TrainingPictures):
        """Float64, from the parameters after each step; d = min(0.5, 1/10, 2/11, 3/12, 4/13, ...)."""
        trainer = new_trainer(model, data, dataclasses.replace(SETTINGS, ema_decay=0.3))
        average = [value.double() for value in values(trainer)]
        for decay in (1 / 10, 2 / 11, 3 / 12, 0.3, 0.3, 0.3):
            steps(trainer, 1)
            now = [value.double() for value in values(trainer)]
            average = [decay * a + (1 - decay) * p for a, p in zip(average, now, strict=True)]
        last = values(trainer)
        with trainer.result():
            for found, expected in zip(values(trainer), average, strict=True):
                torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
        assert same(values(trainer), last) and not same(values(trainer), [a.float() for a in average])

    def test_it_does_not_change_the_steps(self, model, data: TrainingPictures):
        plain = new_trainer(model, data)
        averaged = new_trainer(model, data, dataclasses.replace(SETTINGS, ema_decay=0.9))
        assert steps(plain, 3) == steps(averaged, 3) and same(values(plain), values(averaged))

    def test_the_parameters_come_back_after_an_error(self, model, data: TrainingPictures):
        trainer = new_trainer(model, data, dataclasses.replace(SETTINGS, ema_decay=0.9))
        steps(trainer, 2)
        before = values(trainer)
        with pytest.raises(KeyError), trainer.result():
            assert not same(values(trainer), before)
            raise KeyError
        assert same(values(trainer), before)


class TestCaptions:
    def test_the_share_asked_for_is_shown_the_empty_prompt(self, model, data, monkeypatch):
        """Of 800 pictures 240 ± 3·13."""
        settings = dataclasses.replace(SETTINGS, batch_size=8, caption_dropout=0.3)
        trainer, seen = new_trainer(model, data, settings), seen_batches(monkeypatch)
        steps(trainer, 100)
        prompts = Counter(prompt == UNCONDITIONAL for batch in seen for prompt in batch.prompts)
        assert prompts.total() == 800 and 201 <= prompts[True] <= 279
        for batch in seen:
            assert all(
                prompt in (picture, UNCONDITIONAL)
                for picture, prompt in zip(batch.pictures, batch.prompts, strict=True)
            )
        assert model.calls[-1] == seen[-1].prompts and model.calls[-2] == seen[-1].prompts

    def test_without_it_every_picture_has_its_own(self, model, data, monkeypatch):
        trainer, seen = new_trainer(model, data), seen_batches(monkeypatch)
        steps(trainer, 5)
        assert all(batch.prompts == batch.pictures for batch in seen)


class TestNothingToLearn:
    def test_a_step_without_gradient_leaves_parameters_and_optimizer(self, model, data: TrainingPictures):
        """The second picture has no face. AdamW would go on by its momentum and its weight decay."""
        masks = (data.masks[0], data.masks[0] * torch.tensor([0, 1, 1]).view(3, 1, 1))
        two = TrainingPictures(data.latents[:2], masks, data.labels)
        objective = Objective(weights={"face": 1.0}, global_fallback=0.0, prior_weight=0.0)
        settings = dataclasses.replace(SETTINGS, batch_size=1, weight_decay=0.5)
        trainer = new_trainer(model, two, settings, objective)
        kinds = set()
        for _ in range(6):
            before, optimizer = values(trainer), trainer.state().part("optimizer.")
            (record,) = steps(trainer, 1)
            after = trainer.state().part("optimizer.")
            has_face = record.samples[0].picture == 0
            unchanged = same(values(trainer), before) and (
                list(optimizer) == list(after) and same(list(optimizer.values()), list(after.values()))
            )
            kinds.add((has_face, unchanged, record.gradient_norm > 0))
        assert kinds == {(True, False, True), (False, True, False)}

    def test_a_step_that_fails_can_be_done_again(self, model, data: TrainingPictures):
        plain, trainer = new_trainer(model, data, dropout=0.2), new_trainer(model, data, dropout=0.2)
        expected = [repr(record) for record in steps(plain, 3)]
        found = [repr(record) for record in steps(trainer, 1)]
        predict = model.predict
        model.predict = lambda *arguments: predict(*arguments) * float("nan")
        with pytest.raises(TrainingDiverged, match="step 2"):
            steps(trainer, 1)
        model.predict = predict
        found += [repr(record) for record in steps(trainer, 2)]
        assert found == expected and same(values(trainer), values(plain))


class TestRecord:
    def test_shares_of_a_partition_add_up_to_1(self, model, data: TrainingPictures):
        for record in steps(new_trainer(model, data), 3):
            assert set(record.gradient_share) == {"face", "hair", "background", "residual"}
            assert sum(record.gradient_share.values()) == pytest.approx(1, abs=1e-5)
            assert record.gradient_share["face"] > 0.1 and record.gradient_share["residual"] == 0

    def test_regions_that_overlap_divide_their_share(self, model, data: TrainingPictures):
        """Light on all of the face: half of what the face had is its own, and all still adds up to 1."""
        masks = torch.cat((data.masks[0], data.masks[0][:1]))
        lit = TrainingPictures(data.latents, (masks,) * len(data.latents), (*data.labels, "lighting"))
        (plain,), (record,) = steps(new_trainer(model, data), 1), steps(new_trainer(model, lit), 1)
        assert sum(record.gradient_share.values()) == pytest.approx(1, abs=1e-5)
        assert record.gradient_share["lighting"] == pytest.approx(plain.gradient_share["face"] / 2, rel=1e-3)

    def test_without_prior_a_free_region_has_none_of_the_gradient(self, model, data: TrainingPictures):
        objective = dataclasses.replace(OBJECTIVE, prior_weight=0.0)
        (record,) = steps(new_trainer(model, data, objective=objective), 1)
        assert record.gradient_share["background"] == 0
        assert record.gradient_share["face"] + record.gradient_share["hair"] == pytest.approx(1, abs=1e-6)

    def test_samples_say_which_picture_at_which_noise_level(self, model, data, monkeypatch):
        settings = dataclasses.replace(SETTINGS, batch_size=2, accumulation=2)
        trainer, seen = new_trainer(model, data, settings), seen_batches(monkeypatch)
        (record,) = steps(trainer, 1)
        batch = joined(seen)
        assert [sample.picture for sample in record.samples] == batch.pictures
        assert [sample.position for sample in record.samples] == batch.u.tolist()
        assert [sample.coverage["face"] for sample in record.samples] == [0.25] * 4
        assert "residual" not in record.samples[0].coverage  # it is empty in these pictures

    def test_a_step_that_leaves_the_prior_out_says_so(self, model, data: TrainingPictures):
        objective = dataclasses.replace(OBJECTIVE, prior_every=2)
        priors = [record.prior for record in steps(new_trainer(model, data, objective=objective), 4)]
        assert [prior == prior for prior in priors] == [True, False, True, False]
        nothing = dataclasses.replace(OBJECTIVE, prior_weight=0.0)
        assert steps(new_trainer(model, data, objective=nothing), 1)[0].prior == 0
