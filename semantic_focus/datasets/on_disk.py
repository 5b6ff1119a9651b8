"""Tensors whose numbers wait on the disk until something is computed with them."""

import re
from collections.abc import Callable
from typing import Any
from weakref import ref

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

IN_PLACE = re.compile(
    r"(?!__)\w*[^_]_"
    r"|__i(add|sub|mul|truediv|floordiv|mod|pow|and|or|xor|lshift|rshift)__|__setitem__|__set__"
)
"""What changes its tensor, by its name."""

OF_FORM = {
    *(Tensor.size, Tensor.dim, Tensor.numel, Tensor.element_size, Tensor.is_floating_point, Tensor.__len__),
    *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "is_nested")),
}
"""What is answered without reading."""


class OnDisk(Tensor):
    """A tensor of fp32 on the CPU like any other, which is read anew whenever it is used.

    Whatever torch and numpy do with it, they do with what `read` gives. The one that was read last stays in
    memory until another one is, so that a loop over its rows reads once. What is written into one stays with
    it.

    Args:
        read: gives Float[shape], always the same.
    """

    _read_last: "tuple[ref[OnDisk], Tensor] | None" = None

    _read: Callable[[], Tensor]
    _changed: Tensor | None

    @staticmethod
    def __new__(cls, read: Callable[[], Tensor], shape: tuple[int, ...]) -> "OnDisk":
        waiting = Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)  # pyright: ignore[reportAttributeAccessIssue]
        waiting._read, waiting._changed = read, None
        return waiting

    def __init__(self, read: Callable[[], Tensor], shape: tuple[int, ...]):
        pass  # all is done where the tensor is made

    def at_hand(self) -> Tensor:
        """The numbers as a plain tensor of the caller's own; nothing of this or another one stays here."""
        OnDisk._read_last = None
        return self._read() if self._changed is None else self._changed

    def _used(self, changing: bool) -> Tensor:
        if self._changed is not None:
            return self._changed
        last = OnDisk._read_last
        if last is not None and last[0]() is self:
            numbers = last[1]
        else:
            OnDisk._read_last = None  # before the next one is there
            numbers = self._read()
            OnDisk._read_last = (ref(self), numbers)
        if changing:
            self._changed, OnDisk._read_last = numbers, None
        return numbers

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in OF_FORM:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        return _computed(func, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return _computed(func, args, kwargs or {})  # of what C++ calls past the other one


def _computed(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """`func` of plain tensors."""
    name = getattr(func, "__name__", "").partition(".")[0]
    changing = "out" in kwargs or IN_PLACE.fullmatch(name) is not None
    args, kwargs = tree_map(
        lambda value: value._used(changing) if isinstance(value, OnDisk) else value, (args, kwargs)
    )
    return func(*args, **kwargs)
