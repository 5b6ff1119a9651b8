"""A training that ends at any moment and is started again gives what an uninterrupted one gives."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_focus.files.writing import NotWrittenError
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.file import load_lora
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.ema import MovingAverage
from semantic_focus.training.run import Kept, RunOptions, StopTraining, run_training
from semantic_focus.training.run_folder import Keep, choose_run
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.state import TrainState, TrainStateError, load_train_state
from semantic_focus.training.step_record import StepRecord
from semantic_focus.training.trainer import Trainer

from ..faults import FAULTS, refuse

NAME = "person"
SETTINGS = TrainingSettings(steps=6, batch_size=2, learning_rate=1e-2, warmup=1, accumulation=2)
OBJECTIVE = Objective(weights={"face": 1.0}, global_fallback=0.0, prior_every=2)
IDENTITY = {"model": "tiny"}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[key], other[key]) for key in one)


def identity_of(settings: TrainingSettings) -> dict[str, Any]:
    return {**IDENTITY, **dataclasses.asdict(settings)}


def new_trainer(model, data: TrainingPictures, settings: TrainingSettings = SETTINGS) -> Trainer:
    layers = linear_layers(model, "all linear layers")
    adapters = LoraAdapters(layers, AdapterSettings(rank=4, alpha=4.0, dropout=0.1), 0)
    return Trainer(model, adapters, data, OBJECTIVE, settings, identity_of(settings))


def run(
    root: Path, model, data: TrainingPictures, settings: TrainingSettings = SETTINGS, **options
) -> tuple[dict[str, Tensor], list[StepRecord]]:
    """Begin or go on with the training in `root`."""
    trainer = new_trainer(model, data, settings)
    folder, state = choose_run(root, NAME, identity_of(settings), resume=True, accept=trainer.load)
    history = run_training(trainer, folder, state, RunOptions(**options))
    return trainer.lora(), history


def same_records(one: list[StepRecord], other: list[StepRecord]) -> bool:
    """NaN, which stands for what a step left out, is equal to itself here."""
    return repr(one) == repr(other)


class Counting:
    """Raises `error` at its n-th call."""

    def __init__(self, calls: int, error: BaseException):
        self.left, self.error = calls, error

    def __call__(self, *_) -> None:
        self.left -= 1
        if self.left == 0:
            raise self.error


OPTIMIZERS = {
    "adamw": {},
    "adamw with two groups": {"up_rate_ratio": 4.0},
    "adafactor": {"optimizer": "adafactor"},
    "lion": {"optimizer": "lion", "learning_rate": 1e-3},
    "lion with two groups": {"optimizer": "lion", "learning_rate": 1e-3, "up_rate_ratio": 4.0},
    "prodigy": {"optimizer": "prodigy", "learning_rate": 1.0, "schedule": "constant"},
    "came": {"optimizer": "came"},
    "sgd": {"optimizer": "sgd"},
    "everything": {"ema_decay": 0.9, "caption_dropout": 0.3, "up_rate_ratio": 4.0, "schedule": "linear"},
}


class TestStopped:
    @pytest.mark.parametrize("changes", OPTIMIZERS.values(), ids=OPTIMIZERS)
    def test_with_any_optimizer(self, changes: dict, model, data: TrainingPictures, tmp_path: Path):
        settings = dataclasses.replace(SETTINGS, **changes)
        expected, history = run(tmp_path / "whole", model, data, settings)
        with pytest.raises(StopTraining):
            run(tmp_path, model, data, settings, on_step=Counting(3, StopTraining("enough")))
        found, again = run(tmp_path, model, data, settings)
        assert equal(found, expected) and same_records(again, history)
        assert len({key: tensor for key, tensor in found.items() if tensor.any()}) == len(found)

    @pytest.mark.parametrize("calls", range(1, 12))
    def test_at_any_pass_through_the_model(self, calls: int, model, data: TrainingPictures, tmp_path: Path):
        """Two passes in each step: the odd ones are in the midst of one."""
        expected, history = run(tmp_path / "whole", model, data)
        kept: list[Kept] = []
        with pytest.raises(StopTraining):
            run(tmp_path, model, data, check=Counting(calls, StopTraining("enough")), on_kept=kept.append)
        assert [one.step for one in kept] == ([(calls - 1) // 2] if calls > 2 else [])
        found, again = run(tmp_path, model, data)
        assert equal(found, expected) and same_records(again, history)

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("no more"), ValueError("broken")])
    def test_by_an_error_within_the_model(
        self, error: BaseException, model, data: TrainingPictures, tmp_path: Path
    ):
        """After two predictions of the fourth step: gradients of one batch are there, of the other not."""
        expected, history = run(tmp_path / "whole", model, data)
        predict, kept = model.predict, []
        interrupt = Counting(12, error)

        def breaks(*arguments) -> Tensor:
            interrupt()
            return predict(*arguments)

        model.predict = breaks
        with pytest.raises(type(error)):
            run(tmp_path, model, data, on_kept=kept.append)
        model.predict = predict
        assert kept[0].reason == type(error).__name__
        found, again = run(tmp_path, model, data)
        assert equal(found, expected) and same_records(again, history)

    @pytest.mark.parametrize("place", [torch.optim.AdamW, MovingAverage], ids=["optimizer", "average"])
    def test_in_the_midst_of_an_update(
        self, place: type, model, data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        """Nothing is kept of a step that is done by half: it goes on from the state before."""
        settings = dataclasses.replace(SETTINGS, ema_decay=0.9)
        expected, history = run(tmp_path / "whole", model, data, settings)
        method = "step" if place is torch.optim.AdamW else "update"
        whole, interrupt, kept = getattr(place, method), Counting(4, KeyboardInterrupt()), []

        def interrupted(self) -> None:
            whole(self)
            interrupt()

        with monkeypatch.context() as patch:
            patch.setattr(place, method, interrupted)
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, model, data, settings, save_every=2, on_kept=kept.append)
        assert (kept[0].step, kept[0].state) == (3, None)
        found, again = run(tmp_path, model, data, settings)
        assert equal(found, expected) and same_records(again, history)

    def test_twice_and_between_states(self, model, data: TrainingPictures, tmp_path: Path):
        expected, history = run(tmp_path / "whole", model, data)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                run(tmp_path, model, data, save_every=2, on_step=Counting(1, KeyboardInterrupt()))
        found, again = run(tmp_path, model, data, save_every=2)
        assert equal(found, expected) and same_records(again, history)

    def test_it_says_where_it_begins_and_what_was_done_before(
        self, model, data: TrainingPictures, tmp_path: Path
    ):
        begun: list[tuple[Path, list[int]]] = []

        def note(folder: Path, history: Sequence[StepRecord]) -> None:
            begun.append((folder, [record.step for record in history]))

        with pytest.raises(StopTraining):
            run(tmp_path, model, data, on_begin=note, on_step=Counting(3, StopTraining("enough")))
        run(tmp_path, model, data, on_begin=note)
        assert begun == [(tmp_path / NAME, []), (tmp_path / NAME, [1, 2, 3])]

    def test_what_is_kept_is_said_with_its_place(self, model, data: TrainingPictures, tmp_path: Path):
        kept: list[Kept] = []
        with pytest.raises(StopTraining):
            run(tmp_path, model, data, on_step=Counting(3, StopTraining("cancelled")), on_kept=kept.append)
        (one,) = kept
        assert one.step == 3 and one.state is not None and one.lora is not None
        assert one.state.parent == one.lora.parent == tmp_path / NAME
        assert load_train_state(one.state).step == 3 and load_lora(one.lora)
        assert str(one) == (
            f"Training stopped at step 3 (cancelled). Its state is in {one.state}: "
            "run it again with the same settings to go on from there. "
            f"The LoRA so far is {one.lora}"
        )

    def test_a_full_disk_does_not_hide_why_it_ended(
        self, model, data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ):
        kept: list[Kept] = []
        refuse(monkeypatch, tmp_path / NAME, FAULTS["full"], after=4)  # lock, description, curves, a step
        with pytest.raises(StopTraining, match="cancelled"):
            run(tmp_path, model, data, on_step=Counting(2, StopTraining("cancelled")), on_kept=kept.append)
        assert kept == [Kept(2, None, None, "cancelled")] and "could not be written" in str(kept[0])
        assert str(tmp_path / NAME) in caplog.text and "the disk is full" in caplog.text

    @pytest.mark.parametrize(
        ("after", "fault"), [(0, "gone"), (0, "full"), (1, "read-only"), (4, "full"), (10, "over quota")]
    )
    def test_a_disk_that_takes_no_more_files_ends_nothing(
        self, after: int, fault: str, model, data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        expected, history = run(tmp_path / "whole", model, data)
        told: list[str] = []
        trainer = new_trainer(model, data)
        with monkeypatch.context() as patch:
            refused = refuse(patch, tmp_path / "runs", FAULTS[fault], after)
            folder, state = choose_run(
                tmp_path / "runs", NAME, identity_of(SETTINGS), True, Keep(), trainer.load, told.append
            )
            again = run_training(trainer, folder, state, RunOptions(save_every=2, tell=told.append))
        assert equal(trainer.lora(), expected) and same_records(again, history)
        assert refused and all("cannot be written: " in message for message in told)
        assert 1 <= len(told) == len(set(told)) <= 4  # each kind of file once, however often it failed
        found, again = run(tmp_path / "runs", model, data)
        assert equal(found, expected)

    def test_what_is_written_once_there_is_room_again_is_gone_on_from(
        self, model, data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        expected, history = run(tmp_path / "whole", model, data)
        with monkeypatch.context() as patch, monkeypatch.context() as full:
            refuse(full, tmp_path / "runs", FAULTS["full"], after=3)

            def step(record: StepRecord) -> None:
                if record.step == 3:
                    full.undo()
                if record.step == 5:
                    raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                run(tmp_path / "runs", model, data, save_every=1, on_step=step)
            patch.undo()
        states = sorted(path.name for path in (tmp_path / "runs" / NAME).glob("state_*"))
        assert states == ["state_000004.safetensors", "state_000005.safetensors"]
        found, _ = run(tmp_path / "runs", model, data)
        assert equal(found, expected)

    @pytest.mark.parametrize("fault", FAULTS)
    def test_where_it_must_be_kept_it_does_not_begin(
        self, fault: str, model, data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        (tmp_path / NAME).mkdir()
        refuse(monkeypatch, tmp_path, FAULTS[fault])
        with pytest.raises(NotWrittenError, match=f"^{tmp_path / NAME}.*: cannot be written: "):
            run(tmp_path, model, data)

    def test_an_error_before_the_first_step_gives_the_folder_up(self, model, data, tmp_path: Path):
        with pytest.raises(StopTraining):
            run(tmp_path, model, data, on_step=Counting(2, StopTraining("enough")))
        folder, state = choose_run(tmp_path, NAME, identity_of(SETTINGS), True)
        assert state is not None
        foreign = dataclasses.replace(state, tensors={"generator": state.tensors["generator"]})
        with pytest.raises(ValueError, match="missing"):
            run_training(new_trainer(model, data), folder, foreign)
        _, history = run(tmp_path, model, data)
        assert len(history) == SETTINGS.steps and not (tmp_path / f"{NAME}_2").exists()


class TestPieces:
    @pytest.mark.parametrize("changes", OPTIMIZERS.values(), ids=OPTIMIZERS)
    def test_five_steps_and_five_are_ten(self, changes: dict, model, data: TrainingPictures):
        whole = dataclasses.replace(SETTINGS, steps=10, **changes)
        half = dataclasses.replace(whole, steps=5, schedule_steps=10)
        one, first, second = (new_trainer(model, data, settings) for settings in (whole, half, half))
        records = [self.steps(trainer, 5) for trainer in (one, first)]
        state = first.state()
        self.steps(first, 1)  # the state is a copy
        second.load(state)
        assert second.steps_done == 5 and records[0] == records[1]
        assert self.steps(second, 5) == self.steps(one, 5)
        assert equal(second.lora(), one.lora())

    def steps(self, trainer: Trainer, count: int) -> list[str]:
        with trainer.adapters.attached():
            return [repr(trainer.step()) for _ in range(count)]

    def test_other_pictures_or_another_optimizer_begin_anew_and_say_so(
        self, model, data: TrainingPictures, caplog: pytest.LogCaptureFixture
    ):
        def trainer(optimizer: str, pictures: str) -> Trainer:
            settings = dataclasses.replace(SETTINGS, optimizer=optimizer)
            other = new_trainer(model, data, settings)
            identity = {"data": pictures, "training": dataclasses.asdict(settings)}
            return Trainer(model, other.adapters, data, OBJECTIVE, settings, identity)

        before = trainer("adamw", "a")
        self.steps(before, 3)
        with caplog.at_level(logging.WARNING):
            same = trainer("adamw", "a")
            same.load(before.state())
            assert not caplog.records
            other = trainer("sgd", "b")
            other.load(before.state())
        assert "other pictures" in caplog.text and "another optimizer" in caplog.text
        assert equal(other.lora(), before.lora())
        self.steps(other, 1)

    def test_another_batch_size_is_noticed_without_an_identity(self, model, data: TrainingPictures):
        """More pictures of a size may wait than one of the smaller batches holds."""
        cut = tuple(latent[:, :4] for latent in data.latents), tuple(mask[:, :4] for mask in data.masks)
        two_sizes = TrainingPictures(data.latents + cut[0], data.masks + cut[1], data.labels)
        first, second = (
            Trainer(
                model,
                new_trainer(model, two_sizes).adapters,
                two_sizes,
                OBJECTIVE,
                dataclasses.replace(SETTINGS, batch_size=batch_size, accumulation=1),
            )
            for batch_size in (4, 2)
        )
        while all(len(queue) < 3 for queue in first.state().values["sampler"]["waiting"]):
            self.steps(first, 1)
        second.load(first.state())
        model.calls.clear()
        self.steps(second, 8)
        assert {index < 4 for call in model.calls for index in call} == {True, False}

    @pytest.mark.parametrize(
        "change",
        [
            lambda tensors, values: tensors.pop("generator"),
            lambda tensors, values: tensors.update(generator=torch.zeros(8, dtype=torch.uint8)),
            lambda tensors, values: tensors.update(generator=torch.zeros(3)),
            lambda tensors, values: tensors.popitem(),
            lambda tensors, values: tensors.update({"optimizer.99.exp_avg": torch.zeros(2)}),
            lambda tensors, values: tensors.update({"optimizer.x.exp_avg": torch.zeros(2)}),
            lambda tensors, values: tensors.pop("average.0"),
            lambda tensors, values: values.clear(),
            lambda tensors, values: values.update(sampler=None),
            lambda tensors, values: values.update(sampler={"to_come": [99], "waiting": []}),
            lambda tensors, values: values.update(sampler={"to_come": ["0"], "waiting": []}),
            lambda tensors, values: values.update(sampler={"to_come": [], "waiting": [[]]}),
            lambda tensors, values: values.update(sampler={"to_come": [], "waiting": [[0] * 50]}),
            lambda tensors, values: values.update(optimizer={"groups": [], "scalars": {}}),
            lambda tensors, values: values.update(optimizer=[1]),
            lambda tensors, values: values.update(at_once="all"),
            lambda tensors, values: values.update(averaged=None),
        ],
    )
    def test_a_state_whose_content_is_wrong_leaves_the_training_as_it_was(
        self, change, model, data: TrainingPictures
    ):
        settings = dataclasses.replace(SETTINGS, ema_decay=0.9)
        earlier = new_trainer(model, data, settings)
        self.steps(earlier, 3)
        state = earlier.state()
        change(state.tensors, state.values)
        expected, trainer = (new_trainer(model, data, settings) for _ in range(2))
        try:
            trainer.load(state)
        except TrainStateError as error:
            assert str(error)
            assert self.steps(trainer, 2) == self.steps(expected, 2)
            assert equal(trainer.lora(), expected.lora())
        else:  # what was taken away was none of the training's
            assert trainer.steps_done == 3 and self.steps(trainer, 1)

    def test_adapters_of_another_rank_are_refused(self, model, data: TrainingPictures):
        layers = linear_layers(model, "all linear layers")
        other = Trainer(
            model, LoraAdapters(layers, AdapterSettings(rank=2), 0), data, OBJECTIVE, SETTINGS, IDENTITY
        )
        with pytest.raises(ValueError, match="another rank"):
            other.load(new_trainer(model, data).state())

    @pytest.mark.parametrize(("before", "now"), [("a", "b"), ("a", None), (None, "a")])
    def test_a_state_without_the_same_parts_that_stay_as_they_are_is_refused(
        self, before: str | None, now: str | None, model, data: TrainingPictures
    ):
        def trainer(fixed: str | None) -> Trainer:
            identity = {"adapters": {} if fixed is None else {"fixed": fixed}}
            adapters = new_trainer(model, data).adapters
            return Trainer(model, adapters, data, OBJECTIVE, SETTINGS, identity)

        with pytest.raises(ValueError, match="connect it to start_from"):
            trainer(now).load(trainer(before).state())


class TestNothingAroundTheStepsMatters:
    def test_states_and_previews_change_nothing(self, model, data: TrainingPictures, tmp_path: Path):
        settings = dataclasses.replace(SETTINGS, ema_decay=0.9, caption_dropout=0.3)
        expected, history = run(tmp_path / "plain", model, data, settings, save_every=0)
        seen: list[tuple[str, Tensor]] = []

        def preview(path: Path) -> None:
            torch.rand(3)  # a sampler uses the global generator
            answer = model.predict(torch.ones(1, 3, 8, 8), torch.tensor([0.5]), [0])
            seen.append((path.name, answer.detach()))

        found, again = run(tmp_path, model, data, settings, save_every=1, preview_every=2, preview=preview)
        assert equal(found, expected) and same_records(again, history)
        assert [name for name, _ in seen] == ["step_000002.png", "step_000004.png", "step_000006.png"]
        assert not torch.equal(seen[0][1], seen[2][1])

    def test_a_preview_shows_the_average(self, model, data: TrainingPictures, tmp_path: Path):
        settings = dataclasses.replace(SETTINGS, steps=2, ema_decay=0.9)
        seen: list[Tensor] = []
        inputs = torch.ones(1, 3, 8, 8), torch.tensor([0.5]), [0]
        folder, _ = choose_run(tmp_path, NAME, IDENTITY, resume=True)
        trainer = new_trainer(model, data, settings)
        options = RunOptions(preview_every=2, preview=lambda _: seen.append(model.predict(*inputs).detach()))
        run_training(trainer, folder, None, options)
        with trainer.adapters.attached():
            last = model.predict(*inputs)
            with trainer.result():
                average = model.predict(*inputs)
        assert torch.equal(seen[0], average) and not torch.equal(last, average)


def test_a_state_is_a_plain_value(model, data: TrainingPictures):
    """Nothing in it changes when the training goes on, nor when it is read twice."""
    trainer = new_trainer(model, data, dataclasses.replace(SETTINGS, ema_decay=0.5))
    state: TrainState = trainer.state()
    before = {name: tensor.clone() for name, tensor in state.tensors.items()}, json.dumps(state.values)
    with trainer.adapters.attached():
        trainer.step()
    assert equal(dict(state.tensors), before[0]) and json.dumps(state.values) == before[1]
