"""What runs on a node of a Ray cluster, called in this process; Ray itself is not needed for that."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from semantic_focus.datasets.bulk_work import CacheSettings
from semantic_focus.datasets.claims import claim
from semantic_focus.datasets.engines.messages import Busy, Full, Ready
from semantic_focus.datasets.engines.on_ray import Actor
from semantic_focus.datasets.engines.order import Order, SegmenterLoadError
from semantic_focus.datasets.freshness import Due, PictureResult
from semantic_focus.datasets.mask_file import mask_path
from semantic_focus.segmenters.protocol import MissingWeightsError

from ..faults import FAULTS, refuse
from .fake_segmenter import REQUEST, FakeLazy, make


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """An actor takes the log of its process over."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def actor_of(lazy: FakeLazy) -> Actor:
    return Actor(Order(REQUEST, lazy, CacheSettings()), logging.WARNING)  # type: ignore[arg-type]


def dues(pictures: list[Path]) -> list[Due]:
    return [Due(picture, "") for picture in pictures]


def told(messages: list) -> dict[str, str]:
    return {one.picture.name: one.status for one in messages if isinstance(one, PictureResult)}


def test_it_is_ready_then_makes_each_batch(tmp_path: Path):
    lazy, pictures = FakeLazy(), make(tmp_path, "a.png", "b.png", "c.png")
    pictures += make(tmp_path, "blue.png", colour=(0, 0, 255))
    actor = actor_of(lazy)
    (ready,) = actor.ready(tmp_path)
    assert isinstance(ready, Ready) and ready.wanted["sam_version"] == "fake v1" and lazy.loads == 1
    assert told(actor.work(dues(pictures[:2]))) == {"a.png": "segmented", "b.png": "segmented"}
    assert told(actor.work(dues(pictures[2:]))) == {"c.png": "segmented", "blue.png": "failed"}
    assert sum(mask_path(picture).is_file() for picture in pictures) == 3


@pytest.mark.parametrize("error", [MissingWeightsError("get them"), RuntimeError("bad file")])
def test_why_it_cannot_start_is_told_with_its_node(tmp_path: Path, error: Exception):
    (message,) = actor_of(FakeLazy(error=error)).ready(tmp_path)
    assert isinstance(message, MissingWeightsError | SegmenterLoadError)
    assert str(message).startswith(f"the worker on {os.uname().nodename}: ") and str(error) in str(message)
    (message,) = actor_of(FakeLazy()).ready(tmp_path / "elsewhere")
    assert isinstance(message, SegmenterLoadError) and "where all nodes see it" in str(message)


def test_what_another_program_has_is_given_back(tmp_path: Path):
    pictures = make(tmp_path, "a.png", "b.png")
    held = claim(mask_path(pictures[0]))
    messages = actor_of(FakeLazy()).work(dues(pictures))
    assert held and [one.due.picture for one in messages if isinstance(one, Busy)] == [pictures[0]]
    assert told(messages) == {"b.png": "segmented"}
    held.release()


def test_a_stop_leaves_what_is_not_begun_and_all_that_comes_later(tmp_path: Path):
    lazy, pictures = FakeLazy(), make(tmp_path, *(f"{k}.png" for k in range(8)))
    actor = actor_of(lazy)
    lazy.segmenter.also = actor.stop
    found = told(actor.work(dues(pictures[:6])))
    assert list(found.values()).count("segmented") == 1 and list(found.values()).count("left") == 5
    assert set(told(actor.work(dues(pictures[6:]))).values()) == {"left"}


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pictures = make(tmp_path, *(f"{k}.png" for k in range(8)))
    refuse(monkeypatch, tmp_path, FAULTS["full"], after=3)
    messages = actor_of(FakeLazy()).work(dues(pictures))
    assert any(isinstance(one, Full) for one in messages)
    assert set(told(messages).values()) == {"segmented", "failed", "left"} and len(told(messages)) == 8
