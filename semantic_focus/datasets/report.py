"""The report of a dataset: a page or a contact sheet of its pictures with their regions."""

import base64
import html
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import interpolate

from ..files.text import printable
from ..files.writing import has_png_mark, is_regular, others_aside, write_bytes, write_png
from ..regions.doubts import Doubt
from ..regions.masks import SemanticMasks, downsample_mask_to_latent
from ..regions.overlay import overlay, region_colour
from .folder import DatasetError, load_picture
from .mask_file import MaskFileError, mask_path, read_masks
from .survey import LEAST_PICTURES, DatasetSurvey, Entry

SUFFIXES = (".html", ".png")
HEAD = '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="viewport" '
"""What a page of ours begins with."""
TITLE = re.compile(r"<title>[^<]*: \d+ pictures, \d+ to look at</title>")
"""The title of a page of ours."""
MARK = "semantic-focus report"
"""By which a contact sheet of ours is known."""

THUMBNAIL_SIDE = 224
"""Longer side of a thumbnail, in pixels."""
PER_ROW = 6
LINE = 17
"""Height of a line of text on a contact sheet, in pixels; a picture has one for its name, and two each for
its coverage and its problems."""
MOST_ON_SHEET = 120
"""Pictures on a contact sheet; a sheet with all of a large dataset could not be opened."""


def write(dataset: DatasetSurvey, path: Path, check: Callable[[], None] = lambda: None) -> None:
    """Write the survey as an .html page or as a .png contact sheet.

    Args:
        path: in a folder that is there; an older report is replaced, anything else gets another name.
        check: called before each picture; what it raises ends the writing, and an older file stays as it was.

    Raises:
        ValueError: another ending.
        OSError: it cannot be written.
    """
    writers = {".html": write_page, ".png": write_contact_sheet}
    if path.suffix.lower() not in writers:
        raise ValueError(f"{path}: a report is one of {', '.join(SUFFIXES)}")
    writers[path.suffix.lower()](dataset, path, check)


def is_report(path: Path) -> bool:
    """Whether a file is a report that `write` wrote."""
    if path.suffix.lower() == ".png":
        return has_png_mark(path, MARK)
    if not is_regular(path):
        return False
    with path.open("rb") as file:
        head = file.read(1 << 14).decode("utf-8", "replace")
    return head.startswith(HEAD) and TITLE.search(head) is not None


def thumbnail(picture: Path, side: int = THUMBNAIL_SIDE, doubts: Sequence[Doubt] = ()) -> Image.Image:
    """A picture with its regions drawn over it; plain without a readable mask file, grey without a picture.

    Args:
        side: of the longer side, in pixels; smaller pictures stay as they are.
        doubts: the place of each flagged one gets a ring.
    """
    try:
        image = load_picture(picture)
    except (DatasetError, OSError, MemoryError):
        return Image.new("RGB", (side, side), (128, 128, 128))
    scale = min(1.0, side / max(image.shape[:2]))
    size = (max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale)))
    small = interpolate(image.movedim(-1, 0)[None], size, mode="area").movedim(1, -1)
    try:
        masks = read_masks(mask_path(picture))
        regions = downsample_mask_to_latent(masks.masks[0], size)[None]
        small = overlay(small, SemanticMasks(regions, masks.labels))
    except (OSError, MaskFileError):
        pass
    drawn = Image.fromarray((small[0] * 255).round().to(torch.uint8).numpy().astype(np.uint8))
    for doubt in doubts:
        if doubt.flagged:
            _ring(drawn, doubt.at)
    return drawn


def _ring(picture: Image.Image, at: tuple[float, float]) -> None:
    """A ring round a place, which stands out on any ground."""
    x, y, radius = at[0] * picture.width, at[1] * picture.height, max(6, min(picture.size) // 14)
    box = (x - radius, y - radius, x + radius, y + radius)
    draw = ImageDraw.Draw(picture)
    draw.ellipse(box, outline=(0, 0, 0), width=4)
    draw.ellipse(box, outline=(255, 255, 255), width=2)


def shown(path: Path, folder: Path) -> str:
    """A file's name relative to the dataset, in characters that any encoding of Unicode can hold."""
    name = str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)
    return printable(os.fsencode(name).decode("utf-8", "replace"))


def coverage_line(entry: Entry) -> str:
    """`face 12%, hair 8%, …` of the regions that were found."""
    parts = [
        f"{label} {round(share * 100) or '<1'}%"
        for label, share in entry.coverage.items()
        if label in entry.detected
    ]
    return ", ".join(parts) or ("nothing found" if entry.coverage else "no masks")


def write_contact_sheet(dataset: DatasetSurvey, path: Path, check: Callable[[], None]) -> None:
    write_sheet(contact_sheet(dataset, check), path)


def write_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a contact sheet; an older one is replaced, anything else gets another name."""
    write_png(path, sheet, MARK, others_aside(path, is_report))


def contact_sheet(dataset: DatasetSurvey, check: Callable[[], None] = lambda: None) -> Image.Image:
    """The first MOST_ON_SHEET pictures of a survey as one, each with its name and coverage below it."""
    entries = dataset.entries[:MOST_ON_SHEET]
    font, small = _font(15), _font(12)
    cell, text, margin = THUMBNAIL_SIDE + 16, 6 * LINE, 16
    head = 60 + LINE * len(dataset.remarks)
    rows = -(-len(entries) // PER_ROW)
    size = (PER_ROW * cell + 2 * margin, rows * (cell + text) + head + margin)
    sheet = Image.new("RGB", size, (246, 246, 248))
    draw = ImageDraw.Draw(sheet)
    draw.text((margin, 10), _headline(dataset), (20, 20, 24), font)
    if len(entries) < len(dataset.entries):
        limit = f"Shown: the first {len(entries)} of {len(dataset.entries)}, problems first; .html shows all"
        draw.text((margin, 32), limit, (90, 90, 98), small)
    for number, remark in enumerate(dataset.remarks):
        line = _cut(draw, remark, small, size[0] - 2 * margin)
        draw.text((margin, 52 + LINE * number), line, (176, 32, 24), small)
    for position, entry in enumerate(entries):
        check()
        row, column = divmod(position, PER_ROW)
        left, top = margin + column * cell, head + row * (cell + text)
        picture = thumbnail(entry.picture, doubts=entry.doubts)
        sheet.paste(picture, (left + 4, top + THUMBNAIL_SIDE - picture.height))
        width = cell - 12
        lines = [(_cut(draw, shown(entry.picture, dataset.folder), small, width), (20, 20, 24))]
        lines += [(line, (90, 90, 98)) for line in _wrapped(draw, coverage_line(entry), small, width)]
        lines += [(line, (176, 32, 24)) for line in _listed(draw, entry.problems, small, width)]
        for number, (line, colour) in enumerate(lines):
            draw.text((left + 4, top + THUMBNAIL_SIDE + 6 + LINE * number), line, colour, small)
    return sheet


def _headline(dataset: DatasetSurvey) -> str:
    return (
        f"{shown(dataset.folder, dataset.folder.parent)}: {len(dataset.entries)} pictures, "
        f"{dataset.with_problems} to look at"
    )


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font with Chinese characters where the system has one, else Pillow's own."""
    for name in ("NotoSansCJK-Regular.ttc", "msyh.ttc", "PingFang.ttc", "wqy-microhei.ttc"):
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _cut(draw: ImageDraw.ImageDraw, text: str, font, width: int) -> str:
    """One line of `text`, shortened in its middle to `width` pixels."""
    text = " ".join(text.split())
    kept = text
    while len(kept) > 4 and draw.textlength(kept, font) > width:
        half = (len(kept) - 2) // 2
        text = text[:half] + text[-half:]
        kept = text[: len(text) // 2] + "…" + text[len(text) // 2 :]
    return kept


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font, width: int, most: int = 2) -> list[str]:
    """`text` in at most so many lines of `width` pixels, the last cut where there is more."""
    lines, rest = [], text.split()
    while rest and len(lines) < most - 1:
        line = rest.pop(0)
        while rest and draw.textlength(f"{line} {rest[0]}", font) <= width:
            line = f"{line} {rest.pop(0)}"
        lines.append(line)
    return [_cut(draw, line, font, width) for line in (*lines, " ".join(rest)) if line]


def _listed(draw: ImageDraw.ImageDraw, items: Sequence[str], font, width: int) -> list[str]:
    """As many of `items` as three lines of `width` pixels hold, and how many more there are."""
    for left in range(len(items)):
        kept = [*items[: len(items) - left], *([f"{left} more"] if left else [])]
        lines = _wrapped(draw, "; ".join(kept), font, width, most=99)
        if len(lines) <= 3:
            return lines
    return _wrapped(draw, "; ".join(items), font, width, 3)


STYLE = """
:root {
  color-scheme: light dark;
  --text: #17171c; --dim: #5c5c68; --page: #fff; --line: #dcdce4; --bad: #b3261e
}
@media (prefers-color-scheme: dark) {
  :root { --text: #ececf1; --dim: #a2a2b0; --page: #17171c; --line: #3a3a46; --bad: #ff8a80 }
}
body { font: 15px/1.45 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 2rem }
h1 { font-size: 1.4rem; overflow-wrap: anywhere }
table { border-collapse: collapse; margin-bottom: 2rem }
th, td { border-bottom: 1px solid var(--line); padding: .5rem .75rem; text-align: left; vertical-align: top }
.name { font-weight: 600; overflow-wrap: anywhere; max-width: 24rem; white-space: pre-wrap }
.problem { color: var(--bad) }
.note, .share { color: var(--dim) }
.share { white-space: nowrap; font-variant-numeric: tabular-nums }
.bar { width: 5rem; height: .5rem; background: var(--line) }
.bar i { display: block; height: 100% }
ul { margin: .25rem 0; padding-left: 1.1rem }
"""


def write_page(dataset: DatasetSurvey, path: Path, check: Callable[[], None]) -> None:
    """One HTML file with all pictures, problems first; it needs no script and no other file.

    Pictures are written one by one, so that the memory needed does not grow with their number.
    """
    parts = (part.encode("utf-8") for part in _page(dataset, check))
    write_bytes(path, parts, others_aside(path, is_report))


def _page(dataset: DatasetSurvey, check: Callable[[], None]) -> Iterator[str]:
    headline = html.escape(_headline(dataset))
    yield f'{HEAD}content="width=device-width, initial-scale=1">\n'
    yield f"<title>{headline}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{headline}</h1>\n"
    if dataset.remarks:
        yield ("<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in dataset.remarks) + "</ul>\n")
    yield "<table>\n<tr><th>Category</th><th>Median</th><th>Usual</th></tr>\n"
    for label, usual in dataset.spread.items():
        yield f"<tr><td>{html.escape(label)}</td><td>{_bar(label, usual.median)}</td>"
        known = len(dataset.entries) >= LEAST_PICTURES
        usually = f"{usual.low:.0%} to {usual.high:.0%}" if known else "too few pictures to tell"
        yield f'<td class="share">{usually}</td></tr>\n'
    yield "</table>\n<table>\n<tr><th>Picture</th><th></th>"
    yield "".join(f"<th>{html.escape(label)}</th>" for label in dataset.labels) + "</tr>\n"
    for entry in dataset.entries:
        check()
        yield _row(entry, dataset)
    yield "</table>\n</body>\n</html>\n"


def _row(entry: Entry, dataset: DatasetSurvey) -> str:
    name = html.escape(shown(entry.picture, dataset.folder))
    lines = [f'<li class="problem">{html.escape(problem)}</li>' for problem in entry.problems]
    lines += [f'<li class="note">{html.escape(note)}</li>' for note in entry.notes]
    shares = "".join(
        f"<td>{_bar(label, entry.coverage[label]) if label in entry.coverage else '–'}</td>"
        for label in dataset.labels
    )
    listed = f"<ul>{''.join(lines)}</ul>" if lines else ""
    return (
        f'<tr><td><img src="{_data_uri(thumbnail(entry.picture, doubts=entry.doubts))}" alt=""></td>'
        f'<td><div class="name">{name}</div>{listed}</td>{shares}</tr>\n'
    )


def _bar(label: str, share: float) -> str:
    red, green, blue = region_colour(label)
    filled = f'<i style="width:{share:.1%};background:rgb({red},{green},{blue})"></i>'
    return f'<div class="bar">{filled}</div><span class="share">{share:.1%}</span>'


def _data_uri(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
