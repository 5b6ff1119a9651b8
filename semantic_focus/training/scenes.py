"""Scenes: pictures of the base model's own, which a training sees beside its pictures.

A LoRA that sees its face with one hair and one sweater alone cannot know that they do not belong together,
and one that never sees anybody else gives everybody that face. Scenes are samples of the base model for other
captions; other trainers call such pictures regularisation or class images (Ruiz et al. 2023, "DreamBooth").
They are used in two ways:

- *composites*: the trained regions of a picture, by their masks, over a scene, with the scene's caption and
  the trigger word;
- *strangers*: the scene itself, with its caption and without the trigger word.

What is a scene's is held to the base model's own prediction, never learnt.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..objective.sums import uncovered
from .data import TrainingPictures

PRESERVED = "preserved"
"""Region of what is a scene's. It has no weight, so the objective's prior holds it, whatever the weight of
what no region covers."""


@dataclass(frozen=True)
class SceneShares:
    """How much of a training goes to scenes; the rest are the pictures themselves.

    Attributes:
        composites, strangers: shares in 0..1 of the pictures in a pass over the dataset, below 1 together.
    """

    composites: float = 0.3
    strangers: float = 0.5

    def __post_init__(self):
        for name in ("composites", "strangers"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be 0 or more and below 1")
        if self.composites + self.strangers >= 1:
            raise ValueError(
                f"composites {self.composites:g} and strangers {self.strangers:g} leave nothing of the "
                "pictures themselves: together they must be below 1"
            )
        if self.composites + self.strangers == 0:
            raise ValueError("composites and strangers are both 0: no scene would be used")

    @property
    def own(self) -> float:
        """Share of the pictures themselves."""
        return 1 - self.composites - self.strangers


@dataclass(frozen=True)
class Scenes:
    """Samples of the base model as ComfyUI hands them on, and what a training is told of them.

    Attributes:
        latents: LATENT samples Float[1, C, *grid].
        shares: how much of the training goes to them.
        with_trigger: CONDITIONING of each composite; empty where there are none.
        without: CONDITIONING of each stranger; likewise.
    """

    latents: tuple[Tensor, ...]
    shares: SceneShares
    with_trigger: tuple[Any, ...]
    without: tuple[Any, ...]

    @property
    def conditionings(self) -> tuple[Any, ...]:
        """One for each picture that `with_scenes` adds, in its order."""
        return (*self.with_trigger, *self.without)


def with_scenes(
    data: TrainingPictures, regions: Collection[str], scenes: Sequence[Tensor], shares: SceneShares
) -> TrainingPictures:
    """The pictures, then one composite for each scene, then the scenes themselves; what has no share is left
    out. Repeats give each kind its share, as near as whole numbers come.

    A composite is made of a picture of the scene's size, those in turn, and has its name. Its latent is
    cover · picture + (1 − cover) · scene, where cover is min(1, sum of the masks of the regions).

    Args:
        regions: names of those that are trained.
        scenes: Float[C, *grid] each; for composites in sizes that pictures have.

    Raises:
        ValueError: no scene, a region of the name `PRESERVED`; for composites, none of the pictures' regions
            is trained, or a scene in a size of its own.
    """
    if not scenes:
        raise ValueError("there is no scene: make one at least")
    if PRESERVED in data.labels:
        raise ValueError(f"a region is called {PRESERVED!r}, which stands for scenes: give it another name")
    latents, masks, names = list(data.latents), [_preserving(it, 0.0) for it in data.masks], list(data.names)
    under = _pictures_under(data, regions, scenes) if shares.composites else []
    counts = [len(scenes) * (share > 0) for share in (shares.composites, shares.strangers)]
    for picture, scene in zip(under, scenes, strict=False):
        latent, mask = _composite(data, picture, regions, scene)
        latents.append(latent)
        masks.append(mask)
        names += data.names[picture : picture + 1]
    if shares.strangers:
        latents += scenes
        masks += [_preserving(scene.new_zeros(len(data.labels), *scene.shape[-2:]), 1.0) for scene in scenes]
        names += [f"scene {number}" for number in range(1, len(scenes) + 1)] if data.names else []
    own = data.repeats or (1,) * len(data.latents)
    times = _times(sum(own), counts, shares)
    repeats = [count * times[0] for count in own] + [times[1]] * counts[0] + [times[2]] * counts[1]
    return TrainingPictures(
        tuple(latents),
        tuple(masks),
        (*data.labels, PRESERVED),
        tuple(repeats),
        data.device,
        tuple(names),
        made=sum(counts),
        under=tuple(under),
    )


def _pictures_under(data: TrainingPictures, regions: Collection[str], scenes: Sequence[Tensor]) -> list[int]:
    """For each scene the picture that is put over it: of those of its size that have anything trained, in
    turn.
    """
    kept = [place for place, name in enumerate(data.labels) if name in regions]
    of_size: dict[torch.Size, list[int]] = {}
    for picture in data.own:
        if bool(data.masks[picture][kept].any()):
            of_size.setdefault(data.latents[picture].shape, []).append(picture)
    if not of_size:
        raise ValueError(
            f"none of the pictures' regions ({', '.join(data.labels)}) is trained: there is nothing to put "
            "into a scene. Give one a weight, or set composites to 0"
        )
    chosen = []
    for number, scene in enumerate(scenes):
        if scene.shape not in of_size:
            sizes = ", ".join(str(list(size)) for size in of_size)
            raise ValueError(
                f"scene {number + 1} is {list(scene.shape)}, but pictures to put into it are {sizes}: "
                "make the scenes in the sizes of pictures with a trained region"
            )
        pictures = of_size[scene.shape]
        pictures.append(pictures.pop(0))
        chosen.append(pictures[-1])
    return chosen


def _composite(
    data: TrainingPictures, picture: int, regions: Collection[str], scene: Tensor
) -> tuple[Tensor, Tensor]:
    kept = torch.tensor([name in regions for name in data.labels])
    latent, mask = data.latents[picture], data.masks[picture] * kept.view(-1, 1, 1)
    outside = uncovered(mask[None])[0].to(latent)
    return outside * scene.to(latent) + (1 - outside) * latent, torch.cat((mask, outside[None].to(mask)))


def _preserving(mask: Tensor, value: float) -> Tensor:
    """Float[K + 1, h, w]: the masks Float[K, h, w], and `PRESERVED` of this value everywhere."""
    return torch.cat((mask, mask.new_full((1, *mask.shape[1:]), value)))


def _times(own: int, counts: Sequence[int], shares: SceneShares) -> tuple[int, int, int]:
    """How often pictures, composites and strangers come: whole numbers near the shares, the smallest that are
    within a tenth of them.

    Args:
        own: pictures in a pass over the dataset, their repeats counted.
        counts: how many composites and strangers there are.
    """
    wanted = (shares.own, shares.composites, shares.strangers)
    rates = [share / count if count else 0.0 for share, count in zip(wanted, (own, *counts), strict=True)]
    least = min(rate for rate in rates if rate)
    for factor in range(1, 11):
        times = [round(factor * rate / least) for rate in rates]
        if all(
            math.isclose(time, factor * rate / least, rel_tol=0.1)
            for time, rate in zip(times, rates, strict=True)
        ):
            break
    return times[0], times[1], times[2]
