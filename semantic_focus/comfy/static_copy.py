"""A MODEL whose weights stay where they are loaded, for as long as it is trained.

From 0.28 on, ComfyUI streams a model's weights on NVIDIA cards through memory that the next layer
overwrites: nothing that a backward pass could use. It gives a copy with ordinary weights, read from the
model's file again, and leaves it to the one who asked to get rid of it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.model_patcher
from torch import nn

from .memory.placement import free_device


@contextmanager
def static_model(patcher: Any) -> Iterator[comfy.model_patcher.ModelPatcher]:
    """The MODEL itself where its weights stay in their place, else a copy that is gone on leaving.

    Nothing is held twice: what ComfyUI keeps of the original, on the card and in pinned memory, is given back
    before the copy is read, and the copy's weights go without a way through memory, whoever still knows it.

    Raises:
        ValueError: the copy cannot be read.
    """
    if not (hasattr(patcher, "is_dynamic") and patcher.is_dynamic()):
        yield patcher
        return
    _unload(patcher.model, patcher.load_device)
    copy = _copy(patcher)
    try:
        yield copy
    finally:
        drop(copy, patcher)


def drop(copy: comfy.model_patcher.ModelPatcher, original: comfy.model_patcher.ModelPatcher) -> None:
    """Give the weights of a copy back; nothing happens to what shares its weights with the original."""
    if copy.model is original.model:
        return
    copy.unpatch_model(unpatch_weights=False)  # objects that the original has, too
    copy.unpin_all_weights()
    copy.backup.clear()
    for module in copy.model.modules():
        module._parameters.clear()
        module._buffers.clear()
    _unload(copy.model, copy.load_device)


def _copy(patcher: Any) -> comfy.model_patcher.ModelPatcher:
    name = type(patcher.model).__name__
    try:
        return patcher.clone(disable_dynamic=True)
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"{name} cannot be loaded completely ({error}): start ComfyUI with --disable-dynamic-vram"
        ) from error


def _unload(model: nn.Module, device: Any) -> None:
    """Take the weights of a model off its device, whichever of its patchers put them there."""
    free_device(device, lambda loaded: loaded.model is model)
