"""LoRA files in every key style, in ComfyUI's own loader, on small genuine networks of every family."""

import json
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FAMILIES = ("sd3", "flux", "z_image", "qwen_image", "wan_video", "sd15", "sdxl_v")
KINDS = ("lora", "lora, alpha 3", "loha", "lokr", "lokr, full")


@pytest.fixture(scope="module")
def measured(comfy: ModuleType, repo: Path) -> dict[str, Any]:
    """The numbers of measure_lora_files.py."""
    program = [comfy.environment_python(), repo / "tests" / "host" / "measure_lora_files.py"]
    environment = {**os.environ, "PYTHONPATH": str(repo), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*program, comfy.comfyui_folder()], capture_output=True, text=True, timeout=240, env=environment
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("style", ["kohya", "diffusers"])
def test_a_lora_has_the_same_effect_in_every_key_style(measured: dict[str, Any], family: str, style: str):
    """To the last bit where alpha / rank is a power of two, else to rounding: diffusers has no alpha."""
    if (family, style) == ("wan_video", "diffusers"):
        assert "no diffusers keys for this base model" in measured[family]["styles"]["lora"][style]["error"]
        return
    exact, rounded = (measured[family]["styles"][kind][style] for kind in ("lora", "lora, alpha 3"))
    assert exact["loaded"] == exact["back"] == 0
    assert rounded["loaded"] < 1e-6 and rounded["back"] < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["loha", "lokr", "lokr, full"])
def test_loha_and_lokr_have_the_same_effect_in_kohyas_style(measured: dict[str, Any], family: str, kind: str):
    styles = measured[family]["styles"][kind]
    assert styles["kohya"]["loaded"] == styles["kohya"]["back"] == styles["comfyui"]["back"] == 0
    assert "diffusers" in styles["diffusers"]["error"]


@pytest.mark.parametrize("family", FAMILIES)
def test_core_knows_every_key(measured: dict[str, Any], family: str):
    assert measured[family]["complaints"] == []
    assert measured[family]["complaints about a key of nothing"] != []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_on_activations_it_does_what_cores_loader_does_to_weights(
    measured: dict[str, Any], family: str, kind: str
):
    """In standard deviations of the prediction; the networks are untrained, which amplifies rounding."""
    activations = measured[family]["activations"][kind]
    assert activations["effect"] > 0.01
    assert activations["difference"] < 1e-3 * activations["effect"]


@pytest.mark.parametrize(
    ("family", "style", "key"),
    [
        ("sd3", "kohya", "lora_unet_joint_blocks_0_context_block_attn_proj.alpha"),
        ("sd3", "diffusers", "transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight"),
        ("flux", "diffusers", "transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight"),
        ("qwen_image", "diffusers", "transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight"),
        ("sd15", "kohya", "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k.alpha"),
        ("sdxl_v", "kohya", "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_k.alpha"),
        (
            "sdxl_v",
            "diffusers",
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_k_lora.down.weight",
        ),
    ],
)
def test_names_are_those_of_published_files(measured: dict[str, Any], family: str, style: str, key: str):
    assert measured[family]["styles"]["lora"][style]["key"] == key


def test_parts_with_a_down_each_in_half_precision_without_alpha_are_taken_over(measured: dict[str, Any]):
    """As other trainers of Z-Image write them: to_q, to_k and to_v where ComfyUI has qkv."""
    assert measured["z_image"]["origin"] < 1e-6


PRESETS = {
    "sd3": {"attention + feed-forward": 13, "attention only": 7, "SD3: image stream": 8},
    "flux": {
        "attention + feed-forward": 10,
        "attention only": 5,
        "Flux: double blocks": 8,
        "Flux: single blocks": 2,
    },
    "z_image": {
        "attention + feed-forward": 15,
        "attention only": 6,
        "Z-Image / Lumina 2: without refiners": 5,
    },
    "qwen_image": {"attention + feed-forward": 12, "attention only": 8, "Qwen-Image: image stream": 6},
    "wan_video": {
        "attention + feed-forward": 10,
        "attention only": 8,
        "Wan: self-attention + feed-forward": 6,
    },
    "sd15": {"SD1.5 / SDXL: cross-attention": 28, "SD1.5 / SDXL: transformer blocks": 70},
    "sdxl_v": {"SD1.5 / SDXL: cross-attention": 28, "SD1.5 / SDXL: transformer blocks": 70},
}
"""Layers of one block each, of two of SD3 (the last has no text feed-forward), of seven of the UNets."""


@pytest.mark.parametrize("family", FAMILIES)
def test_presets_choose_the_layers_of_their_family_and_none_of_others(measured: dict[str, Any], family: str):
    chosen = measured[family]["layers"]
    assert {choice: len(chosen[choice]) for choice in PRESETS[family]} == PRESETS[family]
    general = {"attention + feed-forward", "attention only", "all linear layers"}
    assert not any(chosen[choice] for choice in chosen.keys() - PRESETS[family].keys() - general)
