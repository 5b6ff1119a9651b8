"""One picture of what LoRAs do: training pictures, what was asked for, and the samples of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.world.drawing import SIDE, draw, sheet
from benchmarks.world.measure import ASPECTS
from benchmarks.world.parts import ATTRIBUTION
from benchmarks.world.persons import Person, asked_for, other_scenes, training_figures
from benchmarks.world.recipes import BASE, DEFAULT, FLOOR, WHOLE

ROWS: Mapping[str, str] = {
    "base model": BASE.name,
    "whole picture": WHOLE.name,
    "mask with floor": FLOOR.name,
    "by region": DEFAULT.name,
}
"""What stands before a row of the picture -> the recipe whose samples it shows."""
ABOVE: Mapping[str, str] = {
    "training pictures": "always the same\noutfit and place",
    "asked for": "the same face,\nother hair, clothes, place",
}
"""The rows above those, and what is written below their titles."""
COLUMNS = 6
RIGHT, WRONG = (0, 158, 115), (213, 94, 0)
"""Of the bars; told apart by colour-blind eyes too."""


@dataclass(frozen=True)
class Strip:
    """Samples of one person Float[N, S, S, 3], and whether each is as asked, Bool[N, 4] as of `ASPECTS`."""

    pixels: Tensor
    is_as_asked: Tensor


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels.

    Attributes:
        side: of one picture of the grid.
        label: width of what stands before the rows.
    """

    side: int = SIDE
    label: int = 150

    @property
    def gap(self) -> int:
        return self.side // 16

    @property
    def bar(self) -> int:
        """Height of the bar under a sample."""
        return self.side // 12

    @property
    def font(self) -> int:
        return self.side // 12 + 7


def grid(
    persons: Sequence[Person],
    shown: Callable[[Person, str], Strip],
    path: Path,
    layout: Layout | None = None,
    notes: Mapping[str, str] | None = None,
) -> None:
    """Write the picture.

    Args:
        shown: person, recipe -> its samples of the scenes of `other_scenes`.
        notes: title of a row of `ROWS` -> what is written below it.
    """
    canvas = _Canvas(len(persons), layout or Layout())
    written = {**ABOVE, **(notes or {})}
    for row, title in enumerate((*ABOVE, *ROWS)):
        canvas.name_row(row, title, written.get(title, ""))
    for place, person in enumerate(persons):
        training, _ = draw(training_figures(person, COLUMNS), seed=9)
        canvas.paste(0, place, training)
        canvas.paste(1, place, asked_for(person, other_scenes(person, COLUMNS)))
        for row, recipe in enumerate(ROWS.values(), start=2):
            strip = shown(person, recipe)
            canvas.paste(row, place, strip.pixels[:COLUMNS])
            canvas.rate(row, place, strip.is_as_asked[:COLUMNS])
    canvas.explain()
    canvas.picture.save(path, quality=90)  # of a JPEG


class _Canvas:
    """The picture while it is made: places by row, person and column."""

    def __init__(self, persons: int, layout: Layout):
        self.layout = layout
        self.block = COLUMNS * layout.side + layout.gap
        width = layout.label + persons * self.block
        self.picture = Image.new("RGB", (width, self._top(len(ROWS) + 2) + 2 * layout.font + 6), "white")
        self.write = ImageDraw.Draw(self.picture)

    def _top(self, row: int) -> int:
        """Where a row begins; samples begin after a wider gap, and have a bar below."""
        side, gap, bar = self.layout.side, self.layout.gap, self.layout.bar
        return gap + row * (side + gap) + (row > 1) * 2 * gap + max(row - 2, 0) * bar

    def _left(self, place: int, column: int) -> int:
        return self.layout.label + place * self.block + column * self.layout.side

    def name_row(self, row: int, title: str, note: str) -> None:
        """Write what stands before a row."""
        large = ImageFont.load_default(self.layout.font)
        small = ImageFont.load_default(0.8 * self.layout.font)
        below, step = note.splitlines(), 1.1 * self.layout.font
        top = self._top(row) + (self.layout.side - 1.4 * self.layout.font - step * len(below)) / 2
        self.write.text((8, top), title, fill="black", font=large)
        for number, line in enumerate(below):
            at = (8, top + 1.4 * self.layout.font + step * number)
            self.write.text(at, line, fill="dimgray", font=small)

    def paste(self, row: int, place: int, pixels: Tensor) -> None:
        """Put pictures into a row."""
        strip = Image.fromarray(sheet(pixels, COLUMNS))
        size = (COLUMNS * self.layout.side, self.layout.side)
        if strip.size != size:
            strip = strip.resize(size, Image.Resampling.BICUBIC)
        self.picture.paste(strip, (self._left(place, 0), self._top(row)))

    def rate(self, row: int, place: int, is_as_asked: Tensor) -> None:
        """Draw a bar below each picture of a row, with a part for each aspect."""
        top = self._top(row) + self.layout.side
        for column, rated in enumerate(is_as_asked.tolist()):
            edges = [self._left(place, column) + self.layout.side * k // len(rated) for k in range(5)]
            for left, right, fine in zip(edges, edges[1:], rated, strict=False):
                box = (left + 1, top + 2, right - 2, top + self.layout.bar)
                self.write.rectangle(box, fill=RIGHT if fine else WRONG)

    def explain(self) -> None:
        """Write what the bars mean, and whose the people are."""
        font = ImageFont.load_default(0.8 * self.layout.font)
        left, top = self.layout.label, self._top(len(ROWS) + 2)
        text = f"below each sample: {', '.join(ASPECTS)}"
        self.write.text((left, top), text, fill="dimgray", font=font)
        left += self.write.textlength(text, font) + self.layout.gap
        for colour, meaning in ((RIGHT, "as asked"), (WRONG, "not")):
            middle = top + 0.55 * self.layout.font
            box = (
                left,
                middle - self.layout.bar / 2,
                left + self.layout.side // 4,
                middle + self.layout.bar / 2,
            )
            self.write.rectangle(box, fill=colour)
            left += self.layout.side // 4 + 6
            self.write.text((left, top), meaning, fill="dimgray", font=font)
            left += self.write.textlength(meaning, font) + 2 * self.layout.gap
        place = (self.layout.label, top + 1.2 * self.layout.font)
        self.write.text(place, ATTRIBUTION, fill="gray", font=font)
