"""What the trainer works on: a frozen velocity model, pictures in latent space, and batches of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..objective.noise_weighting import NoiseLevel
from .digest import digest

UNCONDITIONAL = -1
"""Picture index that stands for the empty prompt."""
MOST_IN_A_PASS = 1_000_000
"""Pictures in one pass over the dataset, repeats counted."""


def called(picture: int, names: Sequence[str]) -> str:
    """What to call a picture in a message: its number from 1, and its file's name if there is one."""
    return f"picture {picture + 1}" + (f" ({names[picture]})" if picture < len(names) else "")


class VelocityModel(Protocol):
    """A diffusion model as the trainer sees it: frozen, with conditioning already bound to each picture.

    One whose network computes in 16 bit says so by an attribute `compute_dtype`. One that can take less
    memory has `make_room() -> bool`: whether it takes less from now on. One whose prompts differ in size has
    `alike(noisy, pictures) -> list[int]`: the lengths of runs of pictures for which its network is given
    tensors of one size.
    """

    def corrupt(self, clean: Tensor, noise: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Noise a batch to the positions u.

        Args:
            clean, noise: Float[B, C, *grid].
            u: Float[B] in (0, 1); 0 is clean.

        Returns:
            noisy Float[B, C, *grid], sigma Float[B], and the target of the model's own parametrisation.
        """
        ...

    def predict(self, noisy: Tensor, sigma: Tensor, pictures: list[int]) -> Tensor:
        """Float[B, C, *grid]: the model's raw prediction, conditioned for these picture indices
        (`UNCONDITIONAL`: for the empty prompt).
        """
        ...

    def noise_level(self, u: Tensor) -> NoiseLevel:
        """What the objective may want to know about the positions u, Float[B]."""
        ...


def compute_dtype(model: VelocityModel) -> torch.dtype:
    """What the network of a model computes in: fp32 where the model does not say otherwise."""
    return getattr(model, "compute_dtype", torch.float32)


@dataclass(frozen=True)
class TrainingPictures:
    """The dataset in latent space.

    Attributes:
        latents: one Float[C, *grid] per picture, as the model wants them (latent format applied); sizes may
            differ.
        masks: one Float[K, h, w] per picture in 0..1, on the latent's own grid.
        labels: the K region names.
        repeats: how often each picture comes in one pass; empty: once each.
        device: where batches go; the pictures may wait elsewhere.
        names: of the pictures' files, for messages; empty: unknown.
        made: so many at the end are no pictures of the user's but made for the training, see `scenes`.
        under: of the first of those, the index of the picture that each is made of.
    """

    latents: tuple[Tensor, ...]
    masks: tuple[Tensor, ...]
    labels: tuple[str, ...]
    repeats: tuple[int, ...] = ()
    device: torch.device = torch.device("cpu")
    names: tuple[str, ...] = ()
    made: int = 0
    under: tuple[int, ...] = ()

    def __post_init__(self):
        if not self.latents:
            raise ValueError("no picture to train on")
        if len(self.latents) != len(self.masks):
            raise ValueError(f"{len(self.latents)} latents but masks for {len(self.masks)} pictures")
        for index, (latent, mask) in enumerate(zip(self.latents, self.masks, strict=True)):
            if mask.shape != (len(self.labels), *latent.shape[-2:]):
                raise ValueError(
                    f"picture {index + 1}: masks are {list(mask.shape)} but its latent has a grid of "
                    f"{list(latent.shape[-2:])} and there are {len(self.labels)} regions: bring the masks "
                    "to the latent grid first (node 'Masks To Latent')"
                )
        if self.repeats and (len(self.repeats) != len(self.latents) or min(self.repeats) < 1):
            raise ValueError(
                f"repeats are {list(self.repeats)}: give one number of 1 or more for each of the "
                f"{len(self.latents)} pictures"
            )
        if sum(self.repeats) > MOST_IN_A_PASS:
            raise ValueError(
                f"repeats add up to {sum(self.repeats)} pictures in one pass over the dataset, "
                f"{MOST_IN_A_PASS} at most: only their ratios matter, give smaller numbers"
            )

    def batch(self, pictures: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
        """Latents Float[B, C, *grid] and region name -> Float[B, h, w] of pictures of one size."""
        clean = torch.stack([self.latents[i] for i in pictures]).to(self.device)
        masks = torch.stack([self.masks[i] for i in pictures]).to(self.device)
        return clean, dict(zip(self.labels, masks.unbind(1), strict=True))

    @property
    def own(self) -> range:
        """Indices of the user's pictures."""
        return range(len(self.latents) - self.made)

    def called(self, picture: int) -> str:
        """What to call a picture in a message: its number from 1, and its file's name where it is known."""
        if picture not in self.own:
            return f"scene {picture - len(self.own) + 1} of {self.made}"
        return called(picture, self.names)

    def digest(self) -> str:
        """16 hex digits that change with any latent, mask, region name or repeat."""
        return digest((self.latents, self.masks, self.labels, self.repeats))


@dataclass(frozen=True)
class Batch:
    """What one pass through the model is given.

    Attributes:
        clean, noise: Float[B, C, *grid].
        masks: region name -> Float[B, h, w].
        pictures: B picture indices.
        prompts: B picture indices whose prompt is used; `UNCONDITIONAL` where the caption is dropped.
        u: Float[B], noise positions.
        first: place in its step of the first picture; the others follow it.
    """

    clean: Tensor
    noise: Tensor
    masks: Mapping[str, Tensor]
    pictures: list[int]
    prompts: list[int]
    u: Tensor
    first: int = 0

    @property
    def places(self) -> range:
        """Places of the pictures in their step."""
        return range(self.first, self.first + len(self.pictures))

    def cut(self, start: int, end: int) -> "Batch":
        """The pictures from `start` to before `end`."""
        cut = slice(start, end)
        return Batch(
            self.clean[cut],
            self.noise[cut],
            {name: mask[cut] for name, mask in self.masks.items()},
            self.pictures[cut],
            self.prompts[cut],
            self.u[cut],
            self.first + start,
        )

    def split(self, size: int) -> "Iterator[Batch]":
        """The same batch in pieces of at most `size` pictures."""
        for start in range(0, len(self.pictures), size):
            yield self.cut(start, start + size)
