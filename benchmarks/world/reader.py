"""Tells face, skin, hair, clothes and background from a picture; how well it does is part of every report."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from benchmarks.world.drawing import SIDE, draw
from benchmarks.world.people import FACE_PARTS, SCENE_WORDS, Face, Figure, random_figure
from semantic_focus.files.writing import write_atomically

WORDS: Mapping[str, tuple[str, ...]] = {**SCENE_WORDS, **FACE_PARTS}
WIDTHS = (3, 24, 48, 64, 96)
HIDDEN = 256
RATE = 3e-3
NOISE = 0.08
"""Largest standard deviation of the noise that the reader learns to see through."""
TRAITS = 7
"""Numbers read besides the words: skin (red, green, blue), eye height and size, mouth height and size."""
TRAIT_SCALE = torch.tensor([0.2, 0.2, 0.2, 1.0, 0.2, 0.9, 0.2])
"""About the standard deviation of each over random faces."""


def traits(face: Face) -> Tensor:
    """Float[7]: the traits of a face in units of `TRAIT_SCALE`."""
    numbers = (*face.skin, face.eye_height, face.eye_size, face.mouth_height, face.mouth_size)
    return torch.tensor(numbers) / TRAIT_SCALE


@dataclass(frozen=True)
class Reading:
    """What was read from N pictures: attribute -> N words, and traits Float[N, 7] as of `traits`."""

    words: Mapping[str, list[str]]
    traits: Tensor

    def is_as(self, attribute: str, expected: Sequence[str]) -> np.ndarray:
        """Bool[N]: where the word is the expected one."""
        return np.array([read == word for read, word in zip(self.words[attribute], expected, strict=True)])


class Reader(nn.Module):
    """Four strided convolutions and a head for each attribute."""

    def __init__(self):
        super().__init__()
        pairs = list(zip(WIDTHS[:-1], WIDTHS[1:], strict=True))
        self.convolutions = nn.ModuleList(nn.Conv2d(inner, outer, 3, 2, 1) for inner, outer in pairs)
        self.norms = nn.ModuleList(nn.GroupNorm(8, outer) for _, outer in pairs)
        self.hidden = nn.Linear(WIDTHS[-1] * (SIDE // 16) ** 2, HIDDEN)
        self.heads = nn.ModuleDict({name: nn.Linear(HIDDEN, len(words)) for name, words in WORDS.items()})
        self.traits = nn.Linear(HIDDEN, TRAITS)

    def forward(self, pixels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """pixels Float[N, S, S, 3] in 0..1 -> scores of the words of each attribute, and traits."""
        x = pixels.movedim(-1, 1) * 2 - 1
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.gelu(norm(convolution(x)))
        x = F.gelu(self.hidden(x.flatten(1)))
        return {name: head(x) for name, head in self.heads.items()}, self.traits(x)

    @torch.no_grad()
    def read(self, pixels: Tensor) -> Reading:
        """What is on these pictures Float[N, S, S, 3]."""
        scores, read = self(pixels)
        words = {name: [WORDS[name][i] for i in score.argmax(1).tolist()] for name, score in scores.items()}
        return Reading(words, read)


def true_words(figures: Sequence[Figure]) -> dict[str, list[str]]:
    """Attribute -> what is really on the pictures of these figures."""
    scene = {name: [getattr(figure.scene, name) for figure in figures] for name in SCENE_WORDS}
    return scene | {name: [getattr(figure.face, name) for figure in figures] for name in FACE_PARTS}


def train_reader(
    redraw: Callable[[Tensor], Tensor], steps: int, most_pictures: int = 4096, batch: int = 64, seed: int = 4
) -> Reader:
    """A reader of drawn pictures, half of them as `redraw` (the codec) gives them back, all noisy."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    pictures = min(most_pictures, steps * batch)
    figures = [random_figure(random) for _ in range(pictures)]
    seen = torch.cat([_seen(figures[at : at + batch], redraw, at) for at in range(0, pictures, batch)], 1)
    words = true_words(figures)
    expected = {name: torch.tensor([WORDS[name].index(w) for w in words[name]]) for name in WORDS}
    faces = torch.stack([traits(figure.face) for figure in figures])
    reader = Reader()
    optimizer = torch.optim.AdamW(reader.parameters(), RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.1)
    started, losses = time.monotonic(), []
    for step in range(1, steps + 1):
        index = torch.randint(pictures, (batch,))
        pixels = seen[step % 2, index].float() / 255
        scores, read = reader(pixels + NOISE * torch.rand(batch, 1, 1, 1) * torch.randn_like(pixels))
        loss = F.mse_loss(read, faces[index])
        for name, score in scores.items():
            loss = loss + F.cross_entropy(score, expected[name][index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        if step % 100 == 0 or step == steps:
            recent, seconds = sum(losses[-50:]) / len(losses[-50:]), time.monotonic() - started
            print(f"reader: {step}/{steps}, loss {recent:.3f}, {seconds:.0f} s", flush=True)
    return reader.eval().requires_grad_(False)


def _seen(figures: Sequence[Figure], redraw: Callable[[Tensor], Tensor], seed: int) -> Tensor:
    """UInt8[2, N, S, S, 3]: these figures as they are drawn, and redrawn."""
    pixels, _ = draw(figures, seed)
    return (torch.stack((pixels, redraw(pixels))) * 255).round().byte()


def ensure_reader(path: Path, steps: int, redraw: Callable[[Tensor], Tensor]) -> Reader:
    """The reader in this file, trained now if it is not there."""
    if not path.is_file():
        trained = train_reader(redraw, steps)
        write_atomically(path, lambda temporary: temporary.write_bytes(save(trained.state_dict())))
    reader = Reader()
    reader.load_state_dict(load_file(path))
    return reader.eval().requires_grad_(False)


def accuracy(reading: Reading, expected: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Attribute -> share of the pictures whose word is the expected one."""
    return {name: float(reading.is_as(name, words).mean()) for name, words in expected.items()}
