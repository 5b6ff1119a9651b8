"""What writing safetensors files leaves behind."""

import ctypes
import gc
from pathlib import Path

import torch

from semantic_focus.files.tensors import write_safetensors


def test_writing_tensors_of_ever_other_lengths_leaves_nothing_in_memory(tmp_path: Path):
    def array_types() -> int:
        gc.collect()
        return sum(type(it) is type(ctypes.c_ubyte * 1) for it in gc.get_objects())

    write_safetensors(tmp_path / "a.safetensors", {"x": torch.zeros(7)})
    before = array_types()
    for length in range(1000, 1030):
        write_safetensors(tmp_path / "a.safetensors", {"x": torch.zeros(length)})
    assert array_types() <= before + 3
