"""Where the weights of a MODEL lie while it is trained.

Either ComfyUI loads the whole of it, and may push it out for a while (for the VAE of a preview); or a share
of its blocks waits in RAM, and what is on the device is ours: ComfyUI does not know of it and moves nothing.
"""

import gc
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ...training.memory import GIB, MemorySetting
from ...training.shortage import TrainingOutOfMemory, out_of_memory
from .frozen import FrozenLayers
from .swap import BlockSwap, chosen_blocks

EVERYTHING = 10**20
"""Bytes asked for, so that ComfyUI moves every other model out of the way."""

MORE = 0.2
"""Share of the blocks that goes to RAM in addition when memory runs out."""


def free_device(device: torch.device, of: Callable[[Any], bool] = lambda _patcher: True) -> None:
    """Have ComfyUI move models off a device.

    Args:
        of: whether it is to move the model of a patcher; all without it.
    """
    gc.collect()  # a model that is found dead in the midst of it makes ComfyUI lose count
    comfy.model_management.cleanup_models()
    loaded = comfy.model_management.current_loaded_models
    keep = [it for it in loaded if it.model is None or not of(it.model)]
    comfy.model_management.free_memory(EVERYTHING, device, keep_loaded=keep)


class Placement:
    """The weights of one MODEL, or of another with the same network and other patches.

    Args:
        frozen: the layers whose weights may wait in RAM.
        blocks: of the network, in the order of its forward pass.
        setting: what to begin with; an automatic one begins with the whole model on the device.
        recomputed: the blocks are recomputed in the backward pass, so that their inputs may wait in RAM too.
    """

    def __init__(
        self, frozen: FrozenLayers, blocks: Sequence[nn.Module], setting: MemorySetting, recomputed: bool
    ):
        self._blocks = [layers for block in blocks if (layers := frozen.of(block))]
        self._recomputed = recomputed
        self.share = setting.swap or 0.0
        if self.share and not self._blocks:
            logging.warning("LoRA training: the network has no blocks that could wait in RAM: none does")
            self.share = 0.0
        self.inputs_in_ram = setting.inputs and recomputed
        self._patcher: Any = None
        self._is_ours = False
        """What is on the device was brought there by us."""
        self._swap: BlockSwap | None = None
        self._moved: list[tuple[dict[str, Any], str, Tensor]] = []

    @property
    def setting(self) -> MemorySetting:
        """As it is now."""
        return MemorySetting(self.share, self.inputs_in_ram)

    def load(self, patcher: comfy.model_patcher.ModelPatcher) -> None:
        """Bring a MODEL to its device, or back to it; with less of it there if it does not fit.

        Raises:
            TrainingOutOfMemory: it does not fit even so.
        """
        while True:
            try:
                return self._load(patcher)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                said = str(error)
            goes_on = self.make_room()
            self.unload()
            if not goes_on:
                raise TrainingOutOfMemory(
                    f"out of memory while {type(patcher.model).__name__} was loaded ({said}). Close other "
                    "programs that use the device, or load the model in a smaller precision (fp8, GGUF)"
                )

    def make_room(self) -> bool:
        """Let more wait in RAM, from the next `load` on; False if that is all already or of no use."""
        if not self._blocks or not self._is_apart():
            return False
        if self.share < 1:
            self.share = min(1.0, self.share + MORE)
        elif self._recomputed and not self.inputs_in_ram:
            self.inputs_in_ram = True
        else:
            return False
        logging.warning(f"LoRA training: out of memory, going on with memory at {self.setting.said()}")
        return True

    def reload(self) -> None:
        """Take up what `make_room` has changed."""
        patcher = self._patcher
        self.unload()
        self.load(patcher)

    @contextmanager
    def lent(self, wanted: int) -> Iterator[None]:
        """Let others have so many bytes of the device for a while, if they are not free.

        What ComfyUI has loaded it moves by itself.
        """
        patcher = self._patcher
        free: Any = comfy.model_management.get_free_memory
        short = self._swap is not None and free(patcher.load_device) < wanted
        if short:
            self.unload()
        try:
            yield
        finally:
            if short:
                self.load(patcher)

    def unload(self) -> None:
        """Give back the device and leave the weights as they were found; this needs no memory."""
        swap, self._swap = self._swap, None
        moved, self._moved = self._moved, []
        patcher, self._patcher = self._patcher if self._is_ours else None, None
        self._is_ours = False
        for place, name, tensor in moved:
            place[name] = tensor
        try:
            if swap is not None:
                swap.close()
        finally:
            if patcher is not None:
                patcher.detach()

    def _is_apart(self) -> bool:
        """Whether the device has a memory of its own."""
        patcher = self._patcher
        return patcher is None or patcher.load_device.type != "cpu"

    def _load(self, patcher: comfy.model_patcher.ModelPatcher) -> None:
        if self._is_ours and self._patcher is patcher:
            free_device(patcher.load_device)  # of a VAE, say
            return
        if self._is_ours:
            self.unload()
        self._patcher = patcher
        if not self.share:
            comfy.model_management.load_models_gpu(
                [patcher], memory_required=EVERYTHING, force_full_load=True
            )
        else:
            self._load_in_part(patcher)
        patcher.pre_run()

    def _load_in_part(self, patcher: Any) -> None:
        device, model = patcher.load_device, patcher.model
        self._is_ours = True
        take(patcher)
        waiting = [self._blocks[number] for number in chosen_blocks(self._blocks, self.share)]
        in_ram = {frozen.layer for layers in waiting for frozen in layers}
        self._swap = BlockSwap(waiting, device)
        for module in model.modules():
            for place in (module._parameters, module._buffers):
                for name, tensor in place.items():
                    if tensor is None or tensor.device == device or (name == "weight" and module in in_ram):
                        continue
                    self._moved.append((place, name, tensor))
                    moved = tensor.to(device)
                    place[name] = nn.Parameter(moved, False) if place is module._parameters else moved
        swapped = sum(block.size for block in self._swap.blocks)
        logging.info(
            f"LoRA training: {len(waiting)} of {len(self._blocks)} blocks wait in RAM "
            f"({swapped / GIB:.1f} GiB); {self._swap.ring_bytes / GIB:.1f} GiB on the device for those "
            "on their way"
        )


def take(patcher: Any) -> None:
    """Let a MODEL compute on its device, with its patches in its weights, which stay in RAM; all else that is
    on the device makes room.
    """
    device = patcher.load_device
    free_device(device)
    patcher.model_patches_to(device)
    patcher.model_patches_to(patcher.model_dtype())
    _apply_patches(patcher)
    patcher.patch_model(torch.device("cpu"))
    patcher.model.device = device


def _apply_patches(patcher: Any) -> None:
    """LoRAs of the MODEL into its weights, one at a time on the device, where it is quick."""
    for name, module in patcher.model.named_modules():
        keys = [f"{name}.{parameter}" for parameter in module._parameters]
        if not any(key in patcher.patches for key in keys) or getattr(module, "comfy_patched_weights", False):
            continue
        for key in keys:
            patcher.patch_weight_to_device(key, device_to=patcher.load_device)
        module.to("cpu")
        module.comfy_patched_weights = True
