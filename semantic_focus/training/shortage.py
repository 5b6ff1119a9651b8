"""Memory that runs out: how it is told, and how it is said."""

import torch

from ..files.text import in_short

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "alloc_failed")


class TrainingOutOfMemory(RuntimeError):
    """Memory has run out, and nothing is left to do about it; the message says what to change."""


def out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a type for it; other devices, its libraries and the CPU only say so."""
    said = str(error).lower()
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(words in said for words in OUT_OF_MEMORY)


def empty_device_cache() -> None:
    """Give back what torch keeps of the device for later."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def short_in_step(error: RuntimeError) -> TrainingOutOfMemory:
    """Of a process that goes through the model together with others, which can finish no pass without it."""
    return TrainingOutOfMemory(
        f"out of memory with a model that is shared out among processes ({in_short(error)}). Lower "
        "batch_size, the resolution of the pictures or the rank, switch gradient checkpointing on, or share "
        "the model out among more processes"
    )
