"""What test_lora_table.py asserts, measured inside ComfyUI: `measure_lora_table.py COMFYUI` prints JSON.

A program of its own, because it imports ComfyUI.
"""

import copy
import json
import logging
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[1])
from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True

import comfy.lora  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.utils  # noqa: E402
import published_kinds as kinds  # noqa: E402
import published_loras as published  # noqa: E402
import tiny_models  # noqa: E402
import torch  # noqa: E402
from comfy.lora_convert import convert_lora  # noqa: E402
from heard import Heard  # noqa: E402
from published_loras import File, Shape  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from semantic_focus.comfy.key_map import comfy_key_map  # noqa: E402
from semantic_focus.comfy.lora_files import (  # noqa: E402
    ModelLora,
    read_for_model,
    with_lora,
    with_training_adapter,
)
from semantic_focus.lora.file import load_lora  # noqa: E402
from semantic_focus.lora.keys import KEY_STYLES, PREFIX, export_lora, generic_tensors  # noqa: E402
from semantic_focus.lora.network import LoraAdapters  # noqa: E402

# ComfyUI's map of Flux takes the real model's ratio for granted
tiny_models.FLUX["mlp_ratio"] = 4.0


heard = Heard()
logging.getLogger().handlers = [heard]
logging.getLogger().setLevel(logging.INFO)
Weights = dict[str, Tensor]


class Model:
    """A small model of a family and its layers."""

    def __init__(self, family: str):
        self.patcher: Any = tiny_models.FAMILIES[family].build()
        self.network: nn.Module = self.patcher.model.diffusion_model
        self.exact = copy.deepcopy(self.network).double()
        self.base: Weights = {key: t.clone() for key, t in self.patcher.model.state_dict().items()}
        self.key_map = comfy_key_map(self.patcher)

    @property
    def shapes(self) -> dict[str, Shape]:
        ending = ".weight"
        return {
            key.removeprefix(PREFIX).removesuffix(ending): tuple(tensor.shape)
            for key, tensor in self.base.items()
            if key.startswith(PREFIX) and key.endswith(ending)
        }

    def patched(self, patcher: Any) -> Weights:
        """The weights that a MODEL's patches change, as they make them."""
        with torch.inference_mode():
            return {
                key: comfy.lora.calculate_weight(patches, self.base[key].clone(), key)
                for key, patches in patcher.patches.items()
            }

    def in_core(self, tensors: dict[str, Tensor]) -> Weights:
        lora: Any = comfy.sd.load_lora_for_models(self.patcher, None, dict(tensors), 1.0, 0.0)[0]
        return self.patched(lora)

    def meant(self, file: File) -> Weights:
        """The changed weights by the table's own formulas."""
        assert file.meant is not None
        keys = {f"{PREFIX}{layer}.weight": delta for layer, delta in file.meant.items()}
        return {key: self.base[key] + delta.reshape(self.base[key].shape) for key, delta in keys.items()}

    def trained_on(self, read: ModelLora) -> Weights:
        """The weights that a training starts with: what is fixed by patches, the rest by hooks in float64."""
        weights = self.patched(with_lora(self.patcher, read.fixed)) if read.fixed else {}
        adapters = LoraAdapters.of_adapters(self.exact, read.adapters)
        for name in read.adapters:
            layer, key = self.exact.get_submodule(name), f"{PREFIX}{name}.weight"
            grid = (1,) * (self.base[key].ndim - 2)
            unit = torch.eye(self.base[key].shape[1], dtype=torch.float64).reshape(
                -1, *self.base[key].shape[1:]
            )
            unit = unit.reshape(len(unit), -1, *grid)
            with torch.no_grad():
                before = layer(unit)
                with adapters.attached():
                    delta = (layer(unit) - before).flatten(1).T
            weights[key] = weights.get(key, self.base[key]) + delta.reshape(self.base[key].shape).float()
        return weights

    def error(self, found: Weights, expected: Weights) -> float:
        """The largest difference of a weight, in the largest change that is expected of one."""
        keys = found.keys() | expected.keys()
        both = [
            (found.get(key, self.base[key]), expected.get(key, self.base[key]), self.base[key])
            for key in keys
        ]
        change = max((meant - base).abs().max() for _, meant, base in both)
        return (max((one - meant).abs().max() for one, meant, _ in both) / change).item()


def measure(model: Model, file: File) -> dict[str, Any]:
    """A file in core's loader and in ours."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lora.safetensors"
        save_file({key: tensor.clone() for key, tensor in file.tensors.items()}, path)
        ours = load_lora(path)
        theirs: Any = comfy.utils.load_torch_file(str(path))
    heard.take()
    result: dict[str, Any] = {"keys": len(file.tensors)}
    try:
        read = read_for_model(model.patcher, ours)
    except ValueError as error:
        return result | {"refused": str(error)}
    result["said"] = heard.take()
    core = model.in_core(theirs)
    result["core said"] = heard.take()
    expected = model.meant(file) if file.meant is not None else model.in_core(file.alike or theirs)
    groups = (read.trained, read.foreign, read.text_encoder)
    result |= {
        "trained": len(read.trained),
        "fixed": len(read.fixed),
        "foreign": list(read.foreign),
        "text encoder": len(read.text_encoder),
        "not of the file": sorted({key for group in groups for key in group} - convert_lora(theirs).keys()),
        "core": model.error(core, expected),
        "start_from": model.error(model.trained_on(read), expected),
    }
    try:
        adapter = with_training_adapter(model.patcher, ours)
        result["training_adapter"] = model.error(model.patched(adapter), expected)
    except ValueError as error:
        result["training_adapter refused"] = str(error)
    result["saved"] = {style: saved(model, read, style, expected) for style in KEY_STYLES}
    return result


def saved(model: Model, read: ModelLora, style: str, expected: Weights) -> Any:
    """The error of what Save LoRA As writes, in core's loader; or why it does not."""
    generic = generic_tensors(read.adapters)
    try:
        return model.error(
            model.in_core(export_lora(generic, style, model.key_map, beside=read.fixed)), expected
        )
    except ValueError as error:
        return str(error)


def main() -> None:
    models = {family: Model(family) for family in published.SPELLINGS}
    shapes = {family: model.shapes for family, model in models.items()}
    results: dict[str, Any] = {"spellings": {}, "kinds": {}, "refused": {}}
    for family, model in models.items():
        for title, spelling in published.SPELLINGS[family].items():
            row = measure(model, published.spelled_file(family, spelling, shapes[family]))
            results["spellings"][f"{family}: {title}"] = row
        for title, (outcome, file) in kinds.files_of_kinds(family, shapes[family]).items():
            results["kinds"][f"{family}: {title}"] = {"outcome": outcome, **measure(model, file)}
    widths = shapes["flux"]["double_blocks.0.img_attn.qkv"][1], shapes["z_image"]["layers.0.attention.qkv"][1]
    for (family, title), file in kinds.files_of_parts(*widths).items():
        results["kinds"][f"{family}: {title}"] = {"outcome": kinds.STAYS, **measure(models[family], file)}
    for (family, title), (file, message) in kinds.refused_files(shapes).items():
        results["refused"][f"{family}: {title}"] = {"message": message, **measure(models[family], file)}
    sys.stdout.write(json.dumps(results))


main()
