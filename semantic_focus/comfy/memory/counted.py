"""The bytes that a training step holds, counted on torch's meta device.

Nothing is computed there, so a step of a model of any size takes seconds and no memory: the code that trains
runs as it is, and every storage is counted while it lives. Storages on the meta device stand for those on the
training device; storages on the CPU are what waits in RAM, taken from the system but never touched.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import comfy.model_management
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...training.trainer import Trainer
from .swap import aligned

EVERYTHING = 10**15
DEVICE = torch.device("meta")
"""What stands for the training device."""
SMALL = 1 << 20
"""Bytes; a tensor below that is brought to the CPU to be read, and gets values."""


@dataclass
class Ledger:
    """Live bytes of one kind of memory, and the most there were."""

    now: int = 0
    peak: int = 0

    def add(self, size: int) -> None:
        """`size` bytes more, or fewer."""
        self.now += size
        self.peak = max(self.peak, self.now)


class LiveBytes(TorchDispatchMode):
    """Counts the storages of all tensors that are made while it is entered.

    Attributes:
        device: of the training device.
        ram: of what waits in RAM.
        reads: whether a value on the training device may be asked for; it is 1 then. Where not, it is an
            error: what a network does could depend on it.
    """

    def __init__(self):
        super().__init__()
        self.device, self.ram = Ledger(), Ledger()
        self.reads = True
        self._sizes: dict[int, tuple[Ledger, int]] = {}
        self._results: dict[Any, tuple[Any, Any, torch.dtype]] = {}

    def see(self, tensor: Tensor) -> None:
        """Count a tensor's storage, once, until it is gone."""
        for part in _plain_parts(tensor):
            storage = part.untyped_storage()
            key = storage._cdata
            if key in self._sizes or part.device.type not in (DEVICE.type, "cpu"):
                continue
            ledger = self.device if part.device == DEVICE else self.ram
            size = aligned(storage.nbytes())
            self._sizes[key] = ledger, size
            ledger.add(size)
            weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        ledger, size = self._sizes.pop(key)
        ledger.add(-size)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """What happens in here leaves no peak."""
        before = self.device.peak, self.ram.peak
        try:
            yield
        finally:
            self.device.peak, self.ram.peak = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = self._from_device(func, args, kwargs)
        if out is NOT_KNOWN:
            out = self._known(func, args, kwargs)
        if out is NOT_KNOWN:
            out = func(*args, **kwargs)
        for tensor in [out] if isinstance(out, Tensor) else tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.see(tensor)
        return out

    def _known(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The result of an operation whose kind is known: torch finds it out in Python, which takes most of a
        step's time.
        """
        first = args[0] if args else None
        name = func._schema.name
        if isinstance(first, list) and name.startswith("aten::_foreach_") and all(map(_is_plain, first)):
            if name.endswith("_"):
                return None
            return [torch.empty_like(tensor) for tensor in first] if name in FOR_EACH else NOT_KNOWN
        if not (torch.Tag.pointwise in func.tags or func in ALIKE) or not _is_plain(first):
            return NOT_KNOWN
        if func._schema.is_mutable:
            return first if name.endswith("_") else NOT_KNOWN
        return self._as_seen_before(func, args, kwargs)

    def _as_seen_before(self, func: Any, args: Any, kwargs: Any) -> Any:
        """The result as it was for arguments of the same kinds."""
        key = func, *map(_kind, args), *((name, _kind(value)) for name, value in kwargs.items())
        if None in key:
            return NOT_KNOWN
        if key not in self._results:
            out = func(*args, **kwargs)
            self._results[key] = out.shape, out.stride(), out.dtype
            return out
        shape, strides, dtype = self._results[key]
        return torch.empty_strided(shape, strides, dtype=dtype, device=DEVICE)

    def _from_device(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What torch refuses on the meta device: reading values, and copies to the CPU."""
        first = args[0] if args else None
        if not isinstance(first, Tensor):
            return NOT_KNOWN
        if func is torch.ops.aten._local_scalar_dense.default and first.is_meta:
            return self._value(first.dtype)
        if func is torch.ops.aten._to_copy.default and first.is_meta:
            to = kwargs.get("device")
            if to is not None and torch.device(to).type == "cpu":
                return self._on_cpu(first, kwargs.get("dtype") or first.dtype)
        if func is torch.ops.aten.copy_.default and not first.is_meta and args[1].is_meta:
            return first
        return NOT_KNOWN

    def _on_cpu(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        small = tensor.numel() * dtype.itemsize < SMALL
        if small and self.reads:
            return torch.ones(tensor.shape, dtype=dtype)
        return torch.empty(tensor.shape, dtype=dtype)

    def _value(self, dtype: torch.dtype) -> bool | int | float:
        if not self.reads:
            raise CannotBeCounted("what the network does depends on a value that it computes")
        return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1


def _kind(value: Any) -> Any:
    """What of an argument decides the kind of the result; None where that is not known."""
    if isinstance(value, Tensor):
        return (value.shape, value.stride(), value.dtype) if _is_plain(value) else None
    if isinstance(value, bool | int | float):
        return type(value)
    return value if isinstance(value, str | torch.dtype | torch.device | torch.memory_format) else None


def _is_plain(value: Any) -> bool:
    return type(value) in (Tensor, nn.Parameter) and value.is_meta


NOT_KNOWN = object()
"""In the place of a result."""

_ATEN = torch.ops.aten
ALIKE = {
    _ATEN.clone.default,
    _ATEN._to_copy.default,
    _ATEN.copy_.default,
    _ATEN.zeros_like.default,
    _ATEN.mm.default,
    _ATEN.addmm.default,
    _ATEN.linalg_vector_norm.default,
}
"""Operations besides those on each element whose results are of one kind for arguments of one kind."""
FOR_EACH = {f"aten::_foreach_{name}" for name in ("sqrt", "add", "mul", "div", "neg", "sub", "reciprocal")}
"""Optimizers' operations that give tensors like those that they take."""


class CannotBeCounted(RuntimeError):
    """The model cannot be run without its values; the message says why."""


def _plain_parts(tensor: Tensor) -> list[Tensor]:
    """The tensors with storages of their own that a tensor consists of: several where it is quantised."""
    if type(tensor) in (Tensor, nn.Parameter) or not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    names, _ = tensor.__tensor_flatten__()  # pyright: ignore[reportAttributeAccessIssue]
    return [part for name in names for part in _plain_parts(getattr(tensor, name))]


class _Flash(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        *batch, heads, length, _ = query.shape
        out = query.new_empty(*batch, length, heads, value.shape[-1]).transpose(-3, -2)
        sums = query.new_empty(*batch, heads, length, dtype=torch.float32)
        ctx.save_for_backward(query, key, value, out, sums)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        query, key, value, _, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)


@contextmanager
def flash_attention() -> Iterator[None]:
    """Let attention on the meta device hold what CUDA's kernels hold: its output and the sums' logarithms.

    Torch would decompose it into products there, of the square of the length.
    """
    functional: Any = torch.nn.functional
    known = functional.scaled_dot_product_attention

    def attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if query.is_meta:
            return _Flash.apply(query, key, value)
        return known(query, key, value, *args, **kwargs)

    functional.scaled_dot_product_attention = attention
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = known


@contextmanager
def loading_on_meta() -> Iterator[None]:
    """Let ComfyUI load models to the meta device, where there is room for all, and forget them afterwards."""
    management: Any = comfy.model_management
    known = management.get_free_memory

    def free(device: Any = None, torch_free_too: bool = False) -> Any:
        if getattr(device, "type", "") != DEVICE.type:
            return known(device, torch_free_too)
        return (EVERYTHING, EVERYTHING) if torch_free_too else EVERYTHING

    management.get_free_memory = free
    try:
        yield
    finally:
        management.get_free_memory = known
        loaded = management.current_loaded_models
        loaded[:] = [it for it in loaded if it.device != DEVICE]  # nobody moves them to RAM


@contextmanager
def counting(model: nn.Module) -> Iterator[LiveBytes]:
    """Count everything from here on, the tensors of the model included."""
    live = LiveBytes()
    for tensor in (*model.parameters(), *model.buffers()):
        live.see(tensor)
    with flash_attention(), live:
        yield live


@dataclass(frozen=True)
class StepBytes:
    """What a step held, in bytes.

    Attributes:
        peaks: of the training device, by phase: prior, forward, backward, optimizer.
        ram: the most that waited in RAM.
        kept: what the forward pass left for the backward pass.
        before: what there was on the device before the step: weights, adapters, rings.
    """

    peaks: dict[str, int] = field(default_factory=dict)
    ram: int = 0
    kept: int = 0
    before: int = 0

    @property
    def peak(self) -> int:
        """The most that there was on the training device."""
        return max(self.peaks.values())


PRIOR, FORWARD, BACKWARD, OPTIMIZER = "prior", "forward", "backward", "optimizer"


class _Phases:
    """Tells from what is called in which phase a step is."""

    def __init__(self, live: LiveBytes):
        self._live, self._now = live, PRIOR
        self.peaks: dict[str, int] = {}
        self.after_forward = 0
        live.device.peak = live.device.now

    def enter(self, phase: str) -> None:
        """The phase from here on."""
        ledger = self._live.device
        self.peaks[self._now] = max(self.peaks.get(self._now, 0), ledger.peak)
        ledger.peak = ledger.now
        self._now = phase

    def before_network(self, *_: Any) -> None:
        """A prediction begins."""
        self.enter(FORWARD if torch.is_grad_enabled() else PRIOR)
        self._live.reads = False

    def after_network(self, *_: Any) -> None:
        """A prediction is there."""
        self._live.reads = True
        if torch.is_grad_enabled():
            self.after_forward = self._live.device.now
            self.enter(BACKWARD)

    def before_optimizer(self, *_: Any) -> None:
        """The optimizer begins."""
        self.enter(OPTIMIZER)


def count_step(live: LiveBytes, network: nn.Module, trainer: Trainer) -> StepBytes:
    """A step of a training whose tensors are on the meta device, as every one from the second on is.

    The trainer's adapters must be attached.

    Raises:
        CannotBeCounted: the network needs values.
    """
    _as_after_a_step(trainer)
    before, live.ram.peak = live.device.now, live.ram.now
    phases = _Phases(live)
    handles = [
        network.register_forward_pre_hook(phases.before_network),
        network.register_forward_hook(phases.after_network),
        register_optimizer_step_pre_hook(phases.before_optimizer),
    ]
    try:
        trainer.step()
    finally:
        for handle in handles:
            handle.remove()
        live.reads = True
    phases.enter("")
    return StepBytes(phases.peaks, live.ram.peak, phases.after_forward - before, before)


def _as_after_a_step(trainer: Trainer) -> None:
    """Have the optimizer make what it keeps from step to step; as on CUDA, for all parameters at once."""
    optimizer = trainer._optimizer
    for group in optimizer.param_groups:
        if group.get("foreach", True) is None:
            group["foreach"] = True
        for parameter in group["params"]:
            parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.zero_grad()
