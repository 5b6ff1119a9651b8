"""What the embedded segmenter doubts: answers compared, places found, chances fitted."""

import numpy as np
import pytest
import torch

from semantic_focus.segmenters.embedded.doubts import (
    NAMES,
    WAYS,
    Evidence,
    _add_differing,
    _first,
    _placed,
    doubts_about,
    fitted_weights,
    scores,
)
from semantic_focus.segmenters.embedded.parts import PARTS
from semantic_focus.segmenters.embedded.persons import Person

FACE, HAIR, CLOTHING, BODY = range(4)


def answer(**regions: tuple[slice, slice]) -> np.ndarray:
    """Float[4, 40, 40]: 1 in the window of each part."""
    layers = np.zeros((len(PARTS), 40, 40), np.float32)
    for name, window in regions.items():
        layers[PARTS.index(name)][window] = 1
    return layers


def evidence(first: np.ndarray) -> Evidence:
    return _first(first, [Person(first.sum(0), None, None)], (40, 40))


TOP, BOTTOM = (slice(0, 20), slice(0, 40)), (slice(20, 40), slice(0, 40))


def test_answers_that_are_the_same_agree_and_those_without_anything_in_common_do_not():
    found = evidence(answer(hair=TOP, clothing=BOTTOM))
    for way in WAYS:
        found.compare(way, answer(hair=TOP, clothing=BOTTOM), answer(hair=TOP, body=BOTTOM))
    numbers: dict[str, np.ndarray] = dict(zip(NAMES, found.numbers().T, strict=True))
    for way in WAYS:
        assert numbers[way][HAIR] == pytest.approx(1) and numbers[way][CLOTHING] == numbers[way][BODY] == 0


def test_a_first_answer_is_measured_by_its_strength_its_soft_share_and_its_size():
    first = answer(hair=TOP)
    first[HAIR, :5] = 0.6  # a quarter of the region is half-hearted
    numbers = dict(zip(NAMES, evidence(first).numbers().T, strict=True))
    assert numbers["certain"][HAIR] == pytest.approx(0.25 * 0.6 + 0.75)
    assert numbers["soft"][HAIR] == pytest.approx(0.25)
    assert numbers["size"][HAIR] == pytest.approx(0.5**0.5)  # half of the picture
    assert numbers["share"][HAIR] == pytest.approx(1) and numbers["persons"][HAIR] == 1


@pytest.mark.parametrize("said", ["clothing", "body"])
def test_the_place_is_where_answers_differ_and_the_other_part_is_named(said: str):
    found = evidence(answer(hair=TOP, clothing=BOTTOM))
    other = answer(hair=TOP, clothing=BOTTOM)
    corner = (slice(26, 36), slice(4, 14))
    other[CLOTHING][corner], other[BODY][corner] = 0, 1
    _add_differing(found.differing, answer(hair=TOP, clothing=BOTTOM), other, (slice(0, 40), slice(0, 40)), 1)
    doubt = _placed(said, 0.7, found.differing[PARTS.index(said)])
    assert {doubt.region, doubt.other} == {"clothing", "body"} and doubt.score == 0.7
    assert doubt.at == pytest.approx((9 / 40, 31 / 40), abs=1.5 / 40)
    left, top, right, bottom = doubt.box
    assert 0 <= left <= 4 / 40 and top <= 26 / 40 and right >= 14 / 40 and bottom >= 36 / 40 - 1e-6


def test_what_is_in_no_answer_is_not_doubted():
    found = evidence(answer(hair=TOP, clothing=BOTTOM))
    assert {doubt.region for doubt in doubts_about(found)} <= {"hair", "clothing"}


def test_a_chance_is_the_logistic_function_of_scaled_numbers():
    fitted = {
        "mean": torch.full((len(NAMES),), 0.5),
        "scale": torch.full((len(NAMES),), 0.25),
        "weight": torch.zeros(len(PARTS), len(NAMES)),
        "bias": torch.tensor([0.0, 1.0, 0.0, 0.0]),
    }
    fitted["weight"][CLOTHING, 0] = -2.0
    numbers = np.full((len(PARTS), len(NAMES)), 0.75)  # one scale above the mean
    expected = [0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(2)), 0.5]
    assert scores(numbers, fitted).tolist() == pytest.approx(expected)


def test_what_is_fitted_fits_and_less_agreement_is_never_less_doubt():
    fitted = fitted_weights()
    assert fitted["weight"].shape == (len(PARTS), len(NAMES)) and fitted["bias"].shape == (len(PARTS),)
    usual = fitted["mean"].numpy()[None].repeat(len(PARTS), 0)
    less = usual.copy()
    less[:, : len(WAYS)] -= 0.3
    assert (scores(less) > scores(usual)).all()
