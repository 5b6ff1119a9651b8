"""What the mask files of a dataset say about it: coverage, persons, and pictures that stand out."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..categories import SEMANTIC_CATEGORIES
from ..files.text import parsed_json, printable
from ..regions.doubts import Doubt, doubts_in_file, in_sentences
from ..regions.masks import SemanticMasks
from .formats import has_several_frames
from .freshness import PictureResult
from .mask_file import MAX_PERSONS, MaskFileError, mask_path, read_header, read_masks

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
        doubts: where the segmenter itself is unsure, the gravest first; none of regions made by hand.
    """

    picture: Path
    coverage: Mapping[str, float]
    detected: frozenset[str] = frozenset()
    persons: int | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    @property
    def gravest(self) -> float:
        """Score of the gravest doubt, 0 without one."""
        return max((doubt.score for doubt in self.doubts), default=0.0)


@dataclass(frozen=True)
class DatasetSurvey:
    """A dataset as its mask files describe it.

    Attributes:
        entries: those with problems come first, of these what is most probably wrong, then by name.
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
    judged.sort(key=_looked_at_first)
    return DatasetSurvey(folder, tuple(judged), spread)


def _looked_at_first(entry: Entry) -> tuple[bool, float, int, str]:
    flagged = any(doubt.flagged for doubt in entry.doubts)
    return not entry.problems, -entry.gravest if flagged else 0.0, -len(entry.problems), str(entry.picture)


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
        doubts = tuple(doubts_in_file(header))
    except FileNotFoundError:
        return empty if problems else replace(empty, problems=("it has no mask file",))
    except (OSError, MaskFileError) as error:
        return empty if problems else replace(empty, problems=(printable(error),))
    return replace(empty, coverage=coverage, detected=frozenset(detected), persons=persons, doubts=doubts)


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
    problems, notes = [*entry.problems, *in_sentences(entry.doubts)], list(entry.notes)
    if not _has_person(entry):
        problems.append("no person found")
    elif "face" in spread and "face" not in entry.detected:
        problems.append("no face found")
    if entry.persons is not None and entry.persons > 1:
        problems.append(f"{entry.persons} persons")
    # near or far, every share is unusual, and nothing is wrong with the masks
    (notes if _is_framed_differently(entry, spread) else problems).extend(_unusual(entry, spread))
    return replace(entry, problems=tuple(problems), notes=tuple(notes))


def _unusual(entry: Entry, spread: Mapping[str, Spread]) -> Iterator[str]:
    """A sentence for each share that stands out."""
    for label, usual in spread.items():
        share = entry.coverage.get(label)
        if share is not None and not usual.low <= share <= usual.high:
            size = "much" if share > usual.high else "little"
            yield f"{size} {label}: {share:.0%}, usually {usual.median:.0%}"


def _is_framed_differently(entry: Entry, spread: Mapping[str, Spread]) -> bool:
    """Whether a face is seen, and of another size than usual: a close-up, or a person farther away."""
    usual, share = spread.get("face"), entry.coverage.get("face", 0.0)
    return usual is not None and "face" in entry.detected and not usual.low <= share <= usual.high


def _has_person(entry: Entry) -> bool:
    """By the persons where they are told apart, else by any region that is not surroundings."""
    if entry.persons is not None:
        return entry.persons > 0
    return bool(entry.detected - {"background", "lighting"})
