"""Categories put in by hand and taken out as one mask."""

import pytest
import torch

from semantic_focus.regions.by_hand import set_category, weighted_mask
from semantic_focus.regions.masks import SemanticMasks

REGIONS = ("face", "hair", "clothing", "body", "background")


def rows(**bands: tuple[int, int]) -> SemanticMasks:
    """One 10x6 picture in which each region covers a band of rows, background the rest; faint lighting."""
    masks = torch.zeros(1, 6, 10, 6)
    for name, (top, bottom) in bands.items():
        masks[0, REGIONS.index(name), top:bottom] = 1
    masks[0, 4] = 1 - masks[0, :4].sum(0)
    masks[0, 5] = 0.5
    return SemanticMasks(masks, (*REGIONS, "lighting"), (), {"image_digest": "abc"})


def band(top: int, bottom: int) -> torch.Tensor:
    mask = torch.zeros(1, 10, 6)
    mask[:, top:bottom] = 1
    return mask


def test_a_part_takes_its_pixels_and_the_rest_is_shared_out():
    masks = rows(hair=(0, 2), face=(2, 4), clothing=(4, 8))
    changed = set_category("face", band(1, 5), masks)
    assert torch.equal(changed.masks, rows(hair=(0, 1), face=(1, 5), clothing=(5, 8)).masks)
    smaller = set_category("face", band(3, 4), masks)
    assert torch.equal(smaller.masks, rows(hair=(0, 2), face=(3, 4), clothing=(4, 8)).masks)


def test_soft_masks_still_sum_to_1():
    generator = torch.Generator().manual_seed(0)
    shares = torch.rand(2, 5, 8, 9, generator=generator)
    masks = SemanticMasks(shares / shares.sum(1, keepdim=True), REGIONS)
    mask = torch.rand(2, 8, 9, generator=generator)
    changed = set_category("clothing", mask, masks)
    assert torch.equal(changed.region("clothing"), mask)
    torch.testing.assert_close(changed.masks.sum(1), torch.ones(2, 8, 9))


def test_a_part_that_was_not_there_becomes_the_last_label():
    masks = rows(face=(0, 3))
    without = SemanticMasks(masks.masks[:, [0, 4]], ("face", "background"))
    changed = set_category("hair", band(2, 5), without)
    assert changed.labels == ("face", "background", "hair")
    assert torch.equal(changed.region("face"), band(0, 2))
    assert torch.equal(changed.region("background"), band(5, 10))


def test_a_background_takes_its_pixels_from_all_parts():
    changed = set_category("background", band(1, 10), rows(face=(0, 3), body=(3, 6)))
    assert torch.equal(changed.region("face"), band(0, 1))
    assert changed.region("body").sum() == 0
    assert torch.equal(changed.region("background"), band(1, 10))


@pytest.mark.parametrize("name", ["lighting", "tattoo"])
def test_other_categories_take_nothing_from_the_regions(name):
    masks = rows(face=(0, 3), body=(3, 6))
    changed = set_category(name, band(2, 5), masks)
    assert torch.equal(changed.region(name), band(2, 5))
    for region in REGIONS:
        assert torch.equal(changed.region(region), masks.region(region))


def test_regions_that_overlap_are_left_to_overlap():
    masks = rows(face=(0, 3))
    masks.masks[0, 3, 2:6] = 1
    masks.masks[0, 4] = band(6, 10)[0]
    changed = set_category("hair", band(0, 7), masks)
    assert torch.equal(changed.region("face"), band(0, 3))
    assert torch.equal(changed.region("body"), band(2, 6))
    assert torch.equal(changed.region("background"), band(7, 10))


def test_a_category_without_other_masks():
    alone = set_category("tattoo", band(2, 5))
    assert alone.labels == ("tattoo",) and torch.equal(alone.masks[:, 0], band(2, 5))
    face = set_category("face", band(2, 5))
    assert face.labels == ("face", "background") and torch.equal(face.masks[:, 1], 1 - band(2, 5))


def test_what_was_changed_by_hand_is_no_longer_the_segmenters_answer():
    masks = set_category("tattoo", band(2, 5), rows(face=(0, 3)))
    assert "image_digest" not in masks.provenance
    again = set_category("sword", band(2, 5), masks)
    assert again.provenance["edited"] == "tattoo from a mask; sword from a mask"


def test_unequal_sizes_and_counts_are_refused():
    with pytest.raises(ValueError, match=r"face: the mask is 9x8 but the pictures are 6x10.*resize it"):
        set_category("face", torch.zeros(1, 8, 9), rows())
    with pytest.raises(ValueError, match="face: 3 masks for 1 pictures.*merge"):
        set_category("face", torch.zeros(3, 10, 6), rows())


@pytest.mark.parametrize("name", ["", "4 eyes", "residual", "a" * 41, "a:b"])
def test_names_that_cannot_be_categories(name):
    with pytest.raises(ValueError, match="category"):
        set_category(name, band(0, 1))


def test_weighted_sum_of_regions_is_cut_off_at_1():
    masks = rows(face=(0, 2), body=(2, 4))
    total = weighted_mask(masks, {"face": 1.5, "body": 0.25, "lighting": 0.5})
    # face 1.5 + 0.25 of lighting, body 0.25 + 0.25, elsewhere lighting alone
    assert total[0, :, 0].tolist() == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25]


def test_fallback_weighs_what_no_region_covers_and_lighting_covers_nothing():
    masks = rows(face=(0, 2))
    face = SemanticMasks(masks.masks[:, [0, 5]], ("face", "lighting"))
    total = weighted_mask(face, {"face": 1.0}, fallback=0.25)
    assert torch.equal(total, band(0, 2) + 0.25 * band(2, 10))


def test_weights_that_name_nothing_or_something_unknown():
    with pytest.raises(ValueError, match="face: 1"):
        weighted_mask(rows(), {})
    with pytest.raises(ValueError, match="no category 'fase'.*face, hair, clothing, body"):
        weighted_mask(rows(), {"fase": 1.0})
