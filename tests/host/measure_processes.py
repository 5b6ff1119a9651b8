"""What several processes make of tiny genuine models beside one: `python measure_processes.py COMFYUI [SIZES
[FAMILIES]]` prints JSON, each list with commas.

A program of its own, because it imports ComfyUI. The processes are forked from it.
"""

import itertools
import json
import logging
import os
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

sys.path.append(sys.argv[1])
from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True
logging.disable(logging.WARNING)

import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from tiny_models import FAMILIES, Family, conditioning  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.distributed import FileStore  # noqa: E402  # pyright: ignore[reportPrivateImportUsage]
from torch.optim.optimizer import register_optimizer_step_pre_hook  # noqa: E402

from semantic_focus.comfy.model import velocity_model  # noqa: E402
from semantic_focus.comfy.sharding import held_bytes  # noqa: E402
from semantic_focus.lora.adapters import AdapterSettings  # noqa: E402
from semantic_focus.lora.layers import linear_layers  # noqa: E402
from semantic_focus.lora.network import LoraAdapters  # noqa: E402
from semantic_focus.objective.total import Objective  # noqa: E402
from semantic_focus.training.data import TrainingPictures  # noqa: E402
from semantic_focus.training.process_group import ProcessGroup  # noqa: E402
from semantic_focus.training.processes import Processes  # noqa: E402
from semantic_focus.training.settings import TrainingSettings  # noqa: E402
from semantic_focus.training.trainer import Trainer  # noqa: E402

PICTURES, STEPS = 7, 2
CASES: dict[str, dict[str, Any]] = {
    "whole": {"batch_size": 1, "accumulation": 4},
    "whole, with everything": {
        "batch_size": 2, "accumulation": 4, "ema_decay": 0.9, "max_grad_norm": 0.05, "caption_dropout": 0.3,
        "prior_every": 2, "snr_gamma": 5.0, "dropout": 0.2,
    },
    "cut": {"batch_size": 4, "accumulation": 1},
    "cut, with everything": {
        "batch_size": 5, "accumulation": 1, "ema_decay": 0.9, "caption_dropout": 0.3, "snr_gamma": 5.0,
        "dropout": 0.2,
    },
    "shared out": {"batch_size": 1, "accumulation": 3, "shard": True},
    "shared out, with everything": {
        "batch_size": 2, "accumulation": 3, "ema_decay": 0.9, "caption_dropout": 0.3, "prior_every": 2,
        "dropout": 0.2, "shard": True, "checkpointing": False,
    },
}  # fmt: skip


def pictures(family: Family) -> TrainingPictures:
    """Latents and two masks of seven pictures, one without a face."""
    generator = torch.Generator().manual_seed(1)
    latents = tuple(torch.randn(family.grid, generator=generator) for _ in range(PICTURES))
    faces = [torch.rand(family.grid[-2:], generator=generator) for _ in range(PICTURES)]
    faces[3].zero_()
    masks = tuple(torch.stack((face, 1 - face)) for face in faces)
    return TrainingPictures(latents, masks, ("face", "background"))


def trained(family: Family, case: dict[str, Any], processes: Processes) -> dict[str, Tensor]:
    """The gradient of the first step, the LoRA after the last, and the share of the weights that is held."""
    case = dict(case)
    checkpointing = case.pop("checkpointing", True)
    shared_by = processes.share_out("cpu") if case.pop("shard", False) else None
    processes.in_step = shared_by is not None
    adapter = AdapterSettings(rank=2, alpha=2.0, dropout=case.pop("dropout", 0.0))
    kinds = {name: case.pop(name) for name in ("prior_every", "snr_gamma") if name in case}
    objective = Objective(weights={"face": 1.0}, prior_weight=4.0, **kinds)
    settings = TrainingSettings(steps=STEPS, learning_rate=1e-2, seed=3, **case)
    prompts = [conditioning(family, 5 + number % 2, number) for number in range(PICTURES)]
    patcher, empty = family.build(), conditioning(family, 5, 99)
    with velocity_model(patcher, prompts, checkpointing, empty, shared_by=shared_by) as velocity:
        adapters = LoraAdapters(linear_layers(velocity.network, "attention + feed-forward"), adapter, 3)
        with torch.no_grad():
            for parameter in adapters.parameters():
                parameter.add_(0.02)  # up begins at zero: so that down gets a gradient too
        trainer = Trainer(velocity, adapters, pictures(family), objective, settings, processes=processes)
        gradients: list[Tensor] = []

        def note(*_: Any) -> None:
            gradients.append(
                torch.cat([p.grad.flatten() for p in adapters.parameters() if p.grad is not None])
            )

        handle = register_optimizer_step_pre_hook(note)
        with adapters.attached():
            for _ in range(STEPS):
                trainer.step()
        handle.remove()
        share = held_bytes(velocity.network) / held_bytes(patcher.model.diffusion_model)
    return {"gradient": gradients[0], "share": torch.tensor(share), **trainer.lora()}


def take_part(rank: int, size: int, folder: Path, families: list[str]) -> None:
    """Train every case of every family as one of so many processes."""
    torch.set_num_threads(1)
    group = (
        ProcessGroup(rank, size, FileStore(str(folder / f"meeting_{size}"), size))
        if size > 1
        else Processes()
    )
    for name, (number, case) in itertools.product(families, enumerate(CASES.values())):
        content = trained(FAMILIES[name], case, group)
        save_file(content, folder / f"{name}_{number}_{size}_{rank}.safetensors")
    group.close()


def in_processes(size: int, folder: Path, families: list[str]) -> None:
    """Fork so many, and wait for them."""
    children = []
    for rank in range(size):
        child = os.fork()
        if child == 0:
            status = 1
            try:
                take_part(rank, size, folder, families)
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
        children.append(child)
    ended = [os.waitpid(child, 0)[1] for child in children]
    if any(ended):
        raise SystemExit(f"{size} processes ended with {ended}")


def compared(name: str, number: int, size: int, folder: Path) -> dict[str, float | bool]:
    """What so many processes have given beside one."""
    one = load_file(folder / f"{name}_{number}_1_0.safetensors")
    found = [load_file(folder / f"{name}_{number}_{size}_{rank}.safetensors") for rank in range(size)]
    expected, whole = one.pop("gradient"), one.pop("share").item()
    shares = [other.pop("share").item() for other in found]
    return {
        "share": max(shares) / whole,
        "gradient": ((found[0]["gradient"] - expected).norm() / expected.norm()).item(),
        "lora": max((found[0][key] - value).abs().max().item() for key, value in one.items()),
        "alike": all(
            torch.equal(other[key], value)
            for other in found
            for key, value in found[0].items()
            if key in other
        ),
    }


def main() -> None:
    """Measure, and print."""
    sizes = [int(size) for size in sys.argv[2].split(",")] if len(sys.argv) > 2 else [2, 3]
    families = sys.argv[3].split(",") if len(sys.argv) > 3 else ["sd3", "flux", "z_image"]
    with tempfile.TemporaryDirectory() as folder:
        for size in (1, *sizes):
            in_processes(size, Path(folder), families)
        found = {
            f"{name}, {case}, {size} processes": compared(name, number, size, Path(folder))
            for name in families
            for number, case in enumerate(CASES)
            for size in sizes
        }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
