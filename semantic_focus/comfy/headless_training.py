"""A training without a graph, from the model's file to the LoRA's. Imports ComfyUI."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..datasets.cached_latents import OriginDataset
from ..lora.file import SAFETENSORS, numbered, save_new_lora
from ..lora.keys import export_lora, generic_tensors
from ..lora.metadata import lora_metadata
from ..settings.filling import fill_config, said
from ..settings.model import ModelSettings
from ..settings.training import TrainConfig
from ..training.data import TrainingPictures
from ..training.processes import Processes
from ..training.run import RunOptions, provenance_of
from ..training.run_folder import RunFolder
from ..training.step_record import StepRecord
from ..training.untrained import untrained
from .family import recipe_of
from .guidance import NO_GUIDANCE, guided, missing_guidance
from .headless import DTYPES, RUNS, LoraNotWrittenError, file_name, load_model
from .headless_inputs import HeadlessInputs
from .key_map import comfy_key_map
from .lora_files import read_for_model
from .memory.advice import Verdict
from .memory.beforehand import needs_in_log
from .model import ComfyVelocityModel
from .request import TrainingRequest
from .training import RunPlace, TrainingResult, train_comfy_lora


class Told(Protocol):
    """Who is told of a training."""

    def options(self, steps: int, save_every: int) -> RunOptions:
        """The options of a training of so many steps, which are known when the model is."""
        ...

    def say(self, kind: str, message: str, **values: str) -> None:
        """Of what is odd; see `TrainingStatus.note`."""

    def inform(self, kind: str, message: str, **values: str) -> None:
        """Of what is as it should be."""

    def needs(self, needed: int, free: int, swap: float, inputs: bool) -> None:
        """See `TrainingStatus.needs`."""


@dataclass(frozen=True)
class Trained:
    """A LoRA on disk, and the steps that led to it."""

    lora: Path
    history: Sequence[StepRecord]


def train_headless(
    config: TrainConfig,
    inputs: HeadlessInputs,
    told: Told,
    processes: Processes,
    load: Callable[[ModelSettings], Any] = load_model,
) -> Trained | None:
    """Train as `config` says, going on with an unfinished run of the same kind; None of all processes but the
    first, which alone writes the LoRA.

    Args:
        processes: that make the LoRA together.
        load: gives the MODEL of a file.

    Raises:
        ValueError: model, dataset and settings do not fit each other.
        NotWrittenError: the output folder takes no files.
        StopTraining, TrainingDiverged, TrainingOutOfMemory: as `train_comfy_lora`.
        LoraNotWrittenError: a full disk, say, or a network that has no names in the wanted key style.
    """
    patcher = load(config.model)
    dataset, scenes, plan = inputs.dataset, inputs.scenes, config.run
    config, guidance = _with_recipe(config, patcher, dataset, told)
    options = told.options(config.training.steps, config.run.save_every)
    request = TrainingRequest(
        patcher,
        [latent["samples"] for latent in dataset.latents],
        [*dataset.conditionings, *(scenes.conditionings if scenes else ())],
        dataset.masks,
        config.objective,
        config.training,
        config.adapter,
        config.lora.layers,
        tuple(dataset.repeats),
        plan.gradient_checkpointing,
        inputs.start_from,
        inputs.unconditional,
        inputs.training_adapter,
        inputs.state,
        model_name=Path(file_name(config.model)).stem,
        names=tuple(dataset.names),
        memory=plan.memory,
        validation=config.validation,
        scenes=scenes,
        shard=config.model.shard,
    )
    if guidance is not None:
        request = guided(request, guidance)
    place = RunPlace(plan.runs or plan.output / RUNS, plan.name, plan.resume, plan.keep, must_keep=True)

    def options_for(_velocity: ComfyVelocityModel, data: TrainingPictures) -> RunOptions:
        for note in untrained(config.objective, data):
            told.say(note.kind, note.text, **note.values)
        return options

    def needs(verdict: Verdict) -> None:
        needs_in_log(verdict)
        setting = verdict.estimate.plan.memory
        told.needs(verdict.estimate.peak_bytes, verdict.free, setting.swap or 0.0, setting.inputs)

    result = train_comfy_lora(request, place, options_for, told.say, needs, processes)
    if not processes.is_first:
        return None
    try:
        lora = _save(config, result, patcher)
    except (ValueError, OSError) as error:
        kept = RunFolder(result.folder).lora_path(result.state.step)
        where = (
            f"In ComfyUI's keys it is {kept}"
            if kept.is_file()
            else "The same command goes on from the last state that was written"
        )
        raise LoraNotWrittenError(
            f"The training is done but its LoRA could not be written: {error}. {where}"
        ) from error
    if plan.keep_saved == 0:
        RunFolder(result.folder).remove_saved()
    return Trained(lora, result.history)


def _with_recipe(
    config: TrainConfig, patcher: Any, dataset: OriginDataset, told: Told
) -> tuple[TrainConfig, float | None]:
    """What the config leaves open as the recipe of the model's family has it, and the guidance to train at;
    as it is where the config does not ask for a recipe.
    """
    recipe = recipe_of(patcher, file_name(config.model))
    guidance = missing_guidance(recipe, dataset.conditionings)
    if config.recipe == "off":
        if guidance is not None:
            values = {"family": recipe.name, "guidance": f"{guidance:g}"}
            told.say("no_guidance", NO_GUIDANCE.format(**values), **values)
        return config, None
    config, taken = fill_config(config, recipe, len(dataset.times))
    if values := said(taken, guidance):
        told.inform("recipe", f"recipe {recipe.name}: {values}", family=recipe.name, values=values)
    return config, guidance


def _save(config: TrainConfig, result: TrainingResult, patcher: Any) -> Path:
    folder, name = config.run.output, result.folder.name
    style, read = config.lora.key_style, read_for_model(patcher, result.lora)
    generic = generic_tensors(read.adapters)
    tensors = export_lora(generic, style, comfy_key_map(patcher), DTYPES[config.lora.dtype], read.fixed)
    provenance = provenance_of(result.state.identity, result.state.step, Path(file_name(config.model)).stem)
    places = itertools.chain([folder / f"{name}{SAFETENSORS}"], numbered(folder, name))
    return save_new_lora(places, tensors, lora_metadata(generic, style, provenance))
