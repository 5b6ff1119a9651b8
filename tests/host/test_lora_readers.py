"""A LoRA file does the same, or is refused by name, wherever it is given."""

from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by

FAMILIES = ("z_image", "sd15")
USERS = ("start_from and Compare", "Load LoRA File", "Save LoRA As", "training_adapter")
READ = (
    "comfyui",
    "kohya",
    "kohya with a text encoder",
    "kohya of lycoris",
    "diffusers",
    "diffusers without prefix",
    "PEFT",
    "musubi",
    "OneTrainer",
    "SimpleTuner's lycoris",
)
REFUSED = {
    "a text encoder": "is it one of a text encoder",
    "a layer cut": "is no complete LoRA",
    "a layer of rank 0": "which holds nothing",
    "a diverged training": "has values that are no finite numbers",
    "the model itself": "Is it a whole model",
    "nothing": "this LoRA is empty",
}
"""Spelling -> what every refusal of it has."""
NEAR = "one key of another model"
BESIDE = {
    "z_image": {"DoRA", "difference", "OFT"},
    "sd15": {
        *("DoRA", "difference", "OFT", "norm", "bias beside a pair"),
        *("1x1 convolution of kohya", "3x3 convolution of LoCon"),
    },
}
"""Family -> kinds of keys that no linear layer's adapter can hold."""
TRAINS = {"1x1 convolution of kohya": False, "bias beside a pair": True}
"""Kind that has something to train -> whether something stays as it is."""


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    """The numbers of measure_lora_readers.py."""
    return measured_by("measure_lora_readers.py", comfy)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_spelling_is_in_the_tables(measured: dict[str, Any], family: str):
    assert set(measured[family]) == {*READ, *REFUSED, NEAR}
    assert set(measured[f"{family} beside"]) == BESIDE[family]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spelling", READ)
@pytest.mark.parametrize("user", USERS)
def test_the_effect_is_that_of_cores_loader(measured: dict[str, Any], family: str, spelling: str, user: str):
    assert measured[family][spelling][user]["error"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spelling", REFUSED)
@pytest.mark.parametrize("user", USERS)
def test_what_is_no_lora_of_the_network_is_refused_by_name(
    measured: dict[str, Any], family: str, spelling: str, user: str
):
    assert REFUSED[spelling] in measured[family][spelling][user]["refused"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_key_of_another_model_is_left_out_by_name_and_no_training_adapter_is_used_in_part(
    measured: dict[str, Any], family: str
):
    found = measured[family][NEAR]
    for user in USERS[:-1]:
        assert found[user]["error"] == 0
        assert any("left out: diffusion_model.nowhere.lora_up" in line for line in found[user]["said"])
    assert "diffusion_model.nowhere" in found["training_adapter"]["refused"]


BESIDES = [(family, kind) for family in FAMILIES for kind in sorted(BESIDE[family])]


@pytest.mark.parametrize(("family", "kind"), BESIDES)
@pytest.mark.parametrize("user", USERS)
def test_what_only_weights_can_have_keeps_its_effect_and_is_named(
    measured: dict[str, Any], family: str, kind: str, user: str
):
    """A larger convolution, a norm, a bias, DoRA and OFT stay as they are; a 1x1 one is trained on."""
    found = measured[f"{family} beside"][kind]
    assert found["in core"]
    assert found[user]["error"] == pytest.approx(0, abs=1e-6)
    named = any("cannot be trained on; they stay as they are" in line for line in found[user]["said"])
    assert named == TRAINS.get(kind, True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_lora_whose_alpha_is_0_is_refused_for_training(measured: dict[str, Any], family: str):
    """It would learn nothing."""
    assert "alpha is 0 in all" in measured[f"{family} idle"]["refused"]


@pytest.mark.parametrize(("family", "kind"), BESIDES)
def test_what_has_nothing_to_train_is_refused_for_training(measured: dict[str, Any], family: str, kind: str):
    alone = measured[f"{family} beside"][kind]["alone"]
    if kind in TRAINS:
        assert alone["error"] == 0
    else:
        assert "nothing in this LoRA can be trained on" in alone["refused"]
