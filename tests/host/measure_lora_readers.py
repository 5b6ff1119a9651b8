"""What test_lora_readers.py asserts, measured inside ComfyUI: `measure_lora_readers.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI.
"""

import json
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
from torch import Tensor  # noqa: E402

from semantic_focus.comfy.key_map import comfy_key_map  # noqa: E402
from semantic_focus.comfy.model import velocity_model  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.lora.file import load_lora, save_lora  # noqa: E402
from semantic_focus.lora.keys import PREFIX, export_lora  # noqa: E402
from semantic_focus.lora.layers import all_linear_layers, linear_layers  # noqa: E402
from semantic_focus.lora.network import LoraAdapters  # noqa: E402
from semantic_focus.lora.reading import read_lora  # noqa: E402

NAMES = ("z_image", "sd15")
TEXT = {f"lora_te1_x.lora_{part}.weight": torch.ones(2, 2) for part in ("up", "down")}


def made(network: Any) -> dict[str, Tensor]:
    adapters = LoraAdapters(linear_layers(network), AdapterSettings(rank=2, alpha=2.0), seed=0)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return adapters.state_dict()


def spellings(generic: dict[str, Tensor], key_map: Any) -> dict[str, dict[str, Tensor]]:
    """Files that mean the same, as programs write them; the last ones as no reader here knows them."""
    diffusers = export_lora(generic, "diffusers", key_map)
    kohya = export_lora(generic, "kohya", key_map)
    bare = {key.split(".", 1)[1]: tensor for key, tensor in diffusers.items()}
    musubi = {
        f"lora_unet_{'_'.join(key.split('.')[:-2])}.{'.'.join(key.split('.')[-2:])}": tensor
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
        "musubi": musubi,
        "one key of another model": generic | {f"{PREFIX}nowhere.lora_up.weight": torch.ones(2, 2)},
        "a text encoder": TEXT,
        "a layer cut": dict(list(kohya.items())[1:]),
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
        return applied(patcher, LoraAdapters.from_state_dict(network, tensors, key_map).state_dict())

    def saved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        read = read_lora(tensors, all_linear_layers(network), key_map).complete()
        return applied(patcher, export_lora(read.tensors(), "kohya", key_map))

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


def answer(use: Callable[[], dict[str, Tensor]], expected: dict[str, Tensor]) -> float | str:
    """The largest error of a weight, or the refusal."""
    try:
        found = use()
    except ValueError as error:
        return str(error)
    if found.keys() != expected.keys():
        return f"other weights: {sorted(found.keys() ^ expected.keys())[:3]}"
    return max((found[key] - expected[key]).abs().max().item() for key in found)


def measure_weights_only() -> dict[str, Any]:
    """A LoRA with what only weights can have: kohya's standard one for SD1.5 adapts 1x1 convolutions."""
    patcher = tiny_models.FAMILIES["sd15"].build()
    key_map = comfy_key_map(patcher)
    network = patcher.model.diffusion_model
    block = "input_blocks.1.1.proj_in"
    out, inputs = network.get_submodule(block).weight.shape[:2]
    name = f"lora_unet_{block.replace('.', '_')}"
    rest = {
        f"{name}.lora_up.weight": torch.ones(out, 2, 1, 1),
        f"{name}.lora_down.weight": torch.ones(2, inputs, 1, 1),
        f"{PREFIX}{block}.diff_b": torch.ones(out),
    }
    tensors = made(network) | rest
    expected = applied(patcher, tensors)
    of = users("sd15", patcher, key_map)
    broken = tensors | {f"{PREFIX}{block}.strange": torch.ones(1)}
    return {
        "convolution": f"{PREFIX}{block}.weight" in expected,
        "bias": f"{PREFIX}{block}.bias" in expected,
        **{user: answer(lambda use=use: use(tensors), expected) for user, use in of.items()},
        "strange": answer(lambda: of["training_adapter"](broken), expected),
    }


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
    results["weights only"] = measure_weights_only()
    sys.stdout.write(json.dumps(results, indent=1))


main()
