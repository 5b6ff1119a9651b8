"""The picture and the tables of the benchmark."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.world.drawing import SIDE, draw, sheet
from benchmarks.world.parts import ATTRIBUTION
from benchmarks.world.persons import Person, asked_for, other_scenes, training_figures
from benchmarks.world.recipes import BASE, DEFAULT, FLOOR, WHOLE
from benchmarks.world.runs import SHOWN, Results, Row, Task

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

GRID_ROWS = {
    "base model": BASE.name,
    "whole picture": WHOLE.name,
    "mask with floor": FLOOR.name,
    "by region": DEFAULT.name,
}
"""What stands before a row of the picture -> the recipe whose samples it shows."""
GRID_COLUMNS = 6
LABEL = 150
GAP = 6
TITLE = 20


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


def grid(persons: Sequence[Person], shown: Callable[[Person, str], Tensor], path: Path) -> None:
    """One picture: training pictures, what was asked for, and the samples of the rows of `GRID_ROWS`.

    Args:
        shown: person, recipe -> its samples Float[N, S, S, 3] of the scenes of `other_scenes`.
    """
    columns = min(GRID_COLUMNS, SHOWN)
    block = columns * SIDE
    width = LABEL + len(persons) * (block + GAP)
    titles = ("training pictures", "asked for", *GRID_ROWS)
    picture = Image.new("RGB", (width, len(titles) * (SIDE + GAP) + TITLE), "white")
    write, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for place, person in enumerate(persons):
        training, _ = draw(training_figures(person, columns), seed=9)
        strips = [training, asked_for(person, other_scenes(person, columns))]
        strips += [shown(person, recipe)[:columns] for recipe in GRID_ROWS.values()]
        for row, strip in enumerate(strips):
            at = (LABEL + place * (block + GAP), row * (SIDE + GAP))
            picture.paste(Image.fromarray(sheet(strip, columns)), at)
    for row, title in enumerate(titles):
        write.text((4, row * (SIDE + GAP) + SIDE // 2 - 8), title, fill="black", font=font)
    write.text((LABEL, picture.height - TITLE + 2), ATTRIBUTION, fill="gray", font=ImageFont.load_default(11))
    picture.save(path)


def grid_of(results: Results, persons: Sequence[Person], path: Path, seed: int = 1, rank: int = 8) -> None:
    """The picture from results that are there; the captions were the trigger alone.

    Raises:
        FileNotFoundError: a run of the picture is missing.
    """

    def shown(person: Person, recipe: str) -> Tensor:
        return results.shown(Task(person.name, recipe, seed, rank))

    grid(persons, shown, path)
