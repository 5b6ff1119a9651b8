"""The base model of the world: a small SD3 in ComfyUI's own class, trained from scratch on drawn people.

`ensure_base` trains it once, in pieces that survive an interruption, and leaves a .safetensors file that
ComfyUI loads as a genuine SD3 model; the codec travels in the same file.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from benchmarks.photographs import CHECKOUT
from benchmarks.world.codec import CHANNELS, WorldCodec, WorldVAE, learn_details
from benchmarks.world.drawing import draw
from benchmarks.world.people import SCENE_WORDS, Scene, caption, random_figure
from benchmarks.world.precision import products
from benchmarks.world.text import PHRASES, VECTOR, encode
from host.standins.base_model import Architecture
from semantic_focus.files.writing import write_atomically

if TYPE_CHECKING:
    from comfy.model_patcher import ModelPatcher

CACHE = CHECKOUT / ".cache" / "world"
MODEL, CODEC = "model.diffusion_model.", "world_codec."
"""Prefixes of the tensors in the file."""
HEADER = "semantic_focus_world"


@dataclass(frozen=True)
class Pretraining:
    """How the base model is made.

    Attributes:
        depth: joint blocks of the MMDiT; its width is 64 times that.
        pictures: how many different ones are drawn.
        steps, batch, learning_rate: of the flow model; the rate rises over `warmup` steps and falls to 0 over
            the last `decay` of all.
        codec_steps: steps of the codec, of 16 pictures.
        sigma_mean: sigma = sigmoid(N(mean, 1)).
        said: share of the attributes of a scene that a caption speaks of.
        named: share of the captions with a name that no other has, so that an unknown name means nothing.
        caption_dropout: share of the samples with the empty prompt.
        format: raised whenever the code changes what the same settings produce.
    """

    depth: int = 3
    pictures: int = 12_000
    steps: int = 7_000
    batch: int = 32
    learning_rate: float = 2e-3
    warmup: int = 100
    decay: float = 0.5
    codec_steps: int = 800
    sigma_mean: float = 0.2
    said: float = 0.8
    named: float = 0.5
    caption_dropout: float = 0.1
    seed: int = 20
    format: int = 1

    @property
    def key(self) -> str:
        """16 hex digits that change with any setting."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    def path(self, cache: Path = CACHE) -> Path:
        """Where the finished base model is."""
        return cache / f"base_{self.key}.safetensors"

    def rate_at(self, step: int) -> float:
        """Learning rate of the 0-based step."""
        left = (self.steps - step) / (self.decay * self.steps)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup, left)


QUICK = Pretraining(depth=2, pictures=6_000, steps=4_000, batch=16, learning_rate=3e-3, codec_steps=300)
"""For a demo: a step takes less than a quarter of the usual one's processor time."""


def build(depth: int) -> nn.Module:
    """A trainable float32 MMDiT that ComfyUI recognises as SD3, every block starting as the identity."""
    return Architecture(depth, CHANNELS, VECTOR, VECTOR).build()


@dataclass(frozen=True)
class Material:
    """What is learnt: latents Float[N, 16, h, w] and the scene of each."""

    latents: Tensor
    scenes: Sequence[Scene]


def draw_material(settings: Pretraining, codec: WorldCodec, chunk: int = 100) -> Material:
    """As many pictures as the settings say, encoded."""
    random = np.random.default_rng(settings.seed)
    latents, scenes = [], []
    for start in range(0, settings.pictures, chunk):
        figures = [random_figure(random) for _ in range(min(chunk, settings.pictures - start))]
        latents.append(codec.encode(draw(figures, seed=settings.seed + start)[0]))
        scenes += [figure.scene for figure in figures]
    return Material(torch.cat(latents), scenes)


def pictures_of(seed: int) -> Callable[[int], Tensor]:
    """A function that draws any number of new pictures, Float[N, S, S, 3], at each call."""
    random = np.random.default_rng(seed)
    return lambda count: draw([random_figure(random) for _ in range(count)], int(random.integers(2**31)))[0]


def fit_codec(settings: Pretraining) -> WorldCodec:
    """The codec of these settings, still without details: all that the flow model needs of it."""
    return WorldCodec.fit(pictures_of(settings.seed + 1)(min(512, settings.pictures)))


def prompts_for(
    settings: Pretraining, scenes: Sequence[Scene], random: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A caption for each scene, with part of what could be said and perhaps a name: tokens, pooled."""
    prompts = []
    for scene in scenes:
        said = [name for name in SCENE_WORDS if random.random() < settings.said]
        name = f"name{random.integers(2**40)}" if random.random() < settings.named else ""
        empty = random.random() < settings.caption_dropout
        prompts.append(encode("" if empty else caption(scene, name, said)))
    tokens, pooled = zip(*prompts, strict=True)
    return torch.stack(tokens), torch.stack(pooled)


class Pretrainer:
    """The training of the flow model; its whole state is one file."""

    def __init__(self, settings: Pretraining, material: Material):
        torch.manual_seed(settings.seed)
        self.settings, self.material = settings, material
        self.model = build(settings.depth)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), settings.learning_rate, (0.9, 0.98), weight_decay=0.01, fused=True
        )
        self.steps_done = 0

    def step(self) -> float:
        """One update at x = sigma * noise + (1 - sigma) * clean towards v = noise - clean; its loss."""
        settings = self.settings
        # seeded by the step: whoever goes on from a file draws what the first would have drawn
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + self.steps_done)
        random = np.random.default_rng((settings.seed, self.steps_done))
        index = torch.randint(len(self.material.latents), (settings.batch,), generator=generator)
        clean = self.material.latents[index]
        noise = torch.randn(clean.shape, generator=generator)
        sigma = torch.sigmoid(settings.sigma_mean + torch.randn(settings.batch, generator=generator))
        tokens, pooled = prompts_for(settings, [self.material.scenes[i] for i in index.tolist()], random)
        mix = sigma.view(-1, 1, 1, 1)
        self.optimizer.param_groups[0]["lr"] = settings.rate_at(self.steps_done)
        with products():
            predicted = self.model(mix * noise + (1 - mix) * clean, sigma * 1000, context=tokens, y=pooled)
        loss = F.mse_loss(predicted.float(), noise - clean)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.steps_done += 1
        return loss.item()

    def save(self, path: Path) -> None:
        """Write the state, complete or not at all."""
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps_done": self.steps_done,
        }
        write_atomically(path, lambda temporary: torch.save(state, temporary))

    def load(self, path: Path) -> None:
        """Go on from a state."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps_done = state["steps_done"]


def pretrain(settings: Pretraining, codec: WorldCodec, unfinished: Path) -> nn.Module:
    """Train the flow model, going on from the file `unfinished` where it is there."""
    trainer = Pretrainer(settings, draw_material(settings, codec))
    if unfinished.is_file():
        trainer.load(unfinished)
    began, first, losses = time.monotonic(), trainer.steps_done, []
    while trainer.steps_done < settings.steps:
        losses.append(trainer.step())
        done = trainer.steps_done
        if done % 100 == 0 or done == settings.steps:
            seconds = time.monotonic() - began
            left = seconds / (done - first) * (settings.steps - done)
            recent = sum(losses[-100:]) / len(losses[-100:])
            print(
                f"base model: {done}/{settings.steps}, loss {recent:.4f}, {left / 60:.0f} min left",
                flush=True,
            )
            trainer.save(unfinished)
    return trainer.model.eval().requires_grad_(False)


def ensure_base(settings: Pretraining | None = None, cache: Path = CACHE) -> Path:
    """The path of the base model in `cache`, trained now if it is not there; ComfyUI has to be importable."""
    settings = settings or Pretraining()
    path = settings.path(cache)
    if path.is_file():
        return path
    cache.mkdir(parents=True, exist_ok=True)
    drawer, unfinished = (cache / f"{name}_{settings.key}.pt" for name in ("codec", "unfinished"))
    codec = fit_codec(settings)
    if drawer.is_file():
        codec.load_state_dict(torch.load(drawer, weights_only=True))
    else:
        learn_details(codec, pictures_of(settings.seed + 2), settings.codec_steps)
        write_atomically(drawer, lambda temporary: torch.save(codec.state_dict(), temporary))
    model = pretrain(settings, codec, unfinished)
    tensors = {MODEL + name: value.contiguous() for name, value in model.state_dict().items()}
    tensors |= {CODEC + name: value.contiguous() for name, value in codec.state_dict().items()}
    header = {HEADER: json.dumps(asdict(settings))}
    write_atomically(path, lambda temporary: temporary.write_bytes(save(tensors, header)))
    unfinished.unlink(missing_ok=True)
    return path


def _read(path: Path, prefix: str) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        if HEADER not in (file.metadata() or {}):
            raise ValueError(
                f"{path.name}: no '{HEADER}' in its header: make one with python -m benchmarks.world"
            )
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        return {name.removeprefix(prefix): file.get_tensor(name) for name in names}


def load_base(path: Path) -> tuple[nn.Module, WorldCodec]:
    """The frozen network itself and its codec, for benchmarks that need no server.

    Raises:
        ValueError: the file was not made here.
    """
    tensors = _read(path, MODEL)
    model = build(tensors["x_embedder.proj.weight"].shape[0] // 64)
    model.load_state_dict(tensors)
    return model.eval().requires_grad_(False), load_codec(path)


def load_codec(path: Path) -> WorldCodec:
    """The codec alone; errors of `load_base`."""
    codec = WorldCodec()
    codec.load_state_dict(_read(path, CODEC))
    return codec.eval().requires_grad_(False)


def load_in_comfyui(path: Path) -> "tuple[ModelPatcher, WorldVAE]":
    """The model through ComfyUI's own loader, and its codec as a VAE; errors of `load_base`."""
    import comfy.sd

    codec = load_codec(path)
    model = comfy.sd.load_diffusion_model(str(path))
    return model, WorldVAE(codec, model.model.latent_format)


def empty_prompt() -> tuple[Tensor, Tensor]:
    """Tokens Float[4, 256] and pooled Float[256] of no words."""
    return torch.zeros(PHRASES, VECTOR), torch.zeros(VECTOR)
