"""Words to persons and regions, with a model that knows exactly where everything is."""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pytest
import torch
from torch import Tensor, nn

from semantic_focus.keywords import Prompt
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.prompted import Instances, PromptedSegmenter, distinct
from semantic_focus.segmenters.protocol import SegmentRequest

HEIGHT, WIDTH = 8, 12


def box(left: int, right: int, top: int = 0, bottom: int = HEIGHT, value: float = 1.0) -> Tensor:
    """Float[HEIGHT, WIDTH], `value` in columns left..right-1 of rows top..bottom-1."""
    mask = torch.zeros(HEIGHT, WIDTH)
    mask[top:bottom, left:right] = value
    return mask


class KnowingModel:
    """Finds by word what it was told; a picture whose first pixel is black shows nothing."""

    name, weights_id, threshold = "knowing", "none", 0.5
    modules: Sequence[nn.Module] = ()
    details: Mapping[str, str] = MappingProxyType({"runtime": "memory"})

    def __init__(self, things: Mapping[str, list[tuple[float, Tensor]]]):
        self.things = things
        self.pictures = 0
        self.asked: list[list[str]] = []

    def encode(self, image: Tensor) -> "KnownPicture":
        self.pictures += 1
        return KnownPicture(self, bool(image[0, 0].max() > 0))


class KnownPicture:
    def __init__(self, model: KnowingModel, shows: bool):
        self.model, self.shows = model, shows

    def find(self, thresholds: Mapping[str, float]) -> dict[str, Instances]:
        self.model.asked.append(list(thresholds))
        found = {}
        for word, threshold in thresholds.items():
            hits = [hit for hit in self.model.things.get(word, []) if hit[0] >= threshold and self.shows]
            masks = torch.stack([mask for _, mask in hits]) if hits else torch.zeros(0, 2, 2)
            found[word] = Instances(masks, torch.tensor([score for score, _ in hits]))
        return found


def segment(
    things: Mapping[str, list[tuple[float, Tensor]]],
    prompts: Mapping[str, Prompt],
    images: Tensor | None = None,
    keep_overlaps: bool = False,
) -> SemanticMasks:
    images = torch.ones(1, HEIGHT, WIDTH, 3) if images is None else images
    request = SegmentRequest(prompts, refine="off", keep_overlaps=keep_overlaps)
    return PromptedSegmenter(KnowingModel(things)).segment(images, request)


def test_a_region_is_the_strongest_of_its_words_and_instances():
    things = {
        "eyes": [(0.9, box(0, 2, value=0.4)), (0.8, box(4, 6, value=0.9))],
        "nose": [(0.7, box(1, 5, value=0.6))],
    }
    result = segment(things, {"face": Prompt(("eyes", "nose"))})
    row = torch.tensor([0.4, 0.6, 0.6, 0.6, 0.9, 0.9, 0, 0, 0, 0, 0, 0])
    torch.testing.assert_close(result.region("face")[0], row.expand(HEIGHT, WIDTH))


def test_a_detection_below_the_threshold_does_not_count():
    things = {"shirt": [(0.45, box(0, 3)), (0.55, box(3, 6))]}
    own = segment(things, {"clothing": Prompt(("shirt",))})
    lower = segment(things, {"clothing": Prompt(("shirt",), (), 0.4)})
    higher = segment(things, {"clothing": Prompt(("shirt",), (), 0.6)})
    shares = [float(result.region("clothing").mean()) for result in (own, lower, higher)]
    assert shares == pytest.approx([3 / WIDTH, 6 / WIDTH, 0])


def test_one_word_in_two_categories_is_judged_by_each_ones_threshold():
    things = {"shirt": [(0.45, box(0, 3)), (0.55, box(3, 6))]}
    result = segment(things, {"fine": Prompt(("shirt",), (), 0.5), "coarse": Prompt(("shirt",), (), 0.3)})
    assert float(result.region("fine").mean()) == pytest.approx(3 / WIDTH)
    assert float(result.region("coarse").mean()) == pytest.approx(6 / WIDTH)


def test_excluded_words_are_taken_away():
    things = {"clothes": [(0.9, box(0, 8))], "bag": [(0.9, box(6, 10, value=0.75))]}
    result = segment(things, {"clothing": Prompt(("clothes",), ("bag",))})
    row = torch.tensor([1, 1, 1, 1, 1, 1, 0.25, 0.25, 0, 0, 0, 0])
    torch.testing.assert_close(result.region("clothing")[0], row.expand(HEIGHT, WIDTH))


def test_every_word_is_asked_once_per_picture():
    model = KnowingModel({})
    prompts = {
        "face": Prompt(("Face", "eyes")),
        "skin": Prompt(("  face ", "skin"), ("eyes",)),
        "background": Prompt(("sky",)),
        "lighting": Prompt(("shadow",)),
    }
    PromptedSegmenter(model).segment(torch.ones(2, HEIGHT, WIDTH, 3), SegmentRequest(prompts))
    assert model.pictures == 2
    assert [sorted(words) for words in model.asked] == [["eyes", "face", "person", "skin"]] * 2


def test_regions_share_every_pixel_and_background_is_the_rest():
    things = {
        "person": [(0.9, box(0, 8))],
        "face": [(0.9, box(2, 6))],
        "hair": [(0.9, box(4, 8))],
        "body": [(0.9, box(0, 8))],
    }
    prompts = {name: Prompt((name,)) for name in ("background", "body", "hair", "face")}
    result = segment(things, prompts)
    assert result.labels == ("background", "body", "hair", "face")
    torch.testing.assert_close(result.masks.sum(1), torch.ones(1, HEIGHT, WIDTH))
    first_row = {label: result.region(label)[0, 0].tolist() for label in result.labels}
    assert first_row["face"] == [0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert first_row["hair"] == [0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0]
    assert first_row["body"] == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    assert first_row["background"] == [0] * 8 + [1] * 4


def test_a_category_of_ones_own_overlaps_the_others():
    things = {"person": [(0.9, box(0, 8))], "body": [(0.9, box(0, 8))], "tattoo": [(0.9, box(2, 4))]}
    result = segment(things, {"body": Prompt(("body",)), "tattoo": Prompt(("tattoo",))})
    assert result.region("body")[0, 0, 2:4].tolist() == [1, 1]
    assert result.region("tattoo")[0, 0, 1:5].tolist() == [0, 1, 1, 0]


def test_kept_overlaps_stay_and_background_is_what_nothing_covers():
    things = {"face": [(0.9, box(2, 6))], "hair": [(0.9, box(4, 8))], "sky": [(0.9, box(7, 9, value=0.5))]}
    prompts = {"face": Prompt(("face",)), "hair": Prompt(("hair",)), "background": Prompt(("sky",))}
    result = segment(things, prompts, keep_overlaps=True)
    assert result.region("hair")[0, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0]
    assert result.region("background")[0, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0.5, 1, 1, 1, 1]


def test_persons_are_told_apart_by_score_and_stand_left_to_right():
    things = {
        "person": [
            (0.6, box(0, WIDTH)),  # the group, less sure than its members: dropped
            (0.9, box(7, 11)),
            (0.7, box(7, 10)),  # the right one again
            (0.8, box(0, 5)),
            (0.4, box(5, 7)),  # below the threshold
        ]
    }
    (persons,) = segment(things, {"face": Prompt(("face",))}).persons
    torch.testing.assert_close(persons, torch.stack([box(0, 5), box(7, 11)]))


def test_the_better_scored_group_wins_over_its_members_whatever_the_area():
    found = Instances(torch.stack([box(0, 12), box(0, 5), box(7, 11)]), torch.tensor([0.9, 0.8, 0.7]))
    torch.testing.assert_close(distinct(found), box(0, 12)[None])
    found = Instances(found.masks, torch.tensor([0.7, 0.8, 0.9]))
    torch.testing.assert_close(distinct(found), torch.stack([box(7, 11), box(0, 5)]))


def test_persons_who_touch_share_the_pixel():
    things = {"person": [(0.9, box(0, 7)), (0.8, box(5, 12))]}
    (persons,) = segment(things, {"face": Prompt(("face",))}).persons
    assert persons[:, 0, 4:8].tolist() == [[1, 0.5, 0.5, 0], [0, 0.5, 0.5, 1]]
    assert persons.sum(0).max() <= 1


def test_a_picture_without_anything_is_all_background_and_does_not_end_the_batch():
    things = {"person": [(0.9, box(0, 8))], "face": [(0.9, box(2, 6))]}
    images = torch.ones(3, HEIGHT, WIDTH, 3)
    images[1, 0, 0] = 0
    prompts = {"face": Prompt(("face",)), "background": Prompt(("background",))}
    result = segment(things, prompts, images)
    assert result.region("face").mean((1, 2)).tolist() == pytest.approx([4 / WIDTH, 0, 4 / WIDTH])
    assert torch.equal(result.region("background")[1], torch.ones(HEIGHT, WIDTH))
    assert [len(persons) for persons in result.persons] == [1, 0, 1]
    assert json.loads(result.provenance["scores"]) == [{"face": 0.9}, {"face": 0.0}, {"face": 0.9}]


def test_masks_of_another_resolution_keep_their_place():
    coarse = torch.zeros(2, 3)
    coarse[0, 2] = 1
    result = segment({"face": [(0.9, coarse)]}, {"face": Prompt(("face",))})
    assert result.region("face")[0, 0, -1] == pytest.approx(1)
    assert result.region("face")[0, -1].max() == pytest.approx(0)
    assert float(result.region("face").mean()) == pytest.approx(1 / 6, abs=0.02)


def test_the_provenance_says_what_ran():
    provenance = segment({}, {"face": Prompt(("face",))}).provenance
    assert provenance["backend"] == "knowing" and provenance["weights"] == "none"
    assert provenance["runtime"] == "memory" and provenance["refine"] == "off"
    assert all(isinstance(value, str) for value in provenance.values())
