"""A LoRA training on a ComfyUI model, from latents to the LoRA: the one engine of graph and shell."""

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..lora.adapters import AdapterSettings
from ..lora.layers import linear_layers
from ..lora.metadata import lora_metadata
from ..lora.network import LoraAdapters
from ..objective.total import Objective
from ..regions.masks import SemanticMasks
from ..training.data import TrainingPictures
from ..training.digest import digest
from ..training.run import RunOptions, provenance_of, run_identity, run_training
from ..training.run_folder import choose_run
from ..training.settings import TrainingSettings
from ..training.state import TrainState
from ..training.step_record import StepRecord
from ..training.trainer import Trainer
from .fingerprint import model_fingerprint
from .key_map import comfy_key_map
from .model import ComfyVelocityModel, Conditioning, latents_for_model, velocity_model


@dataclass(frozen=True)
class TrainingRequest:
    """What is trained on what, and how.

    Attributes:
        patcher: ComfyUI's MODEL; left as it is.
        latents: LATENT samples, Float[B, C, *grid] each.
        conditionings: one per picture.
        masks: on the latent grid, in the order of the latents.
        layers: a name of `LAYER_CHOICES`.
        repeats: how often each picture comes in one pass; empty: once each.
        start_from: a LoRA that is trained on, in any key style; its kind, rank and layers are then kept.
        unconditional: the empty prompt, for caption dropout.
        training_adapter: a LoRA that is active while training and absent from the result.
        state: of an earlier training that this one goes on from; `settings.steps` count from its beginning.
        model_name: the base model's name for people, for the file's header.
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


@dataclass(frozen=True)
class RunPlace:
    """Where a training keeps its states.

    Attributes:
        root: folder of all runs.
        name: of this one.
        resume: go on with an unfinished run of exactly these settings, pictures and model.
        keep_last: how many states stay.
    """

    root: Path
    name: str = "lora"
    resume: bool = True
    keep_last: int = 3


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave: the LoRA in ComfyUI's generic keys, and everything to go on from it."""

    lora: dict[str, Tensor]
    history: list[StepRecord]
    state: TrainState
    folder: Path


def train_comfy_lora(
    request: TrainingRequest,
    place: RunPlace,
    options: Callable[[ComfyVelocityModel, TrainingPictures], RunOptions],
) -> TrainingResult:
    """Train a LoRA and keep its run on disk.

    Args:
        options: made once model and pictures are loaded, because previews are sampled with them.

    Raises:
        ValueError: model, pictures and settings do not fit each other.
        TrainingDiverged, TrainingOutOfMemory, and what the options raise: the run can be gone on with.
    """
    _check_empty_prompt(request)
    with velocity_model(
        request.patcher,
        request.conditionings,
        request.gradient_checkpointing,
        request.unconditional,
        request.training_adapter,
    ) as velocity:
        data = training_pictures(velocity, request.patcher, request.latents, request.masks, request.repeats)
        adapters = _adapters(request, velocity)
        identity = _identity(request, data)
        trainer = Trainer(velocity, adapters, data, request.objective, request.settings, identity)
        run, found = choose_run(place.root, place.name, identity, place.resume, place.keep_last)
        if found is not None:
            logging.info(f"LoRA training: going on from step {found.step} of {run.path}")
        state = found or request.state
        provenance = provenance_of(identity, request.settings.steps, request.model_name)
        metadata = lora_metadata(
            state.part("adapters.") if state else adapters.state_dict(), "comfyui", provenance
        )
        history = run_training(trainer, run, state, options(velocity, data), metadata)
        return TrainingResult(trainer.lora(), history, trainer.state(), run.path)


def training_pictures(
    model: ComfyVelocityModel,
    patcher: Any,
    latents: Sequence[Tensor],
    masks: Sequence[SemanticMasks],
    repeats: tuple[int, ...] = (),
) -> TrainingPictures:
    """Latents and masks of all pictures; they wait on the CPU, batches go to the training device.

    Raises:
        ValueError: the pictures were segmented into different regions, or latents and masks do not fit.
    """
    labels = masks[0].labels
    for other in masks:
        if set(other.labels) != set(labels):
            raise ValueError(
                f"pictures were segmented into different regions, {list(labels)} and {list(other.labels)}: "
                "segment all of them with the same keywords (with force where mask files count as fresh)"
            )
    samples = latents_for_model(patcher, latents)
    orders = [[item.labels.index(label) for label in labels] for item in masks]
    regions = tuple(
        region[order].detach().cpu()
        for item, order in zip(masks, orders, strict=True)
        for region in item.masks
    )
    return TrainingPictures(tuple(samples), regions, labels, repeats, model.device)


def _check_empty_prompt(request: TrainingRequest) -> None:
    dropout = request.settings.caption_dropout
    if dropout and request.unconditional is None:
        raise ValueError(
            f"caption_dropout is {dropout:g} but there is no empty prompt to train with: encode an empty "
            "text and connect it to empty_prompt, or set caption_dropout to 0"
        )


def _adapters(request: TrainingRequest, velocity: ComfyVelocityModel) -> LoraAdapters:
    """New adapters, or those of a LoRA to train on: their kind, layers and rank are the file's."""
    settings = request.adapter
    if request.start_from is not None:
        return LoraAdapters.from_state_dict(
            velocity.network, request.start_from, comfy_key_map(request.patcher), settings.dropout
        )
    layers = linear_layers(velocity.network, request.layers, settings.include, settings.exclude)
    return LoraAdapters(layers, settings, request.settings.seed)


def _identity(request: TrainingRequest, data: TrainingPictures) -> dict[str, Any]:
    state = request.state
    return run_identity(
        model=model_fingerprint(request.patcher),
        data=data.digest(),
        conditioning=digest((request.conditionings, request.unconditional)),
        adapters={
            **dataclasses.asdict(request.adapter),
            "layers": request.layers,
            "start_from": None if request.start_from is None else digest(request.start_from),
            "training_adapter": None
            if request.training_adapter is None
            else digest(request.training_adapter),
            "after": None if state is None else digest((state.step, dict(state.tensors))),
        },
        objective=request.objective,
        settings=request.settings,
    )
