"""The same content gives the same bytes."""

import random
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from semantic_focus.files.tensors import DIGEST_KEY, write_safetensors


def without_digest(metadata: dict[str, str]) -> dict[str, str]:
    return {key: text for key, text in metadata.items() if key != DIGEST_KEY}


class TestReproducible:
    TENSORS = {"b": torch.arange(6.0).view(2, 3), "a": torch.zeros(3, dtype=torch.uint8), "c": torch.ones(0)}
    METADATA = {f"field {number}": "ü" * number for number in range(12)}

    def test_equal_content_gives_equal_bytes_in_whatever_order_it_comes(self, tmp_path: Path):
        contents = set()
        for turn in range(24):
            names, fields = list(self.TENSORS), list(self.METADATA)
            random.Random(turn).shuffle(names)
            random.Random(turn).shuffle(fields)
            path = tmp_path / f"{turn}.safetensors"
            tensors = {name: self.TENSORS[name] for name in names}
            write_safetensors(path, tensors, {name: self.METADATA[name] for name in fields})
            contents.add(path.read_bytes())
        assert len(contents) == 1

    def test_any_reader_finds_tensors_and_metadata(self, tmp_path: Path):
        path = tmp_path / "a.safetensors"
        write_safetensors(path, {**self.TENSORS, "t": self.TENSORS["b"].T}, self.METADATA)
        with safe_open(path, framework="pt") as file:
            assert without_digest(file.metadata()) == self.METADATA
            assert sorted(file.keys()) == ["a", "b", "c", "t"]
            assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in self.TENSORS.items())
            assert file.get_tensor("t").tolist() == [[0, 3], [1, 4], [2, 5]]
        assert int.from_bytes(path.read_bytes()[:8], "little") % 8 == 0

    @pytest.mark.parametrize("metadata", [None, {}, {"steps": "12"}])
    def test_no_metadata_is_no_metadata(self, tmp_path: Path, metadata: dict[str, str] | None):
        write_safetensors(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, metadata)
        with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
            assert without_digest(file.metadata()) == (metadata or {})
