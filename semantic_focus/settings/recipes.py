"""What is known to train well, one row for each family of models.

A row fills what a user leaves untouched, see `filling.py`; docs/models.md shows the table.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..lora.layers import LAYER_CHOICES
from ..objective.timesteps import TimestepSampling

LAYERS = next(iter(LAYER_CHOICES))
"""Attention + feed-forward: what all the sources train."""

AI_TOOLKIT = "ai-toolkit, config/examples"
KOHYA = "sd-scripts, docs"
MUSUBI = "musubi-tuner, docs"
TEMPLATES = "ComfyUI's own templates"


@dataclass(frozen=True)
class Sampling:
    """How samples of a family are made.

    Attributes:
        guidance: embedded guidance in the conditioning; None: the family takes none.
    """

    steps: int
    cfg: float
    sampler: str
    scheduler: str
    guidance: float | None = None


@dataclass(frozen=True)
class Recipe:
    """One family.

    Attributes:
        name: of the family, for people.
        resolution: side of a square of as many pixels as the pictures should have.
        rank, alpha, learning_rate: of a LoRA with AdamW.
        steps_per_picture: how often each picture is seen, within the bounds.
        fewest_steps, most_steps: bounds of a training at one picture a step.
        timesteps: the noise levels to train at.
        layers: a name of `LAYER_CHOICES`.
        preview: how to sample it.
        sources: where each of the numbers is from, by attribute.
        guidance: embedded guidance to train at; None: the family takes none.
    """

    name: str
    resolution: int
    rank: int
    alpha: float
    learning_rate: float
    timesteps: TimestepSampling
    preview: Sampling
    sources: Mapping[str, str]
    steps_per_picture: int = 100
    fewest_steps: int = 500
    most_steps: int = 4000
    layers: str = LAYERS
    guidance: float | None = None

    def steps(self, pictures: int, pictures_per_step: int = 1) -> int:
        """Steps for so many pictures, each of them with the same number of looks whatever the batch."""
        looks = min(max(pictures * self.steps_per_picture, self.fewest_steps), self.most_steps)
        return math.ceil(looks / pictures_per_step)


def shifted_normal(shift: float) -> TimestepSampling:
    """The sigmoid of a normal number, then shifted towards noise by s·u / (1 + (s − 1)·u).

    That is the logit-normal distribution of mean ln(s).
    """
    return TimestepSampling("logit_normal", mean=round(math.log(shift), 4))


def _sources(**by_column: str) -> Mapping[str, str]:
    """With what all rows have in common."""
    return {
        "steps_per_picture": "10 repeats and 10 epochs, as sd-scripts is mostly used",
        "bounds": f"{AI_TOOLKIT}: 500 to 4000",
        "layers": "all the sources train the linear layers of the blocks",
        "alpha": f"{AI_TOOLKIT}: as large as the rank",
        **by_column,
    }


SD15 = Recipe(
    name="SD1.5",
    resolution=512,
    rank=16,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=TimestepSampling("uniform"),
    preview=Sampling(20, 8.0, "euler", "normal"),
    sources=_sources(
        resolution="the size it was trained at",
        rank=f"{KOHYA}/train_network",
        learning_rate=f"{KOHYA}/train_network",
        timesteps="as it was trained (Ho et al. 2020)",
        preview=f"{TEMPLATES}: default",
    ),
)

SDXL = Recipe(
    name="SDXL",
    resolution=1024,
    rank=32,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=TimestepSampling("uniform"),
    preview=Sampling(25, 8.0, "euler", "normal"),
    sources=_sources(
        resolution="the size it was trained at",
        rank=f"{KOHYA}/sdxl_train_network",
        alpha=f"{KOHYA}/sdxl_train_network",
        learning_rate=f"{KOHYA}/sdxl_train_network",
        timesteps="as it was trained (Ho et al. 2020)",
        preview=f"{TEMPLATES}: sdxl_simple_example",
    ),
)

SD3 = Recipe(
    name="SD3",
    resolution=1024,
    rank=16,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=TimestepSampling("logit_normal"),
    preview=Sampling(20, 4.0, "euler", "sgm_uniform"),
    sources=_sources(
        resolution=f"{AI_TOOLKIT}/train_lora_sd35_large_24gb",
        rank=f"{KOHYA}/sd3_train_network",
        learning_rate=f"{KOHYA}/sd3_train_network",
        timesteps="as it was trained (Esser et al. 2024, section 5.1)",
        preview=f"{TEMPLATES}: sd3.5_simple_example",
    ),
)

FLUX_DEV = Recipe(
    name="Flux dev",
    resolution=1024,
    rank=16,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=shifted_normal(3.1582),
    guidance=1.0,
    preview=Sampling(20, 1.0, "euler", "simple", guidance=3.5),
    sources=_sources(
        resolution=f"{AI_TOOLKIT}/train_lora_flux_24gb",
        rank=f"{KOHYA}/flux_train_network",
        learning_rate=f"{KOHYA}/flux_train_network",
        timesteps=f"{KOHYA}/flux_train_network: shift 3.1582",
        guidance=f"{KOHYA}/flux_train_network",
        preview=f"{TEMPLATES}: flux_dev_full_text_to_image",
    ),
)

FLUX_SCHNELL = Recipe(
    name="Flux schnell",
    resolution=1024,
    rank=16,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=TimestepSampling("logit_normal"),
    preview=Sampling(4, 1.0, "euler", "simple"),
    sources=_sources(
        resolution=f"{AI_TOOLKIT}/train_lora_flux_schnell_24gb",
        rank=f"{AI_TOOLKIT}/train_lora_flux_schnell_24gb",
        learning_rate=f"{AI_TOOLKIT}/train_lora_flux_schnell_24gb",
        timesteps=f"{AI_TOOLKIT}/train_lora_flux_schnell_24gb: sigmoid",
        preview=f"{TEMPLATES}: flux_schnell_full_text_to_image",
    ),
)

Z_IMAGE = Recipe(
    name="Z-Image",
    resolution=1024,
    rank=16,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=shifted_normal(2.0),
    preview=Sampling(25, 4.0, "res_multistep", "simple"),
    sources=_sources(
        resolution=f"{TEMPLATES}: image_z_image",
        rank=f"half of {MUSUBI}/zimage: half the memory of the adapters",
        learning_rate=f"{MUSUBI}/zimage",
        timesteps=f"{MUSUBI}/zimage: shift 2.0",
        preview=f"{TEMPLATES}: image_z_image",
    ),
)

Z_IMAGE_TURBO = Recipe(
    name="Z-Image Turbo",
    resolution=1024,
    rank=16,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=shifted_normal(2.0),
    preview=Sampling(9, 1.0, "res_multistep", "simple"),
    sources=_sources(
        resolution=f"{TEMPLATES}: image_z_image_turbo",
        rank=f"half of {MUSUBI}/zimage: half the memory of the adapters",
        learning_rate=f"{MUSUBI}/zimage",
        timesteps=f"{MUSUBI}/zimage: shift 2.0",
        preview=f"{TEMPLATES}: image_z_image_turbo",
    ),
)

QWEN_IMAGE = Recipe(
    name="Qwen-Image",
    resolution=1024,
    rank=16,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=shifted_normal(2.2),
    preview=Sampling(20, 2.5, "euler", "simple"),
    sources=_sources(
        resolution=f"{AI_TOOLKIT}/train_lora_qwen_image_24gb",
        rank=f"{MUSUBI}/qwen_image",
        learning_rate=f"{AI_TOOLKIT}/train_lora_qwen_image_24gb",
        timesteps=f"{MUSUBI}/qwen_image: shift 2.2",
        preview=f"{TEMPLATES}: image_qwen_image",
    ),
)

WAN = Recipe(
    name="Wan",
    resolution=640,
    rank=32,
    alpha=32.0,
    learning_rate=1e-4,
    timesteps=shifted_normal(3.0),
    preview=Sampling(30, 6.0, "uni_pc", "simple"),
    sources=_sources(
        resolution=f"{AI_TOOLKIT}/train_lora_wan21_14b_24gb: the area of 832 x 480",
        rank=f"{MUSUBI}/wan",
        learning_rate=f"{AI_TOOLKIT}/train_lora_wan21_14b_24gb",
        timesteps=f"{MUSUBI}/wan: shift 3.0",
        preview=f"{TEMPLATES}: text_to_video_wan",
    ),
)

OTHER = Recipe(
    name="other models",
    resolution=1024,
    rank=16,
    alpha=16.0,
    learning_rate=1e-4,
    timesteps=TimestepSampling("logit_normal"),
    preview=Sampling(20, 4.0, "euler", "simple"),
    sources=_sources(
        resolution="what most models are made for",
        rank="what most of the rows above have",
        learning_rate="what all of the rows above have",
        timesteps="the middle, where most is to be learnt (Esser et al. 2024)",
        preview="the defaults of Preview Options",
    ),
)

RECIPES = (
    SD15, SDXL, SD3, FLUX_DEV, FLUX_SCHNELL, Z_IMAGE, Z_IMAGE_TURBO, QWEN_IMAGE, WAN, OTHER,
)  # fmt: skip
