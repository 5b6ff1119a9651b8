"""The picture and the tables of the benchmark."""

import re
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.world.grid import Strip, grid
from benchmarks.world.measure import GROUPS, is_as_asked
from benchmarks.world.persons import Person, other_scenes
from benchmarks.world.reader import Reader
from benchmarks.world.recipes import BASE, DEFAULT
from benchmarks.world.runs import Results, Row, Task

Number = Callable[[Row], float]
COLUMNS: Mapping[str, Number] = {
    "identity": lambda row: row.counts.identity,
    "same": lambda row: row.counts.same,
    "as asked": lambda row: row.counts.follow["all"],
    "leak": lambda row: row.counts.leak["all"],
    "diversity": lambda row: row.counts.diversity,
    "strangers": lambda row: row.counts.strangers,
}
"""Title of a column -> its number of a row."""


def _grouped(title: str, shares: Callable[[Row], Mapping[str, float]]) -> dict[str, Number]:
    return {f"{title} {group}": lambda row, group=group: shares(row)[group] for group in GROUPS}


DETAILS: Mapping[str, Number] = {
    "face parts": lambda row: row.counts.parts,
    "distance": lambda row: row.counts.distance,
    **_grouped("as asked:", lambda row: row.counts.follow),
    **_grouped("leak:", lambda row: row.counts.leak),
    "trigger alone: identity": lambda row: row.counts.bare_identity,
    "trigger alone: leak": lambda row: row.counts.bare_leak,
    "others as asked": lambda row: row.counts.strangers_follow,
}


def differences(rows: Iterable[Row]) -> Mapping[str, Number]:
    """Columns as `COLUMNS`, each less the number of `DEFAULT` for the same pictures, rank and seed."""
    own = {row.task: row for row in rows if row.task.recipe == DEFAULT.name}

    def less(of: Number) -> Number:
        return lambda row: of(row) - of(own[replace(row.task, recipe=DEFAULT.name)])

    return {title: less(of) for title, of in COLUMNS.items()}


class Set(NamedTuple):
    """The trainings that stand in one table."""

    full: bool
    pictures: int
    rank: int

    @property
    def title(self) -> str:
        captions = "full captions" if self.full else "the trigger word alone"
        return f"Rank {self.rank}, {self.pictures} pictures, {captions}"


def tables(rows: Iterable[Row], recipes: Sequence[str], columns: Mapping[str, Number] = COLUMNS) -> str:
    """Markdown: for each rank, captions and size of the training set a table of these ways of training, in
    this order: the mean over persons and seeds ± the standard deviation between the trainings.
    """
    sets: dict[Set, dict[str, list[Row]]] = {}
    for row in rows:
        task = row.task
        ways = sets.setdefault(Set(task.full, task.pictures, task.rank), {})
        ways.setdefault(task.recipe, []).append(row)
    return "\n\n".join(_table(which, sets[which], recipes, columns) for which in sorted(sets))


def _table(
    which: Set, ways: Mapping[str, Sequence[Row]], recipes: Sequence[str], columns: Mapping[str, Number]
) -> str:
    most = max(map(len, ways.values()))
    persons, seeds = (
        len({value(row.task) for runs in ways.values() for row in runs})
        for value in (lambda task: task.person, lambda task: task.seed)
    )
    lines = [
        f"**{which.title}** ({_many(persons, 'person')}, {_many(seeds, 'seed')}):",
        "",
        f"| way of training | {' | '.join(columns)} |",
        "|" + " --- |" * (1 + len(columns)),
    ]
    for recipe in (recipe for recipe in recipes if recipe in ways):
        runs = ways[recipe]
        of_fewer = len(runs) < most and recipe != BASE.name
        cells = [
            recipe + (f" ({_many(len(runs), 'training')})" if of_fewer else ""),
            *(_spread([of(row) for row in runs]) for of in columns.values()),
        ]
        if recipe == DEFAULT.name:
            cells = [f"**{cell}**" for cell in cells]
        lines.append(f"| {' | '.join(cells)} |")
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


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _spread(values: Sequence[float]) -> str:
    spread = f" ± {_short(statistics.stdev(values), 2)}" if len(values) > 1 else ""
    return _short(statistics.fmean(values), 3) + spread


def _short(value: float, digits: int) -> str:
    """Without the 0 before the point."""
    return re.sub(r"^(-?)0\.", r"\1.", f"{round(value, digits) or 0.0:.{digits}f}")  # no -.000


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
