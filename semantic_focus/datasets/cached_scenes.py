"""Scenes of a training without a graph: a folder of cached latents and texts, as of `cached_latents`.

They are samples of the base model that were cached like any pictures, with captions without the trigger word;
masks they need none. Composites need the texts of the same captions with the trigger word as well, under the
same names in another folder.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..training.scenes import Scenes, SceneShares
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
    """Where scenes are, and how much of the training goes to them.

    Attributes:
        cache_directory: latents, and texts without the trigger word.
        with_trigger: texts with it; needed for composites.
    """

    cache_directory: Path
    with_trigger: Path | None = None
    shares: SceneShares = SceneShares(composites=0.0)

    def __post_init__(self):
        if self.shares.composites and self.with_trigger is None:
            raise ValueError(
                f"composites is {self.shares.composites:g} and needs with_trigger: the folder of the texts "
                "with the trigger word"
            )


def load_scenes(source: SceneSource) -> Scenes:
    """Read a folder of scenes.

    Raises:
        DatasetError: no such folder, files that are missing, damaged or foreign.
    """
    pictures = find_pictures(DatasetSource(source.cache_directory), with_masks=False)
    named: list[list[Any]] = []
    if source.with_trigger is not None and source.shares.composites:
        files = [source.with_trigger / f"{picture.stem}{TEXT_SUFFIX}" for picture in pictures]
        if missing := [file.name for file in files if not file.is_file()]:
            raise DatasetError(
                f"{source.with_trigger}: {len(missing)} scenes have no text with the trigger word here "
                f"({missing[0]}): cache their captions with it under the same names, or set composites to 0"
            )
        named = [load_conditioning(file) for file in files]
    plain = [load_conditioning(picture.text) for picture in pictures] if source.shares.strangers else []
    latents = tuple(load_latent(picture) / SCALE + SHIFT for picture in pictures)
    return Scenes(latents, source.shares, tuple(named), tuple(plain))
