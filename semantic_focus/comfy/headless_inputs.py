"""What a training without a graph reads besides its model. Importing this file imports none of ComfyUI."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..datasets.cached_latents import OriginDataset, load_conditioning, load_dataset
from ..datasets.cached_scenes import CachedScenes, load_scenes
from ..datasets.given_tensors import load_given
from ..lora.file import load_lora
from ..settings.training import TrainConfig
from ..training.scenes import Scenes
from ..training.state import TrainState, load_train_state


@dataclass(frozen=True)
class HeadlessInputs:
    """All that is read.

    Attributes:
        unconditional: CONDITIONING of the empty caption.
        start_from: LoRA that is trained on.
        training_adapter: LoRA that is active while training only.
        scenes: the base model's own pictures, trained beside those of the dataset.
        state: of an earlier training that is gone on with.
    """

    dataset: OriginDataset
    unconditional: Any = None
    start_from: Mapping[str, Tensor] | None = None
    training_adapter: Mapping[str, Tensor] | None = None
    scenes: Scenes | None = None
    state: TrainState | None = None


def read_inputs(config: TrainConfig) -> HeadlessInputs:
    """Read all that a config names.

    Raises:
        ValueError, OSError: files that are missing, damaged, foreign or do not belong together.
    """
    lora = config.lora.continue_from
    adapter = config.model.training_adapter
    others = {
        "start_from": load_lora(lora) if lora else None,
        "training_adapter": load_lora(adapter) if adapter else None,
        "state": load_train_state(config.state) if config.state else None,
    }
    if config.tensors is None:
        empty = config.empty_prompt
        scenes = config.scenes
        found = scenes.of(load_scenes(scenes.source)) if scenes and scenes.source else None
        unconditional = load_conditioning(empty) if empty else None
        return HeadlessInputs(load_dataset(config.sources), unconditional, scenes=found, **others)
    given = load_given(config.tensors)
    dataset = OriginDataset(
        list(given.names),
        [{"samples": samples} for samples in given.latents],
        list(given.conditionings),
        list(given.masks),
        list(given.repeats),
    )
    cached = CachedScenes(tuple(given.scenes), tuple(given.without), tuple(given.with_trigger))
    found = config.scenes.of(cached) if config.scenes else None
    return HeadlessInputs(dataset, given.unconditional, scenes=found, **others)
