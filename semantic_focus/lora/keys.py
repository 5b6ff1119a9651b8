"""The key styles of LoRA files, in and out.

Inside, a LoRA has ComfyUI's generic keys: ``diffusion_model.<layer>.<suffix>``, suffixes as in `adapters`.
Other programs name the layers otherwise, and split layers that ComfyUI has fused (q, k and v).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .adapters import Adapter, LoHa, LoKr, LoRA

PREFIX = "diffusion_model."
"""What the generic keys begin with."""

KEY_STYLES: Mapping[str, str] = {
    "comfyui": "the names of ComfyUI's own modules",
    "kohya": "sd-scripts, and most tools beside it",
    "diffusers": "diffusers and PEFT",
}

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

TEXT_ENCODER_KEYS = ("lora_te", "text_encoder", "te1.", "te2.", "lycoris_text_")

LORA_PAIR = (("lora_up.weight", "lora_down.weight"),)
LOHA_PAIRS = (("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b"))


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


@dataclass(frozen=True)
class KeyMap:
    """What other programs call the layers of one network.

    Attributes:
        names: every name without its suffix that is understood.
        styles: key style -> the names to write in it; a style that the network does not have is missing.
    """

    names: Mapping[str, LayerRows]
    styles: Mapping[str, Mapping[str, LayerRows]] = field(default_factory=dict)

    @classmethod
    def of_layers(cls, layers: Iterable[str]) -> "KeyMap":
        """The names that follow from ComfyUI's own: generic ones, and kohya's."""
        kohya = {f"lora_unet_{layer.replace('.', '_')}": LayerRows(layer) for layer in layers}
        generic = {PREFIX + target.layer: target for target in kohya.values()}
        return cls({**kohya, **generic}, {"kohya": kohya})

    def find(self, name: str) -> LayerRows | None:
        """The rows that a name stands for; wrappers of training programs in front of it are seen through."""
        bare = name
        for wrapper in ("base_model.model.", "model.", "unet.", "transformer.", PREFIX):
            bare = bare.removeprefix(wrapper)
        if bare.startswith("lora_unet__"):
            bare = bare.replace("lora_unet__", "lora_unet_", 1)
        for candidate in (name, bare, PREFIX + bare, f"transformer.{bare}", f"unet.{bare}"):
            processor = candidate.replace(".to_", ".processor.to_").removesuffix(".0")
            for spelling in (candidate, f"{candidate}.0", processor):
                if spelling in self.names:
                    return self.names[spelling]
        return None


def generic_tensors(adapters: Mapping[str, Adapter]) -> dict[str, Tensor]:
    """Copies of what adapters hold, by layer name, under generic keys on the CPU."""
    tensors = {}
    for name, adapter in adapters.items():
        for suffix, factor in adapter.named_factors().items():
            tensors[f"{PREFIX}{name}.{suffix}"] = factor.detach().to("cpu", copy=True)
        tensors[f"{PREFIX}{name}.alpha"] = torch.tensor(float(adapter.alpha))
    return tensors


def generic_lora(
    tensors: Mapping[str, Tensor], layers: Mapping[str, nn.Linear], key_map: KeyMap
) -> dict[str, Tensor]:
    """A LoRA of any key style under generic keys, in fp32; errors of `lora.LoraAdapters.from_state_dict`."""
    return generic_tensors(adapters_from_tensors(tensors, layers, key_map))


def adapters_from_tensors(
    tensors: Mapping[str, Tensor], layers: Mapping[str, nn.Linear], key_map: KeyMap
) -> dict[str, Adapter]:
    """Adapters by layer name, in the order of `layers`, from a LoRA in any key style.

    Raises:
        ValueError: see `lora.LoraAdapters.from_state_dict`.
    """
    pieces: dict[str, list[tuple[str, LayerRows, dict[str, Tensor]]]] = {}
    unmatched = []
    for name, parts in _by_name(tensors, unmatched).items():
        rows = key_map.find(name)
        if rows is None or rows.layer not in layers:
            unmatched.append(name)
        else:
            pieces.setdefault(rows.layer, []).append((name, rows, parts))
    if unmatched:
        raise ValueError(
            f"{len(unmatched)} names in this LoRA belong to no linear layer of the model, or mean something "
            f"that cannot be trained on: {_some(unmatched)}. Is it of another base model, or does it adapt "
            "convolutions, norms or DoRA magnitudes?"
        )
    if not pieces:
        raise ValueError("this LoRA has no key for the diffusion model: is it one of a text encoder?")
    return {
        layer: _adapter(pieces[layer], module.out_features, module.in_features)
        for layer, module in layers.items()
        if layer in pieces
    }


def _by_name(tensors: Mapping[str, Tensor], unmatched: list[str]) -> dict[str, dict[str, Tensor]]:
    """Tensors by layer name and generic suffix; keys with an unknown suffix go to `unmatched`."""
    named: dict[str, dict[str, Tensor]] = {}
    text = []
    for key, tensor in tensors.items():
        if key.startswith(TEXT_ENCODER_KEYS):
            text.append(key)
            continue
        suffix = max((s for s in FOREIGN_SUFFIXES if key.endswith(s)), key=len, default=None)
        if suffix is None:
            unmatched.append(key)
        else:
            named.setdefault(key.removesuffix(suffix), {})[FOREIGN_SUFFIXES[suffix]] = tensor
    if text:
        logging.info(f"{len(text)} LoRA keys of text encoders are left out: they are not trained here")
    return named


def _adapter(pieces: Sequence[tuple[str, LayerRows, dict[str, Tensor]]], out: int, inputs: int) -> Adapter:
    """One adapter of a layer of this size, from what a file has for it."""
    built = [(name, rows, _whole(name, parts)) for name, rows, parts in pieces]
    covered = torch.zeros(out, dtype=torch.int)
    for name, rows, adapter in built:
        where = rows.of(out)
        covered[where] += 1
        if where.stop > out or adapter.shape != (where.stop - where.start, inputs):
            raise ValueError(
                f"{name}: its update is {list(adapter.shape)}, the model needs "
                f"{[where.stop - where.start, inputs]}: was it trained on another base model?"
            )
    if covered.max() > 1:
        raise ValueError(f"{_some([name for name, _, _ in built])}: one layer is adapted twice in this LoRA")
    if len(built) == 1 and built[0][1].of(out) == slice(0, out) and not built[0][1].halves_swapped:
        return built[0][2]
    return _fused(built, out)


def _whole(name: str, parts: Mapping[str, Tensor]) -> Adapter:
    """The adapter of one name: fp32 copies, alpha the rank if it is missing."""
    factors = {
        suffix: tensor.detach().flatten(1).to(torch.float32, copy=True)
        for suffix, tensor in parts.items()
        if suffix != "alpha" and tensor.ndim >= 2 and tensor.shape[2:].numel() == 1
    }
    kinds: dict[frozenset[str], type[Adapter]] = {
        frozenset(suffix for pair in LORA_PAIR for suffix in pair): LoRA,
        frozenset(suffix for pair in LOHA_PAIRS for suffix in pair): LoHa,
        **{
            frozenset((*first, *second)): LoKr
            for first in (("lokr_w1",), ("lokr_w1_a", "lokr_w1_b"))
            for second in (("lokr_w2",), ("lokr_w2_a", "lokr_w2_b"))
        },
    }
    kind = kinds.get(frozenset(factors))
    if kind is None or len(factors) != len(parts) - ("alpha" in parts):
        shapes = ", ".join(f"{suffix} {list(tensor.shape)}" for suffix, tensor in parts.items())
        raise ValueError(
            f"{name}: {shapes} is no complete LoRA, LoHa or LoKr of a linear layer: "
            "was the file cut, or does it adapt a convolution?"
        )
    for suffix in factors:
        other = suffix.removesuffix("_a") + "_b" if suffix.endswith("_a") else "lora_down.weight"
        if (suffix.endswith("_a") or suffix == "lora_up.weight") and factors[suffix].shape[1] != len(
            factors[other]
        ):
            raise ValueError(
                f"{name}: {suffix} is {list(factors[suffix].shape)} but {other} "
                f"{list(factors[other].shape)}: their rank must be the same"
            )
    adapter = kind({suffix: factors[suffix] for suffix in sorted(factors)}, 1.0)
    adapter.alpha = float(parts["alpha"]) if "alpha" in parts else float(adapter.rank)
    return adapter


def _fused(built: Sequence[tuple[str, LayerRows, Adapter]], out: int) -> Adapter:
    """One adapter for rows of a layer that have adapters of their own.

    up_i @ down_i on rows i is blockdiag(up) @ stacked(down) on all rows; the Hadamard product of two of them
    is that of the parts. With `down` in common, the `up` are put above each other instead.
    """
    kinds = {type(adapter) for _, _, adapter in built}
    if len(kinds) > 1 or LoKr in kinds:
        raise ValueError(
            f"{_some([name for name, _, _ in built])}: the model has these as one layer, and "
            f"{' and '.join(sorted(kind.__name__ for kind in kinds))} cannot be put together"
        )
    pairs = LORA_PAIR if kinds == {LoRA} else LOHA_PAIRS
    parts = [(rows.of(out), rows.halves_swapped, adapter) for _, rows, adapter in built]
    factors = [adapter.named_factors() for _, _, adapter in parts]
    shared = len({adapter.scale for _, _, adapter in parts}) == 1 and all(
        torch.equal(factors[0][down], other[down]) for other in factors for _, down in pairs
    )
    rank = parts[0][2].rank if shared else sum(adapter.rank for _, _, adapter in parts)
    fused: dict[str, Tensor] = {}
    for index, (up, down) in enumerate(pairs):
        fused[down] = (
            factors[0][down].detach().clone()
            if shared
            else torch.cat([own[down].detach() for own in factors])
        )
        fused[up] = torch.zeros(out, rank)
        column = 0
        for (where, swapped, adapter), own in zip(parts, factors, strict=True):
            block = own[up].detach()
            if swapped:
                block = block.roll(len(block) // 2, 0)
            if not shared and index == 0:
                block = block * adapter.scale
            fused[up][where, column : column + adapter.rank] = block
            column += 0 if shared else adapter.rank
    kind: Callable[[Mapping[str, Tensor], float], Adapter] = parts[0][2].__class__
    return kind({key: fused[key] for key in sorted(fused)}, parts[0][2].alpha if shared else float(rank))


def export_lora(
    tensors: Mapping[str, Tensor],
    style: str = "comfyui",
    key_map: KeyMap | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """A LoRA in generic keys as another key style has it; its effect is the same.

    diffusers reads no alpha, so there `up` is multiplied by alpha / rank; the parts that it has of a layer
    get rows of `up` each, with the same `down`.

    Args:
        style: one of `KEY_STYLES`.
        key_map: of the base model; only comfyui needs none.
        dtype: of the tensors besides alpha; as they are without it.

    Raises:
        ValueError: no such style, or none for this network, this kind of adapter or one of its layers.
    """
    if style not in KEY_STYLES:
        raise ValueError(f"key style {style!r}: choose one of {', '.join(KEY_STYLES)}")
    unknown: list[str] = []
    layers = _by_name(tensors, unknown)
    unknown += [name for name in layers if not name.startswith(PREFIX)]
    if unknown:
        raise ValueError(f"not in ComfyUI's generic keys, which begin with {PREFIX}: {_some(unknown)}")
    written: dict[str, Tensor] = {}
    if style == "comfyui":
        written.update(tensors)
    elif key_map is None or style not in key_map.styles:
        raise ValueError(f"there are no {style} keys for this base model: save the LoRA with comfyui keys")
    else:
        for name, parts in layers.items():
            targets = _targets(name.removeprefix(PREFIX), key_map.styles[style], style)
            written.update(_kohya(targets, parts) if style == "kohya" else _diffusers(name, targets, parts))
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


def _kohya(targets: Mapping[str, LayerRows], parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
    (name,) = targets
    return {f"{name}.{suffix}": tensor for suffix, tensor in parts.items()}


def _diffusers(
    generic: str, targets: Mapping[str, LayerRows], parts: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    if "lora_up.weight" not in parts:
        raise ValueError(f"{generic}: diffusers has no keys for LoHa and LoKr: save with kohya keys")
    up, down = parts["lora_up.weight"], parts["lora_down.weight"]
    scale = float(parts["alpha"]) / len(down) if "alpha" in parts else 1.0
    slices = sorted((rows.of(len(up)) for rows in targets.values()), key=lambda rows: rows.start)
    ends = [0, *(rows.stop for rows in slices)]
    if [rows.start for rows in slices] != ends[:-1] or ends[-1] != len(up):
        raise ValueError(
            f"{', '.join(targets)} do not add up to the {len(up)} rows of {generic}: save with comfyui keys"
        )
    written = {}
    for name, rows in targets.items():
        block = up[rows.of(len(up))]
        block = block.float() * scale if scale != 1 else block
        if rows.halves_swapped:
            block = block.roll(len(block) // 2, 0)
        below, above = _diffusers_suffixes(name)
        written[name + below], written[name + above] = down, block
    return written


def _diffusers_suffixes(name: str) -> tuple[str, str]:
    """Those of down and up: UNets keep the form of attention processors, which all readers know."""
    if not name.startswith("unet."):
        return ".lora_A.weight", ".lora_B.weight"
    mark = "_lora" if ".processor." in name else ".lora"
    return f"{mark}.down.weight", f"{mark}.up.weight"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - 5
    return ", ".join(names[:5]) + (f" and {rest} more" if rest > 0 else "")
