"""Train and measure LoRAs, one row of results for each; what is there is not computed again."""

import contextlib
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.world.base import Pretraining
from benchmarks.world.drawing import SIDE, sheet
from benchmarks.world.flow import WorldFlow, sample
from benchmarks.world.measure import Counts, Samples, count, draw_samples
from benchmarks.world.people import caption, random_scene
from benchmarks.world.persons import PERSONS, pictures_with_scenes, training_captions, training_pictures
from benchmarks.world.recipes import RECIPES, Recipe
from benchmarks.world.world import World, load_world
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.settings import TrainingSettings

SETTINGS = TrainingSettings(steps=300, batch_size=4, learning_rate=4e-3)
SCENES = 40
"""Made for a training that has some."""
SHOWN = 8
"""Samples that are kept of each run, to be looked at."""


@dataclass(frozen=True)
class Task:
    """One training, by names.

    Attributes:
        full: captions that say all there is to see, not the trigger alone.
        pictures: in the training set.
    """

    person: str
    recipe: str
    seed: int = 1
    rank: int = 8
    full: bool = False
    pictures: int = 10


@dataclass(frozen=True)
class Row:
    """A training and what was counted on its samples; `seconds` of processor time for the training alone."""

    task: Task
    steps: int
    seconds: float
    counts: Counts

    @classmethod
    def from_json(cls, line: str) -> "Row":
        values = json.loads(line)
        return cls(Task(**values["task"]), values["steps"], values["seconds"], Counts(**values["counts"]))


def run(
    world: World, task: Task, settings: TrainingSettings = SETTINGS, share: float = 1.0
) -> tuple[Row, Samples]:
    """Train and measure one LoRA; `share` of the usual number of samples."""
    person, recipe = PERSONS[task.person], RECIPES[task.recipe]
    settings = replace(settings, seed=task.seed, steps=settings.steps * recipe.longer)
    begun, attached = time.process_time(), contextlib.nullcontext()
    data, prompts = _material(world, task, recipe, max(2, round(share * SCENES)))
    flow = WorldFlow(world.model, prompts)
    if recipe.objective:
        size = AdapterSettings(rank=task.rank, alpha=task.rank)
        adapters = LoraAdapters(linear_layers(world.model, recipe.layers), size, seed=task.seed)
        trainer = recipe.trainer(flow, adapters, data, recipe.objective, settings)
        with adapters.attached():
            while trainer.steps_done < settings.steps:
                trainer.step()
        attached = adapters.attached()
    seconds = time.process_time() - begun
    with attached:
        samples = draw_samples(world.model, world.codec, person, share)
    return Row(task, settings.steps, seconds, count(samples, world.reader, person)), samples


def _material(world: World, task: Task, recipe: Recipe, count: int) -> tuple[TrainingPictures, list[str]]:
    """What a training sees, and its prompts as of `training_captions`."""
    person = PERSONS[task.person]
    captions = training_captions(person, task.pictures, task.full)
    if recipe.scenes is None:
        return training_pictures(person, task.pictures, world.codec), captions
    random = np.random.default_rng(task.seed)
    scenes = [random_scene(random) for _ in range(count)]
    latents = sample(world.model, [caption(scene) for scene in scenes], seed=task.seed)
    data, of_scenes = pictures_with_scenes(person, task.pictures, world.codec, scenes, latents, recipe.scenes)
    return data, [*captions[: task.pictures], *of_scenes]


@dataclass(frozen=True)
class Results:
    """The rows of one base model, and samples of each run, in a folder."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "rows.jsonl"

    def rows(self) -> dict[Task, Row]:
        """What has been run."""
        lines = self.path.read_text().splitlines() if self.path.is_file() else ()
        return {row.task: row for row in map(Row.from_json, lines)}

    def add(self, row: Row, samples: Samples) -> None:
        """Keep a row, and the first of its samples."""
        self.folder.mkdir(parents=True, exist_ok=True)
        kinds = (samples.asked, samples.bare, samples.strangers)
        shown = np.concatenate([sheet(pixels[:SHOWN], SHOWN) for pixels in kinds])
        Image.fromarray(shown).save(self.samples_path(row.task))
        with self.path.open("a") as file:
            file.write(json.dumps(asdict(row)) + "\n")

    def samples_path(self, task: Task) -> Path:
        """Where a run's samples are, in three rows: with a scene, with the trigger alone, and without it."""
        words = "_".join(str(value) for value in asdict(task).values())
        return self.folder / ("".join(letter if letter.isalnum() else "_" for letter in words) + ".png")

    def shown(self, task: Task) -> Tensor:
        """Float[SHOWN, S, S, 3]: a run's samples with a scene."""
        with Image.open(self.samples_path(task)) as picture:
            pixels = torch.from_numpy(np.array(picture)).float() / 255
        return torch.stack([pixels[:SIDE, place * SIDE : (place + 1) * SIDE] for place in range(SHOWN)])


def run_missing(
    settings: Pretraining, folder: Path, tasks: Sequence[Task], results: Results, workers: int
) -> Iterator[Row]:
    """Run these tasks in the world of these settings, so many at a time, each on one core; yields a row as
    soon as it is kept.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        for row, samples in pool.map(partial(_run_here, settings, folder), tasks):
            results.add(row, samples)
            yield row


def _run_here(settings: Pretraining, folder: Path, task: Task) -> tuple[Row, Samples]:
    torch.set_num_threads(1)
    return run(load_world(settings, folder), task)
