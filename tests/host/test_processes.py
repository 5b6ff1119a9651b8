"""Several processes make of genuine models what one makes of them. The results come from
measure_processes.py, run once.
"""

import os
from types import ModuleType
from typing import Any

import pytest

from .graphs import measured_by

WHOLE, CUT = 1e-6, 1e-5
"""How far the gradient of the first step may be off, as a share of its length."""


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, dict[str, Any]]:
    """Two and three processes beside one, on tiny SD3, Flux and Z-Image."""
    return measured_by("measure_processes.py", comfy)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_gradients_and_loras_are_those_of_one_process(measured: dict[str, dict[str, Any]]):
    """With dropout, average, min-SNR, dropped captions and a prior at every second step too; and where each
    process holds a part of the model only, with and without gradient checkpointing.
    """
    assert len(measured) == 3 * 6 * 2
    for name, found in measured.items():
        assert found["gradient"] <= (CUT if ", cut" in name else WHOLE), (name, found)
        size = int(name.split()[-2]) if "shared out" in name else 1
        assert found["share"] <= 1 / size + 0.05, (name, found)
        assert found["lora"] < 1e-3 and found["alike"], (name, found)
    plain = [found for name, found in measured.items() if ", whole, 2" in name or ", whole, 3" in name]
    assert plain == [{"share": 1.0, "gradient": 0.0, "lora": 0.0, "alike": True}] * 6
