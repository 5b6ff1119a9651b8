"""NaN and infinity are named where they come from: the pictures, the base model, the LoRA or the settings."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.not_finite import (
    BaseNotFinite,
    Kind,
    not_finite,
    refuse_not_finite,
    weights_not_finite,
)
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.trainer import Trainer, TrainingDiverged

from .tiny_velocity import TinyVelocity

NAMES = ("a.png", "b.png", "c.png", "d.png")
NAN, INFINITE = torch.tensor([1.0, math.nan]), torch.tensor([-math.inf])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.zeros(2), []),
        (NAN, [""]),
        (INFINITE, [""]),
        (NAN.half(), [""]),
        (torch.tensor([7]), []),
        (torch.tensor([True]), []),
        ("nan", []),
        (None, []),
        (math.nan, []),
        ([[torch.zeros(1), {"pooled_output": NAN, "width": 3}]], ["pooled_output"]),
        ([[NAN, {"pooled_output": INFINITE}]], ["", "pooled_output"]),
        ({"outer": {"inner": (torch.zeros(1), NAN)}}, ["inner"]),
        ({"attention_mask": INFINITE}, []),
        ({"attention_mask": NAN}, ["attention_mask"]),
        ({"face": INFINITE}, ["face"]),
    ],
)
def test_a_nested_value_is_looked_through(value: Any, expected: list[str]):
    assert not_finite(value) == expected


class TestBeforeTheFirstStep:
    def test_all_of_it_is_named_at_once_by_picture_and_part(self):
        good = torch.zeros(2)
        kinds = [
            Kind("latent", [good, NAN, good], "encode"),
            Kind("text embedding", [[[good, {"pooled_output": NAN}]], [[good, {}]], [[NAN, {}]]], "encode"),
            Kind("mask", [{"face": good}, {"face": good}, {"face": INFINITE, "hair": NAN}], "segment"),
        ]
        with pytest.raises(ValueError) as caught:
            refuse_not_finite(kinds, NAMES)
        assert str(caught.value).splitlines()[1:] == [
            "- latent of picture 2 (b.png): encode",
            "- text embedding (pooled_output) of picture 1 (a.png), picture 3 (c.png): encode",
            "- mask (face, hair) of picture 3 (c.png): segment",
        ]

    def test_a_text_that_all_pictures_share_is_said_once(self):
        with pytest.raises(ValueError, match="text embedding of all 300 pictures: encode"):
            refuse_not_finite([Kind("text embedding", [[[NAN, {}]]] * 300, "encode")])

    def test_of_very_many_pictures_the_first_are_named(self):
        values = [torch.zeros(1), *[NAN] * 500]
        with pytest.raises(ValueError, match=r"picture 2, .*picture 21 and 480 more: encode"):
            refuse_not_finite([Kind("latent", values, "encode")])

    def test_what_is_finite_passes(self):
        refuse_not_finite([Kind("latent", [torch.zeros(1)], ""), Kind("mask", [], "")])


class TestTheBase:
    @pytest.mark.parametrize(
        ("weights", "expected"),
        [
            (["blocks.0.weight"], "its weights hold such numbers (blocks.0.weight)"),
            ([], "its weights are finite: a base model in 16 bit overflows"),
        ],
    )
    def test_the_message_names_what_is_wrong_with_it(self, weights: list[str], expected: str):
        said = str(BaseNotFinite("SD3", "picture 2 (b.png)", 0.25, weights))
        assert expected in said and "SD3" in said and "picture 2 (b.png) at noise level 0.25" in said

    def test_its_weights_are_named(self, model: TinyVelocity):
        with torch.no_grad():
            model.second.bias[3] = math.inf
        assert weights_not_finite(model) == ["second.bias"]


def spoilt_latent(data: TrainingPictures, _model: Any, _adapters: Any) -> TrainingPictures:
    return replace(data, latents=(*data.latents[:2], data.latents[2] * math.nan, data.latents[3]))


def spoilt_masks(data: TrainingPictures, _model: Any, _adapters: Any) -> TrainingPictures:
    spoilt = data.masks[1].clone()
    spoilt[0, 0, 0] = math.nan
    return replace(data, masks=(data.masks[0], spoilt, *data.masks[2:]))


def base_that_overflows(data: TrainingPictures, model: Any, _adapters: Any) -> TrainingPictures:
    predict = model.predict

    def overflow(noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        spoilt = torch.tensor([math.inf if picture == 3 else 1.0 for picture in pictures])
        return predict(noisy, sigma, pictures) * spoilt.view(-1, 1, 1, 1)

    model.predict = overflow
    return data


def spoilt_lora(data: TrainingPictures, _model: Any, adapters: LoraAdapters) -> TrainingPictures:
    with torch.no_grad():
        adapters.parameters()[0][0, 0] = math.nan
    return data


def rate_too_high(data: TrainingPictures, _model: Any, adapters: LoraAdapters) -> TrainingPictures:
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.fill_(1e30)
    return data


CAUSES: Mapping[str, tuple[Callable[..., TrainingPictures], str]] = {
    "latent": (spoilt_latent, "picture 3 (c.png) (latent). Encode and segment them again"),
    "mask": (spoilt_masks, "These hold such numbers themselves: picture 2 (b.png) (mask of face)"),
    "base": (
        base_that_overflows,
        "without the LoRA, is not finite either: picture 4 (d.png) at noise level 0.",
    ),
    "lora": (spoilt_lora, "The LoRA itself holds such numbers"),
    "settings": (rate_too_high, "Lower the learning rate"),
}


class TestInTheMidst:
    @pytest.fixture
    def failed(self, model: TinyVelocity, data: TrainingPictures) -> Callable[..., str]:
        """failed(spoil): what the first step ends with."""

        def run(spoil: Callable[..., TrainingPictures]) -> str:
            layers = linear_layers(model, "all linear layers")
            adapters = LoraAdapters(layers, AdapterSettings(rank=2, alpha=2.0), 0)
            pictures = spoil(replace(data, names=NAMES), model, adapters)
            objective = Objective(weights={"face": 1.0}, magnitude_weight=1.0)
            trainer = Trainer(model, adapters, pictures, objective, TrainingSettings(steps=3, batch_size=4))
            with adapters.attached(), pytest.raises(TrainingDiverged) as caught:
                trainer.step()
            return str(caught.value)

        return run

    @pytest.mark.parametrize("cause", CAUSES)
    def test_the_cause_is_named_and_no_other(self, cause: str, failed: Callable[..., str]):
        spoil, expected = CAUSES[cause]
        said = failed(spoil)
        assert said.startswith("step 1: the loss is not a finite number, in a batch of picture ")
        assert all(f"({name})" in said for name in NAMES)
        assert expected in said
        assert ("learning rate" in said) == (cause in ("lora", "settings", "base"))
        assert [other for other, (_, words) in CAUSES.items() if words in said] == [cause]


def test_the_next_batch_is_the_one_that_is_trained(model, data: TrainingPictures):
    adapters = LoraAdapters(linear_layers(model, "all linear layers"), AdapterSettings(rank=2, alpha=2.0), 0)
    trainer = Trainer(model, adapters, data, Objective(), TrainingSettings(steps=3, batch_size=2))
    for _ in range(3):
        (batch,) = trainer.next_batches()
        assert torch.equal(batch.noise, trainer.next_batches()[0].noise)
        with adapters.attached():
            record = trainer.step()
        assert [sample.picture for sample in record.samples] == batch.pictures
        assert [sample.position for sample in record.samples] == batch.u.tolist()
