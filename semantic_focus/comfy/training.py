"""A LoRA training on a ComfyUI model, from latents to the LoRA: the one engine of graph and shell."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ..lora.layers import linear_layers
from ..lora.metadata import lora_metadata
from ..lora.network import LoraAdapters
from ..regions.masks import SemanticMasks
from ..training.data import TrainingPictures
from ..training.digest import digest
from ..training.followers import check_same, choose_together, follow
from ..training.memory import MemorySetting
from ..training.not_finite import refuse_damaged
from ..training.processes import Processes
from ..training.run import RunOptions, provenance_of, run_identity, run_training
from ..training.run_folder import Keep, choose_run
from ..training.scenes import with_scenes
from ..training.state import TrainState
from ..training.step_record import StepRecord
from ..training.trainer import Trainer
from .fingerprint import model_fingerprint
from .lora_files import ModelLora, read_for_model
from .memory.advice import Verdict
from .memory.beforehand import judge_training, needs_in_log
from .model import ComfyVelocityModel, latents_for_model, velocity_model
from .request import TrainingRequest
from .sharding import check_shardable
from .trial import Say, Trial, say_in_log


@dataclass(frozen=True)
class RunPlace:
    """Where a training keeps its states.

    Attributes:
        root: folder of all runs.
        name: of this one.
        resume: go on with an unfinished run of exactly these settings, pictures and model.
        keep: which states and LoRAs stay.
        must_keep: where the folder takes no files, it is an error before the first step; else the training
            goes on in memory.
    """

    root: Path
    name: str = "lora"
    resume: bool = True
    keep: Keep = Keep()
    must_keep: bool = False


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
    say: Say = say_in_log,
    needs: Callable[[Verdict], None] = needs_in_log,
    processes: Processes | None = None,
) -> TrainingResult:
    """Train a LoRA and keep its run on disk.

    Args:
        options: made once model and pictures are loaded, because previews are sampled with them.
        say: told of what is odd about the model, before the first step.
        needs: told what the training will take of its device, before the model is loaded.
        processes: that make the LoRA together; only the first one keeps files and has a history.

    Raises:
        ValueError: model, pictures and settings do not fit each other, or something is not finite.
        NotWrittenError: the folder takes no files, and must.
        TrainingDiverged, TrainingOutOfMemory, and what the options raise: the run can be gone on with.
    """
    processes = processes or Processes()
    shared_by = _shared_by(request, processes)
    _check_empty_prompt(request)
    refuse_damaged(
        request.latents, request.conditionings, request.masks, request.unconditional, request.names
    )
    start = None
    if request.start_from is not None:
        start = read_for_model(request.patcher, request.start_from).trainable()
    with velocity_model(
        request.patcher,
        request.conditionings,
        request.gradient_checkpointing,
        request.unconditional,
        request.training_adapter,
        start and start.fixed,
        MemorySetting(0.0) if shared_by is not None else _memory(request, say, needs),
        shared_by,
    ) as velocity:
        data = training_pictures(
            velocity, request.patcher, request.latents, request.masks, request.repeats, request.names
        )
        if request.scenes is not None:
            data = _with_scenes(request, data)
        adapters = _adapters(request, velocity, start)
        identity = _identity(request, data, start)
        check_same(processes, identity)
        trainer = Trainer(
            velocity,
            adapters,
            data,
            request.objective,
            request.settings,
            identity,
            request.validation,
            processes,
        )
        processes.in_company(lambda: None)()  # or one would wait in its trial for another that still loads
        first = next(trainer.next_batches()[0].split(1))
        idle = request.start_from is None
        Trial(velocity, adapters, data, first, idle, processes.in_step).run(say)
        run_options = options(velocity, data)
        choose = partial(
            choose_run,
            place.root,
            place.name,
            identity,
            place.resume,
            place.keep,
            trainer.load,
            None if place.must_keep else run_options.tell,
        )
        folder, run, found = choose_together(processes, choose)
        if found is not None:
            logging.info(f"LoRA training: going on from step {found.step} of {folder}")
        state = found or request.state
        if run is None:
            run_options.on_begin(folder, [])
            follow(trainer, state, run_options.check)
            return TrainingResult(trainer.lora(), [], trainer.state(), folder)
        provenance = provenance_of(identity, request.settings.steps, request.model_name)
        metadata = lora_metadata(
            state.part("adapters.") if state else adapters.state_dict(), "comfyui", provenance
        )
        history = run_training(trainer, run, state, run_options, metadata)
        return TrainingResult(trainer.lora(), history, trainer.state(), folder)


def _shared_by(request: TrainingRequest, processes: Processes) -> Any:
    """The processes that each hold a part of the model, see `velocity_model`; None: it stays whole."""
    check_same(processes, request.shard)
    if not request.shard:
        return None
    if processes.size == 1:
        logging.warning(
            "LoRA training: [model] shard has no effect in a single process, which holds the whole model: "
            "start several, with --processes N, torchrun, accelerate launch or srun"
        )
        return None
    check_shardable(request.patcher)
    return processes.share_out(request.patcher.load_device.type)


def training_pictures(
    model: ComfyVelocityModel,
    patcher: Any,
    latents: Sequence[Tensor],
    masks: Sequence[SemanticMasks],
    repeats: tuple[int, ...] = (),
    names: tuple[str, ...] = (),
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
    return TrainingPictures(tuple(samples), regions, labels, repeats, model.device, names)


def _with_scenes(request: TrainingRequest, data: TrainingPictures) -> TrainingPictures:
    objective, scenes = request.objective, request.scenes
    assert scenes is not None
    if not objective.needs_base_prediction:
        raise ValueError(
            "scenes are held to the base model by the prior, and there is none: set prior_weight above 0 and "
            "the regions on, or take the scenes away"
        )
    if objective.base_weight and objective.base_mask_floor != 0:
        raise ValueError(
            f"base_weight is {objective.base_weight:g} and trains scenes too, which are to stay as they "
            "are: set it or base_mask_floor to 0, or take the scenes away"
        )
    trained = [name for name, weight in objective.weights.items() if weight > 0]
    return with_scenes(data, trained, latents_for_model(request.patcher, scenes.latents), scenes.shares)


def _check_empty_prompt(request: TrainingRequest) -> None:
    dropout = request.settings.caption_dropout
    if dropout and request.unconditional is None:
        raise ValueError(
            f"caption_dropout is {dropout:g} but there is no empty prompt to train with: encode an empty "
            "text and connect it to empty_prompt, or set caption_dropout to 0"
        )


def _memory(request: TrainingRequest, say: Say, needs: Callable[[Verdict], None]) -> MemorySetting:
    """The setting that the training begins with; an automatic one as the estimate has it."""
    verdict = judge_training(request)
    if verdict is None:
        return request.memory
    needs(verdict)
    if not verdict.fits:
        said = verdict.refusal(type(request.patcher.model).__name__)
        say("too_much", said, advice=said)
    return verdict.estimate.plan.memory


def _adapters(
    request: TrainingRequest, velocity: ComfyVelocityModel, start: ModelLora | None
) -> LoraAdapters:
    """New adapters, or those of a LoRA to train on: their kind, layers and rank are the file's."""
    settings = request.adapter
    if start is not None:
        return LoraAdapters.of_adapters(
            velocity.network, start.adapters, settings.dropout, start.fixed, velocity.device
        )
    layers = linear_layers(velocity.network, request.layers, settings.include, settings.exclude)
    return LoraAdapters(layers, settings, request.settings.seed, velocity.device)


def _identity(request: TrainingRequest, data: TrainingPictures, start: ModelLora | None) -> dict[str, Any]:
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
            **({"fixed": digest(start.fixed)} if start and start.fixed else {}),
        },
        objective=request.objective,
        settings=request.settings,
        validation=request.validation,
    )
