"""[scenes] of a config.toml: the base model's own pictures of others, and how much of a training they are."""

from dataclasses import dataclass
from pathlib import Path

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
    """Where scenes are, and how much of the training goes to them."""

    source: SceneSource
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
    if "cache_directory" not in values:
        raise file.error("scenes", "", "has no cache_directory: give the folder of the scenes' latents")
    named = values.get("with_trigger")
    if values.get("composites") and named is None:
        raise file.error(
            "scenes", "composites", "needs with_trigger: the folder of the texts with the trigger word"
        )
    shares = {} if named else {"composites": 0.0}
    shares |= {name: values[name] for name in ("strangers", "composites") if name in values}
    folders = [
        file.path.parent / Path(value).expanduser()
        for value in (values["cache_directory"], named)
        if value is not None
    ]
    source = SceneSource(*folders)
    try:
        return SceneSettings(source, SceneShares(**shares))
    except ValueError as error:
        raise file.error("scenes", "", f"cannot be used: {error}") from error
