"""The one way from a LoRA of any key style to adapters: what it says, and what cannot be taken from it."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files.text import some
from .adapters import Adapter, LoHa, LoKr, LoRA
from .file import load_lora
from .keys import TEXT_ENCODER_KEYS, KeyMap, LayerRows, generic_tensors, split_key
from .layers import size_of

LORA_PAIR = (("lora_up.weight", "lora_down.weight"),)
BIAS = ".diff_b"
"""What is added to a layer's bias, whatever its weight gets."""
LOHA_PAIRS = (("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b"))


@dataclass(frozen=True)
class ReadLora:
    """A LoRA as one model understands it.

    Attributes:
        adapters: by the names of the model's layers, in their order.
        text_encoder: keys of text encoders, which are left out.
        rest: name -> key -> tensor, of all names that belong to no layer of the model which an adapter can go
            on, or say more of one than an adapter does.
    """

    adapters: Mapping[str, Adapter]
    text_encoder: tuple[str, ...]
    rest: Mapping[str, Mapping[str, Tensor]]

    def tensors(self) -> dict[str, Tensor]:
        """The adapters under generic keys, in fp32 on the CPU."""
        return generic_tensors(self.adapters)

    def complete(self) -> "ReadLora":
        """The same.

        Raises:
            ValueError: something for the diffusion model would be left out, or there is nothing for it.
        """
        unread = []
        for name, group in self.rest.items():
            unread += [key for key in group if split_key(key)[1] is None] or [name]
        if unread:
            raise ValueError(
                f"{len(unread)} names in this LoRA belong to no layer of the model, or mean something that "
                f"cannot be trained on: {some(unread)}. Is it of another base model, or does it adapt "
                "convolutions larger than 1x1, norms or DoRA magnitudes?"
            )
        if not self.adapters:
            raise ValueError("this LoRA has no key for the diffusion model: is it one of a text encoder?")
        return self


def read_lora(
    lora: str | Path | Mapping[str, Tensor], layers: Mapping[str, nn.Module], key_map: KeyMap
) -> ReadLora:
    """Read a LoRA, LoHa or LoKr in any of the key styles for a model with these layers.

    Ranks and kinds may differ from layer to layer. Parts of a fused layer (to_q, to_k, to_v) become one
    adapter whose rank is the sum of theirs; if they have `down` in common, it stays as it is.

    Args:
        lora: a file, or its tensors in any floating point type; a missing alpha is the rank.
        layers: of the model, by dotted names, as `layers.adaptable_layers` gives them.
        key_map: the names that other programs have for them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a complete safetensors file, or shapes that do not fit the model or each other.
    """
    tensors = lora if isinstance(lora, Mapping) else load_lora(lora)
    text = tuple(key for key in tensors if key.startswith(TEXT_ENCODER_KEYS))
    if text:
        logging.info(f"{len(text)} LoRA keys of text encoders are left out: they are not trained here")
    for key, tensor in tensors.items():
        if key.endswith(".alpha") and tensor.numel() != 1:
            raise ValueError(f"{key} is {list(tensor.shape)}, one number is expected: was the file damaged?")
    named: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if not key.startswith(TEXT_ENCODER_KEYS):
            named.setdefault(split_key(key)[0], {})[key] = tensor
    pieces: dict[str, list[tuple[str, LayerRows, dict[str, Tensor]]]] = {}
    rest = {}
    for name, group in named.items():
        biases = {key: tensor for key, tensor in group.items() if key.endswith(BIAS)}
        parts = {suffix: tensor for key, tensor in group.items() if (suffix := split_key(key)[1])}
        rows = key_map.find(name)
        if rows is None or rows.layer not in layers or len(parts) + len(biases) < len(group) or not parts:
            rest[name] = group
            continue
        pieces.setdefault(rows.layer, []).append((name, rows, parts))
        if biases:
            rest[name] = biases
    adapters = {
        layer: _adapter(pieces[layer], *size_of(module))
        for layer, module in layers.items()
        if layer in pieces
    }
    return ReadLora(adapters, text, rest)


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
        raise ValueError(f"{some([name for name, _, _ in built])}: one layer is adapted twice in this LoRA")
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
            f"{some([name for name, _, _ in built])}: the model has these as one layer, and "
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
