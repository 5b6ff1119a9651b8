"""Persons in odd places, composed of photographs. Places (x, y) were read off the photographs by eye."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from semantic_focus.regions.doubts import doubts_of
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.embedded.detect import turned_points
from semantic_focus.segmenters.embedded.parts import PARTS
from semantic_focus.segmenters.embedded.persons import quarters_of
from semantic_focus.segmenters.embedded.seek import MOST_TILES, tiles
from semantic_focus.segmenters.embedded.segmenter import load
from semantic_focus.segmenters.embedded.torso import find_torsos
from semantic_focus.segmenters.protocol import Segmenter, SegmentRequest

from .test_embedded_parts import face_at, pose_on

PARTITION = ("face", "hair", "clothing", "body", "background")
WOMAN = {
    "face": [(225, 135), (225, 165)],
    "hair": [(225, 40)],
    "clothing": [(150, 330), (300, 300), (120, 200)],
    "background": [(30, 100), (350, 60)],
}
"""On astronaut.png, 512x512."""


def read(path: Path) -> np.ndarray:
    """UInt8[H, W, 3]."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return picture[:, :, ::-1].copy()


def on_ground(height: int, width: int, *pieces: tuple[np.ndarray, int, int]) -> np.ndarray:
    """Pictures laid on sand-coloured, rough ground of that size, each with its left and top."""
    grain = np.random.default_rng(0).normal(0, 5, (height, width, 1))
    ground = np.clip(np.array([170, 160, 140]) + grain, 0, 255).astype(np.uint8)
    for picture, left, top in pieces:
        ground[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return ground


def sized(picture: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


@dataclass(frozen=True)
class Odd:
    """What is done with the photograph of the woman, and where a place (x, y) of it is then."""

    make: Callable[[np.ndarray], np.ndarray]
    place: Callable[[int, int], tuple[float, float]]
    persons: int = 1
    regions: tuple[str, ...] = tuple(WOMAN)


ODD = {
    "upside down": Odd(lambda p: np.rot90(p, 2), lambda x, y: (511 - x, 511 - y)),
    "lying, head to the left": Odd(lambda p: np.rot90(p, 1), lambda x, y: (y, 511 - x)),
    "lying, head to the right": Odd(lambda p: np.rot90(p, 3), lambda x, y: (511 - y, x)),
    "in a tall picture": Odd(
        lambda p: on_ground(2400, 300, (sized(p, 256), 22, 1000)), lambda x, y: (22 + x / 2, 1000 + y / 2)
    ),
    "far away": Odd(
        lambda p: on_ground(1024, 1536, (sized(p, 128), 1200, 700)),
        lambda x, y: (1200 + x / 4, 700 + y / 4),
        regions=("face", "clothing"),
    ),
    "behind somebody big": Odd(
        lambda p: on_ground(800, 1200, (sized(p, 128), 40, 300), (sized(p, 790), 410, 10)),
        lambda x, y: (40 + x / 4, 300 + y / 4),
        2,
        ("face", "clothing"),
    ),
}


@pytest.fixture(scope="module")
def segmenter(weights: Path) -> Segmenter:
    return load({"mediapipe": [weights]})


@pytest.fixture(scope="module")
def woman(photographs: Path) -> np.ndarray:
    return read(photographs / "astronaut.png")


def segmented(segmenter: Segmenter, picture: np.ndarray) -> SemanticMasks:
    image = torch.from_numpy(np.ascontiguousarray(picture))[None].float() / 255
    return segmenter.segment(image, SegmentRequest(refine="off"))


@pytest.mark.parametrize("name", ODD)
def test_a_person_is_found_with_all_regions(segmenter, woman, name):
    odd = ODD[name]
    masks = segmented(segmenter, odd.make(woman))
    assert len(masks.persons[0]) == odd.persons
    wrong = {}
    for label in odd.regions:
        for point in WOMAN[label]:
            x, y = (round(value) for value in odd.place(*point))
            shares = {key: float(masks.region(key)[0, y, x]) for key in PARTITION}
            if max(shares, key=lambda key: shares[key]) != label:
                wrong[label, point] = shares
    assert not wrong


def test_a_body_without_its_head_is_clothing(segmenter, photographs):
    men = read(photographs / "zidane.jpg")
    masks = segmented(segmenter, men[324:, :768])  # cut at the chin of the left one
    assert len(masks.persons[0]) >= 1
    for x, y in ((450, 420), (420, 480), (560, 560)):
        assert masks.region("clothing")[0, y - 324, x] > 0.5
    assert masks.region("background")[0, 600 - 324, 100] > 0.5


def test_what_is_no_body_is_none(segmenter, photographs):
    street = read(photographs / "bus.jpg")
    house, wheels = street[:330], street[760:1000, 360:640]
    for picture in (house, wheels):
        assert find_torsos(segmenter._networks, np.ascontiguousarray(picture)) == []


def test_a_face_without_a_person_is_pointed_at(segmenter, woman, monkeypatch):
    monkeypatch.setattr("semantic_focus.segmenters.embedded.segmenter.find_persons", lambda *_: [])
    masks = segmented(segmenter, woman)
    (doubt,) = doubts_of(masks.provenance)[0]
    assert (doubt.region, doubt.other, doubt.flagged) == ("background", "person", True)
    assert abs(doubt.at[0] - 225 / 512) < 0.05 and abs(doubt.at[1] - 140 / 512) < 0.05
    assert json.loads(masks.provenance["scores"]) == [{}]


def test_where_all_are_found_nobody_is_said_to_be_overlooked(segmenter, woman):
    doubts = doubts_of(segmented(segmenter, woman).provenance)
    assert {doubt.region for picture in doubts for doubt in picture} <= set(PARTS)


@pytest.mark.parametrize(("size", "share"), [((768, 768), 0.36), ((2048, 3072), 0.18), ((4096, 512), 0.36)])
def test_tiles_cover_the_picture_and_are_few(size, share):
    seen = np.zeros(size, bool)
    boxes = tiles(size, share)
    for left, top, right, bottom in boxes:
        seen[int(top) : int(np.ceil(bottom)), int(left) : int(np.ceil(right))] = True
    assert seen.all() and 4 <= len(boxes) <= MOST_TILES + 8


def test_no_tiles_of_what_is_seen_at_once():
    assert tiles((400, 300), 0.36) == []


@pytest.mark.parametrize("quarters", range(4))
def test_points_turn_with_their_picture(quarters):
    picture = np.zeros((20, 30))
    picture[4, 7] = 1
    (y, x) = np.argwhere(np.rot90(picture, quarters))[0]
    assert turned_points(np.array([7.0, 4.0]), quarters, picture.shape).tolist() == [x, y]


@pytest.mark.parametrize("quarters", range(4))
def test_who_lies_is_upright_after_so_many_turns(quarters):
    mask = np.zeros((200, 300), np.float32)
    body = pose_on(mask, (150, 60))
    body.landmarks[23:25] = (150, 150)
    lying = face_at(150, 60).turned(-quarters, mask.shape), body.turned(-quarters)
    assert quarters_of(lying) == quarters
    assert quarters_of((lying[0], None)) == quarters
