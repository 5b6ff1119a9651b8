"""Recipes in a real ComfyUI: which model gets which, and that a training takes what its inputs leave open."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from .graphs import Graph, adapter_options, lora_of, measured_by, node, same, timestep_options, train

if TYPE_CHECKING:
    from host.serve import ComfyServer

FAMILIES = {
    "sd15": "SD1.5",
    "sd2": "other models",
    "sdxl": "SDXL",
    "sdxl_v": "SDXL",
    "sdxl_edm": "SDXL",
    "sdxl_of_half_the_blocks": "SDXL",
    "sd3": "SD3",
    "flux": "Flux dev",
    "flux_schnell": "Flux schnell",
    "z_image": "Z-Image",
    "qwen_image": "Qwen-Image",
    "wan_video": "Wan",
}


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_recipes.py", comfy)


def notes(shown: dict[str, Any]) -> dict[str, str]:
    """What the training node says, by kind."""
    (report,) = shown["9"]["semantic_focus_training"]
    return {note["kind"]: note["text"] for note in report["notes"]}


def test_every_family_is_known_by_its_model(measured: dict[str, Any]):
    assert measured["families"] == FAMILIES


def test_z_image_turbo_is_known_by_the_name_of_its_file(measured: dict[str, Any]):
    assert measured["z_image"] == {
        "z_image_bf16": "Z-Image",
        "z_image_turbo_bf16": "Z-Image Turbo",
        "z_image_de_turbo_v1_bf16": "Z-Image",
        "Z-Image-Distilled": "Z-Image Turbo",
        "": "Z-Image",
    }


def test_flux_dev_is_trained_at_guidance_1_unless_its_prompt_has_one(measured: dict[str, Any]):
    """What the network is called with; the prompts are left as they were."""
    guidance = measured["guidance"]
    assert guidance["before"] == [3.5, 3.5, 7.0]
    assert guidance["after"] == [1.0, 1.0, 7.0] and guidance["empty"] == 1.0
    assert guidance["left_alone"] and guidance["shared"], "one prompt for all is encoded once"
    assert guidance["missing"] == [1.0, None, None]


def test_an_api_file_without_the_input_takes_the_recipe_for_what_has_its_default(
    server: "ComfyServer", training: Graph, run_name: str, logged: Callable[[], str]
):
    inputs = training["9"]["inputs"]
    inputs.pop("recipe", None)
    folder, shown = train(server, training, run_name, rank=16, alpha=16.0, steps=1, learning_rate=1e-4)
    said = "recipe SD3: learning_rate 0.0001, rank 16, alpha 16, layers attention + feed-forward, "
    said += "timesteps logit_normal (mean 0)"
    assert notes(shown) == {"recipe": said}
    assert f"LoRA training: {said}" in logged()
    assert lora_of(folder, 1)


def test_what_the_user_changed_stays_and_off_fills_nothing(
    server: "ComfyServer", training: Graph, run_name: str
):
    changed = {"layers": "all linear layers", "timesteps": "uniform", "rank": 3}
    auto, shown = train(server, training, f"{run_name}_auto", recipe="auto", **changed)
    off, unsaid = train(server, training, f"{run_name}_off", recipe="off", **changed)
    assert notes(shown) == notes(unsaid) == {}
    assert same(lora_of(auto), lora_of(off))


def test_inputs_that_others_overrule_are_named_if_they_were_changed(
    server: "ComfyServer", training: Graph, run_name: str
):
    training["adapter"] = adapter_options(rank=2, alpha=2.0)
    training["timesteps"] = timestep_options(kind="uniform")
    links = {"adapter": ["adapter", 0], "timestep_options": ["timesteps", 0]}
    values = {"rank": 32, "alpha": 16.0, "timesteps": "shifted", "steps": 1, "recipe": "off"}
    folder, shown = train(server, training, run_name, **links, **values)
    (report,) = shown["9"]["semantic_focus_training"]
    said = [note["text"] for note in report["notes"] if note["kind"] == "overruled"]
    assert said == [
        "rank 32: not used, because adapter is connected and has its own",
        "timesteps shifted: not used, because timestep_options is connected and has its own",
    ]
    down = next(value for key, value in lora_of(folder, 1).items() if "lora_down" in key)
    assert down.shape[0] == 2


def test_a_training_that_goes_on_keeps_its_rank_and_overrules_a_seed_that_was_changed(
    server: "ComfyServer", training: Graph, run_name: str, plain: Path
):
    training["state"] = node("SemanticFocusLoadTrainState", path=f"semantic_focus/{plain.name}")
    values = {"rank": 16, "alpha": 16.0, "seed": 7, "steps": 1, "recipe": "auto"}
    folder, shown = train(server, training, run_name, train_state=["state", 0], **values)
    said = "seed 7: not used, because train_state is connected and has its own"
    assert notes(shown)["overruled"] == said
    before, after = lora_of(plain), lora_of(folder, 4)
    assert {key: value.shape for key, value in before.items()} == {
        key: value.shape for key, value in after.items()
    }
