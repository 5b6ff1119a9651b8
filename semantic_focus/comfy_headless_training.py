"""A training without a graph, from the model's file to the LoRA's. Imports ComfyUI."""

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from .comfy_fingerprint import model_fingerprint
from .comfy_headless import DTYPES, load_model
from .comfy_lora import comfy_key_map
from .comfy_model import ComfyVelocityModel, latents_for_model, velocity_model
from .digest import digest
from .layers import all_linear_layers, linear_layers
from .lora import LoraAdapters
from .lora_file import free_path, save_lora
from .lora_keys import export_lora, generic_lora
from .lora_metadata import Provenance, lora_metadata
from .origin_dataset import OriginDataset, TrainingInputs
from .run_folder import choose_run
from .train_config import TrainConfig
from .training import Trainer
from .training_data import TrainingPictures
from .training_run import RunOptions, run_identity, run_training

RUNS = "runs"
"""Folder of the runs, below the output folder."""


def train_headless(config: TrainConfig, inputs: TrainingInputs, options: RunOptions) -> Path:
    """Train as `config` says, going on with an unfinished run of the same kind; the path of the LoRA.

    Raises:
        ValueError: model, dataset and settings do not fit each other.
        StopTraining, TrainingDiverged, TrainingOutOfMemory: as `run_training`.
    """
    patcher = load_model(config.model)
    dataset = inputs.dataset
    with velocity_model(
        patcher,
        dataset.conditionings,
        config.run.gradient_checkpointing,
        inputs.unconditional,
        inputs.training_adapter,
    ) as velocity:
        data = _pictures(velocity, patcher, dataset)
        adapters = _adapters(config, inputs, velocity, patcher)
        identity = run_identity(
            model=model_fingerprint(patcher),
            data=data.digest(),
            conditioning=digest((dataset.conditionings, inputs.unconditional)),
            adapters={
                **dataclasses.asdict(config.adapter),
                "layers": config.lora.layers,
                "start_from": digest(inputs.start_from),
                "training_adapter": digest(inputs.training_adapter),
            },
            objective=config.objective,
            settings=config.training,
        )
        trainer = Trainer(velocity, adapters, data, config.objective, config.training, identity)
        plan = config.run
        run, state = choose_run(plan.output / RUNS, plan.name, identity, plan.resume, plan.keep_last)
        if state is not None:
            logging.info(f"LoRA training: going on from step {state.step} of {run.path}")
        run_training(trainer, run, state, options)
        lora = trainer.lora()
    path = plan.output / f"{run.path.name}.safetensors"
    if path.exists():
        path = free_path(plan.output, run.path.name)
    _save(path, lora, config, patcher, identity)
    return path


def _pictures(velocity: ComfyVelocityModel, patcher: Any, dataset: OriginDataset) -> TrainingPictures:
    labels = dataset.masks[0].labels
    for name, masks in zip(dataset.names, dataset.masks, strict=True):
        if masks.labels != labels:
            raise ValueError(
                f"{name} was segmented into {', '.join(masks.labels)}, {dataset.names[0]} into "
                f"{', '.join(labels)}: segment all pictures with the same keywords"
            )
    samples = latents_for_model(patcher, [latent["samples"] for latent in dataset.latents])
    return TrainingPictures(
        tuple(sample.to(velocity.device) for sample in samples),
        tuple(masks.masks[0].to(velocity.device) for masks in dataset.masks),
        labels,
        tuple(dataset.repeats),
    )


def _adapters(
    config: TrainConfig, inputs: TrainingInputs, velocity: ComfyVelocityModel, patcher: Any
) -> LoraAdapters:
    """New adapters, or those of a LoRA to train on: their kind, layers and rank are the file's."""
    if inputs.start_from is not None:
        return LoraAdapters.from_state_dict(
            velocity.network, inputs.start_from, comfy_key_map(patcher), config.adapter.dropout
        )
    chosen = linear_layers(
        velocity.network, config.lora.layers, config.adapter.include, config.adapter.exclude
    )
    return LoraAdapters(chosen, config.adapter, config.training.seed)


def _save(
    path: Path, lora: Mapping[str, Tensor], config: TrainConfig, patcher: Any, identity: Mapping[str, Any]
) -> None:
    style = config.lora.key_style
    key_map = comfy_key_map(patcher)
    generic = generic_lora(lora, all_linear_layers(patcher.model.diffusion_model), key_map)
    provenance = Provenance(
        base_model=identity["model"],
        base_model_name=config.model.path.stem,
        settings={"training": identity["training"], "adapters": identity["adapters"]},
        region_weights=config.objective.weights,
        dataset=identity["data"],
        steps=config.training.steps,
    )
    tensors = export_lora(generic, style, key_map, DTYPES[config.lora.dtype])
    save_lora(path, tensors, lora_metadata(generic, style, provenance))
