"""Refinement of a whole batch: the regions share every pixel out again, and nothing else is lost."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.refine import RefineSettings, refine_masks

LABELS = ("face", "hair", "clothing", "body", "background", "lighting", "tattoo")


def block(top: int, bottom: int, left: int, right: int, size: int = 60) -> torch.Tensor:
    mask = torch.zeros(size, size)
    mask[top:bottom, left:right] = 1
    return mask


def portrait(**regions: torch.Tensor) -> SemanticMasks:
    """One 60x60 picture with hard regions, background the rest, half lighting, a tattoo over the body."""
    masks = torch.zeros(1, len(LABELS), 60, 60)
    for name, mask in regions.items():
        masks[0, LABELS.index(name)] = mask
    masks[0, 4] = 1 - masks[0, :4].sum(0)
    masks[0, 5] = 0.5
    person = masks[0, :4].sum(0)
    return SemanticMasks(masks, LABELS, (person[None],), {"refine": "fast", "image_digest": "abc"})


FLAT = torch.full((1, 60, 60, 3), 0.5)
"""A picture without edges: the edge refinement only softens."""


def hard(masks: SemanticMasks, name: str) -> torch.Tensor:
    return masks.region(name)[0] > 0.5


def test_off_is_the_same_object():
    masks = portrait(face=block(10, 20, 10, 20))
    assert refine_masks(masks, FLAT, RefineSettings("off", grow=5)) is masks


@pytest.mark.parametrize("mode", ["fast", "fine"])
@pytest.mark.parametrize("grow", [-2.0, 0.0, 3.0])
def test_regions_still_sum_to_1_on_any_picture(mode, grow):
    masks = portrait(face=block(10, 20, 20, 40), hair=block(5, 10, 20, 40), clothing=block(20, 50, 15, 45))
    noise = torch.rand(1, 60, 60, 3, generator=torch.Generator().manual_seed(0))
    refined = refine_masks(masks, noise, RefineSettings(mode, max_hole=9, min_area=9, grow=grow))
    torch.testing.assert_close(refined.masks[:, :5].sum(1), torch.ones(1, 60, 60))
    assert refined.masks.min() >= 0 and refined.masks.max() <= 1
    assert refined.labels == LABELS


def test_hole_in_the_face_goes_from_background_to_the_face():
    face = block(10, 50, 10, 50)
    face[24:34, 24:34] = 0
    refined = refine_masks(portrait(face=face), FLAT, RefineSettings("fine", max_hole=100))
    assert refined.region("face")[0, 29, 29] == 1
    assert refined.region("background")[0, 29, 29] == 0
    left = refine_masks(portrait(face=face), FLAT, RefineSettings("fine", max_hole=99))
    assert left.region("face")[0, 29, 29] == 0
    assert left.region("background")[0, 29, 29] == 1


def test_hole_with_another_part_in_it_goes_by_priority():
    """The priority is face, hair, clothing, body."""
    clothing = block(10, 50, 10, 50) - block(14, 24, 14, 24) - block(34, 44, 34, 44)
    masks = portrait(clothing=clothing, hair=block(14, 24, 14, 24), body=block(34, 44, 34, 44))
    refined = refine_masks(masks, FLAT, RefineSettings("fine", max_hole=100))
    assert refined.region("hair")[0, 19, 19] == 1
    assert refined.region("clothing")[0, 39, 39] == 1
    assert refined.region("body")[0].max() == 0


def test_speck_becomes_background():
    hair = block(10, 30, 10, 30) + block(50, 52, 50, 52)
    refined = refine_masks(portrait(hair=hair), FLAT, RefineSettings("fine", min_area=5))
    assert refined.region("hair")[0, 48:54, 48:54].max() < 0.05
    assert refined.region("background")[0, 48:54, 48:54].min() > 0.95


def test_growing_moves_the_outline_by_as_many_pixels_and_the_person_with_it():
    masks = portrait(body=block(20, 40, 20, 40))
    refined = refine_masks(masks, FLAT, RefineSettings("fine", grow=4))
    middle = hard(refined, "body")[30].nonzero()
    assert (int(middle.min()), int(middle.max())) == (16, 43)
    person = (refined.persons[0][0] > 0.5)[30].nonzero()
    assert (int(person.min()), int(person.max())) == (16, 43)
    assert not (hard(refined, "background") & hard(refined, "body")).any()
    shrunk = refine_masks(masks, FLAT, RefineSettings("fine", grow=-4))
    middle = hard(shrunk, "body")[30].nonzero()
    assert (int(middle.min()), int(middle.max())) == (24, 35)
    assert hard(shrunk, "background")[30, 22]


def test_soft_layers_stay_and_own_categories_are_refined_but_not_shared_out():
    masks = portrait(body=block(10, 50, 10, 50))
    masks.masks[0, 6] = block(20, 30, 20, 30)
    refined = refine_masks(masks, FLAT, RefineSettings("fine", grow=3))
    assert torch.equal(refined.region("lighting"), masks.region("lighting"))
    row = hard(refined, "tattoo")[25].nonzero()
    assert (int(row.min()), int(row.max())) == (17, 32)
    assert refined.region("body")[0, 25, 25] == 1


def test_regions_that_overlapped_are_left_to_overlap():
    masks = portrait(face=block(20, 30, 20, 40))
    masks.masks[0, 3] = block(20, 50, 20, 40)
    refined = refine_masks(masks, FLAT, RefineSettings("fine"))
    assert hard(refined, "face")[25, 30] and hard(refined, "body")[25, 30]


def test_parts_that_were_not_asked_for_do_not_become_background():
    full = portrait(face=block(10, 20, 20, 40), clothing=block(20, 50, 15, 45))
    masks = SemanticMasks(full.masks[:, [0, 4]], ("face", "background"))
    refined = refine_masks(masks, FLAT, RefineSettings("fine"))
    assert refined.region("background")[0, 30:45, 20:40].max() == 0
    assert refined.region("background")[0, :5].min() == 1


def test_persons_side_by_side_share_their_border_out():
    masks = portrait(body=block(10, 50, 10, 50))
    people = torch.stack([block(10, 50, 10, 30), block(10, 50, 30, 50)])
    masks = SemanticMasks(masks.masks, LABELS, (people,))
    refined = refine_masks(masks, FLAT, RefineSettings("fine", grow=3))
    assert refined.persons[0].sum(0).max() <= 1 + 1e-6
    assert refined.persons[0][0, 30, 20] == 1 and refined.persons[0][1, 30, 40] == 1


def test_pictures_without_persons_and_masks_without_persons():
    masks = portrait(face=block(10, 20, 10, 20))
    nobody = SemanticMasks(masks.masks, LABELS, (torch.zeros(0, 60, 60),))
    assert refine_masks(nobody, FLAT, RefineSettings("fine", grow=1)).persons[0].shape == (0, 60, 60)
    unknown = SemanticMasks(masks.masks, LABELS)
    assert refine_masks(unknown, FLAT, RefineSettings("fine", grow=1)).persons == ()


def test_provenance_says_what_was_done_and_is_no_longer_the_segmenters():
    masks = portrait(face=block(10, 20, 10, 20))
    provenance = refine_masks(masks, FLAT, RefineSettings("fine", max_hole=5, grow=-1.5)).provenance
    assert provenance["edited"] == "refine: fine max_hole 5 grow -1.5"
    assert "image_digest" not in provenance


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"1 pictures of 60x60, but the images are \[1, 8, 9, 3\]"):
        refine_masks(portrait(), torch.zeros(1, 8, 9, 3), RefineSettings())


class Recorder(ModuleType):
    """Stands in for pymatting: answers 0.25 everywhere and keeps what it was asked."""

    def __init__(self):
        super().__init__("pymatting")
        self.calls: list[tuple[np.ndarray, np.ndarray]] = []

    def estimate_alpha_cf(self, image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        self.calls.append((image, trimap))
        return np.full(trimap.shape, 0.25)


@pytest.fixture
def pymatting(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "pymatting", recorder)
    return recorder


def half(size: int) -> SemanticMasks:
    mask = torch.zeros(1, 1, size, size)
    mask[..., : size // 2] = 1
    return SemanticMasks(mask, ("tattoo",))


def test_matting_solves_for_the_band_only(pymatting):
    size = 200
    images = torch.rand(1, size, size, 3, generator=torch.Generator().manual_seed(0))
    refined = refine_masks(half(size), images, RefineSettings("matting")).region("tattoo")[0]
    # 0.012 of 200 pixels is 2 to the nearest whole: two pixels on either side of the edge at 100
    assert torch.equal(refined[:, :98], torch.ones(size, 98))
    assert torch.equal(refined[:, 98:102], torch.full((size, 4), 0.25))
    assert torch.equal(refined[:, 102:], torch.zeros(size, 98))
    (picture, trimap) = pymatting.calls[0]
    assert picture.dtype == trimap.dtype == np.float64
    assert picture.shape == (*trimap.shape, 3)
    assert set(np.unique(trimap)) == {0.0, 0.5, 1.0}
    # the window is the band and four times its half width around it
    assert trimap.shape == (size, 4 + 2 * 8)
    np.testing.assert_allclose(picture, images[0, :, 90:110].numpy())


def test_matting_of_a_large_picture_is_solved_at_512_pixels(pymatting):
    refined = refine_masks(half(1024), torch.zeros(1, 1024, 1024, 3), RefineSettings("matting"))
    assert max(pymatting.calls[0][1].shape) == 512
    # 0.012 of 1024 pixels is 12
    changed = (refined.region("tattoo")[0] != half(1024).region("tattoo")[0])[500].nonzero()
    assert (int(changed.min()), int(changed.max())) == (500, 523)


def test_matting_lets_no_background_in_where_two_parts_meet(pymatting):
    masks = torch.zeros(1, 3, 100, 100)
    masks[0, 0, 20:, :50] = 1
    masks[0, 1, 20:, 50:] = 1
    masks[0, 2, :20] = 1
    masks = SemanticMasks(masks, ("face", "hair", "background"))
    refined = refine_masks(masks, torch.zeros(1, 100, 100, 3), RefineSettings("matting"))
    # the stand-in answers 0.25 for both, and nothing for the outline of both together: it is even here
    assert torch.equal(refined.masks[0, :, 80, 50], torch.tensor([0.5, 0.5, 0.0]))
    # at that outline, above the face, 0.25 of face is all there is
    assert torch.equal(refined.masks[0, :, 20, 20], torch.tensor([0.25, 0.0, 0.75]))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_matting_leaves_an_even_mask_alone(pymatting, value):
    masks = SemanticMasks(torch.full((1, 1, 30, 30), value), ("tattoo",))
    refined = refine_masks(masks, torch.zeros(1, 30, 30, 3), RefineSettings("matting"))
    assert torch.equal(refined.masks, masks.masks)
    assert pymatting.calls == []


def test_matting_without_the_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymatting", None)
    with pytest.raises(ImportError, match="pip install pymatting"):
        refine_masks(half(20), torch.zeros(1, 20, 20, 3), RefineSettings("matting"))
