"""Weights and pictures that train nothing are told before the first step, by name."""

import pytest
import torch

from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.untrained import untrained

LABELS = ("face", "hair", "tattoo")


def pictures(*shares: tuple[float, float, float], names: tuple[str, ...] = ()) -> TrainingPictures:
    """One picture for each row: how strong each of LABELS is in it, everywhere."""
    masks = tuple(torch.tensor(row)[:, None, None].expand(3, 4, 4).clone() for row in shares)
    return TrainingPictures(tuple(torch.zeros(2, 4, 4) for _ in shares), masks, LABELS, names=names)


@pytest.mark.parametrize(
    ("weights", "fallback", "rows", "said"),
    [
        ({"face": 1}, 0, [(1, 0, 0)], {}),
        ({"face": 1, "scar": 1}, 0, [(1, 0, 0)], {"no_mask": "scar"}),
        ({"face": 1, "tattoo": 1}, 0, [(1, 0, 0)], {"empty_region": "tattoo"}),
        ({"face": 1, "tattoo": 1}, 0, [(1, 0, 0), (1, 0, 0.01)], {}),
        ({"face": 1, "tattoo": 0}, 0, [(1, 0, 0)], {}),
        ({"face": 1, "hair": 1, "tattoo": 1, "scar": 2}, 0, [(1, 0, 0)],
         {"no_mask": "scar", "empty_region": "hair, tattoo"}),
        ({"face": 1}, 0, [(1, 0, 0), (0, 1, 0), (0, 0, 0)], {"idle_pictures": "2, 3"}),
        ({"face": 1}, 0.1, [(1, 0, 0), (0, 1, 0), (0, 0, 0)], {"idle_pictures": "2"}),
    ],
)  # fmt: skip
def test_what_trains_nothing(weights, fallback, rows, said):
    found = untrained(Objective(weights=weights, global_fallback=fallback), pictures(*rows))
    assert {note.kind: note.values.get("regions") or note.values["pictures"] for note in found} == said
    for note in found:
        assert all(value in note.text for value in note.values.values())


def test_without_regions_every_picture_is_trained_as_a_whole():
    assert untrained(Objective(weights={"scar": 1}, enabled=False), pictures((0, 0, 0))) == []


def test_many_pictures_are_counted_and_the_first_named():
    (note,) = untrained(
        Objective(weights={"face": 1}, global_fallback=0), pictures((1, 0, 0), *[(0, 1, 0)] * 50)
    )
    assert note.values["count"] == "50" and note.values["total"] == "51"
    assert note.values["pictures"].startswith("2, 3, 4") and note.values["pictures"].endswith("21 …")


def test_pictures_whose_files_are_known_are_told_by_their_names():
    data = pictures((1, 0, 0), (0, 1, 0), (0, 0, 0), names=("a.png", "garden.jpg", "天空.png"))
    (note,) = untrained(Objective(weights={"face": 1}, global_fallback=0), data)
    assert note.kind == "idle_named" and note.values["pictures"] == "garden.jpg, 天空.png"
    assert note.text.endswith("train nothing: garden.jpg, 天空.png")
