"""A model, and what is trained on it, are tried before step 1: what is amiss is refused or said, by name.

The numbers come from measure_trial.py, run once.
"""

from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by

REFUSED = {
    "FreeU_V2": "FreeU_V2",
    "EasyCache on sd15": "easycache",
    "EasyCache on flux": "easycache",
    "EasyCache on z_image": "easycache",
    "a wrapper that fails": "TeaCacheLike",
    "a wrapper without gradient": "Accelerated",
}
"""No training goes through these. Each with the name that the message has for it."""

CHANGING = {
    "FreeU": "FreeU",
    "TomePatchModel": "TomePatchModel",
    "HyperTile": "HyperTile",
    "PatchModelAddDownscale": "PatchModelAddDownscale",
    "ScaleROPE": "rope_options",
    "a wrapper": "TeaCacheLike",
    "a replaced forward": "attn1.to_q.forward",
    "an attention that draws": "drawing",
}
"""These change what the network predicts."""

AT_RANDOM = ("TomePatchModel", "an attention that draws")
"""Of those, these draw it anew each time."""

WITHOUT_EFFECT = {
    "SelfAttentionGuidance": "SelfAttentionGuidance",
    "LazyCache": "easycache",
}
"""These are in the network but change nothing in a prediction for training."""

IN_SAMPLERS = {
    "LazyCache": "lazycache",
    "PerturbedAttentionGuidance": "PerturbedAttentionGuidance",
    "PerpNeg": "PerpNeg",
    "CFGZeroStar": "CFGZeroStar",
    "RescaleCFG": "RescaleCFG",
    "DifferentialDiffusion": "DifferentialDiffusion",
    "a wrapper of the sampler's calls": "drawing",
}
"""These act around the network."""

SILENT = (
    "nothing on sd3",
    "nothing on sd15",
    "a LoRA",
    "ModelSamplingSD3",
    "ModelSamplingFlux",
    "ModelSamplingDiscrete",
    "ModelComputeDtype",
)
"""These belong to the model that is trained."""

BAD = {
    "latent": ("latent of picture 2 (b.png): ",),
    "infinite latent": ("latent of picture 1 (a.png): ",),
    "text": ("text embedding (pooled_output) of picture 2 (b.png): ",),
    "all at once": (
        "latent of picture 2 (b.png): ",
        "text embedding (pooled_output) of picture 2 (b.png): ",
        "mask (face) of picture 1 (a.png): ",
    ),
    "empty prompt": ("the empty prompt's text embedding is not finite",),
    "foreign text": ("SD3 cannot be trained: it fails on picture ", "the text encoder of this model"),
    "weight": ("the base model's own prediction", "joint_blocks.0.x_block.attn.proj.weight", "damaged"),
    "infinite weight": ("the base model's own prediction", "joint_blocks.0.x_block.attn.proj.weight"),
    "overflow": ("the base model's own prediction", "its weights are finite", "--bf16-unet"),
    "no weights": ("2 linear layers (diffusion_model.joint_blocks.0.x_block.attn.qkv", "are placeholders"),
    "no backward pass": ("no gradient comes back", "layers of the LoRA (joint_blocks.0.", "nunchaku"),
}
"""What is wrong, and words that must be said of it."""

TRAINS = {
    "placeholders": [],
    "meta weights": [],
    "layers of another pack": [],
    "no backward pass in a part": ["no_gradient: 2 of 13 layers get no gradient and learn nothing"],
}
"""What looks wrong and can be trained, and what is said of it."""


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_trial.py", comfy)


@pytest.fixture
def patched(measured: dict[str, Any]) -> dict[str, Any]:
    return measured["patches"]


def lines_with(found: dict[str, Any], words: str) -> list[str]:
    return [line for line in found["logged"] if words in line]


@pytest.mark.parametrize("patch", REFUSED)
def test_what_training_cannot_go_through_is_refused_before_a_folder_is_made(patch: str, patched: Any):
    said = patched[patch]["error"]
    assert f"the model carries sampling patches ({REFUSED[patch]})" in said
    assert said.endswith("connect the model before them") and said.count("carries") == 1
    assert patched[patch]["folders"] == []


@pytest.mark.parametrize("patch", CHANGING)
def test_what_changes_predictions_is_said_by_name(patch: str, patched: Any):
    found = patched[patch]
    kinds = [said.split(":")[0] for said in found["said"]]
    assert kinds == ["patched", "unsteady"] if patch in AT_RANDOM else kinds == ["patched"]
    assert f"{CHANGING[patch]})" in found["said"][0] and "Connect it before them" in found["said"][0]
    assert found["error"] == "" and found["folders"] == ["lora"]


@pytest.mark.parametrize("patch", WITHOUT_EFFECT)
def test_what_changes_nothing_is_no_warning(patch: str, patched: Any):
    found = patched[patch]
    assert (found["error"], found["said"]) == ("", [])
    assert lines_with(found, f"{WITHOUT_EFFECT[patch]} of the model do not change its predictions here")


@pytest.mark.parametrize("patch", IN_SAMPLERS)
def test_what_acts_around_the_network_is_in_the_log(patch: str, patched: Any):
    found = patched[patch]
    assert (found["error"], found["said"]) == ("", [])
    (line,) = lines_with(found, "act in previews only")
    assert IN_SAMPLERS[patch] in line


@pytest.mark.parametrize("patch", SILENT)
def test_a_model_without_such_patches_is_trained_without_a_word(patch: str, patched: Any):
    found = patched[patch]
    assert (found["error"], found["said"], found["logged"]) == ("", [], [])
    assert found["folders"] == ["lora"]


def test_every_model_is_left_as_it_was_found(patched: Any):
    assert [name for name, found in patched.items() if not found["as_found"]] == []


def test_every_patch_is_in_a_list(patched: Any):
    assert set(patched) == {*REFUSED, *CHANGING, *WITHOUT_EFFECT, *IN_SAMPLERS, *SILENT}


@pytest.mark.parametrize("what", BAD)
def test_what_is_bad_is_named_before_a_folder_is_made(what: str, measured: dict[str, Any]):
    found = measured["bad"][what]
    assert [words for words in BAD[what] if words not in found["error"]] == []
    assert "lower the learning rate" not in found["error"].lower()
    assert found["folders"] == []


@pytest.mark.parametrize("what", TRAINS)
def test_what_only_looks_wrong_is_trained(what: str, measured: dict[str, Any]):
    """Weights that `state_dict` does not give and `clone` does not copy; a part that no gradient passes."""
    found = measured["bad"][what]
    assert (found["error"], found["folders"]) == ("", ["lora"])
    assert [said[: len(text)] for said, text in zip(found["said"], TRAINS[what], strict=True)] == TRAINS[what]
