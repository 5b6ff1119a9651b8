"""Pictures <-> latents: every block of 8 x 8 pixels becomes 16 numbers, linearly; a small network adds
details.

Because the encoder is linear and looks at one block alone, a mask on the latent grid is exact, and a mix of
two latents is the latent of the mixed picture. What 16 numbers cannot hold, the network knows of the world.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.world.precision import products
from host.standins.codec import LatentFormat

BLOCK = 8
CHANNELS = 16
WIDTH = 48
NOISE = 0.15
"""Largest standard deviation of the noise that the details are learnt through: samples are not free of it."""
RATE = 4e-3


class Residual(nn.Module):
    """Two convolutions whose result is added to what they got."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
            nn.GroupNorm(4, width), nn.SiLU(), nn.Conv2d(width, width, 3, padding=1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class WorldCodec(nn.Module):
    """The directions in which blocks vary, and the network for the details."""

    mean: Tensor
    """Float[192]: the mean block."""
    directions: Tensor
    """Float[16, 192], each of length 1."""
    deviations: Tensor
    """Float[16]: the standard deviation along each; latents have standard deviation 1."""

    def __init__(self, width: int = WIDTH):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3 * BLOCK**2))
        self.register_buffer("directions", torch.zeros(CHANNELS, 3 * BLOCK**2))
        self.register_buffer("deviations", torch.ones(CHANNELS))
        last = nn.Conv2d(width // 4, 12, 3, padding=1)
        nn.init.zeros_(last.weight)
        self.details = nn.Sequential(
            nn.Conv2d(CHANNELS, width, 3, padding=1), Residual(width), Residual(width),
            nn.Conv2d(width, 2 * width, 1), nn.PixelShuffle(2), Residual(width // 2),
            nn.Conv2d(width // 2, width, 1), nn.PixelShuffle(2), nn.SiLU(),
            nn.Conv2d(width // 4, width // 4, 3, padding=1), nn.SiLU(),
            last, nn.PixelShuffle(2),
        )  # fmt: skip

    @classmethod
    def fit(cls, pixels: Tensor) -> "WorldCodec":
        """The principal components of the blocks of Float[N, H, W, 3] in 0..1; no details yet."""
        blocks = _blocks(pixels).flatten(0, -2)
        variances, directions = torch.linalg.eigh(torch.cov(blocks.T))
        codec = cls()
        codec.mean.copy_(blocks.mean(0))
        codec.directions.copy_(directions.flip(1)[:, :CHANNELS].T)
        codec.deviations.copy_(variances.flip(0)[:CHANNELS].sqrt())
        return codec.eval().requires_grad_(False)

    def encode(self, pixels: Tensor) -> Tensor:
        """Float[B, H, W, 3] in 0..1 -> Float[B, 16, H/8, W/8] as the model wants them."""
        return ((_blocks(pixels) - self.mean) @ self.directions.T / self.deviations).movedim(-1, 1)

    def decode(self, latent: Tensor) -> Tensor:
        """Float[B, 16, h, w] as the model has them -> Float[B, 8h, 8w, 3] in 0..1."""
        return ((self.drawn(latent) + 1) / 2).clamp(0, 1).movedim(1, -1)

    def drawn(self, latent: Tensor) -> Tensor:
        """Float[B, 3, 8h, 8w], about in -1..1: what each block says of itself, and the details that follow
        from all of them.
        """
        blocks = (latent.movedim(1, -1) * self.deviations) @ self.directions + self.mean
        return F.pixel_shuffle(blocks.movedim(-1, 1), BLOCK) + self.details(latent)


def _blocks(pixels: Tensor) -> Tensor:
    """Float[B, H, W, 3] in 0..1 -> Float[B, H/8, W/8, 192] in -1..1."""
    return F.pixel_unshuffle(pixels.movedim(-1, 1) * 2 - 1, BLOCK).movedim(1, -1)


def learn_details(
    codec: WorldCodec, draw_pixels: Callable[[int], Tensor], steps: int, batch: int = 16, seed: int = 3
) -> None:
    """Train the details of a codec in place; `draw_pixels(N)` draws pictures Float[N, S, S, 3]."""
    torch.manual_seed(seed)
    codec.train().details.requires_grad_(True)
    optimizer = torch.optim.AdamW(codec.details.parameters(), RATE, (0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.05)
    started, errors = time.monotonic(), []
    for step in range(1, steps + 1):
        pixels = draw_pixels(batch)
        latent = codec.encode(pixels)
        noisy = latent + NOISE * torch.rand(batch, 1, 1, 1) * torch.randn_like(latent)
        with products():
            drawn = codec.drawn(noisy)
        error = F.l1_loss(drawn.float(), pixels.movedim(-1, 1) * 2 - 1)
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        schedule.step()
        errors.append(error.item() / 2)
        if step % 100 == 0 or step == steps:
            recent = sum(errors[-100:]) / len(errors[-100:])
            print(
                f"codec: step {step}/{steps}, off by {recent:.4f}, {time.monotonic() - started:.0f} s",
                flush=True,
            )
    codec.eval().requires_grad_(False)


class WorldVAE:
    """The codec as ComfyUI's nodes take a VAE: latents are stored as the model's latent format says."""

    downscale_ratio = BLOCK
    latent_channels = CHANNELS

    def __init__(self, codec: WorldCodec, latent_format: LatentFormat):
        self.codec, self.latent_format = codec, latent_format

    def encode(self, pixels: Tensor) -> Tensor:
        """Float[B, H, W, 3] in 0..1 -> Float[B, 16, H//8, W//8]; what exceeds whole blocks is cut off."""
        height, width = (side // BLOCK * BLOCK for side in pixels.shape[1:3])
        return self.latent_format.process_out(self.codec.encode(pixels[:, :height, :width, :3].float()))

    def decode(self, latent: Tensor) -> Tensor:
        """Float[B, 16, h, w] -> Float[B, 8h, 8w, 3] in 0..1."""
        return self.codec.decode(self.latent_format.process_in(latent.float()))
