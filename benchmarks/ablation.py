"""Face exact, background free: which training objective gets how much of both, on a small flow model.

    python -m benchmarks.ablation [--quick] [--workers 2] [--variants core|all]

trains one LoRA for every person, seed and variant of the objective, measures each, and writes
docs/ablation.png, docs/ablation_samples.jpg and the table of velocities in docs/ablation.md. Results
are kept in .cache/ablation; what is there is not computed again. On one core a LoRA takes about 10 s and the
base model, once, about 13 minutes. `--quick` runs a tiny version of everything into a temporary folder.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from benchmarks import ablation_report
from benchmarks.ablation_measure import Result, clean_estimates, measure_errors, measure_samples
from benchmarks.ablation_objectives import BASELINE, CORE, MORE, WITH, WITHOUT
from benchmarks.ablation_subjects import HELD_OUT, REPORTED, SUBJECTS, TRAINED, framed, training_pictures
from benchmarks.page_tables import insert_table
from benchmarks.photographs import CHECKOUT
from benchmarks.small_flow import CACHE, CaptionedFlow, Pretraining, base_model
from semantic_focus.lora.adapters import AdapterSettings
from semantic_focus.lora.layers import linear_layers
from semantic_focus.lora.network import LoraAdapters
from semantic_focus.training.settings import TrainingSettings
from semantic_focus.training.trainer import train

DOCS = CHECKOUT / "docs"
RANK = 8
SEEDS = (1, 2, 3)
SETTINGS = TrainingSettings(steps=150, batch_size=4, learning_rate=8e-3)
"""The rate was chosen for the baseline, on the development persons: there its face error after 300 steps was
1.39, 1.22, 1.08, 0.98 and 0.94 at 1, 2, 4, 8 and 16e-3.
"""
VARIANTS = {variant.name: variant for variant in (*CORE, *MORE)}


@dataclass(frozen=True)
class Plan:
    """What is run: base model, where results go, and the settings shared by all trainings."""

    pretraining: Pretraining
    folder: Path
    settings: TrainingSettings


@dataclass(frozen=True)
class Task:
    """One training, by names."""

    subject: str
    seed: int
    variant: str


@cache
def _base(plan_folder: Path, pretraining: Pretraining) -> Any:
    return base_model(pretraining, plan_folder)


def run(plan: Plan, task: Task) -> Result:
    """Train and measure one LoRA; its samples go to a PNG beside the results."""
    torch.set_num_threads(1)
    model, codec = _base(plan.folder, plan.pretraining)
    subject, variant = SUBJECTS[task.subject], VARIANTS[task.variant]
    trained = training_pictures(subject, TRAINED, codec)
    held_out = training_pictures(subject, HELD_OUT, codec)
    flow = CaptionedFlow(model, [subject.caption] * len(TRAINED))
    adapters = LoraAdapters(linear_layers(model), AdapterSettings(rank=RANK, alpha=RANK), seed=task.seed)
    settings = replace(plan.settings, seed=task.seed, **variant.training)
    begun = time.monotonic()
    if variant.objective:
        train(flow, adapters, trained, variant.objective, settings)
    seconds = time.monotonic() - begun
    samples, latents = measure_samples(flow, adapters, trained)
    shown = torch.cat((clean_estimates(flow, adapters, held_out), latents[: ablation_report.SHOWN_SAMPLES]))
    save_strip(codec.decode(shown), samples_path(plan, task))
    return Result(
        task.subject, task.seed, task.variant, settings.steps, seconds,
        measure_errors(flow, adapters, trained), measure_errors(flow, adapters, held_out), samples,
    )  # fmt: skip


def save_strip(pixels: torch.Tensor, path: Path) -> None:
    """Pictures Float[N, H, W, 3] in 0..1, side by side."""
    Image.fromarray((torch.cat(list(pixels), 1) * 255).round().byte().numpy()).save(path)


def samples_path(plan: Plan, task: Task) -> Path:
    """Where the samples of a training are."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in task.variant)
    return plan.folder / f"samples_{task.subject}_{task.seed}_{plain}.png"


def results(plan: Plan) -> dict[Task, Result]:
    """What has been run with these settings."""
    path = plan.folder / "results.jsonl"
    found = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        result = Result.from_json(json.loads(line))
        if result.steps == plan.settings.steps:
            found[Task(result.subject, result.seed, result.variant)] = result
    return found


def run_all(plan: Plan, tasks: Iterable[Task], workers: int) -> dict[Task, Result]:
    """Run what is missing, each worker on one core, and return everything."""
    plan.folder.mkdir(parents=True, exist_ok=True)
    missing = [task for task in tasks if task not in results(plan)]
    base_model(plan.pretraining, plan.folder)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        futures = [pool.submit(run, plan, task) for task in missing]
        for number, future in enumerate(as_completed(futures), 1):
            result = future.result()
            with (plan.folder / "results.jsonl").open("a") as file:
                file.write(json.dumps(result.to_json()) + "\n")
            done = f"{result.subject}, seed {result.seed}, {result.variant}"
            print(f"{number}/{len(missing)} {done}: {result.seconds:.0f} s", flush=True)
    return results(plan)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare training objectives on a small flow model.")
    parser.add_argument("--quick", action="store_true", help="a tiny version, in a temporary folder")
    parser.add_argument("--workers", type=int, default=1, help="trainings at a time, one core each")
    parser.add_argument("--variants", choices=("core", "all"), default="all")
    arguments = parser.parse_args()
    if arguments.quick:
        with tempfile.TemporaryDirectory() as folder:
            tiny = Pretraining(width=64, depth=2, heads=1, steps=30)
            plan = Plan(tiny, Path(folder), replace(SETTINGS, steps=6))
            names = ("base model", BASELINE, f"{WITHOUT} 1", f"{WITH} 1")
            tasks = [Task(REPORTED[0].name, SEEDS[0], name) for name in names]
            found = run_all(plan, tasks, arguments.workers)
            print(ablation_report.table(found.values(), VARIANTS))
            ablation_report.draw_fronts(found.values(), VARIANTS, Path(folder) / "fronts.png")
        return
    plan = Plan(Pretraining(), CACHE, SETTINGS)
    chosen = CORE if arguments.variants == "core" else (*CORE, *MORE)
    tasks = [
        Task(subject.name, seed, variant.name) for seed in SEEDS for subject in REPORTED for variant in chosen
    ]
    found = [result for task, result in run_all(plan, tasks, arguments.workers).items() if task in set(tasks)]
    table = ablation_report.table(found, VARIANTS)
    print(table)
    insert_table(DOCS / "ablation.md", "velocities", table)
    ablation_report.draw_fronts(found, VARIANTS, DOCS / "ablation.png")
    ablation_report.draw_samples(shown_strips(plan), DOCS / "ablation_samples.jpg")


def shown_strips(plan: Plan) -> dict[str, dict[str, Path]]:
    """Person -> name of a row -> its pictures: the photographs, and the first seed's results."""
    _, codec = base_model(plan.pretraining, plan.folder)
    strips = {}
    for subject in REPORTED:
        photographs = plan.folder / f"photographs_{subject.name}.png"
        pixels, _ = framed(subject, HELD_OUT)
        blank = torch.ones(ablation_report.SHOWN_SAMPLES, *pixels.shape[1:])
        save_strip(torch.cat((codec.decode(codec.encode(pixels)), blank)), photographs)
        strips[subject.name] = {"photographs": photographs} | {
            name: samples_path(plan, Task(subject.name, SEEDS[0], name)) for name in ablation_report.SHOWN
        }
    return strips


if __name__ == "__main__":
    main()
