"""What test_lora_readers.py asserts, measured inside ComfyUI: `measure_lora_readers.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI.
"""

import json
import logging
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[1])
from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True

import comfy.lora  # noqa: E402
import comfy.sd  # noqa: E402
import tiny_models  # noqa: E402
import torch  # noqa: E402
from heard import Heard  # noqa: E402
from torch import Tensor  # noqa: E402

from semantic_focus.comfy.key_map import comfy_key_map  # noqa: E402
from semantic_focus.comfy.lora_files import read_for_model  # noqa: E402
from semantic_focus.comfy.model import velocity_model  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.lora.file import load_lora, save_lora  # noqa: E402
from semantic_focus.lora.keys import PREFIX, export_lora, generic_tensors, split_key  # noqa: E402
from semantic_focus.lora.layers import linear_layers  # noqa: E402
from semantic_focus.lora.network import LoraAdapters  # noqa: E402

NAMES = ("z_image", "sd15")


heard = Heard()
logging.getLogger().handlers = [heard]
logging.getLogger().setLevel(logging.INFO)
TEXT = {f"lora_te1_x.lora_{part}.weight": torch.ones(2, 2) for part in ("up", "down")}


def made(network: Any) -> dict[str, Tensor]:
    adapters = LoraAdapters(linear_layers(network), AdapterSettings(rank=2, alpha=2.0), seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return adapters.state_dict()


def spellings(generic: dict[str, Tensor], key_map: Any) -> dict[str, dict[str, Tensor]]:
    """Files that mean the same, as programs write them, and some that are read in part or not at all."""
    diffusers = export_lora(generic, "diffusers", key_map)
    kohya = export_lora(generic, "kohya", key_map)
    layers = dict.fromkeys(split_key(key)[0].removeprefix(PREFIX) for key in generic)
    first = [key for key in list(generic)[:3] if "alpha" not in key]
    bare = {key.split(".", 1)[1]: tensor for key, tensor in diffusers.items()}
    flat = {
        f"{'_'.join(key.split('.')[:-2])}.{'.'.join(key.split('.')[-2:])}": tensor
        for key, tensor in bare.items()
    }
    return {
        "comfyui": generic,
        "kohya": kohya,
        "kohya with a text encoder": kohya | TEXT,
        "kohya of lycoris": {key.replace("lora_unet_", "lora_unet__", 1): t for key, t in kohya.items()},
        "diffusers": diffusers,
        "diffusers without prefix": bare,
        "PEFT": {f"base_model.model.{key}": tensor for key, tensor in bare.items()},
        "musubi": {f"lora_unet_{key}": tensor for key, tensor in flat.items()},
        "OneTrainer": {f"lora_transformer_{key}": tensor for key, tensor in flat.items()},
        "SimpleTuner's lycoris": {f"lycoris_{key}": tensor for key, tensor in flat.items()},
        "one key of another model": generic | {f"{PREFIX}nowhere.lora_up.weight": torch.ones(2, 2)},
        "a text encoder": TEXT,
        "a layer cut": dict(list(kohya.items())[1:]),
        "a layer of rank 0": generic | dict.fromkeys(first, torch.zeros(0, 0)),
        "a diverged training": {key: tensor / 0 for key, tensor in kohya.items()},
        "the model itself": {f"model.{PREFIX}{layer}.weight": torch.ones(2, 2) for layer in layers},
        "nothing": {},
    }


def weights(patcher: Any, patches: dict[str, Any]) -> dict[str, Tensor]:
    state = patcher.model.state_dict()
    with torch.inference_mode():
        return {key: comfy.lora.calculate_weight(patches[key], state[key].clone(), key) for key in patches}


def applied(patcher: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as core's own loader makes them."""
    lora: Any = comfy.sd.load_lora_for_models(patcher, None, tensors, 1.0, 0.0)[0]
    return weights(patcher, lora.patches)


def users(
    name: str, patcher: Any, key_map: Any
) -> dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]]:
    """The weights that each user of a LoRA file makes of it."""
    network = patcher.model.diffusion_model

    def trained_on(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        read = read_for_model(patcher, tensors).trainable()
        adapters = LoraAdapters.of_adapters(network, read.adapters, beside=read.fixed)
        return applied(patcher, adapters.lora())

    def saved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        read = read_for_model(patcher, tensors)
        generic = generic_tensors(read.adapters)
        return applied(patcher, export_lora(generic, "kohya", key_map, beside=read.fixed))

    def from_disk(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lora.safetensors"
            save_lora(path, tensors)
            return trained_on(load_lora(path))

    def training_adapter(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        prompts = [tiny_models.conditioning(tiny_models.FAMILIES[name], 8, 1)]
        with velocity_model(patcher, prompts, training_adapter=tensors) as velocity:
            found = dict(velocity._patcher.patches)
        return weights(patcher, found)

    return {
        "start_from and Compare": trained_on,
        "Load LoRA File": from_disk,
        "Save LoRA As": saved,
        "training_adapter": training_adapter,
    }


def answer(use: Callable[[], dict[str, Tensor]], expected: dict[str, Tensor]) -> dict[str, Any]:
    """The largest error of a weight, or the refusal; and what was said."""
    heard.take()
    try:
        found = use()
    except ValueError as error:
        return {"refused": str(error), "said": heard.take()}
    if found.keys() != expected.keys():
        return {"other weights": sorted(found.keys() ^ expected.keys())[:3]}
    error = max((found[key] - expected[key]).abs().max().item() for key in found)
    return {"error": error, "said": heard.take()}


def beside_adapters(network: Any, family: str) -> dict[str, dict[str, Tensor]]:
    """Kind -> keys that ComfyUI's loader understands and no linear layer has."""
    modules: dict[str, Any] = dict(network.named_modules())
    linear = next(iter(linear_layers(network)))
    out, inputs = modules[linear].weight.shape
    generic = f"{PREFIX}{linear}"
    kinds = {
        "DoRA": {
            f"{generic}.lora_up.weight": torch.ones(out, 2) * 0.1,
            f"{generic}.lora_down.weight": torch.ones(2, inputs) * 0.1,
            f"{generic}.dora_scale": torch.ones(out, 1),
        },
        "difference": {f"{generic}.diff": torch.ones(out, inputs)},
        "OFT": {f"{generic}.oft_blocks": torch.randn(2, out // 2, out // 2) * 0.01},
    }
    if family != "sd15":
        return kinds
    pointwise, large, norm = "input_blocks.1.1.proj_in", "input_blocks.1.0.in_layers.2", "out.0"
    out, inputs = modules[pointwise].weight.shape[:2]
    name = f"lora_unet_{pointwise.replace('.', '_')}"
    kinds["1x1 convolution of kohya"] = {
        f"{name}.lora_up.weight": torch.ones(out, 2, 1, 1),
        f"{name}.lora_down.weight": torch.ones(2, inputs, 1, 1),
        f"{name}.alpha": torch.tensor(1.0),
    }
    out, inputs = modules[large].weight.shape[:2]
    name = f"lora_unet_{large.replace('.', '_')}"
    kinds["3x3 convolution of LoCon"] = {
        f"{name}.lora_up.weight": torch.ones(out, 2, 1, 1),
        f"{name}.lora_down.weight": torch.ones(2, inputs, 3, 3),
        f"{name}.alpha": torch.tensor(1.0),
    }
    size = len(modules[norm].weight)
    biased = next(name for name in linear_layers(network) if modules[name].bias is not None)
    out, inputs = modules[biased].weight.shape
    kinds["bias beside a pair"] = {
        f"{PREFIX}{biased}.lora_up.weight": torch.ones(out, 2) * 0.1,
        f"{PREFIX}{biased}.lora_down.weight": torch.ones(2, inputs) * 0.1,
        f"{PREFIX}{biased}.diff_b": torch.ones(out),
    }
    kinds["norm"] = {f"{PREFIX}{norm}.{part}": torch.ones(size) for part in ("diff", "diff_b")}
    return kinds


def measure_beside(name: str, patcher: Any, key_map: Any) -> dict[str, Any]:
    """LoRAs with what a linear layer's adapter cannot hold beside such adapters, and without."""
    network = patcher.model.diffusion_model
    of, results = users(name, patcher, key_map), {}
    for kind, keys in beside_adapters(network, name).items():
        layer = key_map.find(split_key(next(iter(keys)))[0])
        others = {key: t for key, t in made(network).items() if not key.startswith(f"{PREFIX}{layer.layer}.")}
        tensors = others | keys
        expected = applied(patcher, tensors)
        results[kind] = {
            "in core": len(expected) > len(applied(patcher, others)),
            **{
                user: answer(lambda use=use, tensors=tensors: use(tensors), expected)
                for user, use in of.items()
            },
            "alone": answer(lambda keys=keys: of["start_from and Compare"](keys), applied(patcher, keys)),
        }
    return results


def main() -> None:
    results: dict[str, Any] = {}
    for name in NAMES:
        patcher = tiny_models.FAMILIES[name].build()
        key_map = comfy_key_map(patcher)
        generic = made(patcher.model.diffusion_model)
        expected = applied(patcher, generic)
        results[name] = {
            spelling: {
                user: answer(lambda use=use, tensors=tensors: use(dict(tensors)), expected)
                for user, use in users(name, patcher, key_map).items()
            }
            for spelling, tensors in spellings(generic, key_map).items()
        }
        idle = {key: tensor * (not key.endswith(".alpha")) for key, tensor in generic.items()}
        train = users(name, patcher, key_map)["start_from and Compare"]
        results[f"{name} idle"] = answer(lambda train=train, idle=idle: train(idle), expected)
        results[f"{name} beside"] = measure_beside(name, patcher, key_map)
    sys.stdout.write(json.dumps(results))


main()
