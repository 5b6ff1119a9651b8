"""The key styles of LoRA files, in and out.

Inside, a LoRA has ComfyUI's generic keys: ``diffusion_model.<layer>.<suffix>``, suffixes as in `adapters`.
Other programs name the layers otherwise, and split layers that ComfyUI has fused (q, k and v).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..files.text import some
from .adapters import Adapter

PREFIX = "diffusion_model."
"""What the generic keys begin with."""

KEY_STYLES: Mapping[str, str] = {
    "comfyui": "the names of ComfyUI's own modules",
    "kohya": "sd-scripts, and most tools beside it",
    "diffusers": "diffusers and PEFT",
}

PAIR = ("lora_down.weight", "lora_up.weight")

FOREIGN_SUFFIXES: Mapping[str, str] = {
    ".lora_down.weight": "lora_down.weight",
    ".lora_A.weight": "lora_down.weight",
    ".lora_A.default.weight": "lora_down.weight",
    ".lora_A": "lora_down.weight",
    ".lora.down.weight": "lora_down.weight",
    "_lora.down.weight": "lora_down.weight",
    ".lora_linear_layer.down.weight": "lora_down.weight",
    ".lora_up.weight": "lora_up.weight",
    ".lora_B.weight": "lora_up.weight",
    ".lora_B.default.weight": "lora_up.weight",
    ".lora_B": "lora_up.weight",
    ".lora.up.weight": "lora_up.weight",
    "_lora.up.weight": "lora_up.weight",
    ".lora_linear_layer.up.weight": "lora_up.weight",
    ".alpha": "alpha",
    **{f".hada_{name}": f"hada_{name}" for name in ("w1_a", "w1_b", "w2_a", "w2_b")},
    **{f".lokr_{name}": f"lokr_{name}" for name in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b")},
}

BIASES = (".diff_b", ".b_norm")
"""What is added to a layer's bias, whatever its weight gets."""

LOADERS_SUFFIXES = (
    *(".dora_scale", ".lora_mid.weight", ".reshape_weight", ".hada_t1", ".hada_t2", ".lokr_t2"),
    *(".oft_blocks", ".rescale", ".a1.weight", ".a2.weight", ".b1.weight", ".b2.weight"),
    *(".diff", ".set_weight", ".w_norm", *BIASES),
)
"""What ComfyUI's loader reads beside the factors of adapters."""

UNREAD_SUFFIXES = tuple(
    f".{part}{name}{end}"
    for part, end in (("lora_B", ".bias"), ("lora_up", ".bias"), ("oft_R", ".weight"))
    for name in ("", ".default")
) + tuple(f".lora_magnitude_vector{end}" for end in ("", ".weight", ".default.weight"))
"""What programs write of a layer and ComfyUI's loader does not read."""

TEXT_ENCODER_KEYS = (
    *("lora_te", "lora_prior_te", "lycoris_text_model", "text_encoder", "te1.", "te2."),
    *("clip_l.", "clip_g.", "t5.", "bundle_emb."),
)
"""What keys of text encoders begin with, and of embeddings in a LoRA file."""


@dataclass(frozen=True)
class LayerRows:
    """Rows `start` to `start + length` of a layer's weight; all of them without a length.

    `halves_swapped`: the other program has the lower half of these rows above the upper one.
    """

    layer: str
    start: int = 0
    length: int | None = None
    halves_swapped: bool = False

    def of(self, out: int) -> slice:
        """The rows as a slice, of a layer with `out` of them."""
        return slice(self.start, out if self.length is None else self.start + self.length)


WRAPPERS = (
    *("base_model.model.", "model.", "unet.", "transformer.", PREFIX),
    *("lora_unet.", "lora_transformer."),
)
"""What programs put before dotted names."""

FLAT_PREFIXES = ("lora_unet__", "lora_unet_", "lora_transformer_", "lycoris_")
"""What programs put before names whose dots they have made underscores; longer ones first."""


@dataclass(frozen=True)
class KeyMap:
    """What other programs call the layers of one network.

    Attributes:
        names: every name without its suffix that is understood.
        styles: key style -> the names to write in it, those to prefer first; a style that the network does
            not have is missing.
        kernels: layer -> dimensions of its kernel, of the layers that are 1x1 convolutions.
    """

    names: Mapping[str, LayerRows]
    styles: Mapping[str, Mapping[str, LayerRows]] = field(default_factory=dict)
    kernels: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_layers(cls, layers: Iterable[str]) -> "KeyMap":
        """The names that follow from ComfyUI's own: generic ones, and kohya's."""
        kohya = {f"lora_unet_{layer.replace('.', '_')}": LayerRows(layer) for layer in layers}
        generic = {PREFIX + target.layer: target for target in kohya.values()}
        return cls({**kohya, **generic}, {"kohya": kohya})

    def find(self, name: str) -> LayerRows | None:
        """The rows that a name stands for; wrappers of training programs in front of it are seen through, and
        every dotted name is also known with underscores.
        """
        bare = _unwrapped(name)
        for candidate in (name, bare, PREFIX + bare, f"transformer.{bare}", f"unet.{bare}"):
            processor = candidate.replace(".to_", ".processor.to_").removesuffix(".0")
            for spelling in (candidate, f"{candidate}.0", processor):
                if spelling in self.names:
                    return self.names[spelling]
        prefix = next((prefix for prefix in FLAT_PREFIXES if bare.startswith(prefix)), None)
        return None if prefix is None else self._flat.get(bare.removeprefix(prefix))

    @cached_property
    def _flat(self) -> dict[str, LayerRows]:
        flat: dict[str, LayerRows] = {}
        for name, rows in self.names.items():
            bare = _unwrapped(name)
            prefix = next((prefix for prefix in FLAT_PREFIXES if bare.startswith(prefix)), "")
            flat.setdefault(bare.removeprefix(prefix).replace(".", "_"), rows)
        return flat


def _unwrapped(name: str) -> str:
    while wrapper := next((wrapper for wrapper in WRAPPERS if name.startswith(wrapper)), None):
        name = name.removeprefix(wrapper)
    return name


SUFFIXES = (*FOREIGN_SUFFIXES, *LOADERS_SUFFIXES, *UNREAD_SUFFIXES)


def split_key(key: str) -> tuple[str, str | None]:
    """The name of a layer and the generic suffix; None where the suffix is none of an adapter."""
    suffix = max((s for s in SUFFIXES if key.endswith(s)), key=len, default=None)
    if suffix is None:
        return key.rpartition(".")[0], None
    return key.removesuffix(suffix), FOREIGN_SUFFIXES.get(suffix)


def generic_tensors(adapters: Mapping[str, Adapter]) -> dict[str, Tensor]:
    """Copies of what adapters hold, by layer name, under generic keys on the CPU."""
    tensors = {}
    for name, adapter in adapters.items():
        for suffix, factor in adapter.named_factors().items():
            tensors[f"{PREFIX}{name}.{suffix}"] = factor.detach().to("cpu", copy=True)
        tensors[f"{PREFIX}{name}.alpha"] = torch.tensor(float(adapter.alpha))
    return tensors


def export_lora(
    tensors: Mapping[str, Tensor],
    style: str = "comfyui",
    key_map: KeyMap | None = None,
    dtype: torch.dtype | None = None,
    beside: Mapping[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """A LoRA in generic keys as another key style has it; its effect is the same.

    diffusers reads no alpha, so there `up` is multiplied by alpha / rank; the parts that it has of a layer
    get rows of `up` each, with the same `down`. Of several names for the same rows the first is written.

    Args:
        style: one of `KEY_STYLES`.
        key_map: of the base model; only comfyui needs none.
        dtype: of the tensors besides alpha; as they are without it.
        beside: tensors for weights that no adapter can hold, in ComfyUI's keys. They pass through under the
            style's names of the layers; where it has none for a whole layer, under ComfyUI's.

    Raises:
        ValueError: no such style, or none for this network, this kind of adapter or one of its layers.
    """
    if style not in KEY_STYLES:
        raise ValueError(f"key style {style!r}: choose one of {', '.join(KEY_STYLES)}")
    layers: dict[str, dict[str, Tensor]] = {}
    unknown = []
    for key, tensor in tensors.items():
        name, suffix = split_key(key)
        if suffix is None or not name.startswith(PREFIX):
            unknown.append(key)
        else:
            layers.setdefault(name, {})[suffix] = tensor
    if unknown:
        raise ValueError(f"not in ComfyUI's generic keys, which begin with {PREFIX}: {some(unknown)}")
    written: dict[str, Tensor] = {}
    if style == "comfyui":
        written.update(tensors)
    elif key_map is None or style not in key_map.styles:
        raise ValueError(f"there are no {style} keys for this base model: save the LoRA with comfyui keys")
    else:
        for name, parts in layers.items():
            layer = name.removeprefix(PREFIX)
            targets = _targets(layer, key_map.styles[style], style)
            tensors = _kohya(targets, parts) if style == "kohya" else _diffusers(name, targets, parts)
            written.update(_with_kernel(tensors, key_map.kernels.get(layer, 0)))
    written.update(_beside(beside or {}, key_map.styles.get(style, {}) if key_map else {}, style))
    return {
        key: tensor.to("cpu", tensor.dtype if key.endswith(".alpha") else dtype or tensor.dtype, copy=True)
        for key, tensor in written.items()
    }


def _targets(layer: str, names: Mapping[str, LayerRows], style: str) -> dict[str, LayerRows]:
    targets = {name: rows for name, rows in names.items() if rows.layer == layer}
    if not targets:
        raise ValueError(
            f"{style} has no name for the layer {layer}: save with comfyui keys, or leave it untrained"
        )
    return targets


def _with_kernel(tensors: Mapping[str, Tensor], dimensions: int) -> dict[str, Tensor]:
    """Pairs of a convolution as other programs read them, Float[out, in, 1, 1]."""
    return {
        key: tensor.reshape(*tensor.shape, *[1] * dimensions) if split_key(key)[1] in PAIR else tensor
        for key, tensor in tensors.items()
    }


def _kohya(targets: Mapping[str, LayerRows], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    (name,) = targets
    return {f"{name}.{suffix}": tensor for suffix, tensor in parts.items()}


def _beside(tensors: Mapping[str, Tensor], names: Mapping[str, LayerRows], style: str) -> dict[str, Tensor]:
    """Tensors in generic keys with another style's names of whole layers; any other key as it is."""
    whole = {
        PREFIX + rows.layer: name
        for name, rows in reversed({**names}.items())
        if rows == LayerRows(rows.layer)
    }
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        layers.setdefault(split_key(key)[0], {})[key] = tensor
    written = {}
    for layer, group in layers.items():
        name = whole.get(layer, layer)
        parts = {key.removeprefix(f"{layer}."): tensor for key, tensor in group.items()}
        if style == "diffusers" and name != layer and {*PAIR} <= parts.keys() <= {*PAIR, "alpha"}:
            written.update(_pair_of_diffusers(name, parts))
        else:
            written.update({name + key.removeprefix(layer): tensor for key, tensor in group.items()})
    return written


def _pair_of_diffusers(
    name: str, parts: Mapping[str, Tensor], rows: slice = slice(None)
) -> dict[str, Tensor]:
    """A pair as diffusers has it, with alpha / rank in `up`, of which only some rows may be meant."""
    down, up = (parts[suffix] for suffix in PAIR)
    scale = float(parts["alpha"]) / len(down) if "alpha" in parts else 1.0
    below, above = _diffusers_suffixes(name)
    return {name + below: down, name + above: up[rows].float() * scale if scale != 1 else up[rows]}


def _diffusers(
    generic: str, targets: Mapping[str, LayerRows], parts: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    if "lora_up.weight" not in parts:
        raise ValueError(f"{generic}: diffusers has no keys for LoHa and LoKr: save with kohya keys")
    out = len(parts["lora_up.weight"])
    chosen = first_cover(targets, out)
    if chosen is None:
        raise ValueError(
            f"{', '.join(targets)} do not add up to the {out} rows of {generic}: save with comfyui keys"
        )
    written = {}
    for name, rows in chosen.items():
        pair = _pair_of_diffusers(name, parts, rows.of(out))
        if rows.halves_swapped:
            above = next(reversed(pair))
            pair[above] = pair[above].roll(len(pair[above]) // 2, 0)
        written.update(pair)
    return written


def first_cover(names: Mapping[str, LayerRows], out: int, start: int = 0) -> dict[str, LayerRows] | None:
    """The first of these names that have rows `start` to `out` once each; None when none do.

    A layer may have several names for the same rows: programs that came later gave it others.
    """
    if start == out:
        return {}
    for name, rows in names.items():
        where = rows.of(out)
        if where.start == start < where.stop <= out:
            rest = first_cover(names, out, where.stop)
            if rest is not None:
                return {name: rows, **rest}
    return None


def _diffusers_suffixes(name: str) -> tuple[str, str]:
    """Those of down and up: UNets keep the form of attention processors, which all readers know."""
    if not name.startswith("unet."):
        return ".lora_A.weight", ".lora_B.weight"
    mark = "_lora" if ".processor." in name else ".lora"
    return f"{mark}.down.weight", f"{mark}.up.weight"
