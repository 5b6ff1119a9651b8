"""What other programs call the layers of a ComfyUI model: its own map of LoRA keys, as a `KeyMap`.

Runs with ComfyUI 0.3.75 and 0.28.
"""

from collections.abc import Mapping
from typing import Any

import comfy.lora
import comfy.model_base
import comfy.model_patcher
import comfy.utils

from ..lora.keys import PREFIX, KeyMap, LayerRows, first_cover
from ..lora.layers import adaptable_layers, is_pointwise, size_of

WEIGHT = ".weight"


def comfy_key_map(patcher: comfy.model_patcher.ModelPatcher) -> KeyMap:
    """The names that ComfyUI's LoRA loader understands for a MODEL, and those to write per key style."""
    model: Any = patcher.model
    layers: dict[str, Any] = adaptable_layers(model.diffusion_model)
    names = {**KeyMap.of_layers(layers).names, **loaders_names(model)}
    weights = [rows.layer for name, rows in names.items() if name == PREFIX + rows.layer]
    styles = {"kohya": _kohya(model, names, weights)}
    diffusers = _diffusers(model, names)
    if diffusers:
        styles["diffusers"] = diffusers
        names |= _numbered_parts(diffusers, layers)
    kernels = {name: len(layer.kernel_size) for name, layer in layers.items() if is_pointwise(layer)}
    return KeyMap(names, styles, kernels)


def loaders_names(model: Any) -> dict[str, LayerRows]:
    """The names that ComfyUI's LoRA loader itself has for rows of layers' weights."""
    targets = {name: _rows(target) for name, target in comfy.lora.model_lora_keys_unet(model, {}).items()}
    return {name: rows for name, rows in targets.items() if rows is not None}


def _numbered_parts(diffusers: Mapping[str, LayerRows], layers: Mapping[str, Any]) -> dict[str, LayerRows]:
    """OneTrainer's OMI keys count the parts that diffusers has of a layer: `qkv.0`, `qkv.1`, `qkv.2`."""
    names: dict[str, dict[str, LayerRows]] = {}
    for name, rows in diffusers.items():
        names.setdefault(rows.layer, {})[name] = rows
    found = {}
    for layer in names.keys() & layers.keys():
        parts = first_cover(names[layer], size_of(layers[layer])[0]) or {}
        if len(parts) > 1:
            found |= {f"{PREFIX}{layer}.{index}": rows for index, rows in enumerate(parts.values())}
    return found


def _rows(target: Any) -> LayerRows | None:
    """A target of ComfyUI's map: the key of a weight, or (key, (axis, start, length) or None[, function])."""
    key, *rest = target if isinstance(target, tuple) else (target,)
    offset, function = (*rest, None, None)[:2]
    if not key.startswith(PREFIX) or not key.endswith(WEIGHT):
        return None
    if function not in (None, comfy.utils.swap_scale_shift) or (offset is not None and offset[0] != 0):
        return None
    layer = key.removeprefix(PREFIX).removesuffix(WEIGHT)
    start, length = (0, None) if offset is None else offset[1:]
    return LayerRows(layer, start, length, function is not None)


def _kohya(model: Any, names: Mapping[str, LayerRows], layers: list[str]) -> dict[str, LayerRows]:
    """sd-scripts keeps the names of the original modules; SD1.5 alone has those of diffusers."""
    own = KeyMap.of_layers(layers).styles["kohya"]
    to_diffusers = comfy.utils.unet_to_diffusers(model.model_config.unet_config)
    if not to_diffusers or model.diffusion_model.num_classes is not None:
        return dict(own)
    bare = [name.removesuffix(WEIGHT) for name in to_diffusers if name.endswith(WEIGHT)]
    diffusers = [f"lora_unet_{name.replace('.', '_')}" for name in bare]
    renamed = {name: names[name] for name in diffusers if name in names}
    covered = {rows.layer for rows in renamed.values()}
    return {**{name: rows for name, rows in own.items() if rows.layer not in covered}, **renamed}


def _diffusers(model: Any, names: Mapping[str, LayerRows]) -> dict[str, LayerRows]:
    """The names of diffusers' own files; empty for a family whose names ComfyUI does not map."""
    config, kinds = model.model_config.unet_config, comfy.model_base
    if isinstance(model, kinds.SD3):
        foreign, prefixes = comfy.utils.mmdit_to_diffusers(config), ("transformer.",)
    elif isinstance(model, kinds.Flux):
        foreign, prefixes = comfy.utils.flux_to_diffusers(config), ("transformer.",)
        if isinstance(model, kinds.Flux2):
            # from 0.28 on the map has Flux 2's names of the same layers too, after those of Flux 1
            foreign = dict(reversed(foreign.items()))
    elif isinstance(model, kinds.Lumina2):
        # 0.3.75 has them only with its own prefix, which diffusers also reads
        foreign, prefixes = comfy.utils.z_image_to_diffusers(config), ("transformer.", PREFIX)
    elif isinstance(model, kinds.QwenImage):
        layers = [name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX)]
        foreign, prefixes = {name + WEIGHT: name for name in layers}, ("transformer.",)
    else:
        foreign, prefixes = comfy.utils.unet_to_diffusers(config), ("unet.",)
    bare = [name.removesuffix(WEIGHT) for name in foreign if name.endswith(WEIGHT)]
    if prefixes == ("unet.",):
        bare = [name.replace(".to_", ".processor.to_") for name in bare]
        bare = [name.removesuffix(".0") if name.endswith(".to_out.0") else name for name in bare]
    for prefix in prefixes:
        found = {prefix + name: names[prefix + name] for name in bare if prefix + name in names}
        if found:
            return found
    return {}
