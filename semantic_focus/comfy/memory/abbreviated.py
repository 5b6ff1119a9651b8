"""Networks on the meta device whose blocks are run once for each kind, forth and back, and then stood in for.

Two blocks are of one kind when class, weights, adapted layers and inputs have the same types and shapes. What
stands in for a block takes the same bytes at the same time: its inputs where the block keeps them, its
activations, what it needs for a moment, its outputs, and the gradients of its adapters.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from .counted import DEVICE, Ledger, LiveBytes
from .forwards import replaced_forwards
from .swap import aligned

Form = tuple[torch.Size, tuple[int, ...], torch.dtype]
"""Shape, strides and type."""


@dataclass(frozen=True)
class BlockBytes:
    """What a block of one kind takes.

    Attributes:
        outputs: of each tensor that it gives: its form, or the place among the inputs that it shares bytes
            with.
        others: what else it gives, at its place in the answer; `_TENSOR` at that of a tensor.
        structure: of the answer.
        differentiable: which outputs take gradients.
        held: places of the inputs that it keeps until the backward pass.
        kept: bytes of its own until then.
        forward: the most that it takes at a time, outputs included.
        backward: the same in the backward pass, with the gradients of the outputs, beside what it has kept.
        trained: which of its adapters' parameters get a gradient.
        waiting: bytes that it keeps in RAM.
    """

    outputs: tuple[Form | int, ...]
    others: tuple[Any, ...]
    structure: Any
    differentiable: tuple[bool, ...]
    held: tuple[int, ...]
    kept: int
    forward: int
    backward: int
    trained: tuple[bool, ...]
    waiting: int


_TENSOR = object()


class AbbreviatedBlocks:
    """Stand-ins for the blocks of one network.

    Args:
        live: the count.
        blocks: in training mode.
        parameters: of the adapters in a block, in a fixed order.
    """

    def __init__(
        self,
        live: LiveBytes,
        blocks: Sequence[nn.Module],
        parameters: Callable[[nn.Module], list[nn.Parameter]],
    ):
        self._live, self._blocks = live, blocks
        self._parameters = {block: parameters(block) for block in blocks}
        self._kinds = {block: self._kind(block) for block in blocks}
        self.known: dict[Any, BlockBytes] = {}
        """By kind and inputs: one entry for each block that was run."""

    def _kind(self, block: nn.Module) -> Any:
        weights = tuple((name, weight.shape, weight.dtype) for name, weight in block.named_parameters())
        adapters = tuple(parameter.shape for parameter in self._parameters[block])
        return type(block), weights, adapters

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let them stand in; afterwards all is as it was."""
        with replaced_forwards(self._blocks, lambda block: _Call(self, block, block.forward)):
            yield

    def call(self, block: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """The answer of a block to these arguments, without values."""
        leaves, structure = tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        with_gradient = torch.is_grad_enabled()
        key = self._kinds[block], with_gradient, tuple(map(_given, tensors))
        if key not in self.known:
            with self._live.aside():
                self.known[key] = self._run(block, forward, leaves, structure)
        kind = self.known[key]
        if with_gradient:
            trained = [
                parameter
                for parameter, gets_one in zip(self._parameters[block], kind.trained, strict=False)
                if gets_one
            ]
            seed = torch.empty(0, device=DEVICE, requires_grad=any(kind.differentiable))
            outputs = _StandIn.apply(self._live.ram, kind, trained, seed, *tensors)
        else:
            outputs = _outputs(kind, tensors)
            _take(kind.forward - _bytes(kind.outputs))
        tensor = iter(outputs)
        answer = [next(tensor) if other is _TENSOR else other for other in kind.others]
        return tree_unflatten(answer, kind.structure)

    def _run(
        self, block: nn.Module, forward: Callable[..., Any], leaves: list[Any], structure: Any
    ) -> BlockBytes:
        """Run a block for once, forth and back where gradients are asked for."""
        ledger = self._live.device
        before, in_ram = ledger.now, self._live.ram.now
        fresh = [_fresh(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        inputs = [leaf for leaf in fresh if isinstance(leaf, Tensor)]
        storages = [weakref.ref(tensor.untyped_storage()) for tensor in inputs]
        sizes = [aligned(tensor.untyped_storage().nbytes()) for tensor in inputs]
        keys = [tensor.untyped_storage()._cdata for tensor in inputs]
        begin = ledger.peak = ledger.now
        args, kwargs = tree_unflatten(fresh, structure)
        answer = forward(*args, **kwargs)
        most = ledger.peak - begin
        leaves, answer_structure = tree_flatten(answer)
        given = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        others = tuple(_TENSOR if isinstance(leaf, Tensor) else leaf for leaf in leaves)
        outputs = tuple(
            keys.index(tensor.untyped_storage()._cdata)
            if tensor.untyped_storage()._cdata in keys
            else (tensor.shape, tensor.stride(), tensor.dtype)
            for tensor in given
        )
        differentiable = tuple(tensor.requires_grad for tensor in given)
        shared = {place for place in outputs if isinstance(place, int)}
        del fresh, inputs, args, kwargs, answer, leaves
        held = tuple(
            place for place, storage in enumerate(storages) if storage() is not None and place not in shared
        )
        remaining = sum(sizes[place] for place in {*held, *shared})
        kept = max(0, ledger.now - before - remaining - _bytes(outputs))
        waiting = max(0, self._live.ram.now - in_ram)
        roots = [tensor for tensor in given if tensor.requires_grad]
        back, trained = self._back(block, roots) if roots and torch.is_grad_enabled() else (0, ())
        return BlockBytes(
            outputs, others, answer_structure, differentiable, held, kept, most, back, trained, waiting
        )

    def _back(self, block: nn.Module, roots: list[Tensor]) -> tuple[int, tuple[bool, ...]]:
        ledger = self._live.device
        ledger.peak = begin = ledger.now
        gradients = [torch.empty_like(root) for root in roots]
        torch.autograd.backward(roots, gradients)
        parameters = self._parameters[block]
        trained = tuple(parameter.grad is not None for parameter in parameters)
        for parameter in parameters:
            parameter.grad = None
        return ledger.peak - begin, trained


class _Call:
    """A block's forward pass."""

    def __init__(self, stand_ins: AbbreviatedBlocks, block: nn.Module, forward: Callable[..., Any]):
        self._stand_ins, self._block, self._forward = stand_ins, block, forward

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._stand_ins.call(self._block, self._forward, args, kwargs)


class _Fresh(torch.autograd.Function):
    """A tensor of the form of another that a block may write into, as it could into an output of the block
    before.
    """

    @staticmethod
    def forward(ctx: Any, _seed: Tensor, like: Tensor) -> Tensor:
        return torch.empty_strided(like.shape, like.stride(), dtype=like.dtype, device=like.device)

    @staticmethod
    def backward(ctx: Any, *_gradients: Tensor) -> tuple[None, None]:
        return None, None


class _StandIn(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, ram: Ledger, kind: BlockBytes, trained: Any, _seed: Tensor, *tensors: Tensor
    ) -> tuple[Tensor, ...]:
        ctx.ram, ctx.kind, ctx.trained = ram, kind, trained
        ram.add(kind.waiting)
        ctx.forms = [(t.shape, t.stride(), t.dtype) if t.requires_grad else None for t in tensors]
        ctx.held = [tensors[place].detach() for place in kind.held]
        ctx.kept = _room(kind.kept)
        outputs = _outputs(kind, tensors)
        _take(kind.forward - kind.kept - _bytes(kind.outputs))
        ctx.mark_non_differentiable(
            *(out for out, wanted in zip(outputs, kind.differentiable, strict=True) if not wanted)
        )
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Any, ...]:
        kind: BlockBytes = ctx.kind
        there = sum(
            aligned(gradient.untyped_storage().nbytes())
            for gradient, wanted in zip(gradients, kind.differentiable, strict=True)
            if wanted and gradient is not None
        )
        _take(kind.backward - there)
        ctx.held = ctx.kept = None
        ctx.ram.add(-kind.waiting)
        for parameter in ctx.trained:
            parameter.grad = torch.empty_like(parameter)
        return None, None, None, None, *(None if form is None else _empty(form) for form in ctx.forms)


def _given(tensor: Tensor) -> Any:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.requires_grad, tensor.device.type


def _fresh(tensor: Tensor) -> Tensor:
    if tensor.device != DEVICE:
        return tensor
    if not (torch.is_grad_enabled() and tensor.requires_grad):
        return _empty((tensor.shape, tensor.stride(), tensor.dtype))
    return _Fresh.apply(torch.empty(1, device=DEVICE, requires_grad=True), tensor.detach())


def _outputs(kind: BlockBytes, tensors: Sequence[Tensor]) -> list[Tensor]:
    return [tensors[form] if isinstance(form, int) else _empty(form) for form in kind.outputs]


def _empty(form: Form) -> Tensor:
    shape, strides, dtype = form
    return torch.empty_strided(shape, strides, dtype=dtype, device=DEVICE)


def _bytes(outputs: Sequence[Form | int]) -> int:
    """Of those that share nothing with an input."""
    return sum(_form_bytes(form) for form in outputs if not isinstance(form, int))


def _form_bytes(form: Form) -> int:
    shape, strides, dtype = form
    if 0 in shape:
        return 0
    span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    return aligned(span * dtype.itemsize)


def _room(size: int) -> Tensor | None:
    return torch.empty(size, dtype=torch.uint8, device=DEVICE) if size > 0 else None


def _take(size: int) -> None:
    """So many bytes for a moment."""
    _room(size)
