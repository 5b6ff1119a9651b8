"""Full garbage collections are held off while a long list is made, and come back afterwards."""

import gc
from collections.abc import Iterator

import pytest

from semantic_focus.datasets.pauses import no_full_collections


@pytest.fixture
def full_collections() -> Iterator[list[int]]:
    """One entry for each that has happened."""
    seen: list[int] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] == 2:
            seen.append(2)

    gc.collect()
    gc.callbacks.append(note)
    yield seen
    gc.callbacks.remove(note)


def many_objects() -> list[list[object]]:
    """More than Python lets come to be without a full collection: a quarter of what there is, and more."""
    return [[object()] for _ in range(len(gc.get_objects()))]


def test_none_happens_within_and_the_usual_ones_afterwards(full_collections: list[int]):
    usual = gc.get_threshold()
    with no_full_collections():
        kept = many_objects()
        assert not full_collections
    assert gc.get_threshold() == usual
    kept += many_objects()
    assert full_collections


def test_the_last_of_several_brings_the_usual_ones_back():
    usual = gc.get_threshold()
    first, second = no_full_collections(), no_full_collections()
    first.__enter__()
    second.__enter__()
    held = gc.get_threshold()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == held != usual
    second.__exit__(None, None, None)
    assert gc.get_threshold() == usual


def test_an_exception_brings_them_back():
    usual = gc.get_threshold()
    with pytest.raises(KeyError), no_full_collections():
        raise KeyError
    assert gc.get_threshold() == usual
