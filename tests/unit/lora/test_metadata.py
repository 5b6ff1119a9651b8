"""The header of LoRA files."""

import json
from pathlib import Path

import pytest
import torch

from semantic_focus.lora.file import load_metadata, save_lora
from semantic_focus.lora.metadata import Provenance, lora_metadata

LORA = {
    "diffusion_model.a.lora_up.weight": torch.zeros(3, 2),
    "diffusion_model.a.lora_down.weight": torch.zeros(2, 5),
    "diffusion_model.a.alpha": torch.tensor(1.5),
}


def test_what_is_known_is_there_and_nothing_else():
    bare = lora_metadata(LORA, "kohya")
    assert bare == {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.implementation": "ComfyUI-SemanticFocus",
        "semantic_focus.key_style": "kohya",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "2",
        "ss_network_alpha": "1.5",
    }


def test_provenance_comes_back_from_the_file(tmp_path: Path):
    provenance = Provenance(
        base_model="0123",
        base_model_name="sd3",
        settings={"steps": 7, "timesteps": {"kind": "uniform"}},
        region_weights={"face": 1.0, "hair": 0.5},
        dataset="abcd",
        steps=0,
    )
    save_lora(tmp_path / "a.safetensors", LORA, lora_metadata(LORA, "comfyui", provenance))
    header = load_metadata(tmp_path / "a.safetensors")
    assert header["semantic_focus.base_model"] == "0123"
    assert header["ss_sd_model_name"] == "sd3"
    assert json.loads(header["semantic_focus.settings"]) == provenance.settings
    assert json.loads(header["semantic_focus.region_weights"]) == {"face": 1.0, "hair": 0.5}
    assert header["semantic_focus.dataset"] == "abcd"
    assert header["semantic_focus.steps"] == header["ss_steps"] == "0"


def test_a_file_without_a_header_and_one_that_is_none(tmp_path: Path):
    save_lora(tmp_path / "a.safetensors", LORA)
    assert load_metadata(tmp_path / "a.safetensors") == {}
    (tmp_path / "b.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match="b.safetensors: not a complete safetensors file"):
        load_metadata(tmp_path / "b.safetensors")
    with pytest.raises(FileNotFoundError, match="c.safetensors: no such LoRA file"):
        load_metadata(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    ("suffix", "algorithm"), [("hada_w1_b", "loha"), ("lokr_w2_b", "lokr"), ("lokr_w2", "lokr")]
)
def test_loha_and_lokr_are_lycoris(suffix: str, algorithm: str):
    header = lora_metadata({f"diffusion_model.a.{suffix}": torch.zeros(4, 5)}, "comfyui")
    assert header["ss_network_module"] == "lycoris.kohya"
    assert json.loads(header["ss_network_args"]) == {"algo": algorithm}
    assert header.get("ss_network_dim") == ("4" if suffix.endswith("_b") else None)


def test_ranks_and_alphas_that_differ_are_dynamic():
    other = {
        key.replace(".a.", ".b."): torch.cat([tensor, tensor]) for key, tensor in LORA.items() if tensor.ndim
    }
    header = lora_metadata({**LORA, **other, "diffusion_model.b.alpha": torch.tensor(3.0)}, "comfyui")
    assert header["ss_network_dim"] == header["ss_network_alpha"] == "Dynamic"
