"""What the processes of a training say to each other, as bytes: JSON and safetensors, which run nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

LENGTH = 8
"""Bytes in which the length of the JSON stands."""


@dataclass(frozen=True)
class Message:
    """Plain values, such as JSON has, and tensors by name."""

    value: Any
    tensors: Mapping[str, Tensor] = field(default_factory=dict)


def packed(message: Message) -> Tensor:
    """The message as UInt8[bytes] on the CPU; floats and tensors keep every bit."""
    text = json.dumps(message.value).encode()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in message.tensors.items()}
    content = safetensors.torch.save(tensors) if tensors else b""
    return torch.frombuffer(
        bytearray(len(text).to_bytes(LENGTH, "little") + text + content), dtype=torch.uint8
    )


def unpacked(content: Tensor) -> Message:
    """What `packed` was given."""
    data = content.numpy().tobytes()
    end = LENGTH + int.from_bytes(data[:LENGTH], "little")
    tensors = safetensors.torch.load(data[end:]) if len(data) > end else {}
    return Message(json.loads(data[LENGTH:end]), tensors)
