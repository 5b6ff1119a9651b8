"""A training as a folder that holds all of it, for another process or another machine.

<folder>/
    config.toml        all settings, as `train` takes them; `jobs/writing.py` adds a job file
    data/              tensors exactly as they were given, see `datasets/given_tensors.py`
        start_from.safetensors, training_adapter.safetensors, state.safetensors
        model_graph.json          where the model is no plain file, see `model_graph.py`

Importing this file imports none of ComfyUI.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from ..datasets.given_tensors import GivenTensors, save_given
from ..datasets.prepared_file import CannotBeKeptError
from ..files.tensors import write_safetensors
from ..files.writing import make_folder, write_text
from ..settings.model import ModelSettings
from ..settings.scenes import SceneSettings
from ..settings.training import LoraSettings, RunPlan, TrainConfig, load_config
from ..settings.written import config_text
from ..training.state import save_train_state
from .request import TrainingRequest

CONFIG, DATA = "config.toml", "data"


def write_job(folder: Path, request: TrainingRequest, model: ModelSettings, run: RunPlan) -> Path:
    """Write a training into a folder that is there; its config.toml.

    Args:
        folder: absolute; it may have `DATA` in it with what `model` names.
        request: whose patcher is not looked at.
        model: how another process gets the same MODEL.
        run: its output may be relative to the folder; gradient checkpointing and memory are the request's.

    Raises:
        CannotBeKeptError: a conditioning has something in it that a file of tensors does not hold.
        ValueError: settings that a config.toml cannot say.
        NotWrittenError: the disk is full, say.
    """
    data = folder / DATA
    make_folder(data)
    try:
        save_given(data, _given(request))
    except CannotBeKeptError as error:
        raise CannotBeKeptError(
            f"the conditioning has extras that no file of tensors holds ({error}): take out the node that "
            "adds them, or train in this process"
        ) from error
    state = None if request.state is None else data / "state.safetensors"
    if state and request.state:
        save_train_state(state, request.state)
    taken = {"gradient_checkpointing": request.gradient_checkpointing, "memory": request.memory}
    config = TrainConfig(
        replace(model, training_adapter=_kept(data, "training_adapter", request.training_adapter)),
        (),
        request.adapter,
        LoraSettings(request.layers, _kept(data, "start_from", request.start_from)),
        request.settings,
        replace(run, output=folder / run.output, **taken),
        request.objective,
        request.validation,
        None if request.scenes is None else SceneSettings(None, request.scenes.shares),
        tensors=data,
        state=state,
    )
    path = folder / CONFIG
    write_text(path, config_text(config, folder))
    if replace(load_config(path), stated=frozenset()) != config:
        raise ValueError(f"{path}: its settings are read otherwise than they were written")
    return path


def _kept(data: Path, name: str, lora: Mapping[str, Tensor] | None) -> Path | None:
    if lora is None:
        return None
    path = data / f"{name}.safetensors"
    write_safetensors(path, lora)
    return path


def _given(request: TrainingRequest) -> GivenTensors:
    pictures = sum(len(samples) for samples in request.latents)
    prompts, scenes = iter(request.conditionings), request.scenes
    return GivenTensors(
        request.latents,
        request.masks,
        tuple(itertools.islice(prompts, pictures)),
        request.unconditional,
        request.repeats,
        request.names,
        scenes.latents if scenes else (),
        tuple(itertools.islice(prompts, len(scenes.with_trigger))) if scenes else (),
        tuple(prompts),
    )
