"""Numbers that are no numbers (NaN, infinity): named by picture before the first step, and traced later."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..files.text import some
from ..lora.network import LoraAdapters
from ..regions.masks import SemanticMasks
from .data import UNCONDITIONAL, Batch, TrainingPictures, VelocityModel, called
from .random_numbers import own_random_numbers

PRECISION = (
    "a base model in 16 bit overflows, and no learning rate helps: load it in fp32 or bf16 (the loader's "
    "weight_dtype, or start ComfyUI with --fp32-unet or --bf16-unet)"
)
MOST_NAMED = 20
"""Pictures and weights that a message names; of the others it says how many."""


@dataclass(frozen=True)
class Kind:
    """One kind of what training is given for each picture.

    Attributes:
        name: for people.
        values: one per picture, tensors or nested values with tensors in them.
        advice: how such numbers come in, and what to do.
    """

    name: str
    values: Sequence[Any]
    advice: str


LATENT_ADVICE = (
    "a damaged file, or a VAE that overflows in 16 bit (start ComfyUI with --fp32-vae): encode again"
)
TEXT_ADVICE = "a damaged file, or a text encoder that overflows in 16 bit (--fp32-text-enc): encode again"
MASK_ADVICE = "segment these pictures again"


def refuse_not_finite(kinds: Sequence[Kind], names: Sequence[str] = ()) -> None:
    """Look through all that a training is made from.

    Args:
        names: of the pictures' files, where they are known.

    Raises:
        ValueError: something is not finite; all of it is named.
    """
    lines = []
    for kind in kinds:
        found = {index: parts for index, value in enumerate(kind.values) if (parts := not_finite(value))}
        if found:
            inner = dict.fromkeys(part for parts in found.values() for part in parts if part)
            title = f"{kind.name} ({', '.join(inner)})" if inner else kind.name
            lines.append(f"- {title} of {_pictures(list(found), len(kind.values), names)}: {kind.advice}")
    if lines:
        raise ValueError(
            "what is to be trained on holds numbers that are not finite (NaN or infinity), which would spoil "
            "the LoRA in the first step:\n" + "\n".join(lines)
        )


def refuse_damaged(
    latents: Sequence[Tensor],
    conditionings: Sequence[Any],
    masks: Sequence[SemanticMasks],
    unconditional: Any = None,
    names: Sequence[str] = (),
) -> None:
    """Look through all that a training is given for numbers that are none.

    Args:
        latents: Float[B, C, *grid] each.
        conditionings: text embeddings with their extras, nested in any way; one per picture.
        masks: of one picture or several each.
        unconditional: as one of the conditionings; of the empty prompt.
        names: of the pictures' files, where they are known.

    Raises:
        ValueError: something is not finite; it is named by picture.
    """
    regions = [dict(zip(item.labels, one, strict=True)) for item in masks for one in item.masks]
    kinds = [
        Kind("latent", [one for batch in latents if not batch.is_nested for one in batch], LATENT_ADVICE),
        Kind("text embedding", conditionings, TEXT_ADVICE),
        Kind("mask", regions, MASK_ADVICE),
    ]
    refuse_not_finite(kinds, names)
    if unconditional is not None and not_finite(unconditional):
        raise ValueError(f"the empty prompt's text embedding is not finite (NaN or infinity): {TEXT_ADVICE}")


def not_finite(value: Any, name: str = "") -> list[str]:
    """Names of the tensors in a nested value that hold NaN or infinity; "" is the value itself.

    In an attention mask infinity is in order: added to attention, it shuts a token out.
    """
    if torch.is_tensor(value):
        if not (value.is_floating_point() or value.is_complex()):
            return []
        bad = value.isnan() if name.endswith("attention_mask") else ~value.isfinite()
        return [name] if bool(bad.any()) else []
    if isinstance(value, Mapping):
        parts: Iterator[tuple[str, Any]] = ((str(key), item) for key, item in value.items())
    elif isinstance(value, list | tuple):
        parts = ((name, item) for item in value)
    else:
        return []
    return [found for key, item in parts for found in not_finite(item, key)]


def _pictures(indices: Sequence[int], count: int, names: Sequence[str]) -> str:
    if count > 1 and len(indices) == count:
        return f"all {count} pictures"
    return some([called(index, names) for index in indices], MOST_NAMED)


class BaseNotFinite(ValueError):
    """The base model's own prediction is no number, before anything was trained."""

    def __init__(self, model: str, picture: str, u: float, weights: Sequence[str]):
        cause = (
            f"its weights hold such numbers ({some(weights, MOST_NAMED)}): the file is damaged or was "
            "converted badly, take another one"
            if weights
            else f"its weights are finite: {PRECISION}"
        )
        super().__init__(
            f"{model}: the base model's own prediction for {picture} at noise level {u:.2f} is not a finite "
            f"number (NaN or infinity), before anything is trained: it is none of the settings; {cause}"
        )


def trace(
    model: VelocityModel,
    adapters: LoraAdapters,
    data: TrainingPictures,
    batches: Sequence[Batch],
    seed: int,
    learning_rate: float,
) -> str:
    """Why a loss or gradient on these batches is not finite, and what to do, as sentences.

    The adapters must be attached; the base model is asked once more for each picture.
    """
    pictures = dict.fromkeys(index for batch in batches for index in batch.pictures)
    said = f"in a batch of {some([data.called(index) for index in pictures], MOST_NAMED)}"
    damaged = [
        f"{data.called(index)} ({', '.join(parts)})"
        for index in pictures
        if (parts := not_finite(_of_one(data, index)))
    ]
    if damaged:
        names = some(damaged, MOST_NAMED)
        return f"{said}. These hold such numbers themselves: {names}. Encode and segment them again"
    base = [*_base_not_finite(model, adapters, data, batches, seed)]
    if base:
        return (
            f"{said}. The base model's own prediction, without the LoRA, is not finite either: "
            f"{some(base, MOST_NAMED)}. Most likely {PRECISION}. Or leave these pictures out"
        )
    if any(not_finite(parameter) for parameter in adapters.parameters()):
        return (
            f"{said}. The LoRA itself holds such numbers: start from another file, or go on from an older "
            "state with a lower learning rate"
        )
    return (
        f"{said}. The pictures are finite, and so is the base model's own prediction for them: it comes from "
        f"the training (learning rate {learning_rate:g}). Lower the learning rate, or train in fp32"
    )


def _of_one(data: TrainingPictures, index: int) -> dict[str, Tensor]:
    masks = zip(data.labels, data.masks[index], strict=True)
    return {"latent": data.latents[index], **{f"mask of {label}": mask for label, mask in masks}}


def _base_not_finite(
    model: VelocityModel,
    adapters: LoraAdapters,
    data: TrainingPictures,
    batches: Sequence[Batch],
    seed: int,
) -> Iterator[str]:
    with own_random_numbers(seed, data.device), adapters.disabled(), torch.no_grad():
        for batch in batches:
            for piece in batch.split(1):
                noisy, sigma, _ = model.corrupt(piece.clean, piece.noise, piece.u)
                if not_finite(model.predict(noisy, sigma, piece.prompts)):
                    prompt = " with the empty prompt" if piece.prompts == [UNCONDITIONAL] else ""
                    yield f"{data.called(piece.pictures[0])}{prompt} at noise level {piece.u.item():.2f}"


def weights_not_finite(network: torch.nn.Module) -> list[str]:
    """Names of the weights that hold NaN or infinity; reads all of them, so only after something is amiss."""
    return [name for name, tensor in network.named_parameters() if _holds_not_finite(tensor)]


def _holds_not_finite(weight: Tensor) -> bool:
    """Of weights in a form of their own (fp8, quantised) what they stand for counts."""
    try:
        return not bool(weight.detach().float().isfinite().all())
    except (RuntimeError, NotImplementedError):  # a placeholder that holds no numbers
        return False
