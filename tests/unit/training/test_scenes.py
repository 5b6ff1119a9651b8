"""Scenes: what the base model makes of other captions, beside the pictures of a training."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from semantic_focus.objective.total import Objective
from semantic_focus.training.data import TrainingPictures
from semantic_focus.training.scenes import PRESERVED, SceneShares, with_scenes
from semantic_focus.training.untrained import untrained
from semantic_focus.training.validation import ValidationSettings, _judged, _with_same_names
from semantic_focus.training.verdict import made_worse

LABELS = ("face", "hair", "skin")
BOTH = SceneShares(composites=0.5, strangers=0.25)
COMPOSITES = SceneShares(composites=0.5, strangers=0.0)
FACE = Objective(weights={"face": 1.0}, global_fallback=0.0)


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


def test_in_a_composite_the_trained_regions_lie_over_the_scene_by_their_masks(data: TrainingPictures):
    made = with_scenes(data, ["face", "skin"], [picture(10)], COMPOSITES)
    # the face's column of the picture, half of it where the skin is half a cell, the scene where hair was
    assert made.latents[2][0].tolist() == [[1, 5.5, 10]] * 2
    assert made.latents[2].shape == (2, 2, 3)


def test_pictures_are_taken_in_turn_and_a_composite_has_its_pictures_name(data: TrainingPictures):
    made = with_scenes(data, ["face"], [picture(10), picture(20), picture(30)], BOTH)
    rows = [latent[0, 0].tolist() for latent in made.latents]
    assert rows[:2] == [[1, 1, 1], [2, 2, 2]]
    assert rows[2:5] == [[1, 10, 10], [20, 20, 2], [1, 30, 30]]
    assert rows[5:] == [[10, 10, 10], [20, 20, 20], [30, 30, 30]]
    assert made.names == ("a.png", "b.png", "a.png", "b.png", "a.png", "scene 1", "scene 2", "scene 3")
    assert made.labels == (*LABELS, PRESERVED)
    assert list(made.own) == [0, 1]


def test_a_scene_goes_under_a_picture_of_its_size():
    wide, high = torch.ones(1, 2, 4), torch.full((1, 4, 2), 2.0)
    masks = tuple(torch.ones(1, *latent.shape[1:]) for latent in (wide, high, wide))
    data = TrainingPictures((wide, high, 3 * wide), masks, ("face",))
    scenes = [torch.zeros(1, 2, 4), torch.zeros(1, 2, 4), torch.zeros(1, 4, 2), torch.zeros(1, 2, 4)]
    made = with_scenes(data, ["face"], scenes, COMPOSITES)
    assert [latent[0, 0, 0].item() for latent in made.latents[3:]] == [1, 3, 2, 1]


@pytest.mark.parametrize("fallback", [0.0, 0.1])
def test_of_a_scene_nothing_is_learnt_and_all_of_it_is_held(data: TrainingPictures, fallback: float):
    """Whatever the weight of what no region covers: its gradient is the prior's, away from the target."""
    made = with_scenes(data, ["face"], [picture(10)], BOTH)
    objective = Objective(weights={"face": 1.0}, global_fallback=fallback, prior_weight=1.0)
    for index, held in ((2, [False, True, True]), (3, [True, True, True])):
        clean, masks = made.batch([index])
        base = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        prediction = base.clone().requires_grad_()
        objective(prediction, clean, masks, base).total.backward()
        assert prediction.grad is not None
        learnt = prediction.grad[0, 0, 0].abs() > 0  # at the base's own prediction the prior has no gradient
        assert learnt.tolist() == [not it for it in held]
        moved = (base + 1).requires_grad_()
        value = objective(moved, clean, masks, base)
        assert value.prior == pytest.approx(1.0)


@pytest.mark.parametrize(
    "repeats, scenes, shares",
    [
        ((), 8, BOTH),
        ((), 1, BOTH),
        ((), 40, SceneShares(0.6, 0.2)),
        ((5, 1), 7, SceneShares(0.0, 0.5)),
        ((3, 3), 20, SceneShares(0.3, 0.3)),
        ((), 3, SceneShares(0.9, 0.05)),
    ],
)
def test_every_kind_has_its_share_of_a_pass(
    data: TrainingPictures, repeats, scenes: int, shares: SceneShares
):
    data = TrainingPictures(data.latents, data.masks, data.labels, repeats)
    made = with_scenes(data, ["face"], [picture(9)] * scenes, shares)
    own, total = sum(made.repeats[:2]), sum(made.repeats)
    composites = sum(made.repeats[2 : 2 + scenes * (shares.composites > 0)])
    wanted = (1 - shares.composites - shares.strangers, shares.composites, shares.strangers)
    for count, share in zip((own, composites, total - own - composites), wanted, strict=True):
        assert math.isclose(count / total, share, rel_tol=0.2)
    if repeats:
        assert made.repeats[0] * repeats[1] == made.repeats[1] * repeats[0]


def test_scenes_are_neither_held_out_nor_called_idle(data: TrainingPictures):
    objective = Objective(weights={"face": 1.0}, global_fallback=0.0)
    made = with_scenes(data, ["face"], [picture(10)] * 12, BOTH)
    judged, _ = _judged(ValidationSettings("pictures", share=0.5), made, objective)
    assert set(judged) <= {0, 1}
    assert untrained(objective, made) == untrained(objective, data)


@pytest.mark.parametrize("named", [True, False])
def test_the_composites_of_what_is_held_out_are_not_trained(data: TrainingPictures, named: bool):
    """Of two pictures one is held out; with or without names of files, so is every composite of it."""
    data = replace(data, names=data.names if named else ())
    made = with_scenes(data, ["face"], [picture(10)] * 6, BOTH)
    judged, _ = _judged(ValidationSettings("pictures", share=0.5), made, FACE)
    [out] = judged
    composites = range(2, 8)
    of_it = {index for index in composites if made.latents[index][0, 0, (0, 2)[out]] == out + 1}
    assert len(of_it) == 3
    assert _with_same_names(judged, made) & set(composites) == of_it


def test_a_picture_without_anything_trained_is_put_into_no_scene(data: TrainingPictures):
    masks = (data.masks[0], torch.zeros_like(data.masks[1]))
    made = with_scenes(replace(data, masks=masks), ["face"], [picture(10)] * 4, COMPOSITES)
    assert made.under == (0, 0, 0, 0)


def test_the_end_of_a_training_is_judged_by_what_is_learnt():
    """A scene costs nothing with the base model itself: any change would be a rise."""
    assert not made_worse(0.1, 0.0)
    assert made_worse(0.2, 0.1) and made_worse(math.nan, 0.0)


def test_the_name_of_what_is_held_is_taken(data: TrainingPictures):
    with pytest.raises(ValueError, match="'preserved'.*another name"):
        with_scenes(replace(data, labels=("face", PRESERVED, "skin")), ["face"], [picture(1)], BOTH)


def test_a_scene_is_called_one(data: TrainingPictures):
    made = with_scenes(data, ["face"], [picture(10)] * 2, BOTH)
    assert [made.called(index) for index in (1, 2, 5)] == [
        "picture 2 (b.png)",
        "scene 1 of 4",
        "scene 4 of 4",
    ]


def test_regions_that_overlap_count_once():
    masks = torch.ones(2, 1, 1)
    data = TrainingPictures((torch.full((1, 1, 1), 4.0),), (masks,), ("face", "skin"))
    made = with_scenes(data, ["face", "skin"], [torch.zeros(1, 1, 1)], COMPOSITES)
    assert made.latents[1].item() == 4


def test_the_pictures_they_are_made_of_stay_as_they_are(data: TrainingPictures):
    before = data.digest()
    with_scenes(data, ["face"], [picture(10)], BOTH)
    assert data.digest() == before


@pytest.mark.parametrize(
    "regions, scenes, said",
    [
        (["nose"], [picture(1)], r"none of the pictures' regions \(face, hair, skin\) is trained"),
        (["face"], [], "no scene"),
        (["face"], [torch.zeros(2, 4, 4)], r"scene 1 is \[2, 4, 4\].*\[2, 2, 3\]: make the scenes"),
    ],
)
def test_what_does_not_fit_is_refused(data: TrainingPictures, regions, scenes, said: str):
    with pytest.raises(ValueError, match=said):
        with_scenes(data, regions, scenes, COMPOSITES)


@pytest.mark.parametrize("shares", [(0.6, 0.4), (1.0, 0.0), (-0.1, 0.5), (0.0, 0.0), (math.nan, 0.1)])
def test_shares_that_cannot_be_are_refused(shares: tuple[float, float]):
    with pytest.raises(ValueError, match="composites|strangers"):
        SceneShares(*shares)
