"""One reader of LoRA files: what it understands, what it leaves, and that nothing is left without a name."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semantic_focus.lora.file import save_lora
from semantic_focus.lora.keys import KeyMap, LayerRows
from semantic_focus.lora.reading import read_lora

LAYERS = {"qkv": nn.Linear(4, 12), "out": nn.Linear(4, 4), "point": nn.Conv2d(4, 4, 1)}
OWN = KeyMap.of_layers(LAYERS)
PARTS = {f"transformer.to_{part}": LayerRows("qkv", index * 4, 4) for index, part in enumerate("qkv")}
KEY_MAP = KeyMap({**OWN.names, **PARTS, "transformer.to_out.0": LayerRows("out")}, OWN.styles)
UP, DOWN = torch.arange(8.0).view(4, 2), torch.arange(8.0).view(2, 4)


def pair(name: str, up: Tensor = UP) -> dict[str, Tensor]:
    return {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": DOWN}


@pytest.mark.parametrize(
    "name",
    [
        "diffusion_model.out",
        "lora_unet_out",
        "lycoris_out",
        "transformer.to_out.0",
        "to_out.0",
        "base_model.model.to_out.0",
        "lora_unet_to_out_0",
        "lora_transformer_to_out_0",
        "lycoris_to_out_0",
    ],
)
def test_every_spelling_gives_the_same_generic_tensors(name: str):
    read = read_lora(pair(name), LAYERS, KEY_MAP).complete()
    assert {key: tensor.tolist() for key, tensor in read.tensors().items()} == {
        "diffusion_model.out.lora_down.weight": DOWN.tolist(),
        "diffusion_model.out.lora_up.weight": UP.tolist(),
        "diffusion_model.out.alpha": 2.0,
    }


def test_a_file_is_read_as_its_tensors_are(tmp_path: Path):
    save_lora(tmp_path / "lora.safetensors", pair("lora_unet_out"))
    from_file = read_lora(tmp_path / "lora.safetensors", LAYERS, KEY_MAP).tensors()
    from_tensors = read_lora(pair("lora_unet_out"), LAYERS, KEY_MAP).tensors()
    assert from_file.keys() == from_tensors.keys()
    assert all(torch.equal(from_file[key], from_tensors[key]) for key in from_file)


def test_adapters_come_in_the_order_of_the_models_layers():
    read = read_lora(pair("transformer.to_out.0") | pair("transformer.to_k"), LAYERS, KEY_MAP)
    assert list(read.adapters) == ["qkv", "out"]


@pytest.mark.parametrize(
    ("rest", "named"),
    [
        (pair("lora_unet_conv"), "1 names .*: lora_unet_conv. Is it"),
        (pair("diffusion_model.out") | {"diffusion_model.out.dora_scale": UP}, "1 names .*out.dora_scale"),
        ({f"diffusion_model.norm.{part}": UP for part in ("diff", "diff_b")}, "2 names .*norm.diff, .*_b"),
        ({"bundle_emb": UP}, "1 names .*: bundle_emb"),
    ],
)  # fmt: skip
def test_what_no_adapter_can_hold_is_kept_whole_and_named(rest: dict[str, Tensor], named: str):
    read = read_lora(pair("transformer.to_k") | rest, LAYERS, KEY_MAP)
    assert list(read.adapters) == ["qkv"]
    assert {key for group in read.rest.values() for key in group} == set(rest)
    with pytest.raises(ValueError, match=named):
        read.complete()


def test_a_bias_is_kept_beside_the_pair_of_its_layer():
    read = read_lora(pair("lora_unet_out") | {"lora_unet_out.diff_b": UP[:, 0]}, LAYERS, KEY_MAP)
    assert list(read.adapters) == ["out"]
    assert {name: list(group) for name, group in read.rest.items()} == {
        "lora_unet_out": ["lora_unet_out.diff_b"]
    }


@pytest.mark.parametrize("kernel", [(), (1, 1)])
def test_a_convolution_with_a_1x1_kernel_is_a_linear_map(kernel: tuple[int, ...]):
    shaped = {key: tensor.reshape(*tensor.shape, *kernel) for key, tensor in pair("lora_unet_point").items()}
    read = read_lora(shaped, LAYERS, KEY_MAP).complete()
    assert read.tensors()["diffusion_model.point.lora_up.weight"].tolist() == UP.tolist()


@pytest.mark.parametrize("name", ["lora_unet_out", "lora_unet_conv", "somewhere"])
def test_an_alpha_that_is_no_number_is_named(name: str):
    with pytest.raises(ValueError, match=rf"{name}.alpha is \[4, 2\], one number is expected"):
        read_lora(pair(name) | {f"{name}.alpha": UP}, LAYERS, KEY_MAP)


def test_text_encoders_are_left_out_by_name():
    text = pair("lora_te1_layer")
    read = read_lora(text | pair("lora_unet_out"), LAYERS, KEY_MAP).complete()
    assert set(read.text_encoder) == set(text)
    assert list(read.adapters) == ["out"]
    with pytest.raises(ValueError, match="no key for the diffusion model"):
        read_lora(text, LAYERS, KEY_MAP).complete()
