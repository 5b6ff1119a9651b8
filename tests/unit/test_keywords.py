"""The text boxes in which users name regions, keywords and weights."""

import pytest

from semantic_focus.categories import SEMANTIC_CATEGORIES
from semantic_focus.keywords import Prompt, format_keywords, parse_keywords, parse_weights


def test_one_category_per_line_keywords_between_commas():
    assert parse_keywords("face: face, head ,eyes\n\n  hair :bangs\n") == {
        "face": Prompt(("face", "head", "eyes")),
        "hair": Prompt(("bangs",)),
    }


def test_chinese_punctuation_is_understood():
    assert parse_keywords("人脸：脸，眼睛") == {"人脸": Prompt(("脸", "眼睛"))}
    assert parse_weights("纹身：0.8") == {"纹身": 0.8}


@pytest.mark.parametrize("line", ["tattoo:", "tattoo: ,", "tattoo:   "])
def test_a_category_without_keywords_is_its_own(line: str):
    assert parse_keywords(line) == {"tattoo": Prompt(("tattoo",))}


def test_the_order_of_the_lines_is_kept():
    assert list(parse_keywords("sword:\nface:\nhair:")) == ["sword", "face", "hair"]


def test_a_keyword_may_hold_a_colon():
    assert parse_keywords("sign: a sign: stop") == {"sign": Prompt(("a sign: stop",))}


def test_format_is_what_parse_reads():
    prompts = {name: Prompt(category.keywords) for name, category in SEMANTIC_CATEGORIES.items()}
    prompts["clothing"] = Prompt(("shirt", "T-shirt"), ("bag", "name tag"), 0.35)
    assert parse_keywords(format_keywords(prompts)) == prompts


def test_a_minus_takes_away_and_an_at_sign_sets_the_threshold():
    found = parse_keywords("clothing: shirt, -bag, T-shirt, − badge , @ 0.4\nhair: -hat")
    assert found == {
        "clothing": Prompt(("shirt", "T-shirt"), ("bag", "badge"), 0.4),
        "hair": Prompt(("hair",), ("hat",)),
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("@1.5", "threshold of 'face' is '1.5'"),
        ("@-0.1", "threshold of 'face'"),
        ("@nan", "threshold of 'face'"),
        ("@", "threshold of 'face' is ''"),
        ("@0.1, @0.2", "'face' has two thresholds"),
        ("eyes, -", "'face' has a minus without a word"),
    ],
)
def test_what_is_wrong_with_a_prompt_is_named(value: str, message: str):
    with pytest.raises(ValueError, match=f"keywords: .*{message}"):
        parse_keywords(f"face: {value}")


@pytest.mark.parametrize("text", ["", "  \n\n"])
def test_no_category_is_an_error_with_an_example(text: str):
    with pytest.raises(ValueError, match="no category.*'face: face, eyes'"):
        parse_keywords(text)


@pytest.mark.parametrize(
    "line", ["face", ": face", "1st: a", "../x: a", "a/b: c", "a" * 41 + ": b", "<b>: x"]
)
def test_a_line_of_another_form_is_named_by_number(line: str):
    with pytest.raises(ValueError, match="keywords, line 2: .*'name: value'"):
        parse_keywords(f"face: face\n{line}")


def test_a_name_given_twice_is_named_by_number():
    with pytest.raises(ValueError, match="keywords, line 3: 'face' is there twice"):
        parse_keywords("face: a\nhair: b\nface: c")
    with pytest.raises(ValueError, match="weights, line 2: 'face' is there twice"):
        parse_weights("face: 1\nface: 2")


def test_weights_are_numbers_and_may_be_none_at_all():
    assert parse_weights("tattoo: 0.8\nsword: 2") == {"tattoo": 0.8, "sword": 2.0}
    assert parse_weights("") == {}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("much", "not a number"),
        ("", "not a number"),
        ("-1", "0 or more"),
        ("nan", "0 or more"),
        ("inf", "0 or more"),
    ],
)
def test_a_weight_that_is_no_weight_is_named(value: str, message: str):
    with pytest.raises(ValueError, match=f"'sword' is .*{message}"):
        parse_weights(f"tattoo: 1\nsword: {value}")


@pytest.mark.parametrize("name", ["residual", "global", "total"])
def test_names_that_reports_use_are_no_categories(name: str):
    with pytest.raises(ValueError, match=f"line 1: '{name}'.*choose another"):
        parse_keywords(f"{name}: something")
