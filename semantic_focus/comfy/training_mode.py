"""What a loaded ComfyUI model needs to pass gradients to adapters. Everything is undone on leaving."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.model_management
import comfy.ops
import torch
import torch.utils.checkpoint
from torch import Tensor, nn


@contextmanager
def training_mode(model: nn.Module, gradient_checkpointing: bool) -> Iterator[None]:
    """Freeze the weights, let gradients through every layer, and recompute blocks if asked to."""
    leave_inference_mode(model)
    with ExitStack() as stack:
        stack.enter_context(_comfyui_in_training())
        stack.enter_context(_full_accumulation())
        stack.enter_context(_frozen(model))
        stack.enter_context(_differentiable_products(model))
        blocks = checkpoint_blocks(model)
        stack.enter_context(_unshared_inputs(blocks))
        if gradient_checkpointing:
            stack.enter_context(_checkpointed(blocks))
        yield


@contextmanager
def _comfyui_in_training() -> Iterator[None]:
    """Tell ComfyUI, from 0.28 on, to leave out kernels that have no backward pass."""
    management: Any = comfy.model_management
    before = getattr(management, "in_training", None)
    if before is not None:
        management.in_training = True
    try:
        yield
    finally:
        if before is not None:
            management.in_training = before


@contextmanager
def _full_accumulation() -> Iterator[None]:
    """Have products of fp16 summed in fp32, whatever ComfyUI was started with (--fast fp16_accumulation).

    Sums in fp16 overflow, the more so with a loss that is scaled.
    """
    products: Any = torch.backends.cuda.matmul
    before = getattr(products, "allow_fp16_accumulation", None)  # from torch 2.7 on
    if before:
        products.allow_fp16_accumulation = False
    try:
        yield
    finally:
        if before:
            products.allow_fp16_accumulation = True


def leave_inference_mode(model: nn.Module) -> None:
    """Replace inference tensors by equal ordinary ones: autograd cannot save the former for the backward
    pass.
    """
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None and parameter.is_inference():
                module._parameters[name] = nn.Parameter(parameter.detach().clone(), requires_grad=False)
        for tensors in (module._buffers, vars(module)):
            for name, tensor in tensors.items():
                if torch.is_tensor(tensor) and tensor.is_inference():
                    tensors[name] = tensor.clone()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No gradient for any weight of the model; afterwards each has its own setting again."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)


@contextmanager
def _differentiable_products(model: nn.Module) -> Iterator[None]:
    """Let layers with fp8 or quantised weights multiply in the precision of the activations.

    Their fast products round the activations, most have no backward pass, and some choose by whether a
    gradient is needed: the base model's own prediction would then differ from that of idle adapters.
    """
    fp8_layers = [module for module in model.modules() if isinstance(module, comfy.ops.fp8_ops.Linear)]
    quantised: list[Any] = [module for module in model.modules() if hasattr(module, "_full_precision_mm")]
    changed = [(module, name) for module in fp8_layers for name in ("training", "weight_function")]
    changed += [(module, "_full_precision_mm") for module in quantised]
    own = [vars(module).get(name, _OF_THE_CLASS) for module, name in changed]
    try:
        for module in fp8_layers:
            module.training = True
            module.weight_function = [*module.weight_function, _as_it_is]
        for module in quantised:
            module._full_precision_mm = True
        yield
    finally:
        for (module, name), value in zip(changed, own, strict=True):
            if value is not _OF_THE_CLASS:
                setattr(module, name, value)
            elif name in vars(module):
                delattr(module, name)


_OF_THE_CLASS = object()
"""Marks an attribute that a module has not got itself."""


def _as_it_is(weight: Tensor) -> Tensor:
    """A weight function for ComfyUI from 0.28: a layer that has one does not use its fp8 product."""
    return weight


def checkpoint_blocks(model: nn.Module) -> list[nn.Module]:
    """The largest parts of a network that are members of module lists or sequences and have parts themselves.

    The containers are no such parts: a UNet walks through its sequences without calling them.
    """
    blocks: list[nn.Module] = []

    def visit(module: nn.Module, is_member: bool) -> None:
        container = isinstance(module, nn.ModuleList | nn.Sequential)
        has_parts = next(module.children(), None) is not None
        if is_member and not container and has_parts and next(module.parameters(), None) is not None:
            blocks.append(module)
            return
        for child in module.children():
            visit(child, container)

    visit(model, False)
    return blocks


@contextmanager
def _unshared_inputs(blocks: list[nn.Module]) -> Iterator[None]:
    """Let the norms, attentions and feed-forwards of blocks keep copies of their inputs.

    Flux's blocks add to the residual stream in place after a norm has saved it, which autograd refuses.
    """
    parts = [child for block in blocks for child in block.children() if not isinstance(child, nn.Linear)]
    handles = [part.register_forward_pre_hook(_copy_input) for part in parts]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _copy_input(_part: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    first = inputs[0] if inputs else None
    if torch.is_grad_enabled() and torch.is_tensor(first) and first.requires_grad:
        return (first.clone(), *inputs[1:])
    return None


@contextmanager
def _checkpointed(blocks: list[nn.Module]) -> Iterator[None]:
    """Recompute these blocks in the backward pass instead of keeping their activations."""
    originals = [(block, vars(block).get("forward")) for block in blocks]
    for block in blocks:
        block.forward = _recomputed(block.forward)
    try:
        yield
    finally:
        for block, own in originals:
            if own is None:
                del block.forward
            else:
                block.forward = own


def _recomputed(forward: Callable[..., Any]) -> Callable[..., Any]:
    def on_copies(*args: Any, **kwargs: Any) -> Any:
        """Flux's blocks write into their inputs, from which the second run must start again."""
        return forward(*map(_copy, args), **{name: _copy(value) for name, value in kwargs.items()})

    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return torch.utils.checkpoint.checkpoint(on_copies, *args, use_reentrant=False, **kwargs)

    return run


def _copy(value: Any) -> Any:
    return value.clone() if torch.is_tensor(value) else value
