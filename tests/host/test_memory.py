"""Where the weights are, and what is kept for the backward pass, changes nothing that is computed. The
results come from measure_memory.py, run once.
"""

from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by
from .test_families import FAMILIES

KINDS = ("fp32", "bf16", "fp8", "fast fp8", "scaled fp8", "quantised", "gguf")
ROWS = [
    f"{name}, {kind}, {checkpointing} checkpointing"
    for name in FAMILIES
    for kind in (KINDS if name in ("flux", "sdxl_v") else ("fp32",))
    for checkpointing in ("without", "with")
]
OUT_OF_MEMORY = "TrainingOutOfMemory: "


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_memory.py", comfy)


@pytest.mark.parametrize("row", ROWS)
def test_output_and_training_are_those_of_the_layers_own_products_to_the_bit(
    measured: dict[str, Any], row: str
):
    """The base model's prediction, two losses, two norms of all gradients and the LoRA; with dropout,
    averaging, accumulation and prior.
    """
    found = measured["equality"][row]
    assert found.pop("moved"), "the training must do something"
    assert found == {"all on the device": True, "half in RAM": True, "all in RAM": True}


def test_however_an_input_lies_its_gradient_is_that_of_the_layer_itself(measured: dict[str, Any]):
    """Part of joined streams, heads, turned: torch multiplies each in its own way."""
    assert len(measured["layouts"]) == 24
    assert [name for name, is_equal in measured["layouts"].items() if not is_equal] == []


@pytest.mark.parametrize("depth", ["0", "1"])
def test_a_network_with_no_block_or_one_is_trained_with_every_setting(measured: dict[str, Any], depth: str):
    assert measured["few blocks"][depth] == [True, True]


def blocks_of(events: list[Any]) -> int:
    return 1 + max(event[1] for event in events if len(event) > 1)


@pytest.mark.parametrize("prior", [True, False])
@pytest.mark.parametrize("checkpointing", [True, False])
@pytest.mark.parametrize("family", ["flux", "sdxl_v"])
def test_every_block_is_on_its_way_before_the_one_before_it_computes(
    measured: dict[str, Any], family: str, checkpointing: bool, prior: bool
):
    """But for the very first: a transfer never waits for the computation that needs it."""
    events = measured["transfers"][f"{family}, {checkpointing}, {prior}"]
    places: list[int] = []
    before = entered = None
    late = 0
    for event, following in pairwise(events):
        if event[0] == "enter":
            before, entered = entered, event[1]
            late += following == ["send", entered]
        elif event[0] == "send":
            in_use = before if event[1] == entered else entered
            places = [*(block for block in places if block == in_use), event[1]]
        else:
            assert entered in places
    assert late == 1


@pytest.mark.parametrize(("prior", "sweeps"), [(True, 3), (False, 2)])
def test_a_step_takes_three_sweeps_over_the_blocks_with_the_prior_and_two_without(
    measured: dict[str, Any], prior: bool, sweeps: int
):
    """At the turning points both blocks are there already."""
    events = measured["transfers"][f"sdxl_v, True, {prior}"]
    blocks = blocks_of(events)
    sent = sum(event[0] == "send" for event in events)
    passes = 4  # two updates, each of two passes
    assert sent <= (passes * sweeps + 1) * blocks
    assert sent >= (passes * sweeps + 1) * (blocks - 2)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_computes_with_what_is_in_ram(measured: dict[str, Any], family: str):
    """Weights and inputs go to the device by copies alone; there a mixed operation would be an error."""
    assert isinstance(measured["two devices"][family], int), measured["two devices"][family]
    assert measured["two devices"][family] > 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_waits_in_ram_is_pinned_as_long_as_it_does(measured: dict[str, Any], kind: str):
    """By ComfyUI, on a device that has pinned memory: else no copy runs beside the computation."""
    found = measured["pinning"][kind]
    assert found["pinned"] > 0 and found["pinned"] == found["in RAM"]
    assert found["afterwards"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_block_takes_of_the_device_is_counted_by_what_is_stored(measured: dict[str, Any], kind: str):
    """Also of quantised tensors, whose bytes are those of the tensors inside: numbers, and a scale."""
    found = measured["pinning"][kind]
    scales = 512 * found["in RAM"] if kind in ("quantised", "scaled fp8") else 0
    assert found["pinned bytes"] <= found["bytes"] <= found["pinned bytes"] + scales


def test_a_model_that_could_not_be_brought_back_after_samples_is_so_before_the_next_step(
    measured: dict[str, Any],
):
    assert measured["return"]["equal"]
    assert measured["return"]["sent"] > 0


@pytest.mark.parametrize("stage", ["loading", "forward", "backward"])
def test_memory_that_runs_out_once_costs_time_and_changes_nothing(measured: dict[str, Any], stage: str):
    assert measured["shortage"][f"{stage}, 1"]["said"] == "equal"


@pytest.mark.parametrize(
    ("stage", "way_out"),
    [
        ("loading", "load the model in a smaller precision (fp8, GGUF)"),
        ("forward", "lower the resolution of the pictures"),
        ("backward", "Switch gradient checkpointing on"),
        ("optimizer", "Choose one that needs less (adafactor, adamw8bit)"),
    ],
)
def test_memory_that_is_not_there_ends_the_training_with_the_way_out(
    measured: dict[str, Any], stage: str, way_out: str
):
    said = measured["shortage"][f"{stage}, 1000"]["said"]
    assert said.startswith(OUT_OF_MEMORY) and way_out in said


@pytest.mark.parametrize("times", [1, 1000])
@pytest.mark.parametrize("stage", ["loading", "forward", "backward", "optimizer"])
def test_the_model_is_left_as_it_was_found_when_memory_ran_out(
    measured: dict[str, Any], stage: str, times: int
):
    assert measured["shortage"][f"{stage}, {times}"]["as found"]


@pytest.mark.parametrize("setting", ["all on the device", "half in RAM"])
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("samples", "equal"),
        ("samples by a VAE that needs room", "equal"),
        ("samples by a VAE that does not fit", "equal"),
        ("cancel", "cancelled"),
    ],
)
def test_a_training_that_is_disturbed_goes_on_as_if_nothing_had_been(
    measured: dict[str, Any], what: str, said: str, setting: str
):
    """With fp8 weights whose fast product must not come back. Or it ends, and leaves the model as it was."""
    assert measured["disturbance"][f"{what}, {setting}"] == {"said": said, "as found": True}


def test_a_norm_can_pass_gradients_after_a_sampling_in_inference_mode(measured: dict[str, Any]):
    """As ComfyUI's nodes sample; the training adapter that was taken off for it is put on again."""
    assert measured["resumed"]
