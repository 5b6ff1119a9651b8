"""A LoRA file does the same, or is refused by name, wherever it is given."""

import json
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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
)
REFUSED = {
    "musubi": "_to_k",
    "one key of another model": "diffusion_model.nowhere",
    "a text encoder": "is it one of a text encoder",
    "a layer cut": "is no complete LoRA",
}
"""Spelling -> what every refusal of it has."""


@pytest.fixture(scope="module")
def measured(comfy: ModuleType, repo: Path) -> dict[str, Any]:
    """The numbers of measure_lora_readers.py."""
    program = [comfy.environment_python(), repo / "tests" / "host" / "measure_lora_readers.py"]
    environment = {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*program, comfy.comfyui_folder()], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_spelling_is_in_the_tables(measured: dict[str, Any], family: str):
    assert set(measured[family]) == {*READ, *REFUSED}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spelling", READ)
@pytest.mark.parametrize("user", USERS)
def test_the_effect_is_that_of_cores_loader(measured: dict[str, Any], family: str, spelling: str, user: str):
    assert measured[family][spelling][user] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("spelling", REFUSED)
@pytest.mark.parametrize("user", USERS)
def test_what_would_be_used_in_part_is_refused_by_name(
    measured: dict[str, Any], family: str, spelling: str, user: str
):
    assert REFUSED[spelling] in measured[family][spelling][user]


def test_what_only_weights_can_have_is_used_as_a_training_adapter_and_refused_for_training(
    measured: dict[str, Any],
):
    """kohya's usual LoRA of SD1.5 adapts 1x1 convolutions; here one has a bias too."""
    found = measured["weights only"]
    assert found["convolution"] and found["bias"]
    assert found["training_adapter"] == 0
    for user in USERS[:-1]:
        assert "lora_unet_input_blocks_1_1_proj_in" in found[user]
        assert "diffusion_model.input_blocks.1.1.proj_in.diff_b" in found[user]


def test_a_key_that_nothing_knows_is_named_beside_those_of_a_layer_that_is_known(measured: dict[str, Any]):
    message = measured["weights only"]["strange"]
    assert "1 of its 214 keys do not fit (diffusion_model.input_blocks.1.1.proj_in.strange)" in message
