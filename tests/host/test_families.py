"""Every family of models in a real ComfyUI: noising, batches, gradients, the LoRA through ComfyUI's loader,
previews. The numbers come from measure_families.py, run once.
"""

from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by

FAMILIES = {
    "sd3": "velocity",
    "flux": "velocity",
    "z_image": "velocity",
    "qwen_image": "velocity",
    "wan_video": "velocity",
    "sd15": "eps",
    "sdxl_v": "v",
    "sdxl_edm": "edm",
}
ROUNDING = 1e-3
"""Of fp32, in standard deviations, after all layers of a network."""


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_families.py", comfy)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, measured: dict[str, Any]) -> dict[str, Any]:
    return measured[request.param] | {"name": request.param}


def test_the_attention_is_that_of_a_gpu(measured: dict[str, Any]):
    """The servers of the other tests take the one that ComfyUI has for the CPU."""
    assert measured["attention"] == "attention_pytorch"


def test_a_network_that_answers_with_the_target_gives_the_clean_picture(family: dict[str, Any]):
    """ComfyUI's own arithmetic turns it into the picture, at positions 0.05, 0.5 and 0.95."""
    assert family["target"]["prediction"] == FAMILIES[family["name"]]
    assert family["target"]["picture"] < 1e-5
    assert family["target"]["raw"] == 0


def test_the_snr_is_that_of_a_noised_one_and_a_noised_zero(family: dict[str, Any]):
    assert family["target"]["snr"] < 1e-5


def test_prompts_of_different_lengths_may_share_a_batch(family: dict[str, Any]):
    """The latents have odd sides too, which networks pad."""
    assert family["batches"]["mixed"] < ROUNDING
    assert family["batches"]["prompts"] > 0.1, "the prompt must matter"


def test_gradient_checkpointing_changes_no_gradient(family: dict[str, Any]):
    """Not even with random dropout; every adapted layer runs a second time in the backward pass."""
    assert family["checkpointing"]["difference"] < 1e-7
    assert family["checkpointing"]["runs"] == 2
    assert family["checkpointing"]["without_gradient"] < 0.4, "at most the last text stream's"


def test_the_lora_does_the_same_in_comfyui(family: dict[str, Any]):
    reload = family["reload"]
    assert reload["finite"]
    assert reload["effect"] > 0.05
    assert reload["reloaded"] < ROUNDING
    assert reload["strength_0"], "strength 0 must be the base model, bit for bit"


def test_the_model_is_left_as_it_was_found(family: dict[str, Any]):
    assert family["reload"]["as_found"]
    assert family["reload"]["as_found_after_error"]


def test_the_fingerprint_names_weights_and_loras(family: dict[str, Any]):
    before, after, with_lora = family["reload"]["fingerprints"]
    assert before == after != with_lora


def test_a_preview_is_what_comfyui_samples_with_the_lora_applied(family: dict[str, Any]):
    assert family["preview"]["core"] < ROUNDING
    low, high = family["preview"]["range"]
    assert 0 <= low < high <= 1


def test_training_after_a_preview_is_bit_identical(family: dict[str, Any]):
    assert family["preview"]["training_unchanged"]
    assert family["preview"]["random_numbers_unchanged"]


def test_latents_of_different_sizes_are_scaled_alike(family: dict[str, Any]):
    assert family["latents"]["scaled"] == 0
    widths = [shape[-1] for shape in family["latents"]["shapes"]]
    assert widths == [7, 7, 14, 14, 14]


def test_a_picture_is_a_video_of_one_frame_and_the_other_way_round(measured: dict[str, Any]):
    """For SD3 and for Wan."""
    assert measured["special_cases"]["frames"] == [[16, 4, 6], [16, 1, 4, 6]]


def test_every_frame_of_a_video_is_in_the_preview(measured: dict[str, Any]):
    assert measured["wan_video"]["preview"]["shape"] == [3, 5, 7, 3]


@pytest.mark.parametrize(
    "claim",
    [
        "active",
        "active_after_previews",
        "gone_afterwards",
        "lora_of_the_model_stays",
        "weights_come_back",
        "previews_without_it",
        "previews_with_it",
    ],
)
def test_a_training_adapter_acts_in_training_only(measured: dict[str, Any], claim: str):
    assert measured["special_cases"][claim]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no_empty_prompt", "connect the text encoder's output for an empty text"),
        ("combined", "a picture has 2 combined prompts"),
        ("mask", "carries a mask"),
        ("sampler", "preview sampler 'eulr': choose one of euler"),
        ("scheduler", "scheduler 'simpel': choose one of simple"),
        ("channels", "latent has 4 channels, SD3 needs 16: encode the pictures with the VAE of this model"),
        ("video", "latent is [1, 16, 2, 8, 8], SD3 needs 2 dimensions after the channels"),
        ("lcm", "not supported: training needs velocity, eps or v prediction"),
    ],
)
def test_what_cannot_be_trained_is_said(measured: dict[str, Any], what: str, message: str):
    assert message in measured["special_cases"]["refused"][what]


def test_a_training_adapter_of_another_model_is_refused(measured: dict[str, Any]):
    message = measured["special_cases"]["foreign"]
    assert (
        "does not belong to SD3: 1 of 1 names in this LoRA mean nothing to SD3: diffusion_model.nowhere"
        in message
    )


def test_inference_anchors_are_the_sampled_noise_levels(measured: dict[str, Any]):
    """SD3 has shift 3: u = 1, .75, .5 and .25 become 3u / (1 + 2u)."""
    assert measured["special_cases"]["anchors"] == pytest.approx([1.0, 0.9, 0.75, 0.5], abs=1e-3)
    assert measured["special_cases"]["table_round_trip"] < 1e-5


def test_gradients_pass_through_fp8_layers(measured: dict[str, Any]):
    assert measured["special_cases"]["fp8"]["gradients"] < 1e-5
    assert measured["special_cases"]["fp8"]["as_found"]


def test_distilled_models_are_known_by_name(measured: dict[str, Any]):
    told = measured["special_cases"]["distilled"]
    assert [name for name, distilled in told.items() if distilled] == [
        "z_image_turbo_bf16.safetensors",
        "flux1-schnell.safetensors",
        "SDXL-Lightning_4step.safetensors",
        "models/Hyper-SD15.safetensors",
        "dmd2_sdxl_4step.safetensors",
        "qwen_image_distill_full.safetensors",
        "ZImageTurbo_fp8.safetensors",
        "zimageturbo.safetensors",
    ]
