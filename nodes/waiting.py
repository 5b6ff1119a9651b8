"""What waits between two nodes takes little.

ComfyUI keeps what every node gives, of every picture of a dataset at once, and the numbers of a photograph
and of its masks take a hundred times the memory of their files.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from comfy_api.latest import io

from ..semantic_focus.datasets.on_disk import OnDisk
from ..semantic_focus.regions.masks import SemanticMasks
from ..semantic_focus.regions.packed import PackedMasks
from .sockets import SemanticMasksSocket


def with_little_kept(nodes: Iterable[type[io.ComfyNode]]) -> list[type[io.ComfyNode]]:
    """The nodes, which give masks of pictures packed, and work with what was packed or waits on the disk."""
    nodes = list(nodes)
    for node in nodes:
        node.execute = classmethod(_unpacking(node.execute.__func__))  # pyright: ignore[reportAttributeAccessIssue]
    return nodes


def _unpacking(execute: Callable[..., io.NodeOutput]) -> Callable[..., io.NodeOutput]:
    @functools.wraps(execute)
    def unpacking(cls: type[io.ComfyNode], **values: Any) -> io.NodeOutput:
        given = execute(cls, **{name: at_hand(value) for name, value in values.items()})
        sockets = cls.define_schema().outputs
        is_masks = [socket.get_io_type() == SemanticMasksSocket.io_type for socket in sockets]
        given.args = tuple(
            _packed(value) if masks else value for masks, value in zip(is_masks, given.args, strict=False)
        )
        return given

    return unpacking


def at_hand(value: Any) -> Any:
    """What a node works with; anything that was not packed and does not wait is as it was."""
    if isinstance(value, PackedMasks):
        return value.unpacked()
    return value.at_hand() if isinstance(value, OnDisk) else value


def _packed(value: Any) -> Any:
    if isinstance(value, list):
        return [_packed(one) for one in value]
    return PackedMasks.of(value) if isinstance(value, SemanticMasks) else value
