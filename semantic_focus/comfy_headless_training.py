"""A training without a graph, from the model's file to the LoRA's. Imports ComfyUI."""

from pathlib import Path

from .comfy_headless import DTYPES, load_model
from .comfy_lora import comfy_key_map
from .comfy_training import RunPlace, TrainingRequest, train_comfy_lora
from .lora_file import free_path, save_lora
from .lora_keys import export_lora
from .origin_dataset import TrainingInputs
from .train_config import TrainConfig
from .training_run import RunOptions

RUNS = "runs"
"""Folder of the runs, below the output folder."""


def train_headless(config: TrainConfig, inputs: TrainingInputs, options: RunOptions) -> Path:
    """Train as `config` says, going on with an unfinished run of the same kind; the path of the LoRA.

    Raises:
        ValueError: model, dataset and settings do not fit each other.
        StopTraining, TrainingDiverged, TrainingOutOfMemory: as `train_comfy_lora`.
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
    result = train_comfy_lora(request, place, lambda _velocity, _data: options)
    path = plan.output / f"{result.folder.name}.safetensors"
    if path.exists():
        path = free_path(plan.output, result.folder.name)
    style = config.lora.key_style
    tensors = export_lora(result.lora, style, comfy_key_map(patcher), DTYPES[config.lora.dtype])
    save_lora(path, tensors, {**result.metadata, "semantic_focus.key_style": style})
    return path
