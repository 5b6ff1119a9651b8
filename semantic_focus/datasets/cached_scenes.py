"""Scenes of a training without a graph: a folder of cached latents and texts, as of `cached_latents`.

They are samples of the base model that were cached like any pictures, with captions without the trigger word;
masks they need none. Composites need the texts of the same captions with the trigger word as well, under the
same names in another folder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .cached_latents import (
    SCALE,
    SHIFT,
    TEXT_SUFFIX,
    DatasetSource,
    find_pictures,
    load_conditioning,
    load_latent,
)
from .folder import DatasetError


@dataclass(frozen=True)
class SceneSource:
    """Where scenes are.

    Attributes:
        cache_directory: latents, and texts without the trigger word.
        with_trigger: texts with it; None: there are none.
    """

    cache_directory: Path
    with_trigger: Path | None = None


@dataclass(frozen=True)
class CachedScenes:
    """Scenes as ComfyUI's nodes would hand them on.

    Attributes:
        latents: LATENT samples Float[1, C, h, w], as VAE Encode gives them.
        without, with_trigger: CONDITIONING of each; the latter empty where there are no such texts.
    """

    latents: tuple[Tensor, ...]
    without: tuple[list[Any], ...]
    with_trigger: tuple[list[Any], ...]


def load_scenes(source: SceneSource) -> CachedScenes:
    """Read a folder of scenes.

    Raises:
        DatasetError: no such folder, files that are missing, damaged or foreign.
    """
    pictures = find_pictures(DatasetSource(source.cache_directory), with_masks=False)
    named: tuple[list[Any], ...] = ()
    if source.with_trigger is not None:
        files = [source.with_trigger / f"{picture.stem}{TEXT_SUFFIX}" for picture in pictures]
        if missing := [file.name for file in files if not file.is_file()]:
            raise DatasetError(
                f"{source.with_trigger}: {len(missing)} scenes have no text with the trigger word here "
                f"({missing[0]}): cache their captions with it under the same names"
            )
        named = tuple(load_conditioning(file) for file in files)
    latents = tuple(load_latent(picture) / SCALE + SHIFT for picture in pictures)
    return CachedScenes(latents, tuple(load_conditioning(picture.text) for picture in pictures), named)
