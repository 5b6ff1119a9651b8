"""What is held out is judged on the same noise each time; the best state is kept, words say what happened."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.file import load_lora, load_metadata
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.metadata import lora_metadata
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.digest import digest
from semantic_focus.training.run import RunOptions, StopTraining, run_identity, run_training
from semantic_focus.training.run_folder import choose_run
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.state import load_train_state
from semantic_focus.training.step_record import StepRecord, ValidationRecord
from semantic_focus.training.trainer import Trainer
from semantic_focus.training.validation import Validation, ValidationSettings, automatic_interval
from semantic_focus.training.verdict import Verdict, about_validations, made_worse

from .tiny_velocity import TinyVelocity

OBJECTIVE = Objective(weights={"face": 1.0, "hair": 0.5}, global_fallback=0.0)
SETTINGS = TrainingSettings(
    steps=60, batch_size=2, learning_rate=3e-2, schedule="constant", ema_decay=0.2, warmup=2
)
PICTURES = ValidationSettings("pictures", share=0.34, every=10)
CROPS = ValidationSettings("crops", every=10)


def pictures(count: int = 4) -> TrainingPictures:
    """8×8: face top left, hair below, background on the right; each in colours of its own."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(3, 8, 8)
    masks[0, :4, :4], masks[1, 4:, :4], masks[2, :, 4:] = 1, 1, 1
    latents = tuple(
        1.5 * masks[:1] - masks[2:]
        + 0.2 * torch.randn(3, 8, 8, generator=generator)
        + 1.5 * torch.randn(3, 1, 1, generator=generator)
        for _ in range(count)
    )  # fmt: skip
    return TrainingPictures(latents, (masks,) * count, ("face", "hair", "background"))


def new_trainer(
    validation: ValidationSettings | None = PICTURES, settings: TrainingSettings = SETTINGS, count: int = 4
) -> Trainer:
    model = TinyVelocity(pictures=count)
    layers = linear_layers(model, "all linear layers")
    adapters = LoraAdapters(layers, AdapterSettings(rank=8, alpha=8.0, dropout=0.1), 0)
    data = pictures(count)
    identity = run_identity(
        model="tiny", data=data.digest(), conditioning="none", adapters={"rank": 8},
        objective=OBJECTIVE, settings=settings, validation=validation,
    )  # fmt: skip
    return Trainer(model, adapters, data, OBJECTIVE, settings, identity, validation)


def run(root: Path, trainer: Trainer, **options: Any) -> list[StepRecord]:
    """Begin or go on with the training in `root`/toy."""
    folder, state = choose_run(root, "toy", trainer.state().identity, resume=True, accept=trainer.load)
    header = lora_metadata(trainer.lora(), "comfyui")
    return run_training(trainer, folder, state, RunOptions(**options), header)


def held_out_error(lora: dict[str, Tensor], trainer: Trainer) -> float:
    """Weighted squared error of a LoRA on the pictures that were held out, on noise of this test's own."""
    model, data = TinyVelocity(pictures=4), trainer.data
    adapters = LoraAdapters(linear_layers(model, "all linear layers"), AdapterSettings(rank=8, alpha=8.0), 0)
    adapters.load_state_dict(lora)
    assert trainer.validation is not None
    generator, errors = torch.Generator().manual_seed(77), []
    with adapters.attached(), torch.no_grad():
        for index in sorted(trainer.validation.held_out) * 15:
            clean, masks = data.batch([index])
            noise, u = torch.randn(clean.shape, generator=generator), torch.rand(1, generator=generator)
            noisy, sigma, target = model.corrupt(clean, noise, u)
            squared = (model.predict(noisy, sigma, [index]) - target).square().mean(1)
            parts = {name: float((masks[name] * squared).sum() / masks[name].sum()) for name in masks}
            errors.append((parts["face"] + 0.5 * parts["hair"]) / 1.5)
    return sum(errors) / len(errors)


class TestBestState:
    def test_it_beats_the_last_of_an_overtrained_run(self, tmp_path: Path):
        trainer, told = new_trainer(settings=dataclasses.replace(SETTINGS, steps=80, learning_rate=6e-2)), []
        history = run(tmp_path, trainer, on_verdict=told.append)
        losses = {record.step: record.validation.loss for record in history if record.validation}
        marked = min(losses, key=lambda step: losses[step])
        kept = tmp_path / "toy" / "lora_best.safetensors"
        assert load_metadata(kept)["semantic_focus.steps"] == str(marked) != "80"
        assert held_out_error(load_lora(kept), trainer) < 0.9 * held_out_error(trainer.lora(), trainer)
        state = load_train_state(tmp_path / "toy" / "state_best.safetensors")
        assert state.step == marked
        best = next(remark for remark in told[0].remarks if remark.kind == "best")
        assert best.values["step"] == str(marked) and not told[0].is_worse

    def test_what_is_held_out_is_never_trained(self):
        trainer = new_trainer(count=12, validation=ValidationSettings("auto", share=0.25))
        assert trainer.validation is not None and len(trainer.validation.held_out) == 3
        with trainer.adapters.attached():
            seen = {sample.picture for _ in range(12) for sample in trainer.step().samples}
        assert seen == set(range(12)) - trainer.validation.held_out

    def test_of_few_pictures_crops_are_judged_and_the_training_stays_as_it_is(self, tmp_path: Path):
        trainer, plain = new_trainer(ValidationSettings("auto", every=20)), new_trainer(None)
        judged, history = run(tmp_path / "judged", trainer), run(tmp_path / "plain", plain)
        assert digest(trainer.lora()) == digest(plain.lora())
        assert [r.total for r in judged] == [r.total for r in history]
        assert [r.step for r in judged if r.validation] == [20, 40, 60]
        lines = (tmp_path / "plain" / "toy" / "curves.jsonl").read_text().splitlines()
        assert not any("validation" in json.loads(line) for line in lines)
        assert not (tmp_path / "plain" / "toy" / "lora_best.safetensors").exists()


class TestResume:
    """Stopped and gone on with, it is what an uninterrupted training is, bit for bit."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, bytes]:
        root, trainer = tmp_path_factory.mktemp("whole"), new_trainer()
        history = run(root, trainer)
        return digest(trainer.lora()), repr(history), (root / "toy" / "lora_best.safetensors").read_bytes()

    # a step has 2 passes: 20, then 8 of the first validation, 20 of steps, 4 of the second
    @pytest.mark.parametrize("calls", [15, 21, 27, 40, 50, 53])
    def test_from_any_pass_also_of_a_validation(self, calls: int, whole, tmp_path: Path):
        left = [calls]

        def check() -> None:
            left[0] -= 1
            if not left[0]:
                raise StopTraining("enough")

        with pytest.raises(StopTraining):
            run(tmp_path, new_trainer(), check=check)
        trainer = new_trainer()
        history = run(tmp_path, trainer)
        best = (tmp_path / "toy" / "lora_best.safetensors").read_bytes()
        assert (digest(trainer.lora()), repr(history), best) == whole

    def test_other_things_held_out_are_another_run(self, tmp_path: Path):
        def stop(record: StepRecord) -> None:
            raise StopTraining("enough")

        for validation in (PICTURES, CROPS, None):
            with pytest.raises(StopTraining):
                run(tmp_path, new_trainer(validation), on_step=stop)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["toy", "toy_2", "toy_3"]


def test_a_validation_has_the_numbers_of_a_plain_computation():
    """Of one picture in four passes, from what the model was given and answered."""
    objective = Objective(
        weights={"face": 2.0, "hair": 1.0}, cosine_weight=0.0, prior_weight=3.0, area_shrinkage=0.0
    )
    data, asked = pictures(), []

    class Recorded(TinyVelocity):
        def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor):
            asked.append((clean, noise, u))
            return super().corrupt(clean, noise, u)

    recorded = Recorded(pictures=4)
    adapters = LoraAdapters(
        linear_layers(recorded, "all linear layers"), AdapterSettings(rank=4, alpha=4.0), 0
    )
    for parameter in adapters.parameters():
        parameter.data += 0.1
    validation = Validation(
        recorded, adapters, data, objective, ValidationSettings("pictures", 0.1), SETTINGS
    )
    (index,) = validation.held_out
    with adapters.attached():
        found = validation.measure()
        again = validation.measure()
        inputs, means = asked[:4], []
        for clean, noise, u in inputs:
            assert torch.equal(clean[0], data.latents[index])
            noisy, sigma, target = TinyVelocity.corrupt(recorded, clean, noise, u)
            with torch.no_grad():
                after = recorded.predict(noisy, sigma, [index])[0]
                with adapters.disabled():
                    base = recorded.predict(noisy, sigma, [index])[0]
            parts = {
                "face": (slice(4), slice(4)),
                "hair": (slice(4, 8), slice(4)),
                "background": (slice(8), slice(4, 8)),
            }
            row = {}
            for name, (rows, columns) in parts.items():
                a, b, t = after[:, rows, columns], base[:, rows, columns], target[0, :, rows, columns]
                row[name] = torch.stack((((a - t) ** 2).mean(), ((b - t) ** 2).mean(), ((a - b) ** 2).mean()))
            means.append(row)
    assert repr(found) == repr(again)
    assert sorted(float(u) for *_, u in inputs) != [float(inputs[0][2])] * 4
    mean = {name: torch.stack([row[name] for row in means]).mean(0).tolist() for name in means[0]}
    for place, table in enumerate((found.regions, found.regions_before, found.drift)):
        assert table == pytest.approx({name: values[place] for name, values in mean.items()}, rel=1e-4)
    errors, before, drift = zip(*mean.values(), strict=True)
    assert found.loss == pytest.approx((2 * errors[0] + errors[1]) / 3 + 3 * drift[2], rel=1e-4)
    assert found.loss_before == pytest.approx((2 * before[0] + before[1]) / 3, rel=1e-4)


@pytest.mark.parametrize(
    ("passes", "steps", "accumulation", "prior", "expected"),
    [
        # 2 passes a step: 0.02 · 2 · 1000 = 40 for 4 each and 4 of the base: 9 validations
        (4, 1000, 1, 0.0, 112),
        (4, 1000, 1, 4.0, 72),  # 60: 14
        (16, 1000, 1, 4.0, 500),  # 60: 2
        (4, 1000, 8, 0.0, 13),  # 320: 79
        (4, 20, 1, 4.0, 20),  # not even one: one at the end
        (4, 100_000, 8, 0.0, 1000),  # never more than 100
    ],
)
def test_automatic_validations_take_a_small_share(
    passes: int, steps: int, accumulation: int, prior: float, expected: int
):
    settings = TrainingSettings(steps=steps, accumulation=accumulation)
    assert automatic_interval(passes, Objective(prior_weight=prior), settings) == expected


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hold_out": "some"}, "off, auto, pictures, crops"),
        ({"share": 0.0}, "share is 0.0"),
        ({"share": 0.6}, "at most 0.5"),
        ({"every": -1}, "every is -1"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], said: str):
    with pytest.raises(ValueError, match=said):
        ValidationSettings(**settings)


def test_one_picture_cannot_be_held_out():
    with pytest.raises(ValueError, match="Set its hold_out to crops"):
        new_trainer(count=1)
    assert new_trainer(CROPS, count=1).validation


class TestWords:
    @pytest.mark.parametrize(
        ("face", "hair", "drift", "expected"),
        [
            # of 1 before
            ([0.8, 0.6, 0.5, 0.45], [0.9, 0.8, 0.7, 0.6], [0.01] * 4, {"still": None}),
            ([0.8, 0.5, 0.7, 0.8], [0.9, 0.8, 0.7, 0.6], [0.01] * 4,
             {"best": "20", "overtrained": "face 20"}),
            ([0.5, 0.49, 0.49, 0.485], [0.9, 0.8, 0.7, 0.6], [0.01] * 4,
             {"still": None, "saturated": "face 10"}),
            ([0.8, 0.6, 0.5, 0.4], [0.9, 0.8, 0.7, 0.6], [0.01, 0.02, 0.2, 0.3],
             {"still": None, "drift": "background 30"}),
            ([0.8, 0.6, 0.5, 0.4], [0.9, 0.8, 0.7, 0.6], [0.01, 0.02, 0.2, math.inf],
             {"still": None, "drift": "background 30"}),
            ([0.8, 0.6, 0.5, 0.4], [0.9, 0.8, 0.7, 0.6], [0.3, 0.2, 0.05, 0.01], {"still": None}),
            ([1.2, 1.3, 1.1, 1.4], [1.2, 1.3, 1.1, 1.4], [0.01] * 4, {"no_gain": "30"}),
            ([0.5, 0.4, 0.6, 0.7], [0.5, 0.4, 0.6, 0.7], [0.01] * 4,
             {"best": "20", "overtrained": "face, hair 20"}),
        ],
    )  # fmt: skip
    def test_they_say_what_the_curves_show(
        self, face: list[float], hair: list[float], drift: list[float], expected: dict[str, str | None]
    ):
        before = {"face": 1.0, "hair": 1.0, "background": 1.0}
        history = [
            StepRecord(
                10 * (i + 1), 1.0, {}, 0.0, 0.0, 1e-4,
                validation=ValidationRecord(
                    face[i], 1.0, {"face": face[i], "hair": hair[i], "background": 1.0}, before,
                    {"background": drift[i]} if math.isfinite(drift[i]) else {},
                ),
            )
            for i in range(4)
        ]  # fmt: skip
        found = {
            remark.kind: " ".join(remark.values[key] for key in ("regions", "step") if key in remark.values)
            or None
            for remark in about_validations(history, OBJECTIVE)
        }
        assert found == expected

    @pytest.mark.parametrize(
        ("loss", "before", "expected"),
        [(0.5, 1.0, False), (1.1, 1.0, False), (1.3, 1.0, True), (8.0, 3.0, True), (math.inf, 1.0, True)],
    )
    def test_a_loss_far_above_that_without_the_lora_is_worse(
        self, loss: float, before: float, expected: bool
    ):
        assert made_worse(loss, before) == expected

    @pytest.mark.parametrize(("rate", "worse"), [(1e-2, False), (30.0, True)])
    def test_a_rate_that_is_too_high_is_told_at_the_end(self, rate: float, worse: bool, tmp_path: Path):
        told: list[Verdict] = []
        settings = TrainingSettings(steps=40, batch_size=2, learning_rate=rate)
        run(tmp_path, new_trainer(None, settings), on_verdict=told.append)
        assert [verdict.is_worse for verdict in told] == [worse]
        assert [remark.kind for remark in told[0].remarks] == (["raised"] if worse else [])
