"""Files that version 0.2.0 wrote are read as before. (Run folders: training/test_resume.py.)"""

from pathlib import Path

import pytest
import torch

from semantic_focus.datasets.mask_file import read_masks
from semantic_focus.lora.file import load_lora
from semantic_focus.settings.training import load_config

SAVED = Path(__file__).parent / "saved" / "0.2.0"


@pytest.mark.parametrize("encoding", ["png", "float"])
def test_mask_files(encoding: str):
    face, hair, light = torch.zeros(3, 12, 20)
    face[2:6, 3:9], face[6, 3:9], hair[0:2, 2:10], light[:, 10:] = 1, 0.5, 1, 1
    persons = torch.zeros(2, 12, 20)
    persons[0, 0:8, 2:10], persons[1, 4:12, 12:18] = 1, 1
    masks = read_masks(SAVED / f"{encoding}_zi_masks.safetensors")
    assert masks.labels == ("face", "hair", "background", "lighting")
    expected = torch.stack((face, hair, 1 - face - hair, light))
    # a png file has 52 levels
    assert torch.allclose(masks.masks[0], expected, rtol=0, atol=0.011 if encoding == "png" else 0)
    assert torch.equal(masks.persons[0], persons)
    assert masks.provenance["backend"] == "mediapipe" and masks.provenance["image_digest"] == "0" * 64


def test_a_lora():
    tensors = load_lora(SAVED / "lora.safetensors")
    assert {
        key.split(".", 2)[2]: list(tensor.shape) for key, tensor in tensors.items() if ".first." in key
    } == {
        "lora_up.weight": [24, 4],
        "lora_down.weight": [4, 7],
        "alpha": [],
    }
    assert all(bool(tensor.isfinite().all()) and bool(tensor.any()) for tensor in tensors.values())


def test_a_config_with_every_key():
    config = load_config(SAVED / "config.toml")
    assert config.model.path == SAVED / "z_image_turbo_bf16.safetensors"
    assert (config.adapter.kind, config.adapter.rank, config.adapter.factor) == ("lora", 16, 8)
    assert (config.training.steps, config.training.learning_rate, config.training.optimizer) == (
        500,
        1e-4,
        "adamw",
    )
    assert (config.run.name, config.run.save_every, config.run.keep_last) == ("lora", 100, 3)
    assert config.sources[0].cache_directory == SAVED / "dataset"
    assert config.objective.weights["face"] == 1.0 and config.objective.prior_weight == 1.0
    assert config.ignored == ()
