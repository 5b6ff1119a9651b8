"""Where masks are probably wrong: what a segmenter doubts of its own answer, and how that is said."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..files.text import parsed_json

FLAGGED = 0.5
"""From this score on, a doubt is shown."""
MOST = 16
"""Doubts that are kept of a picture, the gravest."""
FIELD = "doubts"
"""In the provenance of masks, and so in the header of a mask file."""

SPOKEN = {"body": "skin"}
"""What a region is called in a sentence, where its name alone would not be understood."""


@dataclass(frozen=True)
class Doubt:
    """One region of one picture that is probably wrong.

    Attributes:
        region: whose mask it is.
        other: the region that it may be in truth, or be mixed up with; empty when only the extent is doubted.
        score: 0..1, how likely it is wrong; fitted to drawn pictures, see `benchmarks/fit_doubts.py`.
        at: the place to look at, (x, y) as shares of the picture's width and height.
        box: left, top, right, bottom of what is doubted, as shares.
    """

    region: str
    other: str
    score: float
    at: tuple[float, float]
    box: tuple[float, float, float, float]

    @property
    def flagged(self) -> bool:
        return self.score >= FLAGGED

    def sentence(self) -> str:
        """`look at this: clothing or skin?`"""
        region, other = (SPOKEN.get(name, name) for name in (self.region, self.other))
        return f"look at this: {region} or {other}?" if other else f"look at this: is all {region} here?"


def as_field(pictures: Sequence[Sequence[Doubt]]) -> dict[str, str]:
    """What goes into the provenance of masks of these pictures; nothing when nothing is doubted."""
    if not any(pictures):
        return {}
    found = [[_as_json(doubt) for doubt in _gravest(doubts)] for doubts in pictures]
    return {FIELD: json.dumps(found, ensure_ascii=False)}


def doubts_of(provenance: Mapping[str, str]) -> list[list[Doubt]]:
    """The doubts of every picture, the gravest first; none where they are not told or cannot be read."""
    try:
        told = parsed_json(provenance.get(FIELD, "[]"))
        return [_gravest([_of_json(one) for one in picture]) for picture in told]
    except (ValueError, TypeError, KeyError, AttributeError):
        return []


def joined(provenances: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """The provenance of pictures together, from that of each alone."""
    return as_field([(doubts_of(provenance) or [[]])[0] for provenance in provenances])


def doubts_in_file(header: Mapping[str, str], by_hand: Sequence[str] = ()) -> list[Doubt]:
    """The doubts that a mask file of one picture tells.

    Args:
        by_hand: regions that a person has made since; what was mixed up with one of them is decided.
    """
    told = doubts_of(header)
    made = set(by_hand)
    return [doubt for doubt in told[0] if made.isdisjoint((doubt.region, doubt.other))] if told else []


def in_sentences(doubts: Sequence[Doubt]) -> list[str]:
    """What to look at, in sentences, once each."""
    return list(dict.fromkeys(doubt.sentence() for doubt in doubts if doubt.flagged))


def _gravest(doubts: Sequence[Doubt]) -> list[Doubt]:
    return sorted(doubts, key=lambda doubt: -doubt.score)[:MOST]


def _as_json(doubt: Doubt) -> dict[str, object]:
    return {
        "region": doubt.region,
        "other": doubt.other,
        "score": round(doubt.score, 3),
        "at": [round(value, 4) for value in doubt.at],
        "box": [round(value, 4) for value in doubt.box],
    }


def _of_json(told: Mapping[str, object]) -> Doubt:
    at, box = _shares(told["at"], 2), _shares(told["box"], 4)
    score, names = told["score"], (told["region"], told.get("other") or "")
    if not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"a score is {score!r}, expected 0..1")
    if not all(isinstance(name, str) for name in names):
        raise ValueError(f"regions are {names!r}, expected texts")
    return Doubt(str(names[0]), str(names[1]), float(score), (at[0], at[1]), (box[0], box[1], box[2], box[3]))


def _shares(told: object, count: int) -> list[float]:
    if not isinstance(told, list) or len(told) != count:
        raise ValueError(f"a place is {told!r}, expected {count} numbers")
    if not all(isinstance(value, int | float) and 0 <= value <= 1 for value in told):
        raise ValueError(f"a place is {told!r}, expected numbers in 0..1")
    return [float(value) for value in told]
