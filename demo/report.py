"""What is seen on the samples: the grid, the counts as a table for people and as report.json."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from benchmarks.world.drawing import SIDE
from benchmarks.world.grid import ROWS, Layout, Strip, grid
from benchmarks.world.measure import AskedCounts, count_asked, is_as_asked
from benchmarks.world.persons import Person, other_scenes
from benchmarks.world.reader import Reader

LAYOUT = Layout(side=2 * SIDE, label=250)
TITLES = {recipe: title for title, recipe in ROWS.items()}
HEADS = ("face right", "as asked", "training pictures' instead")


def write_report(
    samples: Mapping[str, Tensor], reader: Reader, person: Person, about: Mapping[str, Any], folder: Path
) -> None:
    """Read the samples, write grid.png and report.json into a folder, and print the table.

    Args:
        samples: recipe -> Float[N, S, S, 3], samples of the scenes of `other_scenes`.
        about: what else report.json says.
    """
    scenes = other_scenes(person, len(next(iter(samples.values()))))
    counts = {name: count_asked(pixels, scenes, reader, person) for name, pixels in samples.items()}
    notes = {title: _note(counts[recipe]) for title, recipe in ROWS.items()}

    def shown(person: Person, recipe: str) -> Strip:
        pixels = samples[recipe]
        return Strip(pixels, is_as_asked(reader.read(pixels), scenes, person))

    grid([person], shown, folder / "grid.png", LAYOUT, notes)
    told = {**about, "counts": {name: asdict(found) for name, found in counts.items()}}
    (folder / "report.json").write_text(json.dumps(told, indent=2) + "\n")
    print(f"\n{len(scenes)} samples of each, read by a network; its own errors are in the first row.")
    print("Right are eyes, mouth and beard; asked for are hair, clothes and background.\n")
    print(table(counts))


def table(counts: Mapping[str, AskedCounts]) -> str:
    """The counts for people, a line for each recipe."""
    lines = [f"{'':<24}" + "".join(f"{head:>{len(head) + 3}}" for head in HEADS)]
    for name, found in counts.items():
        shares = (found.identity, found.follow["all"], found.leak["all"])
        columns = (f"{share:>{len(head) + 3}.2f}" for head, share in zip(HEADS, shares, strict=True))
        lines.append(f"{TITLES.get(name, name):<24}" + "".join(columns))
    return "\n".join(lines)


def _note(found: AskedCounts) -> str:
    return (
        f"face right {found.identity:.0%}\nas asked {found.follow['all']:.0%}\nleaked {found.leak['all']:.0%}"
    )
