"""The base model as the trainer sees it, and as a sampler."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmarks.world.base import empty_prompt
from benchmarks.world.codec import BLOCK, CHANNELS
from benchmarks.world.drawing import SIDE
from benchmarks.world.precision import products
from benchmarks.world.text import encode
from semantic_focus.objective.noise_weighting import NoiseLevel
from semantic_focus.training.data import UNCONDITIONAL

GRID = SIDE // BLOCK
STEPS = 16
SHIFT = 1.5
"""Of the sampler: sigma = shift * u / (1 + (shift - 1) * u) for evenly spaced u."""


class WorldFlow:
    """The network with a prompt bound to each picture; see `VelocityModel`."""

    def __init__(self, model: nn.Module, prompts: Sequence[str]):
        self.model = model
        encoded = [encode(prompt) for prompt in prompts] + [empty_prompt()]
        self._tokens, self._pooled = (torch.stack(part) for part in zip(*encoded, strict=True))

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `VelocityModel.corrupt`: u is sigma."""
        mix = u.view(-1, *[1] * (clean.ndim - 1))
        return mix * noise + (1 - mix) * clean, u, noise - clean

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        """As `VelocityModel.predict`."""
        rows = [len(self._tokens) + UNCONDITIONAL if index == UNCONDITIONAL else index for index in pictures]
        return velocity(self.model, noisy, sigma, self._tokens[rows], self._pooled[rows])

    def noise_level(self, u: Tensor) -> NoiseLevel:
        """As `VelocityModel.noise_level`."""
        return NoiseLevel(u)


def velocity(model: nn.Module, noisy: Tensor, sigma: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
    """Float[B, 16, h, w]: the network's prediction, in the precision of `products`."""
    with products():
        return model(noisy, sigma * 1000, context=tokens, y=pooled).float()


@torch.no_grad()
def sample(model: nn.Module, prompts: Sequence[str], seed: int, steps: int = STEPS) -> Tensor:
    """Latents Float[N, 16, h, w], one for each prompt, by Euler steps from noise of a seed.

    The noise of a picture depends on the seed and its place alone, so that models can be compared.
    """
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(prompts), CHANNELS, GRID, GRID, generator=generator)
    tokens, pooled = (torch.stack(part) for part in zip(*map(encode, prompts), strict=True))
    u = torch.linspace(1, 0, steps + 1)
    sigmas = SHIFT * u / (1 + (SHIFT - 1) * u)
    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        x = x + (following - sigma) * velocity(model, x, sigma.expand(len(x)), tokens, pooled)
    return x
