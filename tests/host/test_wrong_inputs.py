"""Every input of every node, given what it cannot be, over /prompt: a sentence, and no error of Python's."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..by_path import load
from .graphs import node

if TYPE_CHECKING:
    from host.serve import ComfyServer

wrong = load("benchmarks/wrong_inputs.py")

FREE_TEXTS = {"default_caption", "trigger_word", "caption", "include", "exclude"}
"""Texts that may be of any length."""


@pytest.fixture(scope="module")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def info(server: "ComfyServer") -> dict[str, Any]:
    return server.object_info()


def test_every_wrong_value_is_answered_in_a_sentence(server, info, stand_in_model, empty_folder):
    every = wrong.cases(info, small=True)
    tried = every[::3]
    answers = wrong.answers(server, stand_in_model.name, empty_folder, tried, info)
    assert len(answers) == len(tried) >= 500
    ours = {name for name, it in info.items() if it["category"] == "SemanticFocus"}
    assert {case.node for case in tried} == ours
    assert {(case.node, case.input) for case in tried} == {(case.node, case.input) for case in every}
    unanswered = [it for it in answers if it.outcome in (wrong.BARE, wrong.LATE)]
    assert [(it.case.node, it.case.input, it.case.label, it.message) for it in unanswered] == []
    taken = [it.case for it in answers if it.outcome == wrong.TAKEN]
    assert [case for case in taken if case.label != "null" and case.input not in FREE_TEXTS] == []
    silent = [it for it in answers if it.outcome == wrong.REFUSED and it.case.input not in it.message]
    assert [(it.case, it.message) for it in silent] == []
    assert Counter(it.outcome for it in answers)[wrong.REFUSED] > len(answers) / 2


OBJECTIVE, REFINE, TRAIN = "SemanticFocusCosineLoss", "SemanticFocusRefine", "SemanticFocusTrain"
WORDS = [
    (OBJECTIVE, "enabled", "maybe", ["Semantic Cosine Loss, enabled: 'maybe' is neither true nor false"]),
    (
        OBJECTIVE,
        "face_weight",
        float("nan"),
        ["Semantic Cosine Loss, face_weight: nan is not a number from 0"],
    ),
    (OBJECTIVE, "face_weight", 3, ["Value 3.0 bigger than max of 2.0: face_weight"]),
    (OBJECTIVE, "preset", "nobody", ["'nobody'", "custom", "person"]),
    (OBJECTIVE, "more_weights", "tattoo: -1", ["more_weights", "'tattoo' is -1", "0 or more"]),
    (OBJECTIVE, "more_weights", "tattoo", ["more_weights", "line 1: 'tattoo' is not of the form"]),
    (REFINE, "masks", 5, ["Refine Masks, masks: 5 is no SEMANTIC_MASKS", "connect"]),
    (
        REFINE,
        "masks",
        ["nobody", 0],
        ["Refine Masks, masks", "the node 'nobody', which is not in the prompt"],
    ),
    (REFINE, "images", ["image", 4], ["Refine Masks, images: it is linked to output 4 of the node 'image'"]),
    (REFINE, "max_hole", "many", ["Refine Masks, max_hole: 'many' is not a whole number from 0 to 16777216"]),
    (REFINE, "max_hole", None, ["Refine Masks, max_hole: None is not a whole number"]),
    (TRAIN, "run_name", {"a": 1}, ["LoRA Train Step, run_name: {'a': 1} is not a text"]),
    ("SemanticFocusLoadDataset", "folder", "long/" * 2000, ["'long/long/", "255 bytes", "shorten it"]),
    ("SemanticFocusLoadDataset", "folder", None, ["Load Semantic Dataset, folder: None is not a text"]),
    ("SemanticFocusSegment", "keywords", wrong.LEAVE_OUT, ["Required input is missing: keywords"]),
]
LINKED = [
    (
        OBJECTIVE,
        "face_weight",
        "PrimitiveFloat",
        float("nan"),
        "Semantic Cosine Loss, face_weight: nan is not",
    ),
    (OBJECTIVE, "face_weight", "PrimitiveFloat", 2.5, "face_weight: 2.5 is not a number from 0.0 to 2.0"),
    (OBJECTIVE, "more_weights", "PrimitiveString", "tattoo: -1", "more_weights: weights: 'tattoo' is -1"),
    (REFINE, "max_hole", "PrimitiveInt", -1, "Refine Masks, max_hole: -1 is not a whole number from 0"),
    ("SemanticFocusFromMask", "name", "PrimitiveString", "7", "Mask To Category, name: category '7'"),
]


@pytest.mark.parametrize(("kind", "name", "value", "words"), WORDS)
def test_a_typed_value(server, info, stand_in_model, empty_folder, kind, name, value, words):
    case = wrong.Case(kind, name, "", value)
    (answer,) = wrong.answers(server, stand_in_model.name, empty_folder, [case], info)
    assert answer.outcome in (wrong.REFUSED, wrong.FAILED)
    assert all(word in answer.message for word in words), answer.message


@pytest.mark.parametrize(("kind", "name", "source", "value", "words"), LINKED)
def test_a_linked_value(server, info, stand_in_model, empty_folder, kind, name, source, value, words):
    case = wrong.Case(kind, name, "", ["given", 0], node(source, value=value))
    (answer,) = wrong.answers(server, stand_in_model.name, empty_folder, [case], info)
    assert answer.outcome == wrong.FAILED
    assert words in answer.message


@pytest.mark.parametrize(
    ("name", "value"), [("max_hole", "7"), ("max_hole", 7.0), ("grow", "0.5"), ("grow", 1), ("mode", "off")]
)
def test_a_value_that_means_the_same_is_taken(server, info, stand_in_model, empty_folder, name, value):
    case = wrong.Case(REFINE, name, "", value)
    (answer,) = wrong.answers(server, stand_in_model.name, empty_folder, [case], info)
    assert answer.outcome == wrong.TAKEN
