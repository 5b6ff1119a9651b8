"""What is trained on what, and how."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..lora.adapters import AdapterSettings
from ..objective.total import Objective
from ..regions.masks import SemanticMasks
from ..training.memory import MemorySetting
from ..training.scenes import Scenes
from ..training.settings import TrainingSettings
from ..training.state import TrainState
from ..training.validation import ValidationSettings
from .conditioning import Conditioning


@dataclass(frozen=True)
class TrainingRequest:
    """What is trained on what, and how.

    Attributes:
        patcher: ComfyUI's MODEL; left as it is.
        latents: LATENT samples, Float[B, C, *grid] each.
        conditionings: one per picture, then those of the scenes.
        masks: on the latent grid, in the order of the latents.
        layers: a name of `LAYER_CHOICES`.
        repeats: how often each picture comes in one pass; empty: once each.
        start_from: a LoRA that is trained on, in any key style; its kind, rank and layers are then kept.
        unconditional: the empty prompt, for caption dropout.
        training_adapter: a LoRA that is active while training and absent from the result.
        state: of an earlier training that this one goes on from; `settings.steps` count from its beginning.
        model_name: the base model's name for people, for the file's header.
        names: of the pictures' files, for messages; empty: unknown.
        memory: how much of the model waits in RAM; the result does not depend on it.
        validation: what is held out, and how often it is judged.
        scenes: of the base model, which are trained beside the pictures.
        shard: where there are several processes, each holds a part of the model's weights; the result does
            not depend on it.
    """

    patcher: Any
    latents: Sequence[Tensor]
    conditionings: Sequence[Conditioning]
    masks: Sequence[SemanticMasks]
    objective: Objective
    settings: TrainingSettings
    adapter: AdapterSettings = field(default_factory=AdapterSettings)
    layers: str = "attention + feed-forward"
    repeats: tuple[int, ...] = ()
    gradient_checkpointing: bool = True
    start_from: Mapping[str, Tensor] | None = None
    unconditional: Conditioning | None = None
    training_adapter: Mapping[str, Tensor] | None = None
    state: TrainState | None = None
    model_name: str = ""
    names: tuple[str, ...] = ()
    memory: MemorySetting = MemorySetting()
    validation: ValidationSettings = ValidationSettings()
    scenes: Scenes | None = None
    shard: bool = False
