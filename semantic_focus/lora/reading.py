"""The one way from a LoRA of any key style to adapters: what it says, and what cannot be taken from it."""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files.text import some
from .adapters import Adapter, LoHa, LoKr, LoRA
from .file import NOT_FINITE, load_lora
from .keys import (
    BIASES,
    LOADERS_SUFFIXES,
    TEXT_ENCODER_KEYS,
    UNREAD_SUFFIXES,
    KeyMap,
    LayerRows,
    split_key,
)
from .layers import size_of

LORA_PAIR = (("lora_up.weight", "lora_down.weight"),)
Piece = tuple[str, LayerRows, Adapter]
"""A name in a file, the rows of a layer that it stands for, and what is to be added to them."""
WHOLE_CHANGES = (".diff", ".set_weight", ".w_norm", ".oft_blocks", ".a1.weight")
"""Each a change of a weight on its own; of several, ComfyUI's loader takes the last."""
LOHA_PAIRS = (("hada_w1_a", "hada_w1_b"), ("hada_w2_a", "hada_w2_b"))


@dataclass(frozen=True)
class ReadLora:
    """A LoRA as one model understands it.

    Attributes:
        adapters: by the names of the model's layers, in their order.
        trained: the keys that they were read from.
        text_encoder: keys of text encoders, which are left out.
        rest: name -> key -> tensor, of everything else: names of no layer that an adapter can go on, and
            what no adapter holds of one.
    """

    adapters: Mapping[str, Adapter]
    trained: tuple[str, ...]
    text_encoder: tuple[str, ...]
    rest: Mapping[str, Mapping[str, Tensor]]


def read_lora(
    lora: str | Path | Mapping[str, Tensor], layers: Mapping[str, nn.Module], key_map: KeyMap
) -> ReadLora:
    """Read a LoRA, LoHa or LoKr in any of the key styles for a model with these layers.

    Ranks and kinds may differ from layer to layer. Parts of a fused layer (to_q, to_k, to_v) become one
    adapter whose rank is the sum of theirs; if they have `down` in common, it stays as it is. Parts that
    make no adapter together (LoKr, or one of each kind) are left in `rest`.

    Args:
        lora: a file, or its tensors in any floating point type; a missing alpha is the rank.
        layers: of the model, by dotted names, as `layers.adaptable_layers` gives them.
        key_map: the names that other programs have for them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a complete safetensors file, no LoRA, values that are no finite numbers, shapes that
            do not fit the model or each other, or the same rows of a layer twice.
    """
    tensors = lora if isinstance(lora, Mapping) else load_lora(lora)
    _refuse_no_lora(tensors)
    text = tuple(key for key in tensors if key.startswith(TEXT_ENCODER_KEYS))
    if text:
        logging.info(
            f"{len(text)} LoRA keys of text encoders are left out: they are not trained here ({some(text)})"
        )
    named: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        if key.endswith(".alpha") and tensor.numel() != 1:
            raise ValueError(f"{key} is {list(tensor.shape)}, one number is expected: was the file damaged?")
        if not key.startswith(TEXT_ENCODER_KEYS):
            named.setdefault(split_key(key)[0], {})[key] = tensor
    pieces: dict[str, list[Piece]] = {}
    claims: dict[str, list[tuple[str, LayerRows]]] = {}
    rest: dict[str, Mapping[str, Tensor]] = {}
    for name, group in named.items():
        rows, parts = key_map.find(name), _parts(group)
        others = {key: tensor for key, tensor in group.items() if split_key(key)[1] is None}
        of_weight = [key for key in others if key.endswith(LOADERS_SUFFIXES) and not key.endswith(BIASES)]
        _refuse_several_changes(name, parts, of_weight)
        if rows is not None and (parts or of_weight):
            claims.setdefault(rows.layer, []).append((name, rows))
        if rows is None or rows.layer not in layers or of_weight or not parts:
            rest[name] = group
            continue
        pieces.setdefault(rows.layer, []).append((name, rows, _whole(name, parts)))
        if others:
            rest[name] = others
    for claimed in claims.values():
        _refuse_overlaps(claimed)
    adapters = {}
    for layer, module in layers.items():
        if layer in pieces:
            adapter = _adapter(pieces[layer], *size_of(module))
            if adapter is None:
                rest.update({name: named[name] for name, _, _ in pieces[layer]})
            else:
                adapters[layer] = adapter
    left = {*text, *(key for group in rest.values() for key in group)}
    return ReadLora(adapters, tuple(key for key in tensors if key not in left), text, rest)


def _refuse_no_lora(tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError for tensors that are no LoRA at all, or hold no usable numbers."""
    if not tensors:
        raise ValueError(
            "this LoRA is empty: it has no tensors. Take a copy of it, or that of an earlier step"
        )
    ends = (*LOADERS_SUFFIXES, *UNREAD_SUFFIXES)
    if not any(split_key(key)[1] or key.endswith(ends) for key in tensors):
        raise ValueError(
            f"this is no LoRA: none of its {len(tensors)} keys ({some(tensors)}) is one of a LoRA, LoHa or "
            "LoKr. Is it a whole model, a VAE or an embedding?"
        )
    for key, tensor in tensors.items():
        if tensor.is_complex() or not bool(tensor.float().isfinite().all()):
            raise ValueError(NOT_FINITE.format(key))


def _parts(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The factors among the tensors of one name, by their generic suffixes.

    Raises:
        ValueError: one of them is there twice, in two spellings.
    """
    keys: dict[str, str] = {}
    for key in group:
        if suffix := split_key(key)[1]:
            if suffix in keys:
                raise ValueError(f"{keys[suffix]}, {key}: the same thing twice: which of them is meant?")
            keys[suffix] = key
    return {suffix: group[key] for suffix, key in keys.items()}


def _refuse_several_changes(name: str, parts: Iterable[str], others: Iterable[str]) -> None:
    """Raise ValueError where one name has more than one change of its weight."""
    changes = [key for key in others if key.endswith(WHOLE_CHANGES)]
    if changes and len(changes) + bool({*parts} - {"alpha"}) > 1:
        raise ValueError(
            f"{name} has {some(changes)} beside another change of the same weight: which of them is meant?"
        )


def _refuse_overlaps(claimed: Iterable[tuple[str, LayerRows]]) -> None:
    """Raise ValueError where two names stand for the same rows of one layer."""
    ordered = sorted(claimed, key=lambda named: named[1].start)
    for (name, rows), (other, after) in pairwise(ordered):
        if after.start < (math.inf if rows.length is None else rows.start + rows.length):
            raise ValueError(f"{name}, {other}: one layer is adapted twice in this LoRA")


def _adapter(pieces: Sequence[Piece], out: int, inputs: int) -> Adapter | None:
    """One adapter of a layer of this size, from what a file has for it; None where there is no such one."""
    for name, rows, adapter in pieces:
        where = rows.of(out)
        if where.stop > out or adapter.shape != (where.stop - where.start, inputs):
            raise ValueError(
                f"{name}: its update is {list(adapter.shape)}, the model needs "
                f"{[where.stop - where.start, inputs]}: was it trained on another base model?"
            )
    _, rows, first = pieces[0]
    if len(pieces) == 1 and rows.of(out) == slice(0, out) and not rows.halves_swapped:
        return first
    kinds = {type(adapter) for _, _, adapter in pieces}
    return None if len(kinds) > 1 or LoKr in kinds else _fused(pieces, out)


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
    if empty := [suffix for suffix, tensor in factors.items() if not tensor.numel()]:
        raise ValueError(
            f"{name}: {empty[0]} is {list(factors[empty[0]].shape)}, which holds nothing: was the file cut?"
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


def _fused(pieces: Sequence[Piece], out: int) -> Adapter:
    """One adapter for rows of a layer that have adapters of their own, of one kind.

    up_i @ down_i on rows i is blockdiag(up) @ stacked(down) on all rows; the Hadamard product of two of them
    is that of the parts. With `down` in common, the `up` are put above each other instead.
    """
    pairs = LORA_PAIR if isinstance(pieces[0][2], LoRA) else LOHA_PAIRS
    parts = [(rows.of(out), rows.halves_swapped, adapter) for _, rows, adapter in pieces]
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
