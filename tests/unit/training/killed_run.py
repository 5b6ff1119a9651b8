"""Trainings in processes of their own that can be killed, for test_killed."""

import os
import signal
from pathlib import Path
from typing import Any

import torch
from tiny_velocity import TinyVelocity

from semantic_focus.files import writing
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.run import RunOptions, run_identity, run_training
from semantic_focus.training.run_folder import choose_run
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.trainer import Trainer

STEPS = 16
NAME = "person"


def pictures() -> TrainingPictures:
    """Five pictures of three sizes, left half face and right half background."""
    generator = torch.Generator().manual_seed(1)
    latents, masks = [], []
    for height, width in ((8, 8), (4, 16), (8, 8), (16, 4), (4, 16)):
        mask = torch.zeros(2, height, width)
        mask[0, :, : width // 2], mask[1, :, width // 2 :] = 1, 1
        latents.append(torch.randn(3, height, width, generator=generator) + mask[:1])
        masks.append(mask)
    return TrainingPictures(tuple(latents), tuple(masks), ("face", "background"), (1, 2, 1, 1, 1))


def train_once(root: str, dies_writing: str = "") -> None:
    """Begin or go on with the run in `root`, up to its end.

    Args:
        dies_writing: name of a file in whose midst the process kills itself; "": none.
    """
    model, data = TinyVelocity(), pictures()
    adapters_are = AdapterSettings(rank=4, alpha=4.0, dropout=0.1)
    adapters = LoraAdapters(linear_layers(model, "all linear layers"), adapters_are, 0)
    objective = Objective(weights={"face": 1.0}, global_fallback=0.0, prior_weight=4.0, prior_every=2)
    settings = TrainingSettings(
        steps=STEPS,
        batch_size=2,
        accumulation=2,
        learning_rate=1e-2,
        warmup=2,
        ema_decay=0.9,
        caption_dropout=0.3,
    )
    identity = run_identity(
        model="tiny",
        data=data.digest(),
        conditioning="none",
        adapters={"rank": 4},
        objective=objective,
        settings=settings,
    )
    if dies_writing:
        _die_in_the_midst_of(dies_writing)
    run, state = choose_run(Path(root), NAME, identity, resume=True)
    trainer = Trainer(model, adapters, data, objective, settings, identity)
    run_training(trainer, run, state, RunOptions(save_every=2))


def _die_in_the_midst_of(name: str) -> None:
    whole = writing.write_atomically

    def half(path: Path, write: Any, make_way: Any = None) -> None:
        def half_of_it(part: Path) -> None:
            write(part)
            os.truncate(part, part.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

        whole(path, half_of_it if path.name == name else write, make_way)

    writing.write_atomically = half
