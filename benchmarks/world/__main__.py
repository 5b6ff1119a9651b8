"""What LoRAs do in a world where everything is known: python -m benchmarks.world [--small] [--workers 2]

trains the base model and the reader (once), then a LoRA for every task, counts what its samples show, and
writes tables.md and grid.png into .cache/world; with --page the tables of docs/ablation.md and its picture as
well. A run that was stopped goes on where it was.
"""

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks.page_tables import insert_table
from benchmarks.photographs import CHECKOUT
from benchmarks.world import report
from benchmarks.world.base import CACHE, Pretraining
from benchmarks.world.persons import PERSONS, REPORTED
from benchmarks.world.recipes import BASE, CORE, DEFAULT, FLOOR, FOREIGN, RECIPES, WHOLE, WITH_SCENES
from benchmarks.world.runs import SETTINGS, Results, Task, run, run_missing
from benchmarks.world.world import judge, load_world

DOCS = CHECKOUT / "docs"
SEEDS, RANKS = (1, 2, 3), (8, 32)
SMALL = Pretraining(pictures=64, steps=4, batch=4, codec_steps=2, warmup=1)


def tasks() -> Iterator[Task]:
    """All of them, what matters most first: what the picture shows, then the table at rank 8 and 32, then
    more seeds; then, of the ways of training that others are compared with, full captions, rank 4, and the
    larger training set at rank 8 and 32.
    """
    names = [person.name for person in REPORTED]
    for name, recipe in itertools.product(names, (BASE, WHOLE, FLOOR, DEFAULT)):
        yield Task(name, recipe.name)
    trained = [recipe.name for recipe in (*CORE[1:], *FOREIGN, *WITH_SCENES)]
    for seed, rank, name, recipe in itertools.product(SEEDS, RANKS, names, trained):
        yield Task(name, recipe, seed, rank)
    compared = [recipe.name for recipe in (WHOLE, FLOOR, DEFAULT, *FOREIGN)]
    for full, pictures, ranks in ((True, 10, (4, 8, 32)), (False, 10, (4,)), (False, 30, (8, 32))):
        for seed, rank, name, recipe in itertools.product(SEEDS, ranks, names, compared):
            yield Task(name, recipe, seed, rank, full, pictures)


def small() -> None:
    """Everything once with next to no steps, in a folder of its own; its numbers mean nothing."""
    with tempfile.TemporaryDirectory() as folder:
        world = load_world(SMALL, Path(folder), reader_steps=2)
        print(json.dumps(judge(world, 8), indent=1))
        results = Results(Path(folder) / "runs")
        for recipe in (BASE, WHOLE, FLOOR, DEFAULT, *FOREIGN, *WITH_SCENES):
            results.add(*run(world, Task("p1", recipe.name), replace(SETTINGS, steps=1), share=0.1))
        print(report.tables(results.rows().values(), list(RECIPES)))


def main() -> None:
    parser = argparse.ArgumentParser(description="Count what LoRAs do on samples of a known world.")
    parser.add_argument("--small", action="store_true", help="a tiny version, in a temporary folder")
    parser.add_argument("--workers", type=int, default=2, help="LoRAs at a time, one core each")
    parser.add_argument("--at-most", type=int, default=None, metavar="N", help="stop after N new LoRAs")
    parser.add_argument("--page", action="store_true", help="put tables and picture into docs")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.workers)
    if arguments.small:
        small()
        return
    settings = Pretraining()
    world = load_world(settings)
    print(json.dumps(judge(world), indent=1), flush=True)
    results = Results(CACHE / f"runs_{settings.key}")
    missing = [task for task in dict.fromkeys(tasks()) if task not in results.rows()][: arguments.at_most]
    for row in run_missing(settings, CACHE, missing, results, arguments.workers):
        print(report.line(row), flush=True)
    rows = results.rows().values()
    of_all_ways = [
        row for row in rows if row.task.rank in RANKS and row.task.pictures == 10 and not row.task.full
    ]
    names = list(RECIPES)
    others = [name for name in names if name not in (BASE.name, DEFAULT.name)]
    written = {
        "samples": report.tables(rows, names),
        "differences": report.tables(of_all_ways, others, report.differences(rows)),
        "details": report.tables(of_all_ways, names, report.DETAILS),
    }
    (CACHE / "tables.md").write_text("\n\n".join(written.values()) + "\n", encoding="utf-8")
    print(written["samples"])
    shown = [PERSONS["p1"], PERSONS["p3"]]
    report.grid_of(results, shown, CACHE / "grid.png", world.reader)
    if arguments.page:
        for name, text in written.items():
            insert_table(DOCS / "ablation.md", name, text)
        report.grid_of(results, shown, DOCS / "world.jpg", world.reader)


if __name__ == "__main__":
    main()
