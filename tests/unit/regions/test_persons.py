"""Choosing persons: whose pixels stay, where the others go, and what happens when one is not there."""

import pytest
import torch

from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.persons import parse_choice, person_warnings, select_persons

LABELS = ("face", "body", "background", "lighting", "sword")


def street(blocks: list[tuple[int, int]], height: int = 12, width: int = 40) -> SemanticMasks:
    """One picture. A person per block of columns: two rows of face over body; lighting everywhere."""
    masks = torch.zeros(1, 5, height, width)
    persons = torch.zeros(len(blocks), height, width)
    for person, (left, right) in zip(persons, blocks, strict=True):
        person[:, left:right] = 1
        masks[0, 0, :2, left:right] = 1
        masks[0, 1, 2:, left:right] = 1
    masks[0, 2] = 1 - masks[0, :2].sum(0)
    masks[0, 3] = 0.25
    return SemanticMasks(masks, LABELS, (persons,), {"backend": "drawn", "image_digest": "abc"})


def together(*pictures: SemanticMasks) -> SemanticMasks:
    return SemanticMasks(
        torch.cat([p.masks for p in pictures]), LABELS, tuple(p.persons[0] for p in pictures), {}
    )


THREE = [(2, 6), (10, 20), (30, 35)]


@pytest.mark.parametrize(
    ("which", "kept"),
    [
        ("largest", [1]),
        ("leftmost", [0]),
        ("rightmost", [2]),
        ("2", [1]),
        ("1, 3", [0, 2]),
        ("3,1", [0, 2]),
        ("1、2", [0, 1]),
    ],
)
def test_regions_of_the_chosen_stay_and_the_others_become_background(which, kept):
    masks = street(THREE)
    selected = select_persons(masks, which)
    expected = street([THREE[index] for index in kept])
    assert torch.equal(selected.masks, expected.masks)
    assert torch.equal(selected.persons[0], expected.persons[0])
    assert selected.labels == masks.labels


def test_all_changes_nothing_even_where_persons_cannot_be_told_apart():
    masks = SemanticMasks(torch.rand(2, 1, 4, 5), ("face",))
    assert select_persons(masks, " All ") is masks


def test_pixels_shared_by_two_persons_are_split_by_their_shares():
    masks = street([(0, 4), (4, 8)], height=4, width=8)
    masks.persons[0][0, :, 3], masks.persons[0][1, :, 3] = 0.6, 0.2
    selected = select_persons(masks, "1")
    # column 3 is all body or face; person 1 has 0.6 of the 0.8 that persons claim there
    torch.testing.assert_close(selected.region("body")[0, 3, 3], torch.tensor(0.75))
    torch.testing.assert_close(selected.region("background")[0, 3, 3], torch.tensor(0.25))
    torch.testing.assert_close(
        sum(selected.region(name) for name in ("face", "body", "background")), torch.ones(1, 4, 8)
    )


def test_what_no_person_covers_belongs_to_the_nearest():
    masks = street([(2, 6), (30, 35)])
    masks.masks[0, 4, 5, 8] = 1  # a sword two columns right of the first person
    masks.masks[0, 4, 5, 27] = 1  # and one three columns left of the second
    sword = select_persons(masks, "1").region("sword")[0]
    assert sword.nonzero().tolist() == [[5, 8]]


def test_the_only_person_chosen_is_the_same_as_all():
    masks = street([(10, 20)])
    masks.masks[0, :3, 5, 22] = torch.tensor([0.0, 0.5, 0.5])
    torch.testing.assert_close(select_persons(masks, "largest").masks, masks.masks)


def test_soft_layers_stay():
    assert torch.equal(select_persons(street(THREE), "1").region("lighting"), torch.full((1, 12, 40), 0.25))


def test_a_picture_with_fewer_persons_has_empty_regions_and_a_warning():
    masks = together(street(THREE), street([(2, 6)]), street([]))
    selected = select_persons(masks, "2")
    assert torch.equal(selected.masks[0], street([(10, 20)]).masks[0])
    for empty in (1, 2):
        assert selected.masks[empty, :2].sum() == 0
        assert torch.equal(selected.region("background")[empty], torch.ones(12, 40))
    assert [len(p) for p in selected.persons] == [1, 0, 0]
    assert person_warnings(selected) == [
        "picture 2 has one person: number 2 from the left is not in it",
        "picture 3 has no person: number 2 from the left is not in it",
    ]


def test_of_several_numbers_those_that_are_there_count():
    selected = select_persons(street([(2, 6), (10, 20)]), "1, 3")
    assert torch.equal(selected.masks, street([(2, 6)]).masks)
    assert person_warnings(selected) == ["picture 1 has 2 persons: number 3 from the left is not in it"]


def test_regions_that_overlap_keep_their_overlap():
    masks = street([(0, 4), (10, 14)])
    masks.masks[0, 1] = masks.persons[0].sum(0)  # the body reaches under the face
    selected = select_persons(masks, "1")
    left = street([(0, 4)])
    assert torch.equal(selected.region("face"), left.region("face"))
    assert torch.equal(selected.region("body")[0], left.persons[0][0])
    assert torch.equal(selected.region("background"), left.region("background"))


def test_labels_without_a_background_lose_pixels_to_none():
    masks = street(THREE)
    faces = SemanticMasks(masks.masks[:, :1], ("face",), masks.persons)
    assert torch.equal(select_persons(faces, "3").masks, street([(30, 35)]).masks[:, :1])


def test_provenance_says_who_was_chosen_and_is_no_longer_the_segmenters():
    provenance = select_persons(street(THREE), "3, 1").provenance
    assert provenance["chosen_persons"] == "1, 3"
    assert provenance["backend"] == "drawn"
    assert "image_digest" not in provenance and "person_warnings" not in provenance


def test_choosing_again_counts_among_the_chosen():
    selected = select_persons(select_persons(street(THREE), "2, 3"), "1")
    assert torch.equal(selected.masks, street([(10, 20)]).masks)


@pytest.mark.parametrize("which", ["", "0", "-1", "second", "1-3", "1,,2", "1.5"])
def test_a_choice_that_cannot_be_read(which):
    with pytest.raises(ValueError, match="all, largest, leftmost, rightmost.*1 is the leftmost"):
        parse_choice(which)


def test_masks_that_cannot_tell_persons_apart():
    with pytest.raises(ValueError, match=r"cannot tell persons apart.*'2'.*choose 'all'"):
        select_persons(SemanticMasks(torch.rand(1, 1, 4, 5), ("face",)), "2")
