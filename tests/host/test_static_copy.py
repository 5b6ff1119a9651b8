"""A model whose weights ComfyUI streams is trained on a copy of its own, of which nothing is left afterwards.

A stand-in that streams: ComfyUI itself does so on NVIDIA cards alone. The numbers come from
measure_static_copy.py, run once.
"""

from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by

ENDING_WELL = (
    "a prediction",
    "checkpointing",
    "blocks in RAM",
    "a LoRA of the MODEL",
    "a training adapter",
    "a LoRA to start from",
    "all LoRAs",
    "a sampling of the MODEL",
    "a training",
)
IN_A_STEP = {
    "an error in a step": "RuntimeError",
    "no memory in a step": "TrainingOutOfMemory: step 2",
}
BEFORE_IT = {
    "a foreign adapter": "ValueError: the training adapter does not belong to SD3",
    "no memory for the copy": "TrainingOutOfMemory: out of memory while SD3 was loaded (no memory is left)",
    "no file": "ValueError: SD3 cannot be loaded completely (No such file or directory: sd3.safetensors): "
    "start ComfyUI with --disable-dynamic-vram",
}
ENDING_BADLY = {**IN_A_STEP, **BEFORE_IT, "cancel": "InterruptProcessingException"}
WITHOUT_COPY = ("no file",)
IN_RAM = ("blocks in RAM", "no memory for the copy")
"""Where the weights never left it."""


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_static_copy.py", comfy)


@pytest.fixture
def uses(measured: dict[str, Any]) -> dict[str, Any]:
    assert set(measured["uses"]) == {*ENDING_WELL, *ENDING_BADLY}
    return measured["uses"]


def test_a_streamed_model_gives_the_lora_that_the_same_weights_give_in_their_place(measured: dict[str, Any]):
    assert [key for key, same in measured["same"].items() if not same] == []
    assert len(measured["same"]) > 10


@pytest.mark.parametrize("use", [*ENDING_WELL, *ENDING_BADLY])
def test_nothing_of_the_copy_is_left(use: str, uses: dict[str, Any]):
    found = uses[use]
    assert found["error"].startswith(ENDING_BADLY.get(use, "")) and bool(found["error"]) == (
        use in ENDING_BADLY
    )
    assert found["copies"] == (use not in WITHOUT_COPY)
    assert (found["weights_seen"] > 50) == (use not in WITHOUT_COPY)
    assert (found["weights_left"], found["models_alive"], found["listed"]) == (0, 0, [])


@pytest.mark.parametrize("use", [*ENDING_WELL, *BEFORE_IT, "cancel"])
def test_its_weights_go_at_once_and_without_being_moved_off_the_device(use: str, uses: dict[str, Any]):
    """Also while the error is known; that of a step that broke off knows the graph of the step."""
    found = uses[use]
    assert found["weights_alive"] == 0
    assert use in IN_RAM or not any(found["moved"])


def test_pinned_memory_of_the_original_is_given_back_before_the_copy_is_read(uses: dict[str, Any]):
    assert [use for use, found in uses.items() if found["pinned_meanwhile"]] == []


@pytest.mark.parametrize("use", [*ENDING_WELL, *ENDING_BADLY])
def test_the_original_is_left_as_it_was_found_and_loads_again(use: str, uses: dict[str, Any]):
    assert uses[use]["as_found"] and uses[use]["loads_again"]
