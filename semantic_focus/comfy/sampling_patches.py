"""What a MODEL carries beside its weights: patches that other nodes hang on it for sampling, by name."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.utils

from ..files.text import in_short
from ..training.shortage import out_of_memory

OF_THE_MODEL = ("model_sampling", "latent_format", "manual_cast_dtype")
"""Objects of a model that nodes replace and training goes by: noise schedule, latent space, precision."""

IN_THE_NETWORK = (
    comfy.patcher_extension.WrappersMP.APPLY_MODEL,
    comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL,
)
"""Wrappers that a prediction passes through; all others are around the sampler."""

REPLACED = "optimized_attention_override"
"""Of the options: training puts an attention with a backward pass in its place."""


@dataclass(frozen=True)
class SamplingPatches:
    """Names of patches, mostly those of the nodes that made them.

    Attributes:
        network: act on every prediction, in training too.
        sampler: act in ComfyUI's samplers, in previews that is; training does not see them.
    """

    network: tuple[str, ...] = ()
    sampler: tuple[str, ...] = ()


def sampling_patches(patcher: comfy.model_patcher.ModelPatcher) -> SamplingPatches:
    """Everything on a MODEL that is neither a weight, a LoRA nor what `OF_THE_MODEL` lists."""
    options: Any = patcher.model_options
    inner = options.get("transformer_options", {})
    network = [*_objects(patcher)]
    for slot, value in inner.items():
        if slot in ("patches", "patches_replace"):
            network += _callables(value)
        elif slot not in ("wrappers", "callbacks", REPLACED) and value:
            network.append(slot)
    sampler = [
        name
        for slot, value in options.items()
        if slot != "transformer_options"
        for name in _callables(value, slot)
    ]
    for wrappers in (patcher.wrappers, inner.get("wrappers", {})):
        for kind, by_key in wrappers.items():
            names = [key or name for key, made in by_key.items() for name in _callables(made)]
            (network if kind in IN_THE_NETWORK else sampler).extend(names)
    return SamplingPatches(
        tuple(dict.fromkeys(network)), tuple(name for name in dict.fromkeys(sampler) if name not in network)
    )


def _objects(patcher: comfy.model_patcher.ModelPatcher) -> Iterator[str]:
    return (name for name in patcher.object_patches if name not in OF_THE_MODEL)


def _callables(value: Any, otherwise: str = "") -> Iterator[str]:
    """Names of the functions and objects in nested lists and dictionaries; flags and numbers are none."""
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _callables(item, otherwise)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _callables(item, otherwise)
    elif value is not None and not isinstance(value, str | int | float):
        yield _origin(value) or otherwise


def _origin(made: Any) -> str:
    """The class or function that a patch was made in: for most the name of the node."""
    made = getattr(made, "func", made)  # of functools.partial
    name = getattr(made, "__qualname__", "") or type(made).__qualname__
    return name.split(".")[0]


class PatchedModelError(ValueError):
    """Training cannot go through what the model carries."""


@contextmanager
def blamed(patches: SamplingPatches) -> Iterator[None]:
    """Say of an error in the network that its patches are the likely cause.

    Raises:
        PatchedModelError: in the place of any error but a cancel and a want of memory, if there is a patch.
    """
    try:
        yield
    except (comfy.model_management.InterruptProcessingException, PatchedModelError):
        raise
    except Exception as error:  # patches raise what they like
        if not patches.network or (isinstance(error, RuntimeError) and out_of_memory(error)):
            raise
        raise PatchedModelError(
            f"the model carries sampling patches ({', '.join(patches.network)}), and training cannot go "
            f"through them ({in_short(error)}): connect the model before them"
        ) from error


def plain_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Transformer options without any patch; the attention that training has put in stays."""
    return {name: value for name, value in options.items() if name == REPLACED}


@contextmanager
def without_object_patches(patcher: comfy.model_patcher.ModelPatcher) -> Iterator[None]:
    """The loaded model with its own objects in the place of patched ones, but for those of `OF_THE_MODEL`."""
    with ExitStack() as stack:
        for name in _objects(patcher):
            if name in patcher.object_patches_backup:
                patched = comfy.utils.set_attr(patcher.model, name, patcher.object_patches_backup[name])
                stack.callback(comfy.utils.set_attr, patcher.model, name, patched)
        yield
