"""What a training will take of its device, told before the model is loaded.

The network is copied without its weights. One block of each kind is run there and back on torch's meta
device, where nothing is computed, and the step is put together of what was counted. So a new family of models
needs no table.
"""

import gc
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from ...lora.layers import all_linear_layers
from ...lora.network import LoraAdapters
from ...training.memory import GIB, MemorySetting
from ..model import ComfyVelocityModel
from ..training_mode import checkpoint_blocks, training_mode
from .abbreviated import AbbreviatedBlocks
from .counted import DEVICE, FORWARD, PRIOR, CannotBeCounted, StepBytes, count_step, counting
from .frozen import FrozenLayers
from .on_meta import copy_on_meta
from .placement import Placement
from .step_plan import StepPlan
from .swap import SwappedBlock, chosen_blocks, stored_bytes

ALLOWANCE = 1.25 * GIB
"""For what is no tensor: the device's context, workspaces of its libraries, gaps between tensors (1.0 to
1.5).
"""


@dataclass(frozen=True)
class Estimate:
    """What a training takes of its device, in bytes.

    Attributes:
        weights: of the model that stay on the device.
        ring: places for the blocks that come from RAM.
        adapters: with their gradients at the peak, the optimizer's memory and a moving average.
        kept: what the forward pass leaves for the backward pass.
        transient: what is needed beside that at the peak.
        allowance: for what is no tensor.
        ram: what there is in RAM meanwhile: the weights, of which those on the device are copies, and inputs.
        plan: what it is for.
    """

    weights: int
    ring: int
    adapters: int
    kept: int
    transient: int
    ram: int
    plan: StepPlan
    allowance: int = int(ALLOWANCE)

    @property
    def tensors(self) -> int:
        """The most that tensors take, in bytes."""
        return self.weights + self.ring + self.adapters + self.kept + self.transient

    @property
    def peak_bytes(self) -> int:
        """The most that is taken."""
        return self.tensors + self.allowance

    def fits(self, free: int) -> bool:
        """Whether there are enough free bytes."""
        return self.peak_bytes <= free

    def said(self, free: int | None = None) -> str:
        """In a line, for people.

        Args:
            free: bytes of the device.
        """
        available = "" if free is None else f" of {free / GIB:.1f} free"
        return f"needs about {self.peak_bytes / GIB:.1f} GiB{available} ({self.plan.memory.said()})"


class Estimator:
    """Estimates for one MODEL and its longest prompt.

    Args:
        patcher: ComfyUI's MODEL, loaded or not; it stays as it is.
        conditioning: of the picture with the longest prompt.

    Raises:
        CannotBeCounted: the model cannot be copied without its weights.
    """

    def __init__(self, patcher: Any, conditioning: Any):
        self._of(copy_on_meta(patcher), conditioning)

    def _of(self, copy: Any, conditioning: Any) -> None:
        self._patcher, model = copy, copy.model
        self._conditioning = conditioning
        self._frozen = FrozenLayers(model)
        self._blocks = checkpoint_blocks(model)
        self._counts: dict[StepPlan, tuple[StepBytes, int]] = {}
        self.model_bytes = sum(stored_bytes(tensor) for tensor in (*model.parameters(), *model.buffers()))
        """Of all weights."""

    def estimate(self, plan: StepPlan) -> Estimate:
        """What a training as planned takes; automatic memory: with all of the model on the device.

        Raises:
            CannotBeCounted: the network cannot be run without values; the message says why.
        """
        setting = replace(plan.memory, swap=plan.memory.swap or 0.0)
        setting = replace(setting, inputs=setting.inputs and plan.gradient_checkpointing)
        key = replace(plan, memory=MemorySetting(0.0, setting.inputs))
        if key not in self._counts:
            self._counts[key] = self._counted(key)
        step, adapters = self._counts[key]
        in_ram, ring = self._swapped(setting.swap or 0.0)
        of_adapters = step.before - self.model_bytes
        phase = max(step.peaks, key=lambda name: step.peaks[name])
        kept = 0 if phase in (PRIOR, FORWARD) else min(step.kept, step.peak - step.before)
        gradients = 0 if phase in (PRIOR, FORWARD) else min(adapters, step.peak - step.before - kept)
        return Estimate(
            weights=self.model_bytes - in_ram,
            ring=ring,
            adapters=of_adapters + gradients,
            kept=kept,
            transient=step.peak - step.before - kept - gradients,
            ram=(self.model_bytes if in_ram else 0) + step.ram,
            plan=replace(plan, memory=setting),
        )

    def in_fp8(self) -> "Estimator | None":
        """Of the same model with the weights of its linear layers in fp8; None where they are narrow
        already.
        """
        copy = copy_on_meta(self._patcher)
        wide = [
            layer
            for layer in all_linear_layers(copy.model.diffusion_model).values()
            if type(layer.weight) in (torch.Tensor, nn.Parameter)
            and layer.weight.dtype.itemsize > 1
            and hasattr(layer, "comfy_cast_weights")
        ]
        if not wide:
            return None
        for layer in wide:
            narrow = torch.empty(layer.weight.shape, dtype=torch.float8_e4m3fn, device=DEVICE)
            layer.weight = nn.Parameter(narrow, requires_grad=False)
        other = Estimator.__new__(Estimator)
        other._of(copy, self._conditioning)
        return other

    def _swapped(self, share: float) -> tuple[int, int]:
        """Bytes of the weights that wait in RAM, and of the places on the device for those on their way."""
        if not share:
            return 0, 0
        members = [layers for block in self._blocks if (layers := self._frozen.of(block))]
        blocks = [SwappedBlock(members[number]) for number in chosen_blocks(members, share)]
        if not blocks:
            return 0, 0
        sizes = [block.size for block in blocks]
        return sum(sizes), len(blocks[:2]) * max(sizes)

    def _counted(self, plan: StepPlan) -> tuple[StepBytes, int]:
        try:
            return self._count(plan)
        except CannotBeCounted:
            raise
        except Exception as error:  # of a network that needs values: of any kind
            raise CannotBeCounted(f"its network needs values ({type(error).__name__}: {error})") from error

    def _count(self, plan: StepPlan) -> tuple[StepBytes, int]:
        """A step with stand-ins for the blocks, and the bytes of the adapters."""
        model: Any = self._patcher.model
        placement = Placement(self._frozen, self._blocks, plan.memory, plan.gradient_checkpointing)
        inputs_in_ram = plan.memory.inputs
        # blocks of one size may run on several sizes of input: a network is never called twice at a time
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            counting(model) as live,
            training_mode(model, self._frozen, plan.gradient_checkpointing, lambda: inputs_in_ram),
        ):
            velocity = ComfyVelocityModel(
                self._patcher, [self._conditioning] * plan.batch, placement, self._frozen
            )
            adapters = plan.adapters(velocity)
            trainer = plan.trainer(velocity, adapters)
            of_block = _AdaptersIn(adapters)
            with adapters.attached(), AbbreviatedBlocks(live, self._blocks, of_block).active():
                step = count_step(live, velocity.network, trainer)
            of_adapters = sum(stored_bytes(parameter) for parameter in adapters.parameters())
        del velocity, adapters, trainer, of_block
        gc.collect()
        return step, of_adapters


class _AdaptersIn:
    """The adapters' parameters in a block."""

    def __init__(self, adapters: LoraAdapters):
        self._by_layer = {
            layer: list(adapters._adapters[name].parameters()) for name, layer in adapters._layers.items()
        }

    def __call__(self, block: nn.Module) -> list[nn.Parameter]:
        return [factor for part in block.modules() for factor in self._by_layer.get(part, ())]
