"""What test_recipes.py asserts, measured inside a ComfyUI: `python measure_recipes.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI.
"""

import json
import sys
from typing import Any

sys.path.append(sys.argv[1])

import measure_families  # noqa: E402, F401  (sets ComfyUI's options)
import tiny_models  # noqa: E402
import torch  # noqa: E402
from tiny_models import FAMILIES, FLUX, SDXL_UNET, UNET, conditioning  # noqa: E402

from semantic_focus.comfy.family import recipe_of  # noqa: E402
from semantic_focus.comfy.guidance import guided, missing_guidance  # noqa: E402
from semantic_focus.comfy.model import velocity_model  # noqa: E402
from semantic_focus.comfy.request import TrainingRequest  # noqa: E402
from semantic_focus.objective.total import Objective  # noqa: E402
from semantic_focus.settings.recipes import FLUX_DEV, SDXL  # noqa: E402
from semantic_focus.training.settings import TrainingSettings  # noqa: E402

MORE = {
    "flux_schnell": ("Flux", FLUX | {"guidance_embed": False}),
    "sdxl": ("SDXL", SDXL_UNET),
    "sdxl_of_half_the_blocks": ("SSD1B", SDXL_UNET),
    "sd2": ("SD20", UNET | {"model_channels": 64}),
}
"""By name: class of ComfyUI's configuration, and its settings."""

Z_IMAGE_FILES = ("z_image_bf16", "z_image_turbo_bf16", "z_image_de_turbo_v1_bf16", "Z-Image-Distilled", "")


def main() -> None:
    """Print everything as JSON."""
    patchers = {name: family.build() for name, family in FAMILIES.items()}
    patchers |= {name: tiny_models.from_config(*made) for name, made in MORE.items()}
    z_image = patchers["z_image"]
    found = {
        "families": {name: recipe_of(patcher).name for name, patcher in patchers.items()},
        "z_image": {file: recipe_of(z_image, f"{file}.safetensors").name for file in Z_IMAGE_FILES},
        "guidance": measure_guidance(patchers["flux"]),
    }
    sys.stdout.write(json.dumps(found))


def measure_guidance(patcher: Any) -> dict[str, Any]:
    """What Flux gets with a prompt without a guidance, with one, and with the empty prompt."""
    bare = conditioning(FAMILIES["flux"], 4, 1)
    own = conditioning(FAMILIES["flux"], 4, 2, guidance=7.0)
    prompts = [bare, bare, own]
    request = TrainingRequest(patcher, [], prompts, [], Objective(), TrainingSettings(), unconditional=bare)
    after = guided(request, 1.0)
    return {
        "before": [seen_guidance(patcher, prompt) for prompt in prompts],
        "after": [seen_guidance(patcher, prompt) for prompt in after.conditionings],
        "empty": seen_guidance(patcher, after.unconditional),
        "shared": after.conditionings[0] is after.conditionings[1],
        "left_alone": "guidance" not in bare[0][1],
        "missing": [
            missing_guidance(FLUX_DEV, prompts),
            missing_guidance(FLUX_DEV, [own]),
            missing_guidance(SDXL, prompts),
        ],
    }


def seen_guidance(patcher: Any, prompt: Any) -> float:
    """What the network is called with."""
    seen: list[float] = []
    with velocity_model(patcher, [prompt]) as velocity, torch.no_grad():
        hook = velocity.network.register_forward_pre_hook(
            lambda _module, args, kwargs: seen.append(find_guidance(args, kwargs)), with_kwargs=True
        )
        try:
            velocity.predict(torch.zeros(1, *FAMILIES["flux"].grid), torch.tensor([0.5]), [0])
        finally:
            hook.remove()
    return seen[0]


def find_guidance(args: tuple[Any, ...], kwargs: dict[str, Any]) -> float:
    """The fifth argument of Flux: picture, time, text, pooled text, guidance."""
    return (kwargs["guidance"] if "guidance" in kwargs else args[4]).item()


if __name__ == "__main__":
    main()
