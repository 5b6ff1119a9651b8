"""The small parts of a training: optimizers, schedules, order of the pictures, average, digest."""

import importlib
import math
from collections import Counter

import pytest
import torch

from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.digest import digest
from semantic_focus.training.ema import MovingAverage
from semantic_focus.training.learning_rate import rate_factor
from semantic_focus.training.optimizers import OPTIMIZERS, make_optimizer
from semantic_focus.training.sampler import PictureSampler
from semantic_focus.training.settings import TrainingSettings

HERE = [name for name, kind in OPTIMIZERS.items() if kind.package != "bitsandbytes"]
"""Those that run without a GPU."""


class TestOptimizers:
    @pytest.mark.parametrize("name", HERE)
    def test_each_finds_the_bottom_of_a_bowl(self, name: str):
        """The minimum of |p − 3|² over a matrix; weight decay off."""
        parameter = torch.nn.Parameter(torch.zeros(4, 2))
        rate = {"prodigy": 1.0, "sgd": 0.01}.get(name, 0.1)
        optimizer = make_optimizer(name, [{"params": [parameter], "lr": rate}], rate, 0.0)
        for _ in range(200):
            optimizer.zero_grad()
            (parameter - 3).square().sum().backward()
            optimizer.step()
        assert (parameter - 3).abs().max() < 0.5

    @pytest.mark.parametrize("name", HERE)
    def test_a_group_keeps_its_own_rate_and_the_decay_is_passed_on(self, name: str):
        groups = [{"params": [torch.nn.Parameter(torch.zeros(2, 2))], "lr": rate} for rate in (1e-3, 4e-3)]
        optimizer = make_optimizer(name, groups, 1e-3, 0.05)
        assert [group["lr"] for group in optimizer.param_groups] == [1e-3, 4e-3]
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.05, 0.05]
        assert set(groups[0]) == {"params", "lr"}

    @pytest.mark.parametrize("name", ["adamw8bit", "lion", "prodigy", "came"])
    def test_a_missing_library_is_named_with_what_to_do(self, name: str, monkeypatch: pytest.MonkeyPatch):
        package = OPTIMIZERS[name].package

        def missing(module: str):
            raise ImportError(f"No module named {module!r}")

        monkeypatch.setattr(importlib, "import_module", missing)
        with pytest.raises(
            ImportError,
            match=f"'{name}' needs the package {package}.*Choose adamw, or install it:\n.* install {package}",
        ):
            make_optimizer(name, [{"params": [torch.nn.Parameter(torch.zeros(1))]}], 1e-3, 0.0)

    def test_an_unknown_one_is_refused_with_the_choice(self):
        with pytest.raises(ValueError, match="'adam': choose one of adamw, adamw8bit, adafactor, lion"):
            make_optimizer("adam", [], 1e-3, 0.0)
        with pytest.raises(ValueError, match="'adam': choose one of adamw, adamw8bit, adafactor, lion"):
            TrainingSettings(optimizer="adam")


class TestSchedules:
    @pytest.mark.parametrize(
        ("schedule", "warmup", "expected"),
        [
            ("constant", 0, [1, 1, 1, 1]),
            ("constant", 1, [1 / 2, 1, 1, 1]),
            ("linear", 0, [1, 3 / 4, 2 / 4, 1 / 4]),
            ("linear", 3, [1 / 4, 2 / 4 * 3 / 4, 3 / 4 * 2 / 4, 1 / 4]),
            ("cosine", 0, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]),
        ],
    )
    def test_by_hand(self, schedule: str, warmup: int, expected: list[float]):
        assert [rate_factor(schedule, step, 4, warmup) for step in range(4)] == pytest.approx(expected)

    @pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
    def test_beyond_the_end_it_stays_and_never_reaches_0(self, schedule: str):
        last = rate_factor(schedule, 3, 4, 0)
        assert [rate_factor(schedule, step, 4, 0) for step in (4, 100)] == [last, last] and last > 0

    def test_a_piece_of_a_longer_training_has_the_longer_ones_rates(self):
        whole = TrainingSettings(steps=10, learning_rate=0.5, warmup=2)
        piece = TrainingSettings(steps=5, schedule_steps=10, learning_rate=0.5, warmup=2)
        assert [piece.rate_at(step) for step in range(5)] == [whole.rate_at(step) for step in range(5)]


class TestOrderOfThePictures:
    SIZES = ((3, 8, 8), (3, 4, 16), (3, 8, 8), (3, 4, 16), (3, 4, 16))

    def sampler(self, repeats=(), batch_size: int = 2, seed: int = 0) -> PictureSampler:
        return PictureSampler(self.SIZES, repeats, batch_size, torch.Generator().manual_seed(seed))

    def test_pictures_come_as_often_as_their_repeats_say(self):
        """In 60 passes of 1 + 3 + 2 + 1 + 5 pictures, less at most one that waits in either size."""
        sampler = self.sampler((1, 3, 2, 1, 5))
        uses = Counter(index for _ in range(360) for index in sampler.next_batch())
        assert uses.total() == 60 * 12
        for index, repeats in enumerate((1, 3, 2, 1, 5)):
            assert abs(uses[index] - 60 * repeats) <= repeats + 2

    def test_a_saved_position_goes_on_alike(self):
        """From every position, with the generator's state, as a run on disk has it."""
        for position in range(8):
            generator = torch.Generator().manual_seed(5)
            sampler = PictureSampler(self.SIZES, (2, 1, 1, 1, 1), 2, generator)
            for _ in range(position):
                sampler.next_batch()
            state, random = sampler.state_dict(), generator.get_state()
            expected = [sampler.next_batch() for _ in range(20)]
            other_generator = torch.Generator().manual_seed(77)
            other = PictureSampler(self.SIZES, (2, 1, 1, 1, 1), 2, other_generator)
            other.next_batch()
            other.load_state_dict(state)
            other_generator.set_state(random)
            assert [other.next_batch() for _ in range(20)] == expected

    def test_a_saved_position_is_a_copy(self):
        sampler = self.sampler(batch_size=3)
        sampler.next_batch()
        state = sampler.state_dict()
        before = repr(state)
        for _ in range(5):
            sampler.next_batch()
        assert repr(state) == before
        other = self.sampler(batch_size=3)
        other.load_state_dict(state)
        for _ in range(5):
            other.next_batch()
        assert repr(state) == before

    def test_seeds_differ(self):
        assert len({tuple(self.sampler(seed=seed).next_batch()) for seed in range(20)}) > 3

    @pytest.mark.parametrize("repeats", [(1,), (1, 0), (1, -1)])
    def test_repeats_that_fit_nothing_are_refused(self, repeats: tuple[int, ...]):
        latents, masks = (torch.zeros(3, 2, 2),) * 2, (torch.ones(1, 2, 2),) * 2
        with pytest.raises(ValueError, match="one number of 1 or more for each of the 2 pictures"):
            TrainingPictures(latents, masks, ("face",), repeats)


class TestMovingAverage:
    def test_the_first_steps_count_more(self):
        """From 0, with the parameter at 1: 1 − d, then d·a + (1 − d), d = 1/10, 2/11, 3/12."""
        parameter = torch.zeros(1)
        average = MovingAverage([parameter], 0.999)
        parameter.fill_(1.0)
        expected = 0.0
        for decay in (1 / 10, 2 / 11, 3 / 12):
            average.update()
            expected = decay * expected + (1 - decay)
            assert average.tensors()[0].item() == pytest.approx(expected)
        assert average.updates == 3 and parameter.item() == 1

    def test_in_the_end_the_decay_holds(self):
        """(1 + n) / (10 + n) reaches 0.5 at n = 8."""
        parameter = torch.zeros(1)
        average = MovingAverage([parameter], 0.5)
        average.load([torch.tensor([8.0])], 8)
        found = []
        for _ in range(3):
            average.update()
            found.append(average.tensors()[0].item())
        assert found == [4.0, 2.0, 1.0]

    def test_applied_it_takes_the_parameters_place_for_a_while(self):
        parameter = torch.nn.Parameter(torch.ones(2))
        average = MovingAverage([parameter], 0.5)
        average.load([torch.tensor([3.0, 4.0])], 1)
        kept = average.tensors()
        with average.applied():
            assert parameter.tolist() == [3, 4]
        assert parameter.tolist() == [1, 1] and average.tensors()[0].tolist() == [3, 4]
        average.update()
        assert kept[0].tolist() == [3, 4]


class TestDigest:
    VALUE = {"a": (1, 2.5, None), "b": {"t": torch.arange(6.0).view(2, 3)}, "c": ["x", "y"]}

    def test_equal_values_have_equal_digests(self):
        strided = torch.arange(6.0).view(2, 3).t().contiguous().t()
        turned = {"c": ("x", "y"), "b": {"t": strided}, "a": [1, 2.5, None]}
        assert not strided.is_contiguous()
        assert digest(self.VALUE) == digest(turned) and len(digest(None)) == 16
        assert set(digest(self.VALUE)) <= set("0123456789abcdef")

    @pytest.mark.parametrize(
        "other",
        [
            {**VALUE, "a": (1, 2.5, 0)},
            {**VALUE, "a": (1, 2.5000000001, None)},
            {**VALUE, "a": ("1", 2.5, None)},
            {**VALUE, "a": ((1, 2.5), None)},
            {**VALUE, "c": ["xy"]},
            {**VALUE, "c": ["x", "y", ""]},
            {**VALUE, "d": None},
            {**VALUE, "b": {"t": torch.arange(6.0).view(3, 2)}},
            {**VALUE, "b": {"t": torch.arange(6).view(2, 3)}},
            {**VALUE, "b": {"t": torch.arange(6.0).bfloat16().view(2, 3)}},
            {**VALUE, "b": {"t": torch.tensor([[-0.0, 1, 2], [3, 4, 5]])}},
            {**VALUE, "b": {"u": torch.arange(6.0).view(2, 3)}},
        ],
    )
    def test_any_difference_changes_it(self, other):
        assert digest(other) != digest(self.VALUE)

    @pytest.mark.parametrize(
        "tensor", [torch.zeros(0), torch.tensor(3), torch.tensor([True, False]), torch.arange(6.0)[::2]]
    )
    def test_of_any_tensor(self, tensor: torch.Tensor):
        assert digest(tensor) == digest(tensor.clone()) != digest(torch.full((7,), 9.0))

    def test_of_pictures_it_changes_with_each_of_their_parts(self):
        latents, masks = (torch.zeros(3, 2, 2),) * 2, (torch.ones(1, 2, 2),) * 2
        others = [
            TrainingPictures(latents, masks, ("face",)),
            TrainingPictures((latents[0], latents[1] + 1), masks, ("face",)),
            TrainingPictures(latents, (masks[0], masks[1] * 0.5), ("face",)),
            TrainingPictures(latents, masks, ("hair",)),
            TrainingPictures(latents, masks, ("face",), (1, 2)),
        ]
        assert len({pictures.digest() for pictures in others}) == len(others)
