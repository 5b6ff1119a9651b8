"""A second memory where there is but one: operations that mix the two are refused, as torch refuses them."""

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

TRANSFERS = {"aten::copy_", "aten::_to_copy", "aten::to", "aten::clone"}
LOOKS = {
    "aten::detach",
    "aten::view",
    "aten::alias",
    "aten::slice",
    "aten::_has_compatible_shallow_copy_type",
}
"""What may be done with a tensor where it is: it is copied to the other memory, or looked at."""


class TwoDevices(TorchDispatchMode):
    """While it is active, the tensors of `put_in_ram` cannot be computed with.

    Attributes:
        transfers: bytes that went from RAM to the device.
    """

    def __init__(self) -> None:
        super().__init__()
        self._in_ram: dict[int, Any] = {}
        self.transfers = 0

    def put_in_ram(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        self._in_ram[key] = weakref.finalize(storage, self._in_ram.pop, key, None)
        return tensor

    def is_in_ram(self, tensor: Tensor) -> bool:
        return tensor.untyped_storage()._cdata in self._in_ram

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [value for value in tree_leaves((args, kwargs)) if isinstance(value, Tensor)]
        in_ram = [tensor for tensor in tensors if self.is_in_ram(tensor)]
        name = func._schema.name
        if in_ram and name not in TRANSFERS | LOOKS:
            raise RuntimeError(f"{func} computes with what is in RAM")
        if in_ram and name in TRANSFERS:
            self.transfers += in_ram[-1].numel() * in_ram[-1].element_size()
        return func(*args, **(kwargs or {}))
