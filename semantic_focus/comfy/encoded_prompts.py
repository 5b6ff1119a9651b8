"""The prompts of a training as the network takes them, a bounded number of them on its device."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

MOST = 16
"""Encoded prompts on the device at a time: of the largest text encoders, 8 MiB each."""


class EncodedPrompts:
    """What a network is given for a prompt and a size of latent; of more than `most`, those that were not
    used for the longest are dropped.

    The conditionings themselves stay on the CPU: what was dropped is encoded again when it is asked for.

    Args:
        encode: (conditioning, noisy) -> what the network is given; of `noisy` only the size counts.
    """

    def __init__(self, encode: Callable[[Any, Tensor], dict[str, Any]], most: int = MOST):
        self._encode = encode
        self._most = most
        self._kept: OrderedDict[tuple[int, torch.Size], tuple[Any, dict[str, Any]]] = OrderedDict()

    def of(self, conditioning: Any, noisy: Tensor) -> dict[str, Any]:
        """What the network is given for this conditioning with latents Float[B, C, *grid]."""
        key = (id(conditioning), noisy.shape)
        if key not in self._kept:
            while len(self._kept) >= self._most:  # first, so that there is room for it
                self._kept.popitem(last=False)
            # with the conditioning itself, so that its id stays its own
            self._kept[key] = (conditioning, self._encode(conditioning, noisy))
        self._kept.move_to_end(key)
        return self._kept[key][1]

    def drop(self) -> bool:
        """Free all of them, when memory has run out, and keep one at a time from then on.

        Returns:
            Whether that leaves more room than before: not where only one was kept already, or a caller would
            go on trying for ever.
        """
        dropped = bool(self._kept) and self._most > 1
        if dropped:
            self._most = 1
        self._kept.clear()
        return dropped
