"""Trainings that several processes share, in processes of their own, for test_processes."""

import dataclasses
import math
import os
import signal
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
from killed_run import pictures
from safetensors.torch import save_file
from tiny_velocity import TinyVelocity
from torch import Tensor
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]
from torch.optim.optimizer import register_optimizer_step_pre_hook

from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.metadata import lora_metadata
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training import process_group
from semantic_focus.training.followers import choose_together, follow
from semantic_focus.training.process_group import ProcessGroup
from semantic_focus.training.processes import Processes, StopTraining
from semantic_focus.training.run import RunOptions, run_training
from semantic_focus.training.run_folder import choose_run
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.trainer import Trainer
from semantic_focus.training.validation import ValidationSettings

STEPS = 4
VALIDATION = ValidationSettings("crops", every=2)
IDENTITY = {"model": "tiny", "validation": dataclasses.asdict(VALIDATION)}
"""Of the runs."""
FAULT = 3
"""Step in which something happens to a process."""


class SaysHalf(TinyVelocity):
    compute_dtype = torch.float16


def group_of(rank: int, size: int, store: str) -> Processes:
    """One of so many processes that meet in a file."""
    return ProcessGroup(rank, size, FileStore(store, size)) if size > 1 else Processes()


def share_out(model: TinyVelocity, processes: Processes) -> None:
    """Let each process hold a part of every layer only, and all go in step."""
    from torch.distributed.device_mesh import DeviceMesh
    from torch.distributed.fsdp import fully_shard

    group: Any = processes.share_out("cpu")
    for layer in (model.first, model.second, model.third):
        fully_shard(layer, mesh=DeviceMesh.from_group(group, "cpu"))


def trainer_of(case: Mapping[str, Any], processes: Processes, in_step: bool = False, **more: Any) -> Trainer:
    """The training of a case: settings, and what else is in the way."""
    case = dict(case)
    model = SaysHalf() if case.pop("half", False) else TinyVelocity()
    data = pictures()
    if case.pop("faceless", False):
        data = dataclasses.replace(data, masks=tuple(mask * (mask.shape[-1] < 16) for mask in data.masks))
    limit, limited = case.pop("limit", 0), case.pop("limited", processes.rank)
    if limit and limited == processes.rank:
        model.predict = _limited(model.predict, limit)
    adapter = AdapterSettings(rank=4, dropout=case.pop("dropout", 0.0))
    adapters = LoraAdapters(linear_layers(model, "all linear layers"), adapter, 0)
    with torch.no_grad():
        for parameter in adapters.parameters():
            parameter.add_(0.02)  # up begins at zero: so that down gets a gradient too
    kinds = {name: case.pop(name) for name in ("prior_weight", "prior_every", "snr_gamma") if name in case}
    objective = Objective(weights={"face": 1.0}, global_fallback=0.0, **kinds)
    settings = TrainingSettings(**{"steps": STEPS, "learning_rate": 1e-2, "seed": 3, **case})
    if in_step and processes.size > 1:
        share_out(model, processes)
    return Trainer(model, adapters, data, objective, settings, processes=processes, **more)


def _limited(predict: Callable[..., Tensor], pictures: int) -> Callable[..., Tensor]:
    def limited(noisy: Tensor, *arguments: Any) -> Tensor:
        if len(noisy) > pictures:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return predict(noisy, *arguments)

    return limited


def train_cases(
    rank: int, size: int, store: str, folder: str, cases: list[dict[str, Any]], in_step: bool
) -> None:
    """Train every case as one of several processes, and keep what came of it in a file for each: the gradient
    of the first step, LoRA and state after the last, and the records in words.
    """
    group = group_of(rank, size, store)
    for number, case in enumerate(cases):
        trainer, gradients = trainer_of(case, group, in_step), []
        handle = register_optimizer_step_pre_hook(partial(_note_gradient, gradients))
        with trainer.adapters.attached():
            records = [repr(trainer.step()) for _ in range(STEPS)]
        handle.remove()
        state = {f"state.{name}": tensor for name, tensor in trainer.state().tensors.items()}
        content = {"gradient": gradients[0], **trainer.lora(), **state}
        path = Path(folder) / f"{size}_{in_step}_{number}_{rank}.safetensors"
        save_file(content, path, {"records": "\n".join(records)})
    group.close()


def _note_gradient(gradients: list[Tensor], optimizer: torch.optim.Optimizer, *_: Any) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients.append(torch.cat([parameter.grad.flatten() for parameter in parameters]))


def train_run(
    rank: int, size: int, store: str, root: str, steps: int, in_step: bool = False, fault: str = ""
) -> None:
    """Begin or go on with the run in `root` as one of several processes, as the command "train" does, up to a
    step; something happens to the second process, or to the first where the fault ends with "first".
    """
    group = group_of(rank, size, store)
    if "memory" in fault:
        process_group.SHARE_WAIT = timedelta(seconds=5)
    case = {"batch_size": 1, "accumulation": 4, "steps": 8, "ema_decay": 0.9, "dropout": 0.2}
    trainer = trainer_of(case, group, in_step, identity=IDENTITY, validation=VALIDATION)
    check = partial(_check, trainer, steps, fault if rank == (not fault.endswith("first")) else "")
    try:
        choose = partial(choose_run, Path(root), "person", IDENTITY, True)
        _, run, state = choose_together(group, choose)
        if run is None:
            follow(trainer, state, check)
        else:
            metadata = lora_metadata(trainer.lora(), "comfyui")
            run_training(trainer, run, state, RunOptions(save_every=2, check=check), metadata)
    except BaseException as error:
        group.ended(error)
        raise
    finally:
        group.close()


def _check(trainer: Trainer, steps: int, fault: str) -> None:
    done = trainer.steps_done
    if steps <= done < trainer.settings.steps:
        raise StopTraining("enough")
    if done == FAULT:
        if fault.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        if fault.startswith("stop"):
            raise StopTraining("SIGTERM")
        if fault.startswith("error"):
            raise ValueError("broken")
        if fault.startswith("nan"):
            _spoil(trainer)
        if fault.startswith("midst"):
            _spoil_in_the_midst(trainer, "kill" in fault)


def _spoil(trainer: Trainer) -> None:
    model: Any = trainer.model
    predict = model.predict
    model.predict = lambda *arguments: predict(*arguments) * math.nan


def _spoil_in_the_midst(trainer: Trainer, kill: bool) -> None:
    """Where others wait for what this process holds of the last layer."""

    def short(*_: Any) -> None:
        if kill:
            os.kill(os.getpid(), signal.SIGKILL)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    model: Any = trainer.model
    model.second.register_forward_hook(short)
