"""Torch's global generators, lent for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Let what draws from torch's own generators, of the CPU and of a device, start from `seed`, and leave
    them as they were: dropout, and samplers that add noise.
    """
    on_cpu = device.type in ("cpu", "meta")  # the latter has none
    with torch.random.fork_rng([] if on_cpu else [device], device_type="cuda" if on_cpu else device.type):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        elif not on_cpu:
            getattr(torch, device.type).manual_seed(seed)
        yield
