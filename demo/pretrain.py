"""Make the demo's base model: a small SD3 trained from scratch on the pictures of installed packages.

    python demo/pretrain.py --comfyui PATH --cache .cache/demo

prints, as its last line, the path of a .safetensors file that ComfyUI loads as a genuine SD3 model. It takes
minutes once; afterwards the file with the same key (settings, pictures and captions) is used again.

No weights can be had without a model hub, and a LoRA needs something to adapt. A model of a few million
parameters that has seen four dozen pictures knows roughly what a portrait is: enough to show what a LoRA
changes and what it leaves alone. It never sees the demo's subject, nor the word for her.
"""

import argparse
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from captions import CAPTIONS
from pictures import template_pictures
from PIL import Image, ImageOps
from standins import base_model
from standins.codec import BlockCodec
from standins.text import HashingTextEncoder
from torch import Tensor, nn

THREADS = 2
FEWEST_PICTURES = 24
TOKEN = 16
"""Side in pixels of what the model sees as one token: a patch of 2 x 2 latent cells of 8 pixels."""


@dataclass(frozen=True)
class Settings:
    """How the base model is trained.

    Attributes:
        depth: joint blocks of the MMDiT; its width is 64 times that.
        size: side of the pictures in pixels; one latent cell is 8, one token of the model 16.
        margin: pixels by which a picture is read larger than `size`, to be shifted at random within, by whole
            tokens. Without, the model learns its pictures by heart and adapts badly; by single pixels, the
            codec's coefficients change with every shift and the pictures become mush.
        sigma_mean, sigma_spread: sigma = sigmoid(N(mean, spread)), logit-normal as in Esser et al. 2024
            (arXiv 2403.03206); a mean above 0 favours the noisy end, where a sample's layout is decided.
        caption_dropout: share of samples that see the empty prompt, so that guidance works.
        format: raised whenever the code changes what the same settings produce.
    """

    depth: int = 3
    size: int = 128
    margin: int = 16
    steps: int = 1200
    batch: int = 16
    learning_rate: float = 2e-3
    warmup: int = 60
    weight_decay: float = 0.01
    sigma_mean: float = 0.4
    sigma_spread: float = 1.0
    caption_dropout: float = 0.1
    seed: int = 20
    format: int = 3


@dataclass(frozen=True)
class Material:
    """What is learnt.

    Attributes:
        pixels: Float[N, S, S, 3] in 0..1; the pictures with their margin.
        codec: turns pixels into latents.
        context: Float[N + 1, T, 4096]; the captions, the last one the empty prompt.
        pooled: Float[N + 1, 2048]; likewise.
    """

    pixels: Tensor
    codec: BlockCodec
    context: Tensor
    pooled: Tensor


def choose_pictures(available: Mapping[str, Path]) -> dict[Path, str]:
    """The captioned pictures among those available, with their captions.

    Raises:
        FileNotFoundError: when fewer than 24 are there.
    """
    chosen = {available[name]: caption for name, caption in CAPTIONS.items() if name in available}
    if len(chosen) < FEWEST_PICTURES:
        raise FileNotFoundError(
            f"{len(chosen)} of the {len(CAPTIONS)} pictures in demo/captions.py are installed, at least "
            f"{FEWEST_PICTURES} are needed: install the comfyui-workflow-templates version that ComfyUI's "
            "requirements.txt pins"
        )
    return chosen


def cache_key(settings: Settings, pictures: Mapping[Path, str]) -> str:
    """16 hex digits that change with the settings, any picture's bytes or any caption."""
    digest = hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode())
    for path, caption in pictures.items():
        digest.update(hashlib.sha256(path.read_bytes()).digest() + caption.encode())
    return digest.hexdigest()[:16]


def read_square(path: Path, side: int) -> Tensor:
    """Float[side, side, 3] in 0..1: the central square of a picture; of an animation, its first frame."""
    with Image.open(path) as picture:
        square = ImageOps.fit(picture.convert("RGB"), (side, side), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(square)).float() / 255


def encode_material(pixels: Tensor, captions: Iterable[str], codec: BlockCodec) -> Material:
    """Pictures Float[N, S, S, 3] in 0..1 with their N captions encoded."""
    encoder = HashingTextEncoder()
    prompts = [encoder.tokenize(caption) for caption in (*captions, "")]
    context, pooled = zip(
        *(encoder.encode_from_tokens(prompt, return_pooled=True) for prompt in prompts), strict=True
    )
    return Material(pixels, codec, torch.cat(context), torch.cat(pooled))


def draw_batch(
    settings: Settings, material: Material, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Clean latents Float[B, 16, h, w], and their captions (or the empty one): context, pooled."""
    count = len(material.pixels)
    index = torch.randint(count, (settings.batch,), generator=generator)
    dropped = torch.rand(settings.batch, generator=generator) < settings.caption_dropout
    caption = torch.where(dropped, count, index)
    pixels = []
    for picture in index.tolist():
        places = settings.margin // TOKEN + 1
        top, left = (TOKEN * torch.randint(places, (2,), generator=generator)).tolist()
        pixels.append(material.pixels[picture, top : top + settings.size, left : left + settings.size])
    clean = material.codec.latent_format.process_in(material.codec.encode(torch.stack(pixels)))
    return clean, material.context[caption], material.pooled[caption]


def learning_rate_factor(step: int, settings: Settings) -> float:
    """Linear warm-up, then half a cosine down to zero."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return 0.5 * (1 + math.cos(math.pi * progress))


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def train(settings: Settings, material: Material) -> nn.Module:
    """Rectified flow from scratch: at x = sigma * noise + (1 - sigma) * clean, predict noise - clean.

    The same settings and material give the same weights on the same machine.
    """
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    model = base_model.Architecture(settings.depth).build()
    optimizer = make_optimizer(model, settings)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings))
    started, losses = time.monotonic(), []
    for step in range(1, settings.steps + 1):
        clean, context, pooled = draw_batch(settings, material, generator)
        noise = torch.randn(clean.shape, generator=generator)
        logit = settings.sigma_mean + settings.sigma_spread * torch.randn(len(clean), generator=generator)
        sigma = logit.sigmoid().view(-1, 1, 1, 1)
        noisy = sigma * noise + (1 - sigma) * clean
        loss = F.mse_loss(model(noisy, sigma.flatten() * 1000, context=context, y=pooled), noise - clean)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 0 or step == settings.steps:
            recent = sum(losses[-50:]) / len(losses[-50:])
            report(step, settings.steps, recent, time.monotonic() - started)
    return model


def report(step: int, steps: int, loss: float, seconds: float) -> None:
    """One line of progress with the time left."""
    minutes, rest = divmod(round(seconds / step * (steps - step)), 60)
    print(f"base model: step {step}/{steps}, loss {loss:.3f}, {minutes}:{rest:02d} left", flush=True)


def ensure_base_model(cache: Path, settings: Settings | None = None) -> Path:
    """The path of the base model in `cache`, trained now if it is not there; `comfy` must be importable.

    Raises:
        FileNotFoundError: when the pictures to learn from are not installed.
    """
    settings = settings or Settings()
    pictures = choose_pictures(template_pictures())
    path = cache / f"base_{cache_key(settings, pictures)}.safetensors"
    if path.is_file():
        print(f"base model: {path.name} is there", flush=True)
        return path
    from comfy.latent_formats import SD3

    print(f"base model: learning {len(pictures)} pictures (once)", flush=True)
    pixels = torch.stack([read_square(path, settings.size + settings.margin) for path in pictures])
    codec = BlockCodec.fit(pixels, SD3())
    material = encode_material(pixels, pictures.values(), codec)
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        model = train(settings, material)
    finally:
        torch.set_num_threads(threads)
    base_model.save(path, model, codec, asdict(settings))
    return path


def import_comfyui(folder: Path) -> None:
    """Make ComfyUI's `comfy` package importable, on the CPU and with torch's own attention.

    Raises:
        FileNotFoundError: when `folder` is no ComfyUI.
    """
    if not (folder / "comfy" / "cli_args.py").is_file():
        raise FileNotFoundError(f"{folder} is no ComfyUI folder (it has no comfy/cli_args.py): pass its path")
    sys.path.append(os.fspath(folder.resolve()))
    from comfy.cli_args import args

    args.cpu = True
    args.use_pytorch_cross_attention = True


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo's base model, or find it in the cache.")
    parser.add_argument("--comfyui", type=Path, required=True, help="the ComfyUI folder")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the finished model")
    arguments = parser.parse_args()
    import_comfyui(arguments.comfyui)
    print(ensure_base_model(arguments.cache))


if __name__ == "__main__":
    main()
