"""A tiny diffusion model and dataset on which the trainer runs in milliseconds."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from semantic_focus.training import TrainingPictures


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


@pytest.fixture
def model() -> Iterator[TinyVelocity]:
    """On one thread: on tensors this small, threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield TinyVelocity()
    torch.set_num_threads(threads)


@pytest.fixture
def data() -> TrainingPictures:
    """Four 8×8 pictures: a bright face in the top left quarter, hair below it, background on the right."""
    generator = torch.Generator().manual_seed(1)
    masks = torch.zeros(3, 8, 8)
    masks[0, :4, :4], masks[1, 4:, :4], masks[2, :, 4:] = 1, 1, 1
    latents = tuple(
        torch.randn(3, 8, 8, generator=generator) * 0.3 + 1.5 * masks[:1] - masks[2:] for _ in range(4)
    )
    return TrainingPictures(latents, (masks,) * 4, ("face", "hair", "background"))
