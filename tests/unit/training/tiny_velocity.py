"""A flow model that is trained in milliseconds."""

import torch
from torch import Tensor, nn

from semantic_focus.objective.noise_weighting import NoiseLevel


class TinyVelocity(nn.Module):
    """A flow model on latents Float[C, h, w]: per-cell layers that see the noisy cell, sigma and position.

    It satisfies `VelocityModel`. `prompts` is one vector per picture, the conditioning.
    """

    def __init__(self, channels: int = 3, width: int = 24, pictures: int = 8):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Linear(channels + 4, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, channels)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
        self.prompts = torch.randn(pictures, 1, generator=generator)
        self.requires_grad_(False)
        self.calls: list[list[int]] = []

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        sigma = u.view(-1, 1, 1, 1)
        return (1 - sigma) * clean + sigma * noise, u, noise - clean

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        self.calls.append(pictures)
        batch, _, height, width = noisy.shape
        rows = torch.linspace(-1, 1, height).view(1, 1, -1, 1).expand(batch, 1, height, width)
        columns = torch.linspace(-1, 1, width).view(1, 1, 1, -1).expand(batch, 1, height, width)
        level = sigma.view(-1, 1, 1, 1).expand(batch, 1, height, width)
        prompt = self.prompts[pictures].view(-1, 1, 1, 1).expand(batch, 1, height, width)
        cells = torch.cat((noisy, rows, columns, level, prompt), 1).movedim(1, -1)
        return self.third(torch.tanh(self.second(torch.tanh(self.first(cells))))).movedim(-1, 1)

    def noise_level(self, u: Tensor) -> NoiseLevel:
        return NoiseLevel(u)
