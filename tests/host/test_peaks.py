"""The memory of training steps, counted on the meta device: that no change of the code lifts it unseen, that
the bars hold for models of real size, and that what is told beforehand is what is counted.
"""

from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by

MIB = 2**20

PEAKS = {
    "sd15 fp16 checkpointing": 364,
    "sdxl fp16 checkpointing": 711,
    "sdxl fp8": 1621,
    "sdxl fp16 checkpointing swap 50": 651,
    "sd35 bf16": 916,
    "sd35 fp8 checkpointing swap 50": 247,
    "zimage bf16 checkpointing": 3210,
    "zimage fp8": 4900,
    "zimage bf16": 5770,
    "flux bf16 checkpointing": 3413,
    "flux fp8 checkpointing": 2298,
    "flux bf16": 5692,
    "flux fp8": 4577,
    "flux bf16 checkpointing swap 60": 3251,
    "wan33 fp8 checkpointing": 5876,
    "wan33 fp8 checkpointing swap 100 inputs": 5274,
    "qwen bf16 checkpointing": 2884,
    "qwen fp8 checkpointing swap 60": 1873,
}
"""MiB of models with few layers; 1024 x 1024 (SD1.5: 512 x 512; wan33: 33 frames of 832 x 480), batch 1."""

HIGHER, LOWER = 1.02, 0.9


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    return measured_by("measure_peaks.py", comfy)


def test_storages_are_counted_while_they_live(measured: dict[str, Any]):
    """A weight of 4096 bytes; 1000, 1024 as CUDA gives them, until their last view goes; 3 MiB to RAM."""
    mib = 3 * MIB
    assert measured["by_hand"] == [4096, 5120, 5120, 4096, 4096, mib, mib, 0]


@pytest.mark.parametrize("row", PEAKS)
def test_no_peak_rises(measured: dict[str, Any], row: str):
    found = measured["counted"][row] / MIB
    assert found <= HIGHER * PEAKS[row], f"{row} takes {found:.0f} MiB, not {PEAKS[row]}"
    assert found >= LOWER * PEAKS[row], f"{row} takes {found:.0f} MiB only: write that into the table"


def test_every_row_is_in_the_table(measured: dict[str, Any]):
    assert measured["counted"].keys() == PEAKS.keys()


@pytest.mark.parametrize("row", PEAKS)
def test_what_is_told_beforehand_is_what_is_counted(measured: dict[str, Any], row: str):
    assert measured["estimated"][row] == pytest.approx(measured["counted"][row], rel=0.05)


def test_the_bars_hold_for_models_of_real_size(measured: dict[str, Any]):
    """benchmarks/memory_peaks.py counts whole steps of them."""
    above = {
        row: (peak / 2**30, limit) for row, (peak, limit) in measured["real"].items() if peak / 2**30 > limit
    }
    assert above == {}


@pytest.mark.parametrize(("model", "wide"), [("sdxl", "fp16"), ("flux", "bf16")])
def test_fp8_takes_less_than_16_bit_without_checkpointing(measured: dict[str, Any], model: str, wide: str):
    real = measured["real"]
    assert real[f"{model} fp8"][0] < real[f"{model} {wide}"][0]


def test_a_network_that_needs_values_is_not_guessed_at(measured: dict[str, Any]):
    assert "depends on a value" in measured["unknown"]


def test_an_estimate_leaves_the_model_alone(measured: dict[str, Any]):
    assert measured["left_alone"]


def test_the_last_step_of_the_ladder_takes_least(measured: dict[str, Any]):
    ladder = measured["advice"]["ladder"]
    assert min(ladder) == ladder[-1] < ladder[0]


def test_automatic_memory_is_the_least_that_fits(measured: dict[str, Any]):
    told = measured["advice"]
    fits, peak, free = told["chosen"]
    assert fits
    assert peak == next(step for step in told["ladder"] if step <= free)
    assert told["enough"] == "all on the GPU"
    assert told["too_little"]


def test_what_does_not_fit_is_told_what_does(measured: dict[str, Any]):
    told = measured["advice"]
    assert len(told["said"]) == 3
    assert told["said"][0].startswith("memory: swap ")
    assert all("gradient checkpointing on" in said for said in told["together"])
    assert told["all_fit"]
    assert "batch 1" in told["refusal"] and "fit" in told["refusal"]
    assert "no setting makes it fit" in told["hopeless"]


def test_the_parts_make_up_the_whole(measured: dict[str, Any]):
    parts = dict(measured["advice"]["parts"])
    assert parts.pop("peak_bytes") == sum(parts.values())
    assert all(size >= 0 for size in parts.values())
