"""The embedded segmenter on real photographs. Coordinates (x, y) were read off the photographs by eye."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from semantic_focus.keywords import Prompt
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.embedded import weights as weights_table
from semantic_focus.segmenters.embedded.colour import ColourModel, bins
from semantic_focus.segmenters.embedded.detect import (
    FACE_FAR,
    FACE_NEAR,
    POSE,
    Detection,
    anchors,
    letterbox,
    suppress,
)
from semantic_focus.segmenters.embedded.networks import Network
from semantic_focus.segmenters.embedded.parts import tidy
from semantic_focus.segmenters.embedded.segmenter import LABELS, load, missing, weights_id
from semantic_focus.segmenters.protocol import MissingWeightsError, Segmenter, SegmentRequest

PARTITION = ("face", "hair", "clothing", "body", "background")

POINTS = {
    "astronaut.png": {
        "face": [(225, 135), (200, 120), (250, 120), (225, 165)],
        "hair": [(225, 40), (175, 80), (275, 80)],
        "clothing": [(122, 266), (150, 330), (300, 300), (70, 400), (120, 200), (225, 205), (160, 385)],
        "body": [(222, 184)],
        "background": [(30, 100), (20, 250), (420, 100), (350, 60), (400, 250), (130, 60)],
    },
    "zidane.jpg": {
        "face": [(995, 180), (960, 200), (620, 330)],
        "hair": [(960, 60), (1000, 50)],
        "clothing": [(450, 360), (420, 480), (870, 420), (560, 560), (1010, 520)],
        "body": [(1060, 420), (1045, 422)],
        "background": [(60, 60), (300, 200), (1200, 100), (780, 120), (100, 600)],
    },
    "bus.jpg": {
        "clothing": [(127, 540), (150, 700), (760, 620)],
        "background": [(400, 100), (500, 450), (600, 900), (100, 950), (600, 620)],
    },
}  # fmt: skip


def read(path: Path) -> torch.Tensor:
    """Float[1, H, W, 3]."""
    picture = cv2.imread(str(path))
    assert picture is not None, path
    return torch.from_numpy(picture[:, :, ::-1].copy())[None].float() / 255


@pytest.fixture(scope="session")
def segmenter(weights: Path) -> Segmenter:
    return load({"mediapipe": [weights]})


@pytest.fixture(scope="session")
def segmented(segmenter: Segmenter, photographs: Path) -> dict[str, SemanticMasks]:
    return {name: segmenter.segment(read(photographs / name), SegmentRequest()) for name in POINTS}


def no_person(height: int = 120, width: int = 160) -> torch.Tensor:
    """Float[1, H, W, 3]: a bright window in a dark wall."""
    picture = torch.full((1, height, width, 3), 0.15)
    picture[:, height // 4 : height // 2, width // 4 : width // 2] = 0.9
    return picture


@pytest.mark.parametrize(
    ("name", "label", "point"),
    [
        (name, label, point)
        for name, labels in POINTS.items()
        for label, points in labels.items()
        for point in points
    ],
)
def test_a_person_would_name_this_place_the_same(segmented, name, label, point):
    x, y = point
    shares = {
        key: float(segmented[name].region(key)[0, y - 2 : y + 3, x - 2 : x + 3].mean()) for key in PARTITION
    }
    assert max(shares, key=lambda key: shares[key]) == label, shares


def assert_shared_out(masks: SemanticMasks) -> None:
    """Every pixel is shared out between the regions; less only on persons, where no part is sure."""
    nobodys = 1 - torch.stack([masks.region(label)[0] for label in PARTITION]).sum(0)
    assert nobodys.min() > -1e-5
    assert (nobodys <= masks.persons[0].sum(0) + 1 / 255).all()


@pytest.mark.parametrize("name", POINTS)
def test_regions_share_out_every_pixel_but_doubtful_ones(segmented, name):
    assert_shared_out(segmented[name])
    nobodys = 1 - torch.stack([segmented[name].region(label)[0] for label in PARTITION]).sum(0)
    assert nobodys.sum() < 0.15 * segmented[name].persons[0].sum()
    assert segmented[name].masks.min() >= 0 and segmented[name].masks.max() <= 1


def test_persons_come_left_to_right(segmented):
    (left, right) = segmented["zidane.jpg"].persons[0]
    assert left[360, 450] > 0.9 and right[360, 450] < 0.1
    assert right[180, 995] > 0.9 and left[180, 995] < 0.1
    assert len(segmented["astronaut.png"].persons[0]) == 1
    assert len(segmented["bus.jpg"].persons[0]) >= 2


def test_persons_together_are_what_background_is_not(segmented):
    one_shade = 1 / 255
    for masks in segmented.values():
        union = masks.persons[0].sum(0)
        torch.testing.assert_close(union, 1 - masks.region("background")[0], atol=one_shade, rtol=0)


def test_labels_follow_the_request(segmenter, segmented, photographs):
    wanted = ("lighting", "tattoo", "background", "face", "sword")
    result = segmenter.segment(
        read(photographs / "astronaut.png"), SegmentRequest({name: Prompt((name,)) for name in wanted})
    )
    assert result.labels == wanted
    assert result.region("tattoo").abs().max() == 0
    assert result.provenance["unsupported"] == "tattoo, sword"
    for label in ("lighting", "background", "face"):
        assert torch.equal(result.region(label), segmented["astronaut.png"].region(label))


def test_provenance_says_what_ran(segmented):
    provenance = segmented["bus.jpg"].provenance
    assert provenance["backend"] == "mediapipe"
    assert provenance["weights"] == weights_id()
    assert provenance["refine"] == "fast"
    assert provenance["opencv"] == cv2.__version__
    assert all(isinstance(value, str) for value in provenance.values())


def test_every_picture_of_a_batch_is_answered(segmenter, segmented, photographs):
    astronaut = read(photographs / "astronaut.png")
    empty = no_person(512, 512)
    result = segmenter.segment(torch.cat([empty, astronaut, empty]), SegmentRequest())
    assert result.masks.shape == (3, len(LABELS), 512, 512)
    assert torch.equal(result.masks[1], segmented["astronaut.png"].masks[0])
    assert [len(persons) for persons in result.persons] == [0, 1, 0]
    scores = json.loads(result.provenance["scores"])
    assert scores[0] == scores[2] == {}
    assert 0.9 < scores[1]["face"] <= 1  # a face from the front that nobody could overlook


def test_picture_without_a_person_is_all_background_but_still_lit(segmenter):
    result = segmenter.segment(no_person(), SegmentRequest())
    assert torch.equal(result.region("background"), torch.ones(1, 120, 160))
    for label in ("face", "hair", "clothing", "body"):
        assert result.region(label).max() == 0
    assert result.region("lighting")[0, 45, 60] > 0.5
    assert result.persons[0].shape == (0, 120, 160)


@pytest.fixture(scope="module")
def answers() -> dict[Any, list[np.ndarray]]:
    """Of networks, by network and picture."""
    return {}


@pytest.fixture
def remembering_networks(answers: dict[Any, list[np.ndarray]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network answers a picture that it has seen before from memory."""
    run = Network.__call__

    def remembered(self: Network, picture: np.ndarray) -> list[np.ndarray]:
        key = id(self), picture.shape, picture.tobytes()
        if key not in answers:
            answers[key] = run(self, picture)
        return [answer.copy() for answer in answers[key]]

    monkeypatch.setattr(Network, "__call__", remembered)


@pytest.mark.parametrize("refine", ["off", "fast", "fine"])
@pytest.mark.parametrize("size", [(1, 1), (1, 700), (700, 1), (3, 5), (2000, 9), (64, 64)])
def test_any_size_is_answered_in_its_own_size(segmenter, photographs, size, refine, remembering_networks):
    picture = torch.nn.functional.interpolate(read(photographs / "bus.jpg").movedim(-1, 1), size).movedim(
        1, -1
    )
    result = segmenter.segment(picture, SegmentRequest(refine=refine))
    assert result.masks.shape == (1, len(LABELS), *size)
    assert_shared_out(result)


@pytest.mark.parametrize("hue", [(28, 18), (-30, 20)], ids=["of skin", "of grass"])
def test_clothes_of_another_colour_stay_clothes(segmenter, segmented, photographs, hue: tuple[int, int]):
    """CIE a* and b* of the suit, which is orange, are others; its lightness stays."""
    suit = segmented["astronaut.png"].region("clothing")[0] > 0.5
    lab = cv2.cvtColor(read(photographs / "astronaut.png")[0].numpy(), cv2.COLOR_RGB2LAB)
    lab[..., 1:][suit.numpy()] = hue
    dyed = torch.from_numpy(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)).clamp(0, 1)[None]
    found = segmenter.segment(dyed, SegmentRequest()).region("clothing")[0] > 0.5
    assert (found & suit).sum() > 0.9 * (found | suit).sum()


def test_no_pictures_no_masks(segmenter):
    assert segmenter.segment(torch.zeros(0, 30, 40, 3), SegmentRequest()).masks.shape == (
        0,
        len(LABELS),
        30,
        40,
    )


def test_same_picture_same_masks_and_global_settings_untouched(segmenter, segmented, photographs):
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    before = cv2.getNumThreads(), torch.random.get_rng_state().tolist()
    again = segmenter.segment(read(photographs / "astronaut.png"), SegmentRequest())
    assert torch.equal(again.masks, segmented["astronaut.png"].masks)
    assert (cv2.getNumThreads(), torch.random.get_rng_state().tolist()) == before
    assert torch.get_num_threads() == 3
    torch.set_num_threads(threads)


def test_mirrored_picture_has_mirrored_regions(segmenter, segmented, photographs):
    mirrored = segmenter.segment(read(photographs / "astronaut.png").flip(2), SegmentRequest())
    for label in ("face", "hair", "clothing", "background"):
        a, b = segmented["astronaut.png"].region(label) > 0.5, mirrored.region(label).flip(2) > 0.5
        assert (a & b).sum() / (a | b).sum() > 0.85, label


def test_half_the_size_covers_the_same_shares(segmenter, segmented, photographs):
    small = torch.nn.functional.interpolate(
        read(photographs / "astronaut.png").movedim(-1, 1), scale_factor=0.5, mode="area"
    ).movedim(1, -1)
    result = segmenter.segment(small, SegmentRequest())
    ours = dict(zip(LABELS, (result.region(label).mean() for label in LABELS), strict=True))
    for label in PARTITION:
        assert ours[label] == pytest.approx(float(segmented["astronaut.png"].region(label).mean()), abs=0.02)


def test_wrong_shape_is_named(segmenter):
    with pytest.raises(ValueError, match=r"\[B, H, W, 3\], got shape \[1, 3, 8, 8\]"):
        segmenter.segment(torch.zeros(1, 3, 8, 8), SegmentRequest())


def test_absent_and_damaged_weights_are_named_with_the_way_out(tmp_path, monkeypatch, weights):
    monkeypatch.setattr(weights_table, "default_folder", lambda: tmp_path / "nothing")
    with pytest.raises(
        MissingWeightsError,
        match=r"face_detection_short_range\.tflite(.|\n)*semantic_focus fetch mediapipe",
    ):
        load({"mediapipe": [tmp_path]})
    reason = missing({"mediapipe": [tmp_path]})
    assert reason and "semantic_focus fetch mediapipe" in reason and missing({"mediapipe": [weights]}) is None
    pointer = tmp_path / "face_landmark.tflite"
    pointer.write_text("version https://git-lfs.github.com/spec/v1\n")
    for weight in weights_table.WEIGHTS[:2]:
        (tmp_path / weight.name).write_bytes((weights / weight.name).read_bytes())
    assert f"; {pointer} is a Git-LFS pointer" in str(missing({"mediapipe": [tmp_path]}))
    for weight in weights_table.WEIGHTS:
        (tmp_path / weight.name).write_bytes((weights / weight.name).read_bytes())
    damaged = weights_table.WEIGHTS[4]
    (tmp_path / damaged.name).write_bytes(bytes(damaged.size))
    with pytest.raises(MissingWeightsError, match=rf"{damaged.name} is damaged.*move it away"):
        load({"mediapipe": [tmp_path]})


# 16x16 cells of 2 anchors and 8x8 of 6; one per cell of 48x48; 28x28 of 2, 14x14 of 2 and 7x7 of 6
@pytest.mark.parametrize(("spec", "count"), [(FACE_NEAR, 896), (FACE_FAR, 2304), (POSE, 2254)])
def test_anchors_are_as_many_as_the_network_answers(spec, count):
    centres = anchors(spec)
    assert centres.shape == (count, 2)
    assert centres.min() > 0 and centres.max() < 1
    np.testing.assert_allclose(centres.mean(0), 0.5, atol=1e-6)


def test_letterbox_centres_the_picture():
    square, scale, offset = letterbox(np.full((100, 200, 3), 255, np.uint8), 128)
    assert scale == pytest.approx(0.64)
    assert offset.tolist() == [0, 32]
    assert square[:32].max() == 0 and square[32:96].min() == 255 and square[96:].max() == 0


def test_suppress_keeps_the_better_of_two_boxes_on_one_face():
    def hit(score: float, *box: float) -> Detection:
        return Detection(np.array(box, float), score, np.zeros((6, 2)))

    inner, outer, other = hit(0.6, 2, 2, 8, 8), hit(0.9, 0, 0, 10, 10), hit(0.7, 9, 9, 19, 19)
    assert suppress([inner, outer, other], 0.5) == [outer, other]


def test_colour_model_is_a_distribution_that_prefers_what_it_saw():
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, :4], picture[:, 4:] = (200, 30, 30), (30, 30, 200)
    codes = bins(picture)
    red = ColourModel.fit(codes, np.repeat([[1.0] * 4 + [0.0] * 4], 4, axis=0))
    assert red.table.sum() == pytest.approx(1)
    assert red.table.min() > 0
    assert red.density(codes)[0, 0] > 100 * red.density(codes)[0, 7]


def test_tidy_gives_a_speck_to_its_surroundings():
    shares = np.zeros((2, 100, 100), np.float32)
    shares[0] = 1
    shares[:, 50:53, 50:53] = [[[0.1]], [[0.9]]]
    tidied = tidy(shares, np.ones((100, 100), np.float32))
    np.testing.assert_allclose(tidied.sum(0), 1, atol=1e-5)
    assert tidied[0, 51, 51] > 0.9
