"""LoRA files in every key style, in ComfyUI's own loader, on small genuine networks of every family."""

import re
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from .graphs import measured_by

if TYPE_CHECKING:
    from host.serve import ComfyServer

FAMILIES = ("sd3", "flux", "z_image", "qwen_image", "wan_video", "sd15", "sdxl_v")
KINDS = ("lora", "lora, alpha 3", "loha", "lokr", "lokr, full")


@pytest.fixture(scope="module")
def measured(comfy: ModuleType) -> dict[str, Any]:
    """The numbers of measure_lora_files.py."""
    return measured_by("measure_lora_files.py", comfy)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("style", ["kohya", "diffusers"])
def test_a_lora_has_the_same_effect_in_every_key_style(measured: dict[str, Any], family: str, style: str):
    """To the last bit where alpha / rank is a power of two, else to rounding: diffusers has no alpha."""
    if (family, style) == ("wan_video", "diffusers"):
        assert "no diffusers keys for this base model" in measured[family]["styles"]["lora"][style]["error"]
        return
    exact, rounded = (measured[family]["styles"][kind][style] for kind in ("lora", "lora, alpha 3"))
    assert exact["loaded"] == exact["back"] == 0
    assert rounded["loaded"] < 1e-6 and rounded["back"] < 1e-6


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["loha", "lokr", "lokr, full"])
def test_loha_and_lokr_have_the_same_effect_in_kohyas_style(measured: dict[str, Any], family: str, kind: str):
    styles = measured[family]["styles"][kind]
    assert styles["kohya"]["loaded"] == styles["kohya"]["back"] == styles["comfyui"]["back"] == 0
    assert "diffusers" in styles["diffusers"]["error"]


@pytest.mark.parametrize("family", FAMILIES)
def test_core_knows_every_key(measured: dict[str, Any], family: str):
    assert measured[family]["complaints"] == []
    assert measured[family]["complaints about a key of nothing"] != []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_on_activations_it_does_what_cores_loader_does_to_weights(
    measured: dict[str, Any], family: str, kind: str
):
    """In standard deviations of the prediction; the networks are untrained, which amplifies rounding."""
    activations = measured[family]["activations"][kind]
    assert activations["effect"] > 0.01
    assert activations["difference"] < 1e-3 * activations["effect"]


@pytest.mark.parametrize(
    ("family", "style", "key"),
    [
        ("sd3", "kohya", "lora_unet_joint_blocks_0_context_block_attn_proj.alpha"),
        ("sd3", "diffusers", "transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight"),
        ("flux", "diffusers", "transformer.single_transformer_blocks.0.attn.to_k.lora_A.weight"),
        ("qwen_image", "diffusers", "transformer.transformer_blocks.0.attn.add_k_proj.lora_A.weight"),
        ("sd15", "kohya", "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k.alpha"),
        ("sdxl_v", "kohya", "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_k.alpha"),
        (
            "sdxl_v",
            "diffusers",
            "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_k_lora.down.weight",
        ),
    ],
)
def test_names_are_those_of_published_files(measured: dict[str, Any], family: str, style: str, key: str):
    assert measured[family]["styles"]["lora"][style]["key"] == key


FLUX_2 = {
    *(f"transformer_blocks.N.attn.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.N", "to_add_out")),
    *(f"transformer_blocks.N.attn.add_{part}_proj" for part in "qkv"),
    *(
        f"transformer_blocks.N.{stream}.linear_{end}"
        for stream in ("ff", "ff_context")
        for end in ("in", "out")
    ),
    *(f"single_transformer_blocks.N.attn.{layer}" for layer in ("to_qkv_mlp_proj", "to_out")),
}
"""As diffusers names the layers that are trained by default."""


FLUX_1 = {
    *(f"transformer_blocks.N.attn.{layer}" for layer in ("to_q", "to_k", "to_v", "to_out.N", "to_add_out")),
    *(f"transformer_blocks.N.attn.add_{part}_proj" for part in "qkv"),
    *(
        f"transformer_blocks.N.{stream}.net.N{end}"
        for stream in ("ff", "ff_context")
        for end in (".proj", "")
    ),
    *(f"single_transformer_blocks.N.attn.to_{part}" for part in "qkv"),
    *(f"single_transformer_blocks.N.{layer}" for layer in ("proj_mlp", "proj_out")),
}


def in_general(names: list[str]) -> set[str]:
    return {re.sub(r"\.\d+(?=\.|$)", ".N", name).removeprefix("transformer.") for name in names}


@pytest.mark.parametrize("source", ["own map", "later map"])
def test_flux_is_written_in_the_names_of_its_version_or_not_at_all(measured: dict[str, Any], source: str):
    """ComfyUI 0.3.75 has the names of Flux 1 alone, whose single blocks are smaller than those of Flux 2;
    0.28 has both for every layer of either.
    """
    flux, flux2 = measured[source]["flux"], measured[source]["flux2"]
    assert in_general(flux["names"]) == FLUX_1
    second = "transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj"
    assert {second in flux["map"], second in flux2["map"]} == {"names" in flux2}
    if "names" in flux2:
        assert in_general(flux2["names"]) == FLUX_2
    else:
        assert source == "own map"
        assert "do not add up to the 576 rows" in flux2["error"]


def test_parts_with_a_down_each_in_half_precision_without_alpha_are_taken_over(measured: dict[str, Any]):
    """As other trainers of Z-Image write them: to_q, to_k and to_v where ComfyUI has qkv."""
    assert measured["z_image"]["origin"] < 1e-6


SD3_ATTENTION = {"x_block.attn.qkv", "x_block.attn.proj", "context_block.attn.qkv", "context_block.attn.proj"}
FLUX_DOUBLE = {f"{s}_{layer}" for s in ("img", "txt") for layer in ("attn.qkv", "attn.proj", "mlp.N")}
Z_IMAGE_LAYERS = {"attention.qkv", "attention.out", *(f"feed_forward.w{n}" for n in (1, 2, 3))}
QWEN_IMAGE = {"attn.to_q", "attn.to_k", "attn.to_v", "attn.to_out.N", "img_mlp.net.N.proj", "img_mlp.net.N"}
WAN_SELF = {"self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "ffn.N"}
UNET_CROSS = {"attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.N"}
UNET_BLOCK = UNET_CROSS | {name.replace("2", "1") for name in UNET_CROSS} | {"ff.net.N.proj", "ff.net.N"}

PRESETS = {
    "sd3": {
        "attention only": SD3_ATTENTION,
        "SD3: image stream": {"x_block.attn.qkv", "x_block.attn.proj", "x_block.mlp.fc1", "x_block.mlp.fc2"},
    },
    "flux": {"Flux: double blocks": FLUX_DOUBLE, "Flux: single blocks": {"linear1", "linear2"}},
    "z_image": {
        "attention only": {"attention.qkv", "attention.out"},
        "attention + feed-forward": Z_IMAGE_LAYERS,
        "Z-Image / Lumina 2: without refiners": Z_IMAGE_LAYERS,
    },
    "qwen_image": {"Qwen-Image: image stream": QWEN_IMAGE},
    "wan_video": {"Wan: self-attention + feed-forward": WAN_SELF},
    "sd15": {
        "attention + feed-forward": UNET_BLOCK,
        "SD1.5 / SDXL: cross-attention": UNET_CROSS,
        "SD1.5 / SDXL: transformer blocks": UNET_BLOCK,
    },
}
PRESETS["sdxl_v"] = PRESETS["sd15"]


def within_block(layer: str) -> str:
    """The name of a layer in its block, with N for every part that is a number."""
    name = re.sub(r"\.\d+(?=\.|$)", ".N", layer)
    return re.sub(r"^.*(blocks|layers|refiner)\.N\.", "", name)


@pytest.mark.parametrize("family", FAMILIES)
def test_presets_choose_the_layers_of_their_family_and_none_of_others(measured: dict[str, Any], family: str):
    chosen = measured[family]["layers"]
    found = {choice: {within_block(layer) for layer in chosen[choice]} for choice in PRESETS[family]}
    assert found == PRESETS[family]
    general = {"attention + feed-forward", "attention only", "all linear layers"}
    assert not any(chosen[choice] for choice in chosen.keys() - PRESETS[family].keys() - general)
    inside = chosen["attention + feed-forward"]
    assert 0 < len(inside) < len(chosen["all linear layers"])
    assert not any(word in layer for layer in inside for word in ("embed", "mod", "final", "time", "head"))


QKV = "diffusion_model.joint_blocks.0.x_block.attn.qkv"
FC1 = "diffusion_model.joint_blocks.0.x_block.mlp.fc1"


@pytest.fixture
def lora_file(server: "ComfyServer") -> dict[str, torch.Tensor]:
    """A LoRA of two layers of the stand-in model in models/loras, as mine.safetensors; its tensors."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        f"{QKV}.lora_up.weight": (384, 2),
        f"{QKV}.lora_down.weight": (2, 128),
        f"{FC1}.lora_up.weight": (512, 2),
        f"{FC1}.lora_down.weight": (2, 128),
    }
    tensors = {key: torch.randn(shape, generator=generator) for key, shape in shapes.items()}
    tensors |= {f"{layer}.alpha": torch.tensor(4.0) for layer in (QKV, FC1)}
    folder = server.base_directory / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "mine.safetensors")
    return tensors


def test_the_nodes_save_a_lora_in_another_style(
    server: "ComfyServer", shared_workflow: dict[str, Any], lora_file: dict[str, torch.Tensor]
):
    def save(style: str, dtype: str) -> Path:
        graph = {
            "1": shared_workflow["1"],
            "load": {"class_type": "SemanticFocusLoadLoRA", "inputs": {"lora_name": "mine.safetensors"}},
            "save": {
                "class_type": "SemanticFocusSaveLoRA",
                "inputs": {
                    "lora": ["load", 0],
                    "model": ["1", 0],
                    "filename_prefix": f"loras/{style}_{dtype}",
                    "key_style": style,
                    "dtype": dtype,
                },
            },
        }
        (text,) = server.run(graph)["outputs"]["save"]["text"]
        return Path(text)

    same = load_file(save("comfyui", "fp32"))
    assert same.keys() == lora_file.keys()
    assert all(torch.equal(tensor, lora_file[key]) for key, tensor in same.items())

    path = save("diffusers", "bf16")
    assert path.name == "diffusers_bf16_00001_.safetensors"
    split = load_file(path)
    assert {tensor.dtype for tensor in split.values()} == {torch.bfloat16}
    # alpha / rank is 2
    up = torch.cat([split[f"transformer.transformer_blocks.0.attn.to_{p}.lora_B.weight"] for p in "qkv"])
    assert torch.equal(up, (lora_file[f"{QKV}.lora_up.weight"] * 2).bfloat16())
    with safe_open(path, "pt") as file:
        header = file.metadata()
    assert header["semantic_focus.key_style"] == "diffusers"
    assert (header["ss_network_dim"], header["ss_network_alpha"]) == ("2", "4")
    assert len(header["semantic_focus.base_model"]) == 16


def test_adapter_options_make_settings(server: "ComfyServer"):
    values = {"rank": 3, "alpha": 6.0, "dropout": 0.25, "factor": 4, "exclude": ""}
    inputs = {"kind": "lokr", "include": " attn \n\nmlp", **values}
    graph = {
        "options": {"class_type": "SemanticFocusAdapterOptions", "inputs": inputs},
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["options", 0]}},
    }
    (text,) = server.run(graph)["outputs"]["show"]["text"]
    assert "kind='lokr', rank=3, alpha=6.0, dropout=0.25, factor=4, include=('attn', 'mlp')" in text
