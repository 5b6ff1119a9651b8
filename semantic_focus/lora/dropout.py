"""Dropout of adapters, drawn for each picture by its place in the step.

What a picture loses then depends neither on the pictures that share its pass through the model nor on the
passes before: a batch that is cut in pieces, or dealt out to several processes, is trained as the whole one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PLACES = 1 << 20
"""More than the pictures of any step: seeds of two layers never meet."""
SEEDS = 2**31 - 1


@dataclass(frozen=True)
class Dropout:
    """Which inner activations of one layer are dropped now.

    Attributes:
        share: of the activations, in [0, 1); 0 drops nothing.
        seed: of the step.
        layer: number of the layer.
        places: of the pictures in the pass, in the order of the batch; each is drawn with a seed of its own.
    """

    share: float = 0.0
    seed: int = 0
    layer: int = 0
    places: Sequence[int] = (0,)

    def __call__(self, hidden: Tensor) -> Tensor:
        """The activations, with those that stay scaled by 1 / (1 − share) (Srivastava et al. 2014).

        Args:
            hidden: its elements are in the order of the pictures; where they cannot be shared out among them,
                as of what all pictures have in common, they are drawn once.
        """
        if not self.share:
            return hidden
        places = self.places if hidden.numel() % len(self.places) == 0 else self.places[:1]
        noise = torch.empty(
            (len(places), hidden.numel() // len(places)), dtype=hidden.dtype, device=hidden.device
        )
        for row, place in zip(noise.unbind(), places, strict=True):
            _keep(row, 1 - self.share, (self.seed + self.layer * PLACES + place) % SEEDS)
        return hidden * noise.div_(1 - self.share).view(hidden.shape)


def _keep(row: Tensor, share: float, seed: int) -> None:
    """Fill with 1 for a share of the elements, else 0, drawn from a seed.

    Where torch has no generator for the device (DirectML), the CPU draws.
    """
    if row.is_meta:
        return
    try:
        generator = torch.Generator(row.device)
    except RuntimeError:
        generator = torch.Generator().manual_seed(seed)
        row.copy_(torch.empty(row.shape).bernoulli_(share, generator=generator))
        return
    row.bernoulli_(share, generator=generator.manual_seed(seed))
