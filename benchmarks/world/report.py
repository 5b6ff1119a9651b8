"""The picture and the tables of the benchmark."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.world.grid import Strip, grid
from benchmarks.world.measure import is_as_asked
from benchmarks.world.persons import Person, other_scenes
from benchmarks.world.reader import Reader
from benchmarks.world.runs import Results, Row, Task

COLUMNS: Mapping[str, Callable[[Row], float]] = {
    "face parts": lambda row: row.counts.parts,
    "identity": lambda row: row.counts.identity,
    "same, skin too": lambda row: row.counts.same,
    "distance": lambda row: row.counts.distance,
    "as asked": lambda row: row.counts.follow["all"],
    "leak": lambda row: row.counts.leak["all"],
    "leak hair": lambda row: row.counts.leak["hair"],
    "clothes": lambda row: row.counts.leak["clothes"],
    "background": lambda row: row.counts.leak["background"],
    "diversity": lambda row: row.counts.diversity,
    "strangers": lambda row: row.counts.strangers,
}
"""Title of a column -> its number of a row."""


def table(rows: Iterable[Row], recipes: Sequence[str]) -> str:
    """Markdown: the mean over persons and seeds for each recipe, captions, rank and size of the training set,
    ± the standard deviation between the runs.
    """
    groups: dict[tuple, list[Row]] = {}
    for row in rows:
        task = row.task
        groups.setdefault((task.full, task.pictures, task.rank, task.recipe), []).append(row)
    lines = [
        f"| captions | pictures | rank | recipe | runs | {' | '.join(COLUMNS)} |",
        "|" + " --- |" * (5 + len(COLUMNS)),
    ]
    for full, pictures, rank, recipe in sorted(groups, key=lambda key: (*key[:3], recipes.index(key[3]))):
        runs = groups[full, pictures, rank, recipe]
        numbers = [_spread([of(row) for row in runs]) for of in COLUMNS.values()]
        captions = "full" if full else "trigger"
        lines.append(f"| {captions} | {pictures} | {rank} | {recipe} | {len(runs)} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def line(row: Row) -> str:
    """A run in one line."""
    task, counts = row.task, row.counts
    captions = "full captions" if task.full else "trigger"
    return (
        f"{task.person}, seed {task.seed}, {task.recipe}, rank {task.rank}, {captions}, "
        f"{task.pictures} pictures: identity {counts.identity:.2f}, as asked {counts.follow['all']:.2f}, "
        f"leak {counts.leak['all']:.3f}, strangers {counts.strangers:.2f}, {row.seconds:.0f} s"
    )


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def grid_of(
    results: Results, persons: Sequence[Person], path: Path, reader: Reader, seed: int = 1, rank: int = 8
) -> None:
    """The picture from results that are there; the captions were the trigger alone.

    Raises:
        FileNotFoundError: a run of the picture is missing.
    """

    def shown(person: Person, recipe: str) -> Strip:
        pixels = results.shown(Task(person.name, recipe, seed, rank))
        scenes = other_scenes(person, len(pixels))
        return Strip(pixels, is_as_asked(reader.read(pixels), scenes, person))

    grid(persons, shown, path)
