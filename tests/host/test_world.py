"""The benchmark of the drawn world, in its smallest form, with a real ComfyUI. The numbers come from
measure_world.py, run once.
"""

from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_world.py", comfy)


def test_every_recipe_gives_a_row(measured: dict[str, Any]):
    assert measured["rows"] == measured["recipes"]
    assert measured["grid"] > 10_000, "and there is a picture of them"


def test_a_stopped_pretraining_goes_on_bit_for_bit(measured: dict[str, Any]):
    assert measured["resumed"] == 0
    assert measured["left"] == [], "a finished one leaves nothing behind"


def test_comfyui_takes_the_base_model_for_a_genuine_sd3(measured: dict[str, Any]):
    comfyui = measured["comfyui"]
    assert comfyui["class"] == "SD3"
    assert comfyui["difference"] < 0.03 * comfyui["size"], "one may multiply in bfloat16, the other in fp32"


def test_its_codec_is_a_vae_of_eight_pixels_a_cell(measured: dict[str, Any]):
    assert measured["comfyui"]["latent"] == [1, 16, 12, 12], "what exceeds whole blocks is cut off"
    assert measured["comfyui"]["picture"] == [1, 96, 96, 3]


def test_reader_and_base_model_are_judged_by_attribute(measured: dict[str, Any]):
    scene = ["background", "clothes", "clothes_colour", "hair", "hair_colour"]
    face = ["beard", "eyes", "mouth"]
    assert measured["judged"] == {
        "true pictures": sorted(scene + face),
        "through the codec": sorted(scene + face),
        "base samples": scene,
    }
