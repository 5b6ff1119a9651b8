"""[scenes] of a config.toml: the base model's own pictures of others, and how much of a training they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..datasets.cached_scenes import CachedScenes, SceneSource
from ..training.scenes import Scenes, SceneShares
from .toml import Setting, Tables, given, number, text

SCENES = {
    "cache_directory": Setting(text, ("scenes.cache_directory",)),
    "with_trigger": Setting(text, ("scenes.with_trigger",)),
    "strangers": Setting(number(below=1), ("scenes.strangers",)),
    "composites": Setting(number(below=1), ("scenes.composites",)),
}


@dataclass(frozen=True)
class SceneSettings:
    """Where scenes are (None: among the tensors of [dataset] tensors), and how much of the training goes to
    them.
    """

    source: SceneSource | None
    shares: SceneShares

    def of(self, found: CachedScenes) -> Scenes:
        """What a training is told of the scenes that were found there."""
        return Scenes(
            found.latents,
            self.shares,
            found.with_trigger if self.shares.composites else (),
            found.without if self.shares.strangers else (),
        )


def scenes_of(file: Tables) -> SceneSettings | None:
    """None where the file has no such section.

    Raises:
        ConfigError: a value that cannot be used, or one that is missing.
    """
    if "scenes" not in file.tables:
        return None
    values = given(file, SCENES)
    if "tensors" in file.table("dataset"):
        return SceneSettings(None, _shares(file, values, {}))
    if "cache_directory" not in values:
        raise file.error("scenes", "", "has no cache_directory: give the folder of the scenes' latents")
    named = values.get("with_trigger")
    if values.get("composites") and named is None:
        raise file.error(
            "scenes", "composites", "needs with_trigger: the folder of the texts with the trigger word"
        )
    folders = [
        file.path.parent / Path(value).expanduser()
        for value in (values["cache_directory"], named)
        if value is not None
    ]
    return SceneSettings(SceneSource(*folders), _shares(file, values, {} if named else {"composites": 0.0}))


def _shares(file: Tables, values: Mapping[str, Any], defaults: Mapping[str, float]) -> SceneShares:
    given_ones = {name: values[name] for name in ("strangers", "composites") if name in values}
    try:
        return SceneShares(**{**defaults, **given_ones})
    except ValueError as error:
        raise file.error("scenes", "", f"cannot be used: {error}") from error
