"""What a loaded ComfyUI model needs to pass gradients to adapters. Everything is undone on leaving."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import comfy.model_management
import torch
from torch import Tensor, nn

from ..files.text import some
from ..lora.layers import all_linear_layers
from .memory.frozen import FrozenLayers
from .memory.inputs import recomputed


@contextmanager
def training_mode(
    model: nn.Module,
    frozen: FrozenLayers,
    gradient_checkpointing: bool,
    inputs_in_ram: Callable[[], bool] = lambda: False,
) -> Iterator[None]:
    """Freeze the weights, let gradients through every layer, and recompute blocks if asked to.

    Args:
        frozen: its layers keep no weights. Fast products of fp8 and of quantised weights, which round the
            activations and have no backward pass, are left alone by them: the base model's own prediction is
            that of idle adapters.
        inputs_in_ram: whether inputs of recomputed blocks wait there; asked in each forward pass.
    """
    leave_inference_mode(model, frozen)
    with ExitStack() as stack:
        stack.enter_context(_comfyui_in_training())
        stack.enter_context(_full_accumulation())
        stack.enter_context(_frozen(model))
        stack.enter_context(frozen.active())
        blocks = checkpoint_blocks(model)
        stack.enter_context(_unshared_inputs(blocks))
        if gradient_checkpointing:
            stack.enter_context(recomputed(blocks, inputs_in_ram))
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


def refuse_placeholders(model: nn.Module) -> None:
    """Refuse a model whose weights are not there.

    Raises:
        ValueError: some of the linear layers have none.
    """
    missing = [name for name, layer in all_linear_layers(model).items() if layer.weight.is_meta]
    if missing:
        raise ValueError(
            f"{type(model).__name__} cannot be trained as it is loaded: the weights of {len(missing)} linear "
            f"layers ({some(missing)}) are placeholders. Load it from a safetensors file (fp8, 16 or 32 bit) "
            "or a GGUF file"
        )


def leave_inference_mode(model: nn.Module, frozen: FrozenLayers) -> None:
    """Replace inference tensors by equal ordinary ones: autograd cannot save the former for the backward
    pass.

    Args:
        frozen: its layers save no weight that is cast, restored or brought to the device for them: such a one
            stays as it is.
    """
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.is_inference():
                continue
            if name != "weight" or not frozen.fetches(module):
                module._parameters[name] = nn.Parameter(_ordinary(parameter), requires_grad=False)
        for tensors in (module._buffers, vars(module)):
            for name, tensor in tensors.items():
                if torch.is_tensor(tensor) and tensor.is_inference():
                    tensors[name] = _ordinary(tensor)


def _ordinary(tensor: Tensor) -> Tensor:
    """A copy; of a tensor whose `clone` and `detach` give itself too (GGUF)."""
    copy = tensor.detach().clone()
    if not copy.is_inference():
        return copy
    plain: Any = tensor.as_subclass(Tensor).clone().as_subclass(type(tensor))
    vars(plain).update(vars(tensor))
    return plain


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No gradient for any weight of the model; afterwards each has its own setting again."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            with torch.inference_mode(parameter.is_inference()):
                parameter.requires_grad_(True)


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
