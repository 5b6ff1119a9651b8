"""What the mask files of a dataset say about it: coverage, pictures that stand out, and pictures of both."""

import base64
import html
import io
import os
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import interpolate

from ..categories import SEMANTIC_CATEGORIES
from ..files.text import parsed_json, printable
from ..files.writing import has_png_mark, is_regular, others_aside, write_bytes, write_png
from ..regions.masks import SemanticMasks, downsample_mask_to_latent
from ..regions.overlay import overlay, region_colour
from .folder import DatasetError, load_picture
from .formats import has_several_frames
from .freshness import PictureResult
from .mask_file import MAX_PERSONS, MaskFileError, mask_path, read_header, read_masks

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

OUTLIER_SCORE = 3.5
"""From how many robust standard deviations a coverage stands out (Iglewicz and Hoaglin 1993)."""
LEAST_DEVIATION = 0.02
"""Floor of the robust standard deviation: among like pictures, small differences do not stand out."""
LEAST_PICTURES = 5
"""In fewer pictures than this, none stands out."""
MAD_TO_DEVIATION = 1.4826
"""Median absolute deviation to standard deviation, of a normal distribution."""

BY_HAND = "masks made by hand"
FIRST_FRAME = "it has several frames, of which the first is used"


@dataclass(frozen=True)
class Spread:
    """Coverage of one category over a dataset, 0..1: its median, and the range that does not stand out."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Entry:
    """What is known of one picture.

    Attributes:
        coverage: share of the picture, 0..1, by category; empty without a readable mask file.
        detected: categories with a mask of one half or more somewhere.
        persons: how many; None when the mask file does not tell persons apart.
        problems: what to look at, in sentences.
        notes: what is worth knowing and no problem.
    """

    picture: Path
    coverage: Mapping[str, float]
    detected: frozenset[str] = frozenset()
    persons: int | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class DatasetSurvey:
    """A dataset as its mask files describe it.

    Attributes:
        entries: those with problems come first, then by name.
        remarks: what there is to say of the dataset as a whole, in sentences.
    """

    folder: Path
    entries: tuple[Entry, ...]
    spread: Mapping[str, Spread]
    remarks: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """All categories, those of the palette first."""
        return tuple(self.spread)

    @property
    def with_problems(self) -> int:
        return sum(bool(entry.problems) for entry in self.entries)


def survey(folder: Path, results: Sequence[PictureResult]) -> DatasetSurvey:
    """Read the headers of the pictures' mask files and judge each picture against all of them.

    Args:
        results: of `cache_pictures`; those of a dry run name missing and stale files.
    """
    return judge(folder, [read_entry(result) for result in results])


def judge(folder: Path, entries: Sequence[Entry]) -> DatasetSurvey:
    """Judge each picture against all of them: `survey` for entries that are known already."""
    names = {label for entry in entries for label in entry.coverage}
    labels = [label for label in SEMANTIC_CATEGORIES if label in names]
    labels += sorted(names.difference(labels))
    spread = {
        label: spread_of([entry.coverage[label] for entry in entries if label in entry.coverage])
        for label in labels
    }
    judged = [_judged(entry, spread) for entry in entries]
    judged.sort(key=lambda entry: (-len(entry.problems), str(entry.picture)))
    return DatasetSurvey(folder, tuple(judged), spread)


def spread_of(shares: Sequence[float]) -> Spread:
    """Median of one or more shares, and the range within OUTLIER_SCORE robust standard deviations of it."""
    median = statistics.median(shares)
    if len(shares) < LEAST_PICTURES:
        return Spread(median, 0.0, 1.0)
    mad = statistics.median(abs(share - median) for share in shares)
    reach = OUTLIER_SCORE * max(MAD_TO_DEVIATION * mad, LEAST_DEVIATION)
    return Spread(median, max(0.0, median - reach), min(1.0, median + reach))


def read_entry(result: PictureResult) -> Entry:
    """What a picture's own mask file says; one without coverage in its header is decoded."""
    problems = (printable(result.reason),) if result.status in ("due", "failed") else ()
    if result.status == "left":
        problems = ("not looked at: the run was stopped",)
    notes = (BY_HAND,) if result.status == "kept" else ()
    notes += (FIRST_FRAME,) if has_several_frames(result.picture) else ()
    path = mask_path(result.picture)
    empty = Entry(result.picture, {}, problems=problems, notes=notes)
    try:
        header = read_header(path)
        coverage, detected, persons = _described(header) or _measured(read_masks(path))
    except FileNotFoundError:
        return empty if problems else replace(empty, problems=("it has no mask file",))
    except (OSError, MaskFileError) as error:
        return empty if problems else replace(empty, problems=(printable(error),))
    return replace(empty, coverage=coverage, detected=frozenset(detected), persons=persons)


_Described = tuple[dict[str, float], list[str], int | None]


def _described(header: Mapping[str, str]) -> _Described | None:
    """Coverage, detected categories and number of persons from a header; None when it lacks them."""
    try:
        coverage = {str(label): float(share) for label, share in parsed_json(header["coverage"]).items()}
        detected = [str(label) for label in parsed_json(header["categories_detected"])]
        persons = int(header["persons"]) if "persons" in header else None
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
    sensible = all(0 <= share <= 1 for share in coverage.values()) and 0 <= (persons or 0) <= MAX_PERSONS
    return (coverage, detected, persons) if sensible else None


def _measured(masks: SemanticMasks) -> _Described:
    coverage = dict(zip(masks.labels, masks.coverage()[0].tolist(), strict=True))
    detected = [label for label in masks.labels if bool((masks.region(label) >= 0.5).any())]
    return coverage, detected, len(masks.persons[0]) if masks.persons else None


def _judged(entry: Entry, spread: Mapping[str, Spread]) -> Entry:
    if not entry.coverage:
        return entry
    problems = list(entry.problems)
    if not _has_person(entry):
        problems.append("no person found")
    elif "face" in spread and "face" not in entry.detected:
        problems.append("no face found")
    if entry.persons is not None and entry.persons > 1:
        problems.append(f"{entry.persons} persons")
    for label, usual in spread.items():
        share = entry.coverage.get(label)
        if share is not None and not usual.low <= share <= usual.high:
            size = "much" if share > usual.high else "little"
            problems.append(f"{size} {label}: {share:.0%}, usually {usual.median:.0%}")
    return replace(entry, problems=tuple(problems))


def _has_person(entry: Entry) -> bool:
    """By the persons where they are told apart, else by any region that is not surroundings."""
    if entry.persons is not None:
        return entry.persons > 0
    return bool(entry.detected - {"background", "lighting"})


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


def thumbnail(picture: Path, side: int = THUMBNAIL_SIDE) -> Image.Image:
    """A picture with its regions drawn over it; plain without a readable mask file, grey without a picture.

    Args:
        side: of the longer side, in pixels; smaller pictures stay as they are.
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
    return Image.fromarray((small[0] * 255).round().to(torch.uint8).numpy().astype(np.uint8))


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
        picture = thumbnail(entry.picture)
        sheet.paste(picture, (left + 4, top + THUMBNAIL_SIDE - picture.height))
        width = cell - 12
        lines = [(_cut(draw, shown(entry.picture, dataset.folder), small, width), (20, 20, 24))]
        lines += [(line, (90, 90, 98)) for line in _wrapped(draw, coverage_line(entry), small, width)]
        lines += [(line, (176, 32, 24)) for line in _wrapped(draw, "; ".join(entry.problems), small, width)]
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


def _wrapped(draw: ImageDraw.ImageDraw, text: str, font, width: int) -> list[str]:
    """`text` in at most two lines of `width` pixels, cut where it is longer."""
    first, rest = "", text.split()
    while rest and draw.textlength(f"{first} {rest[0]}", font) <= width:
        first = f"{first} {rest.pop(0)}".strip()
    return [line for line in (first, _cut(draw, " ".join(rest), font, width)) if line]


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
        f'<tr><td><img src="{_data_uri(thumbnail(entry.picture))}" alt=""></td>'
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
