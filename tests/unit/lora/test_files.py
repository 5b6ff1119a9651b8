"""LoRA files: complete or absent, named apart, and never over what is not ours."""

import itertools
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from semantic_focus.files.tensors import DIGEST_KEY
from semantic_focus.lora.file import load_lora, load_metadata, numbered, save_lora, save_new_lora
from semantic_focus.lora.metadata import lora_metadata


def without_digest(metadata: dict[str, str]) -> dict[str, str]:
    return {key: text for key, text in metadata.items() if key != DIGEST_KEY}


class TestLoraFiles:
    def test_metadata_that_cannot_be_printed_is_written_out(self, tmp_path: Path):
        save_lora(tmp_path / "lora.safetensors", self.TENSORS, {"base": os.fsdecode(b"caf\xe9")})
        with safe_open(tmp_path / "lora.safetensors", framework="pt") as file:
            assert without_digest(file.metadata()) == {"base": r"caf\xe9"}

    TENSORS = {"diffusion_model.a.lora_up.weight": torch.arange(6.0).view(2, 3)}

    def test_round_trip_with_metadata(self, tmp_path: Path):
        path = tmp_path / "lora.safetensors"
        save_lora(path, self.TENSORS, {"steps": "12"})
        loaded = load_lora(path)
        assert list(loaded) == list(self.TENSORS)
        assert torch.equal(*loaded.values(), *self.TENSORS.values())
        with safe_open(path, framework="pt") as file:
            assert without_digest(file.metadata()) == load_metadata(path) == {"steps": "12"}

    def test_parameters_and_transposed_tensors_can_be_saved(self, tmp_path: Path):
        parameter = torch.nn.Parameter(torch.arange(6.0).view(2, 3)).T
        save_lora(tmp_path / "lora.safetensors", {"x": parameter})
        assert load_lora(tmp_path / "lora.safetensors")["x"].tolist() == [[0, 3], [1, 4], [2, 5]]

    @pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
    def test_a_truncated_file_is_named(self, tmp_path: Path, share: float):
        path = tmp_path / "lora.safetensors"
        save_lora(path, self.TENSORS)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ValueError, match="lora.safetensors: not a complete safetensors file"):
            load_lora(path)

    def test_a_missing_file_is_named(self, tmp_path: Path):
        with pytest.raises(FileNotFoundError, match="lora.safetensors: no such LoRA file"):
            load_lora(tmp_path / "lora.safetensors")

    def test_a_new_lora_goes_where_nothing_is(self, tmp_path: Path):
        first, second, third, fourth = itertools.islice(numbered(tmp_path, "mine"), 4)
        assert first.name == "mine_00001.safetensors"
        first.write_bytes(b"of somebody else")
        second.symlink_to(tmp_path / "nowhere")
        assert save_new_lora(numbered(tmp_path, "mine"), self.TENSORS) == third
        assert save_new_lora(numbered(tmp_path, "mine"), self.TENSORS) == fourth
        assert first.read_bytes() == b"of somebody else" and second.is_symlink()
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            f"mine_0000{number}.safetensors" for number in (1, 2, 3, 4)
        ]

    def test_a_lora_that_appears_while_another_is_written_stays(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        first, second = itertools.islice(numbered(tmp_path, "mine"), 2)
        fsync = os.fsync

        def somebody_is_faster(handle: int) -> None:
            fsync(handle)
            first.write_bytes(b"of somebody else")

        monkeypatch.setattr("semantic_focus.files.writing.os.fsync", somebody_is_faster)
        assert save_new_lora(numbered(tmp_path, "mine"), self.TENSORS) == second
        assert first.read_bytes() == b"of somebody else" and load_lora(second)

    @pytest.mark.parametrize("content", [b"", b"notes", b"\x02\0\0\0\0\0\0\0{}"])
    def test_in_a_place_that_nobody_chose_what_is_not_ours_gets_another_name(
        self, tmp_path: Path, content: bytes
    ):
        path = tmp_path / "lora_000002.safetensors"
        path.write_bytes(content)
        save_lora(path, self.TENSORS, lora_metadata(self.TENSORS, "comfyui"))
        save_lora(path, self.TENSORS, lora_metadata(self.TENSORS, "comfyui"))
        assert load_lora(path) and (tmp_path / f"{path.name}.before").read_bytes() == content
        assert len(list(tmp_path.iterdir())) == 2
