"""A training without a graph, from the model's file to the LoRA's. Imports ComfyUI."""

import logging
from pathlib import Path
from typing import Any

from ..datasets.cached_latents import TrainingInputs
from ..lora.file import free_path, save_lora
from ..lora.keys import export_lora
from ..lora.metadata import lora_metadata
from ..settings.training import TrainConfig
from ..training.data import TrainingPictures
from ..training.run import RunOptions, provenance_of
from ..training.run_folder import RunFolder
from ..training.untrained import untrained
from .headless import DTYPES, LoraNotWrittenError, load_model
from .key_map import comfy_key_map
from .model import ComfyVelocityModel
from .training import RunPlace, TrainingRequest, TrainingResult, train_comfy_lora

RUNS = "runs"
"""Folder of the runs, below the output folder."""


def train_headless(config: TrainConfig, inputs: TrainingInputs, options: RunOptions) -> Path:
    """Train as `config` says, going on with an unfinished run of the same kind; the path of the LoRA.

    Raises:
        ValueError: model, dataset and settings do not fit each other.
        StopTraining, TrainingDiverged, TrainingOutOfMemory: as `train_comfy_lora`.
        LoraNotWrittenError: a full disk, say, or a network that has no names in the wanted key style.
    """
    patcher = load_model(config.model)
    dataset, plan = inputs.dataset, config.run
    request = TrainingRequest(
        patcher,
        [latent["samples"] for latent in dataset.latents],
        dataset.conditionings,
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
        model_name=config.model.path.stem,
    )
    place = RunPlace(plan.output / RUNS, plan.name, plan.resume, plan.keep_last)

    def options_for(_velocity: ComfyVelocityModel, data: TrainingPictures) -> RunOptions:
        for note in untrained(config.objective, data):
            logging.warning(note.text)
        return options

    result = train_comfy_lora(request, place, options_for)
    try:
        return _save(config, result, patcher)
    except (ValueError, OSError) as error:
        kept = RunFolder(result.folder).lora_path(result.state.step)
        raise LoraNotWrittenError(
            f"The training is done but its LoRA could not be written: {error}. In ComfyUI's keys it is {kept}"
        ) from error


def _save(config: TrainConfig, result: TrainingResult, patcher: Any) -> Path:
    folder, name = config.run.output, result.folder.name
    path = folder / f"{name}.safetensors"
    if path.exists():
        path = free_path(folder, name)
    style = config.lora.key_style
    tensors = export_lora(result.lora, style, comfy_key_map(patcher), DTYPES[config.lora.dtype])
    provenance = provenance_of(result.state.identity, result.state.step, config.model.path.stem)
    save_lora(path, tensors, lora_metadata(result.lora, style, provenance))
    return path
