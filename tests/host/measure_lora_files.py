"""What test_lora_files.py asserts, measured inside ComfyUI: `measure_lora_files.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI.
"""

import json
import logging
import sys
from typing import Any

sys.path.append(sys.argv[1])
from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True

import comfy.lora  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import tiny_models  # noqa: E402
import torch  # noqa: E402
from heard import Heard  # noqa: E402
from torch import Tensor  # noqa: E402

from semantic_focus.comfy.key_map import comfy_key_map  # noqa: E402
from semantic_focus.comfy.model import velocity_model  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.lora.keys import KEY_STYLES, KeyMap, export_lora  # noqa: E402
from semantic_focus.lora.layers import LAYER_CHOICES, adaptable_layers, linear_layers  # noqa: E402
from semantic_focus.lora.network import LoraAdapters  # noqa: E402
from semantic_focus.lora.reading import read_lora  # noqa: E402

NAMES = ("sd3", "flux", "z_image", "qwen_image", "wan_video", "sd15", "sdxl_v")
KINDS = {
    "lora": AdapterSettings(rank=4, alpha=8.0),
    "lora, alpha 3": AdapterSettings(rank=4, alpha=3.0),
    "loha": AdapterSettings(kind="loha", rank=3, alpha=2.0),
    "lokr": AdapterSettings(kind="lokr", rank=2, alpha=1.0, factor=4),
    "lokr, full": AdapterSettings(kind="lokr", rank=999, alpha=5.0, factor=4),
}
# ComfyUI's map of Flux takes the real model's ratio for granted
tiny_models.FLUX["mlp_ratio"] = 4.0
FLUX2 = tiny_models.FLUX | {
    "image_model": "flux2",
    "mlp_ratio": 3.0,
    "axes_dim": [8, 8, 8, 8],
    "vec_in_dim": None,
    "qkv_bias": False,
    "ops_bias": False,
    "guidance_embed": False,
    "global_modulation": True,
    "mlp_silu_act": True,
    "default_ref_method": "index",
    "ref_index_scale": 10.0,
}


complaints = Heard(logging.WARNING)
logging.getLogger().handlers = [complaints]


def patched_weights(patcher: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as core's LoRA loader makes them from a file with these tensors."""
    with torch.inference_mode():
        lora: Any = comfy.sd.load_lora_for_models(patcher, None, dict(tensors), 1.0, 0)[0]
        weights = {}
        for key in lora.patches:
            weight = patcher.model.state_dict()[key].clone()
            weights[key] = comfy.lora.calculate_weight(lora.patches[key], weight, key)
        return weights


def from_file(network: Any, tensors: dict[str, Tensor], key_map: KeyMap) -> LoraAdapters:
    read = read_lora(tensors, adaptable_layers(network), key_map)
    assert not read.rest
    return LoraAdapters.of_adapters(network, read.adapters)


def shaken(adapters: LoraAdapters) -> LoraAdapters:
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return adapters


def difference(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    assert one.keys() == other.keys(), one.keys() ^ other.keys()
    return max((one[key] - other[key]).abs().max().item() for key in one)


def measure_styles(patcher: Any, key_map: KeyMap, adapters: LoraAdapters) -> dict[str, Any]:
    """Each style's file in core's loader against the generic one's, and back into our adapters."""
    tensors, results = adapters.state_dict(), {}
    network = patcher.model.diffusion_model
    generic = patched_weights(patcher, tensors)
    for style in KEY_STYLES:
        try:
            exported = export_lora(tensors, style, key_map)
        except ValueError as error:
            results[style] = {"error": str(error)}
            continue
        back = from_file(network, exported, key_map)
        results[style] = {
            "loaded": difference(patched_weights(patcher, exported), generic),
            "back": difference(patched_weights(patcher, back.state_dict()), generic),
            "keys": len(exported),
            "key": min(exported),
        }
    return results


def measure_activations(patcher: Any, family: Any, adapters: LoraAdapters) -> dict[str, float]:
    """The network with adapters on its activations against the one that core's loader patched."""
    prompts = [tiny_models.conditioning(family, 8, 1)]
    generator = torch.Generator().manual_seed(4)
    noisy = torch.randn(1, *family.grid, generator=generator)
    lora: Any = comfy.sd.load_lora_for_models(patcher, None, adapters.state_dict(), 1.0, 0)[0]
    answers = []
    for model in (patcher, lora):
        with velocity_model(model, prompts) as velocity, torch.no_grad():
            sigma = velocity.corrupt(noisy, noisy, torch.tensor([0.5]))[1]
            answers.append(velocity.predict(noisy, sigma, [0]))
            if model is patcher:
                with adapters.attached():
                    answers.append(velocity.predict(noisy, sigma, [0]))
        model.unpatch_model()
    base, ours, theirs = answers
    return {
        "effect": ((ours - base).std() / base.std()).item(),
        "difference": ((ours - theirs).abs().max() / theirs.std()).item(),
    }


def split_origin(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """A Z-Image LoRA with parts of qkv that have a `down` of their own, half precision and no alpha."""
    out = {}
    for key, tensor in tensors.items():
        if not key.endswith(".lora_up.weight"):
            continue
        layer = key.removesuffix(".lora_up.weight")
        down = tensors[f"{layer}.lora_down.weight"]
        if layer.endswith(".qkv"):
            for index, part in enumerate(("to_q", "to_k", "to_v")):
                name = layer.removesuffix("qkv") + part
                out[f"{name}.lora_up.weight"] = tensor.chunk(3)[index].contiguous().half()
                out[f"{name}.lora_down.weight"] = (down * (index + 1)).half()
                out[f"{name}.alpha"] = torch.tensor(2.0)
        else:
            name = f"{layer.removesuffix('.out')}.to_out.0" if layer.endswith(".out") else layer
            out[f"{name}.lora_up.weight"] = tensor.half()
            out[f"{name}.lora_down.weight"] = down.half()
    return out


def measure_origin(patcher: Any, key_map: KeyMap, adapters: LoraAdapters) -> float:
    """Such a file in core's loader against what our adapters made of it."""
    tensors = split_origin(adapters.state_dict())
    ours = from_file(patcher.model.diffusion_model, tensors, key_map)
    return difference(patched_weights(patcher, ours.state_dict()), patched_weights(patcher, tensors))


def names_written(patcher: Any) -> dict[str, Any]:
    """The names in a Flux LoRA in diffusers keys, or why there is none; `map`: those that ComfyUI has."""
    key_map = comfy_key_map(patcher)
    adapters = LoraAdapters(linear_layers(patcher.model.diffusion_model), KINDS["lora"], seed=0)
    found: dict[str, Any] = {"map": list(key_map.styles["diffusers"])}
    try:
        exported = export_lora(adapters.state_dict(), "diffusers", key_map)
    except ValueError as error:
        return found | {"error": str(error)}
    return found | {"names": sorted({key.rsplit(".lora_", 1)[0] for key in exported})}


LATER = {
    "depth": ("transformer_blocks.{}.{}.weight", "{}double_blocks.{}.{}.weight", {
        "ff.linear_in": "img_mlp.0", "ff.linear_out": "img_mlp.2",
        "ff_context.linear_in": "txt_mlp.0", "ff_context.linear_out": "txt_mlp.2",
    }),
    "depth_single_blocks": ("single_transformer_blocks.{}.{}.weight", "{}single_blocks.{}.{}.weight", {
        "attn.to_qkv_mlp_proj": "linear1", "attn.to_out": "linear2",
    }),
}  # fmt: skip
"""The second names that ComfyUI 0.28 has for layers of Flux, by the setting that counts their blocks."""


def map_with_later_names(settings: dict[str, Any], output_prefix: str = "") -> dict[str, Any]:
    """ComfyUI's map of Flux as 0.28 has it, also on 0.3.75."""
    found = FLUX_TO_DIFFUSERS(settings, output_prefix)
    for count, (theirs, ours, layers) in LATER.items():
        for block in range(settings[count]):
            for name, layer in layers.items():
                found.setdefault(theirs.format(block, name), ours.format(output_prefix, block, layer))
    return found


FLUX_TO_DIFFUSERS = comfy.utils.flux_to_diffusers


def chosen(patcher: Any) -> dict[str, list[str]]:
    """The layers of every preset; empty where it is of another family."""
    layers = {}
    for choice in LAYER_CHOICES:
        try:
            layers[choice] = list(linear_layers(patcher.model.diffusion_model, choice))
        except ValueError:
            layers[choice] = []
    return layers


def main() -> None:
    results: dict[str, Any] = {}
    for name in NAMES:
        family = tiny_models.FAMILIES[name]
        patcher = family.build()
        network, key_map = patcher.model.diffusion_model, comfy_key_map(patcher)
        result: dict[str, Any] = {"layers": chosen(patcher), "styles": {}, "activations": {}}
        for kind, settings in KINDS.items():
            adapters = shaken(LoraAdapters(linear_layers(network), settings, seed=0))
            result["styles"][kind] = measure_styles(patcher, key_map, adapters)
            result["activations"][kind] = measure_activations(patcher, family, adapters)
            if name == "z_image" and kind == "lora":
                result["origin"] = measure_origin(patcher, key_map, adapters)
        result["complaints"] = complaints.take()
        patched_weights(patcher, {"diffusion_model.nowhere.lora_up.weight": torch.zeros(1, 1)})
        result["complaints about a key of nothing"] = complaints.take()
        results[name] = result
    builds = {
        "flux": tiny_models.FAMILIES["flux"].build,
        "flux2": lambda: tiny_models.from_config("Flux2", FLUX2),
    }
    for source, flux_map in (("own", FLUX_TO_DIFFUSERS), ("later", map_with_later_names)):
        comfy.utils.flux_to_diffusers = flux_map
        results[f"{source} map"] = {name: names_written(build()) for name, build in builds.items()}
    sys.stdout.write(json.dumps(results))


main()
