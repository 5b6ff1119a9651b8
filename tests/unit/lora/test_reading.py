"""One reader of LoRA files: what it understands, what it leaves, and that nothing is left without a name."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from semantic_focus.lora.file import save_lora
from semantic_focus.lora.keys import KeyMap, LayerRows, generic_tensors
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
    read = read_lora(pair(name), LAYERS, KEY_MAP)
    assert (read.trained, read.rest) == (tuple(pair(name)), {})
    assert {key: tensor.tolist() for key, tensor in generic_tensors(read.adapters).items()} == {
        "diffusion_model.out.lora_down.weight": DOWN.tolist(),
        "diffusion_model.out.lora_up.weight": UP.tolist(),
        "diffusion_model.out.alpha": 2.0,
    }


def test_a_file_is_read_as_its_tensors_are(tmp_path: Path):
    save_lora(tmp_path / "lora.safetensors", pair("lora_unet_out"))
    from_file = generic_tensors(read_lora(tmp_path / "lora.safetensors", LAYERS, KEY_MAP).adapters)
    from_tensors = generic_tensors(read_lora(pair("lora_unet_out"), LAYERS, KEY_MAP).adapters)
    assert from_file.keys() == from_tensors.keys()
    assert all(torch.equal(from_file[key], from_tensors[key]) for key in from_file)


def test_adapters_come_in_the_order_of_the_models_layers():
    read = read_lora(pair("transformer.to_out.0") | pair("transformer.to_k"), LAYERS, KEY_MAP)
    assert list(read.adapters) == ["qkv", "out"]


def names_of(rest: Mapping[str, Mapping[str, Tensor]]) -> dict[str, list[str]]:
    """Name -> suffixes."""
    return {name: [key.removeprefix(f"{name}.") for key in group] for name, group in rest.items()}


@pytest.mark.parametrize(
    ("name", "suffixes"),
    [
        ("lora_unet_conv", ["lora_up.weight", "lora_down.weight"]),
        ("lora_unet_out", ["lora_up.weight", "lora_down.weight", "dora_scale"]),
        ("lora_unet_point", ["lora_up.weight", "lora_down.weight", "lora_mid.weight", "alpha"]),
        ("lora_unet_out", ["hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"]),
        ("lora_unet_out", ["oft_blocks", "rescale", "alpha"]),
        ("lora_unet_out", ["a1.weight", "a2.weight", "b1.weight", "b2.weight"]),
        ("lora_unet_out", ["diff", "diff_b"]),
        ("diffusion_model.norm", ["w_norm", "b_norm"]),
        ("diffusion_model.norm", ["set_weight"]),
        ("transformer.to_q", ["lokr_w1", "lokr_w2"]),
        ("somewhere", ["else"]),
    ],
)
def test_what_no_adapter_can_hold_is_kept_whole(name: str, suffixes: list[str]):
    tensors = {f"{name}.{suffix}": UP[0, 0] if suffix == "alpha" else UP[:2] for suffix in suffixes}
    read = read_lora(pair("transformer.to_k") | tensors, LAYERS, KEY_MAP)
    assert names_of(read.rest)[name] == suffixes
    other = {"transformer.to_k"} if name == "transformer.to_q" else set()
    assert read.rest.keys() == {name} | other
    assert read.trained == (() if other else tuple(pair("transformer.to_k")))


@pytest.mark.parametrize(
    "suffix",
    [
        *("lora_B.bias", "lora_B.default.bias", "lora_magnitude_vector", "lora_magnitude_vector.weight"),
        *("oft_R.weight", "diff_b", "b_norm", "unheard_of"),
    ],
)
def test_what_says_nothing_of_the_weight_is_kept_beside_the_pair_of_its_layer(suffix: str):
    read = read_lora(pair("lora_unet_out") | {f"lora_unet_out.{suffix}": UP[:, 0]}, LAYERS, KEY_MAP)
    assert list(read.adapters) == ["out"]
    assert names_of(read.rest) == {"lora_unet_out": [suffix]}


@pytest.mark.parametrize("kernel", [(), (1, 1)])
def test_a_convolution_with_a_1x1_kernel_is_a_linear_map(kernel: tuple[int, ...]):
    shaped = {key: tensor.reshape(*tensor.shape, *kernel) for key, tensor in pair("lora_unet_point").items()}
    read = read_lora(shaped, LAYERS, KEY_MAP)
    assert generic_tensors(read.adapters)["diffusion_model.point.lora_up.weight"].tolist() == UP.tolist()


@pytest.mark.parametrize("name", ["lora_unet_out", "lora_unet_conv", "somewhere"])
def test_an_alpha_that_is_no_number_is_named(name: str):
    with pytest.raises(ValueError, match=rf"{name}.alpha is \[4, 2\], one number is expected"):
        read_lora(pair(name) | {f"{name}.alpha": UP}, LAYERS, KEY_MAP)


@pytest.mark.parametrize(
    ("lora", "said"),
    [
        ({}, "this LoRA is empty"),
        ({"out.weight": UP, "qkv.bias": UP}, r"no LoRA: none of its 2 keys \(out.weight, qkv.bias\)"),
        ({"emb_params": UP}, "whole model, a VAE or an embedding"),
        (pair("lora_unet_out", UP * math.nan), "lora_unet_out.lora_up.weight has values that are no finite"),
        (pair("lora_unet_out", UP.to(torch.complex64)), "lora_up.weight has values that are no finite"),
        (pair("out") | {"out.alpha": torch.tensor(1e300, dtype=torch.float64)}, "out.alpha has values that"),
        (pair("text_encoder.x", UP / 0), "text_encoder.x.lora_up.weight has values that are no finite"),
        (
            {"lora_unet_out.lora_up.weight": UP[:, :0], "lora_unet_out.lora_down.weight": DOWN[:0]},
            r"lora_unet_out: lora_(up|down).weight is \[(4, 0|0, 4)\], which holds nothing",
        ),
    ],
)
def test_what_is_no_lora_or_holds_no_usable_numbers_is_refused_by_name(lora: dict[str, Tensor], said: str):
    """Of a link too, which is no file that was checked."""
    with pytest.raises(ValueError, match=said):
        read_lora(lora, LAYERS, KEY_MAP)


@pytest.mark.parametrize("prefix", ["lora_te1_x", "text_encoders.clip_l.x", "clip_g.x", "bundle_emb.person"])
def test_text_encoders_are_left_out_by_name(prefix: str):
    text = pair(prefix)
    read = read_lora(text | pair("lora_unet_out"), LAYERS, KEY_MAP)
    assert set(read.text_encoder) == set(text)
    assert read.trained == tuple(pair("lora_unet_out"))
    assert list(read.adapters) == ["out"] and not read.rest
