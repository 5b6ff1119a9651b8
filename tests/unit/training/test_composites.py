"""Composites: the trained regions of one picture in the surroundings of another."""

import pytest
import torch
from torch import Tensor

from semantic_focus.objective.total import Objective
from semantic_focus.training.composites import composites
from semantic_focus.training.data import TrainingPictures

LABELS = ("face", "hair", "skin")


def picture(value: float) -> Tensor:
    return torch.full((2, 2, 3), float(value))


@pytest.fixture
def data() -> TrainingPictures:
    """Two pictures, all ones and all twos; the face is the left column of the first and the right of the
    second, skin half a cell in the middle, hair everything else.
    """
    masks = torch.zeros(2, 3, 2, 3)
    masks[0, 0, :, 0] = masks[1, 0, :, 2] = 1
    masks[:, 2, :, 1] = 0.5
    masks[:, 1] = 1 - masks[:, 0] - masks[:, 2]
    return TrainingPictures((picture(1), picture(2)), tuple(masks), LABELS, names=("a.png", "b.png"))


def test_the_named_regions_lie_over_the_scene_by_their_masks(data: TrainingPictures):
    made = composites(data, ["face", "skin"], [picture(10)])
    # the face's column of the picture, half of it where the skin is half a cell, the scene where hair was
    assert made.latents[0][0].tolist() == [[1, 5.5, 10]] * 2
    assert made.latents[0].shape == (2, 2, 3)


def test_pictures_are_taken_in_turn_and_keep_their_names(data: TrainingPictures):
    made = composites(data, ["face"], [picture(10), picture(20), picture(30)])
    assert [latent[0, 0].tolist() for latent in made.latents] == [[1, 10, 10], [20, 20, 2], [1, 30, 30]]
    assert made.names == ("a.png", "b.png", "a.png")
    assert made.labels == LABELS


def test_of_the_regions_left_behind_nothing_is_trained(data: TrainingPictures):
    """What was hair in the picture shows the scene now, and is free for the prior."""
    made = composites(data, ["face"], [picture(10)])
    assert torch.equal(made.masks[0][0], data.masks[0][0])
    assert not made.masks[0][1:].any()
    hair = Objective(weights={"hair": 1.0}, global_fallback=0.0)
    assert hair.trains(data.batch([0])[1]) and not hair.trains(made.batch([0])[1])


def test_regions_that_overlap_count_once():
    masks = torch.ones(2, 1, 1)
    data = TrainingPictures((torch.full((1, 1, 1), 4.0),), (masks,), ("face", "skin"))
    assert composites(data, ["face", "skin"], [torch.zeros(1, 1, 1)]).latents[0].item() == 4


def test_the_pictures_they_are_made_of_stay_as_they_are(data: TrainingPictures):
    before = data.digest()
    composites(data, ["face"], [picture(10)])
    assert data.digest() == before


@pytest.mark.parametrize(
    "regions, scenes, said",
    [
        (["nose"], [picture(1)], "region 'nose' is not among those of the pictures: .*face, hair, skin"),
        ([], [picture(1)], "no region is among those"),
        (["face"], [], "no scene"),
        (["face"], [torch.zeros(2, 4, 4)], r"scene 1 is \[2, 4, 4\] but picture 1 \(a.png\).*\[2, 2, 3\]"),
    ],
)
def test_what_does_not_fit_is_refused(data: TrainingPictures, regions, scenes, said: str):
    with pytest.raises(ValueError, match=said):
        composites(data, regions, scenes)
