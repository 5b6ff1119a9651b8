"""A MODEL whose weights are shared out among the processes of a training: each holds a part of every block,
and all bring a block together while it computes (torch's FSDP2).

So all must go through the network in step: see `training.processes.Processes.in_step`.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import comfy.model_patcher
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from ..files.text import some
from ..training.memory import GIB, MemorySetting
from .memory.forwards import replaced_forwards
from .memory.frozen import FrozenLayers
from .memory.on_meta import SHARED
from .memory.placement import Placement, take

PLAIN = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
"""What weights that are shared out may be in."""


def check_shardable(patcher: Any) -> None:
    """Refuse what cannot be shared out.

    Raises:
        ValueError: torch is too old or has no NCCL for the device, or some weights are no plain numbers of 16
            bit or more.
    """
    import torch.distributed as dist

    if not hasattr(_fsdp(), "fully_shard"):
        raise ValueError(
            f"[model] shard: torch {torch.__version__} cannot share a model out: install torch 2.6 or newer, "
            "or set shard to false"
        )
    device = patcher.load_device.type
    if device != "cpu" and not (device == "cuda" and dist.is_nccl_available()):
        raise ValueError(
            f"[model] shard: this torch has no NCCL for {device} devices, by which they bring a model "
            "together: use one that has it (on Linux, for NVIDIA and AMD), or set shard to false"
        )
    network: Any = patcher.model.diffusion_model
    kinds = {
        name: _kind(parameter)
        for name, parameter in network.named_parameters()
        if type(parameter) not in (nn.Parameter, Tensor) or parameter.dtype not in PLAIN or not parameter.ndim
    }
    if kinds:
        raise ValueError(
            f"[model] shard: {len(kinds)} weights of {type(patcher.model).__name__} are "
            f"{some(sorted(set(kinds.values())))} ({some(list(kinds))}), which cannot be shared out: take a "
            'file in 16 or 32 bit, or set shard to false and memory to "auto"'
        )


def _fsdp() -> Any:
    import torch.distributed.fsdp

    return torch.distributed.fsdp


def _kind(weight: Tensor) -> str:
    """What a weight is stored as."""
    if type(weight) not in (nn.Parameter, Tensor):
        return type(weight).__name__
    return str(weight.dtype).removeprefix("torch.") if weight.ndim else "single numbers"


def with_own_modules(patcher: Any) -> comfy.model_patcher.ModelPatcher:
    """The MODEL with a network of its own, which holds the very same weights; nothing of them is copied."""
    model = patcher.model
    known: dict[int, Any] = {}
    for name in SHARED:
        if (value := getattr(model, name, None)) is not None:
            known[id(value)] = value
    with torch.inference_mode(False):
        for tensor in (*model.parameters(), *model.buffers()):
            own = tensor.detach()
            known[id(tensor)] = nn.Parameter(own, False) if isinstance(tensor, nn.Parameter) else own
        alike = copy.deepcopy(model, known)
    own_patcher = patcher.clone()
    own_patcher.model = alike
    own_patcher.backup, own_patcher.object_patches_backup = {}, {}
    return own_patcher


class ShardedPlacement(Placement):
    """The weights of a MODEL with its own modules, of which this process holds its part.

    Args:
        frozen, blocks, recomputed: as of `Placement`.
        group: the processes, as torch.distributed has them.
    """

    def __init__(self, frozen: FrozenLayers, blocks: Sequence[nn.Module], recomputed: bool, group: Any):
        super().__init__(frozen, (), MemorySetting(0.0), recomputed)
        self._units, self._group = list(blocks), group

    def _load(self, patcher: comfy.model_patcher.ModelPatcher) -> None:
        if self._patcher is patcher:
            return
        if self._patcher is not None:
            raise ValueError("a model that is shared out among processes gives no samples in its training")
        model: Any = patcher.model
        take(patcher)
        self._patcher = patcher
        model.requires_grad_(False)
        whole = held_bytes(model)
        self._share_out(model.diffusion_model, patcher.load_device)
        for part in model.children():
            if part is not model.diffusion_model:
                part.to(patcher.load_device)
        patcher.pre_run()
        logging.info(
            f"LoRA training: the model is shared out among {self._group.size()} processes, "
            f"{held_bytes(model) / GIB:.1f} of {whole / GIB:.1f} GiB are here"
        )

    def _share_out(self, network: nn.Module, device: torch.device) -> None:
        """Block by block: only one at a time is whole on the device."""
        from torch.distributed.device_mesh import DeviceMesh

        mesh = DeviceMesh.from_group(self._group, device.type)
        for unit in (*self._units, network):
            _fsdp().fully_shard(unit, mesh=mesh, reshard_after_forward=True)

    def unload(self) -> None:
        """Nothing is given back: the modules are this training's own, see `static_copy.drop`."""
        self._patcher = None


def held_bytes(model: nn.Module) -> int:
    """Of a model's weights, those that are in this process."""
    return sum(_local(parameter).nbytes for parameter in model.parameters())


def _local(parameter: Any) -> Tensor:
    return parameter.to_local() if hasattr(parameter, "to_local") else parameter


@contextmanager
def on_copies(parts: Sequence[nn.Module], recomputed: bool) -> Iterator[None]:
    """Let the parts that are brought together read copies of what FSDP2 hands in, and give it no views.

    It hangs what brings a part's weights back, for the backward pass, on what goes in and comes out; networks
    that add in place (Flux's blocks do) would have autograd refuse the one and lose the other.

    Args:
        recomputed: the parts compute on copies as it is.
    """
    with replaced_forwards(parts, lambda part: _on_copies(part.forward, recomputed)):
        yield


def _on_copies(forward: Callable[..., Any], recomputed: bool) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        if not recomputed:
            args, kwargs = tree_map(_copied, (args, kwargs))
        return tree_map(_no_view, forward(*args, **kwargs))

    return run


def _copied(value: Any) -> Any:
    return value.clone() if torch.is_tensor(value) and value.requires_grad else value


def _no_view(value: Any) -> Any:
    return value.clone() if torch.is_tensor(value) and value._is_view() else value
