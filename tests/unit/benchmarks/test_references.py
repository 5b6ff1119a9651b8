"""The hand-drawn references, and what the segmentation benchmark makes of them."""

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

CHECKOUT = Path(__file__).resolve().parents[3]
REFERENCES = CHECKOUT / "benchmarks" / "references"
DRAWINGS = sorted(REFERENCES.glob("*.json")) + sorted((REFERENCES / "second").glob("*.json"))


@pytest.fixture(scope="module")
def benchmark():
    sys.path.insert(0, str(CHECKOUT))
    try:
        yield importlib.import_module("benchmarks.segmentation")
    finally:
        sys.path.remove(str(CHECKOUT))


def test_every_picture_is_drawn_once_and_four_are_drawn_twice(benchmark: ModuleType):
    portraits = importlib.import_module("benchmarks.portraits").PORTRAITS
    names = {picture.name for picture in (*benchmark.PHOTOGRAPHS, *portraits)}
    assert {path.stem for path in REFERENCES.glob("*.json")} == names and len(names) == 27 + 51
    second = {path.stem for path in (REFERENCES / "second").glob("*.json")}
    assert len(second) == 4 and second <= names
    assert sum(photograph.held_out for photograph in benchmark.PHOTOGRAPHS) == 9


def test_a_third_of_the_portraits_is_held_out_in_the_order_of_their_digests(benchmark: ModuleType):
    portraits = importlib.import_module("benchmarks.portraits").PORTRAITS
    never_seen = sorted(portraits[12:], key=lambda picture: picture.sha256)
    assert [picture.held_out for picture in never_seen] == [index % 3 == 2 for index in range(39)]
    assert not any(picture.held_out for picture in portraits[:12])


@pytest.mark.parametrize("path", DRAWINGS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_drawing_has_known_regions_persons_from_1_and_points_in_the_picture(path: Path):
    drawing = json.loads(path.read_text())
    width, height = drawing["size"]
    persons = set()
    for shape in drawing["shapes"]:
        assert shape["region"] in ("face", "hair", "clothing", "body", "background", "ignore")
        points = np.array(shape["polygon"])
        assert points.shape[1] == 2 and len(points) >= 3
        assert points.min() >= -1 and points[:, 0].max() <= width + 1 and points[:, 1].max() <= height + 1
        if shape["region"] not in ("background", "ignore"):
            persons.add(shape["person"])
    assert persons == set(range(1, len(persons) + 1))


def test_later_shapes_cover_earlier_ones_and_background_erases(benchmark: ModuleType, tmp_path: Path):
    def square(left: int, right: int) -> list[list[int]]:
        return [[left, 0], [right, 0], [right, 9], [left, 9]]

    drawing = {
        "size": [10, 10],
        "shapes": [
            {"region": "clothing", "person": 1, "polygon": square(0, 9)},
            {"region": "face", "person": 2, "polygon": square(4, 5)},
            {"region": "background", "person": 0, "polygon": square(6, 7)},
            {"region": "ignore", "person": 0, "polygon": square(8, 9)},
        ],
    }
    (tmp_path / "x.json").write_text(json.dumps(drawing))
    reference = benchmark.read_reference(tmp_path / "x.json")
    columns = np.arange(10)
    assert columns[reference.region("clothing")[5]].tolist() == [0, 1, 2, 3]
    assert columns[reference.region("face")[5]].tolist() == [4, 5]
    assert columns[reference.region("person")[5]].tolist() == [0, 1, 2, 3, 4, 5]
    assert columns[reference.counted[5]].tolist() == list(range(8))
    assert reference.persons[5].tolist() == [1, 1, 1, 1, 2, 2, 0, 0, 0, 0]


def test_iou_and_boundary_error_of_shifted_squares(benchmark: ModuleType):
    a = np.zeros((100, 200), bool)
    b = a.copy()
    a[20:60, 20:60], b[20:60, 30:70] = True, True
    everywhere = np.ones_like(a)
    assert benchmark.iou(a, b, everywhere) == pytest.approx(30 / 50)
    assert benchmark.iou(a, b, b) == pytest.approx(30 / 40)
    assert benchmark.boundary_error(a, a, everywhere) == 0
    # the vertical sides are 10 pixels from each other, most of the horizontal ones lie on each other
    assert 0 < benchmark.boundary_error(a, b, everywhere) < 1000 * 10 / 200


def test_a_face_that_is_mostly_not_found_is_a_missed_one(benchmark: ModuleType):
    parts = np.zeros((200, 100), np.uint8)
    parts[20:100, 20:60] = 1 + benchmark.PARTS.index("face")
    persons = (parts > 0).astype(np.uint8)
    reference = benchmark.Reference(parts, persons)
    nothing = np.zeros_like(parts, bool)
    found = {name: nothing for name in benchmark.REGIONS}
    missed = benchmark.score(reference, found, 0)
    assert missed.missed_faces == [1] and missed.ious["face"] == 0 and missed.persons == (0, 1)
    seen = benchmark.score(reference, {**found, "face": parts > 0}, 1)
    assert seen.missed_faces == [] and seen.faces == 1 and seen.ious["face"] == 1
