"""Training pictures made of others: the trained regions of one put into the surroundings of another.

A LoRA that sees its face with one hair and one sweater alone cannot know that they do not belong together.
In composites it sees the face with many; the surroundings may be samples of the base model itself, which then
has nothing to learn there.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..objective.sums import uncovered
from .data import TrainingPictures


def composites(
    data: TrainingPictures, regions: Collection[str], scenes: Sequence[Tensor]
) -> TrainingPictures:
    """One picture for each scene: the regions of a training picture, by their masks, over the scene.

    Pictures are taken in turn: number k of the result is made of `data.latents[k % len(data.latents)]`. Its
    latent is cover * picture + (1 - cover) * scene, where cover is min(1, sum of the masks of the regions).
    What was around them is gone: the masks of all other regions are 0.

    Args:
        data: what has the regions.
        regions: names of those to keep: the ones that are trained.
        scenes: Float[C, *grid] each, of the size of the picture that it is put under.

    Raises:
        ValueError: no scene, a region that the pictures have not, or a scene of another size.
    """
    if not scenes:
        raise ValueError("no scene to put the regions into")
    unknown = [name for name in regions if name not in data.labels]
    if unknown or not regions:
        raise ValueError(
            f"{f'region {unknown[0]!r} is not' if unknown else 'no region is'} among those of the pictures: "
            f"name one or more of {', '.join(data.labels)}"
        )
    kept = torch.tensor([name in regions for name in data.labels])
    latents, masks, names = [], [], []
    for number, scene in enumerate(scenes):
        picture = number % len(data.latents)
        latent, mask = data.latents[picture], data.masks[picture] * kept.view(-1, 1, 1)
        if scene.shape != latent.shape:
            raise ValueError(
                f"scene {number + 1} is {list(scene.shape)} but {data.called(picture)}, which goes into it, "
                f"{list(latent.shape)}: make the scenes in the sizes of the pictures"
            )
        outside = uncovered(mask[None])[0].to(latent)
        latents.append(outside * scene.to(latent) + (1 - outside) * latent)
        masks.append(mask)
        names.extend(data.names[picture : picture + 1])
    return TrainingPictures(tuple(latents), tuple(masks), data.labels, device=data.device, names=tuple(names))
