"""What writing and reading safetensors files leaves behind."""

import ctypes
import gc
from pathlib import Path

import pytest
import torch

from semantic_focus.files import tensors
from semantic_focus.files.tensors import TensorFile, write_safetensors


def test_writing_tensors_of_ever_other_lengths_leaves_nothing_in_memory(tmp_path: Path):
    def array_types() -> int:
        gc.collect()
        return sum(type(it) is type(ctypes.c_ubyte * 1) for it in gc.get_objects())

    write_safetensors(tmp_path / "a.safetensors", {"x": torch.zeros(7)})
    before = array_types()
    for length in range(1000, 1030):
        write_safetensors(tmp_path / "a.safetensors", {"x": torch.zeros(length)})
    assert array_types() <= before + 3


@pytest.mark.parametrize("held", [False, True], ids=["Linux", "Windows"])
def test_where_a_mapped_file_cannot_be_replaced_none_stays_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bool
):
    monkeypatch.setattr(tensors, "MAPPED_FILES_ARE_HELD", held)
    path = tmp_path / "named.safetensors"
    write_safetensors(path, {"x": torch.arange(3.0), "y": torch.arange(4000.0)})
    file = TensorFile(path)
    read = [*file.tensors().values(), file.tensor("y")]
    assert (str(path) in Path("/proc/self/maps").read_text()) is not held
    assert [tensor.sum().item() for tensor in read] == [3.0, 3999 * 2000, 3999 * 2000]
