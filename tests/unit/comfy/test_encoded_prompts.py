"""Of the encoded prompts a bounded number is kept, and all of them can be dropped."""

import gc
import weakref
from typing import Any

import torch
from torch import Tensor

from semantic_focus.comfy.encoded_prompts import EncodedPrompts

LARGE, SMALL = torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 4, 4)


class Encoder:
    """Notes what it encodes, and which results are still in memory."""

    def __init__(self):
        self.encoded: list[tuple[str, int]] = []
        self.given: list[weakref.ref[Tensor]] = []

    def __call__(self, conditioning: list[str], noisy: Tensor) -> dict[str, Any]:
        self.encoded.append((conditioning[0], noisy.shape[-1]))
        result = torch.full((2,), float(len(self.encoded)))
        self.given.append(weakref.ref(result))
        return {"c_crossattn": result}

    def in_memory(self) -> int:
        gc.collect()
        return sum(one() is not None for one in self.given)


def test_each_is_encoded_once_for_each_size_as_long_as_it_is_kept():
    encoder = Encoder()
    prompts, one, two = EncodedPrompts(encoder, most=4), ["one"], ["two"]
    first = prompts.of(one, LARGE)
    for conditioning, noisy in ((one, LARGE), (one, SMALL), (two, LARGE), (one, SMALL)):
        prompts.of(conditioning, noisy)
    assert prompts.of(one, LARGE) is first
    assert encoder.encoded == [("one", 8), ("one", 4), ("two", 8)]


def test_of_two_hundred_no_more_than_the_bound_stay_and_the_longest_unused_goes_first():
    encoder = Encoder()
    prompts, conditionings = EncodedPrompts(encoder, most=3), [[str(n)] for n in range(200)]
    for conditioning in conditionings:
        prompts.of(conditioning, LARGE)
        prompts.of(conditionings[0], LARGE)
        assert encoder.in_memory() <= 3
    assert [name for name, _ in encoder.encoded] == [str(n) for n in range(200)]
    prompts.of(conditionings[198], LARGE)
    assert len(encoder.encoded) == 200
    prompts.of(conditionings[150], LARGE)
    assert encoder.encoded[200:] == [("150", 8)]


def test_equal_prompts_that_are_not_the_same_do_not_stand_for_each_other_even_when_one_is_gone():
    encoder = Encoder()
    prompts = EncodedPrompts(encoder)
    for number in range(10):
        prompts.of([str(number)], LARGE)  # nobody else holds it: the next one could get its id
    assert encoder.encoded == [(str(number), 8) for number in range(10)]


def test_dropping_frees_all_and_says_whether_there_was_anything():
    encoder = Encoder()
    prompts, one = EncodedPrompts(encoder), ["one"]
    assert not prompts.drop()
    prompts.of(one, LARGE)
    prompts.of(one, SMALL)
    assert prompts.drop() and encoder.in_memory() == 0
    assert not prompts.drop()
    prompts.of(one, LARGE)
    assert encoder.encoded == [("one", 8), ("one", 4), ("one", 8)]


def test_what_was_dropped_once_makes_no_room_again():
    """Or a step that never fits would be tried for ever."""
    encoder = Encoder()
    prompts, conditionings = EncodedPrompts(encoder), [[str(number)] for number in range(3)]
    for conditioning in conditionings:
        prompts.of(conditioning, LARGE)
    assert prompts.drop()
    for conditioning in conditionings:
        prompts.of(conditioning, LARGE)
        assert encoder.in_memory() == 1
    assert not prompts.drop() and encoder.in_memory() == 0
