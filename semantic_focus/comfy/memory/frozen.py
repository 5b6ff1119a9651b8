"""Frozen layers that keep no weight for the backward pass.

The gradient of a frozen layer's input needs the weight and nothing else. A weight that is cast, restored,
patched or moved for a forward pass is dropped after it, and fetched once more in the backward pass: output
and gradients are those of the layer's own forward pass, to the bit.
"""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any

import comfy.ops
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .forwards import replaced_forwards
from .weights import Fetch, Operand, fetch_for, is_plain, used_as_it_is


class _Product(torch.autograd.Function):
    """x through a frozen layer; nothing of the weight outlives either pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: "FrozenLayer") -> Tensor:
        ctx.layer, ctx.shape, ctx.strides = layer, x.shape, x.stride()
        return _no_view(layer.product(x, layer.operand(x, x.numel())))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        layer: FrozenLayer = ctx.layer
        (gradient,) = gradients
        operand = layer.operand(gradient, ctx.shape.numel())
        return layer.gradient(gradient, operand, ctx.shape, ctx.strides), None


def _no_view(tensor: Tensor) -> Tensor:
    """The same numbers in the same place, to which a network may add in place (Flux's blocks do): of a view
    that a custom function returns, autograd allows no such thing.
    """
    if not tensor._is_view():
        return tensor
    alone = tensor.new_empty(0)
    return alone.set_(tensor.untyped_storage(), tensor.storage_offset(), tensor.size(), tensor.stride())


class FrozenLayer:
    """One layer whose product is known.

    Args:
        layer: linear, or a convolution.
        fetch: how it gives its weights.
    """

    def __init__(self, layer: Any, fetch: Fetch):
        self.layer = layer
        self._fetch = fetch
        self.forward_before = layer.forward
        self.bring: Callable[[], None] | None = None
        """Called before the weight is asked for, where it is not always on the device."""

    def __call__(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """In the place of the layer's forward pass."""
        if self.bring is None:
            if used_as_it_is(self.layer, x):
                return self.forward_before(x, *args, **kwargs)
        else:
            self.bring()
        if args or kwargs:
            if self.bring is not None and torch.is_grad_enabled():
                raise ValueError(
                    f"a {type(self.layer).__name__} of this network is called with further arguments: its "
                    'weight cannot wait in RAM, set memory to "all on the GPU"'
                )
            return self.forward_before(x, *args, **kwargs)
        comfy.ops.run_every_op()  # where a cancel comes through
        if torch.is_grad_enabled() and x.requires_grad:
            return _Product.apply(x, self)
        return self.product(x, self.operand(x, x.numel()))

    def operand(self, like: Tensor, inputs: int) -> Operand:
        """What the layer multiplies with, in the type and on the device of `like`."""
        if self.bring is not None:
            self.bring()
        return self._fetch(self.layer, like, inputs)

    def product(self, x: Tensor, operand: Operand) -> Tensor:
        """Float[..., out] of x Float[..., in]; of a convolution, Float[B, out, *grid]."""
        if operand.input_scale is not None:
            x = x * operand.input_scale
        if self.is_convolution:
            return self.layer._conv_forward(x, operand.weight, operand.bias)
        return F.linear(x, operand.weight, operand.bias)

    def gradient(
        self, gradient: Tensor, operand: Operand, shape: torch.Size, strides: tuple[int, ...]
    ) -> Tensor:
        """Of the input, Float[shape].

        Args:
            strides: of the input: convolutions choose their layout by it.
        """
        if self.is_convolution:
            of_input = self._convolution_gradient(gradient, operand.weight, shape, strides)
        elif operand.input_scale is not None or _multiplied_at_once(shape, strides):
            rows = gradient.reshape(-1, gradient.shape[-1])
            of_input = torch.mm(rows, operand.weight).view(shape)
        else:
            stacks = gradient.reshape(-1, *gradient.shape[-2:])
            of_input = torch.bmm(stacks, operand.weight.expand(len(stacks), -1, -1)).view(shape)
        return of_input if operand.input_scale is None else of_input * operand.input_scale

    @property
    def is_convolution(self) -> bool:
        """Whether the layer is no linear one."""
        return isinstance(self.layer, nn.Conv1d | nn.Conv2d | nn.Conv3d)

    def _convolution_gradient(
        self, gradient: Tensor, weight: Tensor, shape: torch.Size, strides: tuple[int, ...]
    ) -> Tensor:
        layer = self.layer
        in_its_place = gradient.new_empty_strided(shape, strides)  # only its size and layout are looked at
        return torch.ops.aten.convolution_backward(
            gradient, in_its_place, weight, None, layer.stride, layer.padding, layer.dilation, False,
            [0] * len(layer.stride), layer.groups, [True, False, False],
        )[0]  # fmt: skip


def _multiplied_at_once(shape: torch.Size, strides: tuple[int, ...]) -> bool:
    """Whether torch multiplies all rows of an input in one product, as it does where they lie at even
    distances; else one picture after the other, which rounds differently.
    """
    even = all(strides[i] == strides[i + 1] * shape[i + 1] for i in range(len(shape) - 2))
    return even or 0 in shape


class FrozenLayers:
    """All layers of a network whose product is known.

    Args:
        network: frozen.
        others: dotted names of what other nodes put in the place of the network's own; layers whose forward
            pass is among them are theirs.
    """

    def __init__(self, network: nn.Module, others: Container[str] = ()):
        self.by_module: dict[nn.Module, FrozenLayer] = {
            layer: FrozenLayer(layer, fetch)
            for name, layer in network.named_modules()
            if (fetch := fetch_for(layer)) is not None and f"{name}.forward" not in others
        }

    def of(self, part: nn.Module) -> list[FrozenLayer]:
        """Those in a part of the network."""
        return [self.by_module[module] for module in part.modules() if module in self.by_module]

    def fetches(self, module: nn.Module) -> bool:
        """Whether a module never saves its weight: all but plain weights that always lie on the device."""
        frozen = self.by_module.get(module)
        return frozen is not None and (frozen.bring is not None or not is_plain(module))

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let them stand in for the layers' own forward passes; afterwards all is as it was."""
        with replaced_forwards(self.by_module, self.by_module.__getitem__):
            yield
