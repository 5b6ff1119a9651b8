"""A small flow model trained from scratch: what the LoRAs of the ablation adapt.

No published weights are needed: it learns the captioned pictures of ComfyUI's workflow templates (see
`templates.py`). It is a diffusion transformer (Peebles and Xie 2023, adaLN-Zero) on the 16-channel block
codec of `host/standins`, trained as a rectified flow: x = sigma * noise + (1 - sigma) * clean, v = noise -
clean.
"""

import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from benchmarks.photographs import CHECKOUT
from benchmarks.templates import CAPTIONS, template_pictures
from host.standins.codec import BLOCK, CHANNELS, BlockCodec
from semantic_focus.files.writing import write_atomically
from semantic_focus.objective.noise_weighting import NoiseLevel

CACHE = CHECKOUT / ".cache" / "ablation"
SIDE = 128
GRID = SIDE // BLOCK
PATCH = 2
SUBJECT_WORD = "sks"
"""In the caption of every person and in none of the base model's."""


class Unscaled:
    """A latent format that leaves latents as they are."""

    def process_in(self, latent: Tensor) -> Tensor:
        return latent

    def process_out(self, latent: Tensor) -> Tensor:
        return latent


@dataclass(frozen=True)
class Pretraining:
    """How the base model is made.

    Attributes:
        width, depth, heads: of the transformer.
        margin: pixels by which a picture is read larger than 128, to be shifted within by whole latent cells.
        zooms: a picture is read in each of these sizes, so that the model knows faces near and far.
        caption_dropout: share of samples without a caption.
    """

    width: int = 192
    depth: int = 5
    heads: int = 3
    steps: int = 3000
    batch: int = 16
    learning_rate: float = 1.5e-3
    warmup: int = 100
    margin: int = 32
    zooms: tuple[float, ...] = (1.0, 1.3, 1.7)
    caption_dropout: float = 0.1
    sigma_mean: float = 0.3
    seed: int = 7


class Block(nn.Module):
    """Attention and feed-forward, both modulated by sigma and caption, starting as the identity."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward_up = nn.Linear(width, 4 * width)
        self.feed_forward_down = nn.Linear(4 * width, width)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x Float[B, N, D], condition Float[B, D]."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = (
            self.modulation(F.silu(condition)).unsqueeze(1).chunk(6, -1)
        )
        normed = F.layer_norm(x, x.shape[-1:]) * (1 + scale_a) + shift_a
        q, k, v = self.attention_qkv(normed).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + gate_a * self.attention_out(attended)
        normed = F.layer_norm(x, x.shape[-1:]) * (1 + scale_f) + shift_f
        return x + gate_f * self.feed_forward_down(F.gelu(self.feed_forward_up(normed)))


class SmallTransformer(nn.Module):
    """Predicts the velocity of a latent of 16 x 16 cells, conditioned on a bag of words.

    Attributes:
        words: the vocabulary; a word outside it has no influence.
    """

    def __init__(self, settings: Pretraining, words: Sequence[str]):
        super().__init__()
        width, cells = settings.width, CHANNELS * PATCH**2
        self.words = tuple(words)
        self.patch_embed = nn.Linear(cells, width)
        self.position = nn.Parameter(torch.randn(1, (GRID // PATCH) ** 2, width) * 0.02)
        self.time_embed = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.word_embed = nn.Parameter(torch.randn(len(words), width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, settings.heads) for _ in range(settings.depth))
        self.final_layer = nn.Linear(width, cells)
        nn.init.zeros_(self.final_layer.weight)
        nn.init.zeros_(self.final_layer.bias)

    def forward(self, noisy: Tensor, sigma: Tensor, captions: Tensor) -> Tensor:
        """noisy Float[B, 16, 16, 16], sigma Float[B], captions Float[B, W] as of `encode`."""
        rates = 1000 * torch.exp(-math.log(1e4) * torch.arange(32, device=sigma.device) / 32)
        angles = sigma[:, None] * rates
        condition = self.time_embed(torch.cat((angles.sin(), angles.cos()), -1)) + captions @ self.word_embed
        x = self.patch_embed(F.pixel_unshuffle(noisy, PATCH).flatten(2).mT) + self.position
        for block in self.blocks:
            x = block(x, condition)
        x = self.final_layer(F.layer_norm(x, x.shape[-1:]))
        return F.pixel_shuffle(x.mT.unflatten(-1, (GRID // PATCH, GRID // PATCH)), PATCH)

    def encode(self, captions: Sequence[str]) -> Tensor:
        """Float[B, W]: which known words a caption has."""
        return torch.tensor([[float(word in caption.split()) for word in self.words] for caption in captions])


def pretraining_key(settings: Pretraining) -> str:
    """16 hex digits that change with the settings, a picture or a caption."""
    digest = hashlib.sha256(repr((asdict(settings), sorted(CAPTIONS.items()))).encode())
    available = template_pictures()
    for name in CAPTIONS:
        digest.update(available[name].read_bytes())
    return digest.hexdigest()[:16]


def base_pictures(settings: Pretraining) -> Tensor:
    """Float[Z, N, S, S, 3] in 0..1: the central square of every captioned picture, at every zoom."""
    side, available = SIDE + settings.margin, template_pictures()
    zoomed = []
    for zoom in settings.zooms:
        for name in CAPTIONS:
            with Image.open(available[name]) as picture:
                whole_side = round(side * zoom)
                whole = ImageOps.fit(
                    picture.convert("RGB"), (whole_side, whole_side), Image.Resampling.LANCZOS
                )
            left = (whole.width - side) // 2
            # faces are in the upper half: the window of a near view leaves out the bottom first
            top = (whole.width - side) // 4
            zoomed.append(torch.from_numpy(np.array(whole.crop((left, top, left + side, top + side)))))
    pictures = torch.stack(zoomed).float() / 255
    return pictures.unflatten(0, (len(settings.zooms), len(CAPTIONS)))


def pretrain(settings: Pretraining) -> tuple[SmallTransformer, BlockCodec]:
    """Train the base model; minutes on two cores."""
    torch.manual_seed(settings.seed)
    pictures = base_pictures(settings)
    codec = BlockCodec.fit(pictures.flatten(0, 1), Unscaled())
    words = sorted({word for caption in CAPTIONS.values() for word in caption.split()} | {SUBJECT_WORD})
    model = SmallTransformer(settings, words)
    captions = model.encode(list(CAPTIONS.values()))
    optimizer = torch.optim.AdamW(model.parameters(), settings.learning_rate, (0.9, 0.98))
    started, recent = time.monotonic(), []
    for step in range(settings.steps):
        rise = min(1.0, (step + 1) / settings.warmup)
        decay = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        optimizer.param_groups[0]["lr"] = settings.learning_rate * rise * decay
        index = torch.randint(len(CAPTIONS), (settings.batch,))
        zoom = torch.randint(len(settings.zooms), (settings.batch,))
        places = BLOCK * torch.randint(settings.margin // BLOCK + 1, (settings.batch, 2))
        pixels = [
            pictures[z, i, top : top + SIDE, left : left + SIDE]
            for z, i, (top, left) in zip(zoom, index, places.tolist(), strict=True)
        ]
        pixels = [
            p.flip(1) if flip else p for p, flip in zip(pixels, torch.rand(len(pixels)) < 0.5, strict=True)
        ]
        clean = codec.encode(torch.stack(pixels))
        noise = torch.randn_like(clean)
        sigma = torch.sigmoid(settings.sigma_mean + torch.randn(settings.batch))
        mix = sigma.view(-1, 1, 1, 1)
        known = captions[index] * (torch.rand(settings.batch, 1) >= settings.caption_dropout)
        loss = F.mse_loss(model(mix * noise + (1 - mix) * clean, sigma, known), noise - clean)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append(loss.item())
        if step % 100 == 99:
            mean = sum(recent[-100:]) / 100
            print(
                f"base model: step {step + 1}, loss {mean:.3f}, {time.monotonic() - started:.0f} s",
                flush=True,
            )
    return model, codec


def base_model(settings: Pretraining, cache: Path = CACHE) -> tuple[SmallTransformer, BlockCodec]:
    """The frozen base model and its codec; trained once, then read from `cache`."""
    path = cache / f"base_{pretraining_key(settings)}.safetensors"
    if not path.is_file():
        model, codec = pretrain(settings)
        about = json.dumps({"words": model.words, "mean": codec.mean, "std": codec.std})
        content = save(model.state_dict(), {"base_model": about})
        write_atomically(path, lambda temporary: temporary.write_bytes(content))
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["base_model"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    model = SmallTransformer(settings, about["words"])
    model.load_state_dict(tensors)
    codec = BlockCodec(tuple(about["mean"]), tuple(about["std"]), Unscaled())
    return model.requires_grad_(False).eval(), codec


class CaptionedFlow:
    """The model with a caption bound to each picture, as the trainer sees it (`VelocityModel`)."""

    def __init__(self, model: SmallTransformer, captions: Sequence[str]):
        self.model = model
        self._captions = model.encode(captions)

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `VelocityModel.corrupt`: u is sigma."""
        mix = u.view(-1, 1, 1, 1)
        return mix * noise + (1 - mix) * clean, u, noise - clean

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        """As `VelocityModel.predict`."""
        return self.model(noisy, sigma, self._captions[pictures])

    def noise_level(self, u: Tensor) -> NoiseLevel:
        """As `VelocityModel.noise_level`."""
        return NoiseLevel(u)
