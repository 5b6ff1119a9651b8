"""Where masks are probably wrong: kept in the header, read back, and said."""

import json

import pytest

from semantic_focus.regions.doubts import (
    MOST,
    Doubt,
    as_field,
    doubts_in_file,
    doubts_of,
    in_sentences,
    joined,
)


def doubt(region: str = "clothing", other: str = "body", score: float = 0.75) -> Doubt:
    return Doubt(region, other, score, (0.25, 0.5), (0.125, 0.25, 0.5, 0.75))


def test_what_is_kept_comes_back_the_gravest_first():
    first, second = [doubt(score=0.25), doubt("hair", "", 0.875)], []
    assert doubts_of(as_field([first, second])) == [[first[1], first[0]], []]
    assert as_field([[], []]) == {}


def test_pictures_together_keep_their_own():
    alone = [as_field([[doubt()]]), {}, as_field([[doubt("hair", "face", 0.5)]])]
    assert doubts_of(joined(alone)) == [[doubt()], [], [doubt("hair", "face", 0.5)]]
    assert joined([{}, {}]) == {}


def test_of_many_the_gravest_are_kept():
    many = [doubt(score=number / 100) for number in range(MOST + 20)]
    assert [one.score for one in doubts_of(as_field([many]))[0]] == [
        number / 100 for number in reversed(range(20, MOST + 20))
    ]


@pytest.mark.parametrize(
    "told",
    [
        "",
        "no JSON",
        "{}",
        "[1]",
        "[[1]]",
        '[[{"region": "hair"}]]',
        json.dumps([[{"region": 3, "other": "", "score": 0.5, "at": [0, 0], "box": [0, 0, 1, 1]}]]),
        json.dumps([[{"region": "hair", "other": "", "score": 7, "at": [0, 0], "box": [0, 0, 1, 1]}]]),
        json.dumps([[{"region": "hair", "other": "", "score": 0.5, "at": [0, 9], "box": [0, 0, 1, 1]}]]),
        json.dumps([[{"region": "hair", "other": "", "score": 0.5, "at": [0], "box": [0, 0, 1, 1]}]]),
        json.dumps([[{"region": "hair", "other": "", "score": 0.5, "at": [0, 0], "box": "all"}]]),
    ],
)
def test_a_header_that_cannot_be_read_tells_nothing(told: str):
    assert not any(doubts_of({"doubts": told}))


def test_nothing_is_doubted_of_what_a_person_made():
    header = as_field([[doubt(), doubt("hair", "face")]])
    assert doubts_in_file(header, ["clothing"]) == [doubt("hair", "face")]
    assert doubts_in_file({}) == []


def test_only_what_is_flagged_is_said_and_once():
    said = in_sentences([doubt(), doubt(score=0.5), doubt("hair", "", 0.9), doubt("face", "hair", 0.49)])
    assert said == ["look at this: clothing or skin?", "look at this: is all hair here?"]
