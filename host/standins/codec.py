"""A 16-channel picture codec without weights, standing in for a VAE that cannot be had offline."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 8
CHANNELS = 16
LUMA_COEFFICIENTS = 10
CHROMA_COEFFICIENTS = 3

# ITU-R BT.601 full-range RGB -> Y, Cb, Cr (the JPEG/JFIF matrix); Cb and Cr are centred on 0.
RGB_TO_YCBCR = (
    (0.299, 0.587, 0.114),
    (-0.168736, -0.331264, 0.5),
    (0.5, -0.418688, -0.081312),
)


class LatentFormat(Protocol):
    """What the codec needs of ``comfy.latent_formats.LatentFormat``."""

    def process_in(self, latent: Tensor) -> Tensor: ...

    def process_out(self, latent: Tensor) -> Tensor: ...


def cosine_basis(size: int = BLOCK) -> Tensor:
    """Float[size, size]: the orthonormal DCT-II, row u = frequency u (Ahmed, Natarajan, Rao 1974)."""
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    position = torch.arange(size, dtype=torch.float64)[None] + 0.5
    basis = torch.cos(math.pi / size * frequency * position) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.float()


def block_filters() -> Tensor:
    """Float[16, 3, 8, 8]: one orthogonal filter per latent channel, from RGB pixels of a block to a
    coefficient.

    Luma keeps the ten lowest frequencies (u + v <= 3), each chroma plane the three lowest (u + v <= 1).
    """
    basis = cosine_basis()
    by_frequency = sorted(((u, v) for u in range(BLOCK) for v in range(BLOCK)), key=lambda uv: (sum(uv), uv))
    planes = torch.tensor(RGB_TO_YCBCR)
    counts = (LUMA_COEFFICIENTS, CHROMA_COEFFICIENTS, CHROMA_COEFFICIENTS)
    return torch.stack(
        [
            torch.einsum("c,i,j->cij", plane, basis[u], basis[v])
            for plane, count in zip(planes, counts, strict=True)
            for u, v in by_frequency[:count]
        ]
    )


def inverse_block_filters() -> Tensor:
    """Float[16, 3, 8, 8]: the pseudo-inverse of `block_filters`, from coefficients back to RGB pixels."""
    forward = block_filters().flatten(1).double()
    return torch.linalg.pinv(forward).T.float().reshape(CHANNELS, 3, BLOCK, BLOCK)


def block_coefficients(pixels: Tensor) -> Tensor:
    """Float[B, H, W, 3] in 0..1 -> Float[B, 16, H/8, W/8]: DCT coefficients, not yet normalised."""
    return F.conv2d(pixels.movedim(-1, 1) * 2 - 1, block_filters().to(pixels), stride=BLOCK)


@dataclass(frozen=True)
class BlockCodec:
    """Encode and decode like a ComfyUI VAE: the low frequencies of every 8x8 block as 16 latent channels.

    A picture comes back blurred to about 1/3 of its resolution, but in the right places and colours, which
    is all that is needed here. There is nothing to train except the two statistics below.

    Attributes:
        mean, std: 16 numbers each, the statistics of every coefficient over the pictures the base model
            learnt.
        latent_format: ComfyUI's format of the model (SD3: (z - 0.0609) * 1.5305 on the way in). Latents are
            stored such that they have mean 0 and variance 1 *after* its process_in, where the model sees
            them.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    latent_format: LatentFormat

    downscale_ratio = BLOCK
    latent_channels = CHANNELS

    @classmethod
    def fit(cls, pixels: Tensor, latent_format: LatentFormat) -> "BlockCodec":
        """The codec whose statistics are those of `pixels`: Float[B, H, W, 3] in 0..1."""
        coefficients = block_coefficients(pixels).movedim(1, 0).flatten(1)
        return cls(tuple(coefficients.mean(1).tolist()), tuple(coefficients.std(1).tolist()), latent_format)

    def encode(self, pixels: Tensor) -> Tensor:
        """Float[B, H, W, 3] in 0..1 -> Float[B, 16, H//8, W//8]; what exceeds whole blocks is cut off
        centrally.

        Raises:
            ValueError: when a side is shorter than one block.
        """
        height, width = (side // BLOCK * BLOCK for side in pixels.shape[1:3])
        if not height or not width:
            raise ValueError(
                f"picture of {pixels.shape[2]}x{pixels.shape[1]} pixels: the block codec needs at least "
                f"{BLOCK}x{BLOCK}; enlarge it first"
            )
        top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        coefficients = block_coefficients(pixels[:, top : top + height, left : left + width, :3].float())
        mean, std = self._statistics(coefficients)
        return self.latent_format.process_out((coefficients - mean) / std)

    def decode(self, latent: Tensor) -> Tensor:
        """Float[B, 16, h, w] -> Float[B, 8h, 8w, 3] in 0..1."""
        if latent.ndim != 4 or latent.shape[1] != CHANNELS:
            raise ValueError(
                f"latent of shape {list(latent.shape)}: the block codec decodes [B, {CHANNELS}, h, w]; "
                "use latents of the stand-in checkpoint (or an SD3 Empty Latent)"
            )
        mean, std = self._statistics(latent)
        coefficients = self.latent_format.process_in(latent.float()) * std + mean
        rgb = F.conv_transpose2d(coefficients, inverse_block_filters().to(coefficients), stride=BLOCK)
        return ((rgb + 1) / 2).clamp(0, 1).movedim(1, -1)

    def _statistics(self, like: Tensor) -> tuple[Tensor, Tensor]:
        mean, std = (torch.tensor(s, device=like.device).view(1, -1, 1, 1) for s in (self.mean, self.std))
        return mean, std
