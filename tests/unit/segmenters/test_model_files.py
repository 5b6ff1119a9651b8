"""The table of weights: found on disk without loading, told apart cheaply, downloaded only on request."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from semantic_focus.segmenters import model_files
from semantic_focus.segmenters.model_files import (
    MODELS,
    find_files,
    find_model_folders,
    fingerprint,
    missing_message,
    missing_package,
)

from ..forks import Forks
from . import stand_ins


def save_model(folder: Path, model_type: str = "sam3", seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    generator = torch.Generator().manual_seed(seed)
    save_file({"weight": torch.randn(40, generator=generator)}, folder / "model.safetensors")
    return folder


def test_a_folder_itself_and_its_subfolders_are_looked_through(tmp_path):
    inner = save_model(tmp_path / "models" / "b")
    save_model(tmp_path / "models" / "a", "sam2")
    direct = save_model(tmp_path / "direct")
    folders = {"sam3": [tmp_path / "models", direct, tmp_path / "absent"]}
    assert find_model_folders(folders, ["sam3"], ["sam3"]) == [inner, direct]
    assert find_model_folders(folders, ["other"], ["sam3"]) == []


@pytest.mark.parametrize(
    "damage", ["no config", "no weights", "config cut short", "a list", "a shard is missing"]
)
def test_incomplete_folders_are_no_models(tmp_path, damage):
    folder = save_model(tmp_path / "model")
    weights = folder / "model.safetensors"
    if damage == "no config":
        (folder / "config.json").unlink()
    elif damage == "config cut short":
        (folder / "config.json").write_text('{"model_type": "sa')
    elif damage == "a list":
        (folder / "config.json").write_text('["model_type"]')
    else:
        weights.rename(folder / "model-00001-of-00002.safetensors")
    if damage == "a shard is missing":
        shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert find_model_folders({"sam3": [tmp_path]}, ["sam3"], ["sam3"]) == []
    if damage == "a shard is missing":
        (folder / "model-00002-of-00002.safetensors").write_bytes(stand_ins.SAFETENSORS)
        assert find_model_folders({"sam3": [tmp_path]}, ["sam3"], ["sam3"]) == [folder]


def test_files_are_found_by_suffix_and_name(tmp_path):
    for name in ("SAM3.safetensors", "sam3.ckpt", "other.safetensors"):
        (tmp_path / name).write_bytes(stand_ins.BY_SUFFIX[Path(name).suffix])
    found = find_files({"checkpoints": [tmp_path]}, ["checkpoints"], [".safetensors"], lambda n: "sam3" in n)
    assert [path.name for path in found] == ["SAM3.safetensors"]


def test_the_fingerprint_tells_name_size_and_content(tmp_path):
    one, same = save_model(tmp_path / "1" / "m"), save_model(tmp_path / "2" / "m")
    trained = save_model(tmp_path / "3" / "m", seed=1)
    configured = save_model(tmp_path / "4" / "m", "sam3_video")
    size = sum(file.stat().st_size for file in one.iterdir())
    assert fingerprint(one).startswith(f"m {size} bytes sha256:")
    assert fingerprint(one) == fingerprint(same)
    assert len({fingerprint(folder) for folder in (one, trained, configured)}) == 3


def test_the_fingerprint_of_a_large_file_reads_little_of_it(tmp_path, monkeypatch):
    file = tmp_path / "sam2_large.pt"
    with file.open("wb") as stream:
        stream.truncate(20 << 30)  # sparse
    read = []

    class Counted(io.FileIO):
        def readinto(self, buffer: Any) -> int:
            read.append(super().readinto(buffer))
            return read[-1]

        def readall(self) -> bytes:
            raise AssertionError("all of it is read")

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        assert mode == "rb"
        return io.BufferedReader(Counted(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        first = fingerprint(file)
    with file.open("r+b") as stream:
        stream.seek(-100, 2)
        stream.write(b"another training")
    assert fingerprint(file) != first
    assert 0 < sum(read) < 1 << 24


def test_a_file_that_claims_an_endless_header_is_not_believed(tmp_path):
    file = tmp_path / "x.safetensors"
    file.write_bytes(b"\xff" * 8 + b"short")
    assert fingerprint(file).startswith("x.safetensors 13 bytes")
    file.write_bytes(b"")
    assert fingerprint(file).startswith("x.safetensors 0 bytes")


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_offered_with_licence_size_place_and_way(name, tmp_path):
    model = MODELS[name]
    message = missing_message("some", [name], {model.kind: [tmp_path]})
    assert "'some' has no weights" in message
    assert model.licence in message and model.size in message and str(tmp_path) in message
    if model.hub:
        assert f"semantic_focus fetch {name} --to {tmp_path}" in message
        assert model.hub in message
    else:
        assert model.url in message
    if model.gated:
        assert f"https://huggingface.co/{model.hub}" in message and MODELS[model.alternative].hub in message
    if model.alternative:
        assert not MODELS[model.alternative].gated


def test_without_a_folder_the_message_names_comfyuis(tmp_path):
    assert "--to ComfyUI/models/sam2/sam2.1-hiera-tiny" in missing_message("sam2", ["sam2.1-tiny"], {})


def test_looking_for_weights_imports_no_runtime_and_asks_no_hub(tmp_path, forks: Forks):
    """Whether a runtime works is tried only where its weights are: here, with those of the default alone."""
    program = forks.start("segmenters/imports.py", "look_for_weights", str(tmp_path))
    assert program.end() == 0, program.errors
    without_weights, with_the_default = program.output.split("\n")
    assert without_weights == "" and with_the_default == "ai_edge_litert cv2"


@pytest.mark.parametrize(
    ("found", "minimum", "fits"),
    [
        ("5.23.0", (5, 0), True),
        ("5.0.0", (5, 0), True),
        ("4.57.1", (5, 0), False),
        ("5.0.0.dev0", (5, 0), True),
    ],
)
def test_versions_are_compared_as_numbers(monkeypatch, found, minimum, fits):
    monkeypatch.setattr(model_files, "version", lambda package: found)
    reason = missing_package("sam3", "transformers", minimum)
    assert (reason is None) == fits
    if reason:
        assert "needs transformers 5.0 or newer, here is 4.57.1" in reason


def test_a_package_that_is_not_there_is_named_with_its_command():
    reason = missing_package("sam3", "no-such-package-at-all", (), "no-such-package-at-all>=1")
    assert reason and "-m pip install 'no-such-package-at-all>=1'" in reason
