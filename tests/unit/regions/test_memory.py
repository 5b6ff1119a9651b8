"""Free memory goes back to the system."""

import sys
from pathlib import Path

import numpy as np
import pytest

from semantic_focus.regions.memory import give_back


def test_it_does_no_harm_anywhere(monkeypatch: pytest.MonkeyPatch):
    give_back()
    monkeypatch.setattr(sys, "platform", "win32")
    give_back()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can")
def test_gaps_in_the_heap_are_returned():
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    blocks = [np.ones(12_000, np.float64) for _ in range(2000)]  # 96 kB each: on the heap, not mapped
    kept = blocks[-1]
    before = resident()
    del blocks
    give_back()
    assert kept[0] == 1 and resident() < before - 20_000
