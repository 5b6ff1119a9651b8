"""A tiny model to train, and pictures for it."""

import pytest
import torch

from semantic_focus.training.data import TrainingPictures

from .tiny_velocity import TinyVelocity


@pytest.fixture
def model() -> TinyVelocity:
    return TinyVelocity()


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
