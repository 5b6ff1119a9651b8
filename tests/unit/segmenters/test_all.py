"""What every segmenter promises, asked of each of them: untrained tiny networks, and the embedded real ones.

Untrained networks find nonsense, but they find it everywhere: shapes, ranges and independence of the batch
show with them as well as with trained ones.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from semantic_focus.keywords import Prompt
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.parsers import selfie as parser_selfie
from semantic_focus.segmenters.protocol import MissingWeightsError, Segmenter, SegmentRequest, WeightFolders
from semantic_focus.segmenters.table import BACKENDS, choose

from . import stand_ins

PARTITION = ("face", "hair", "clothing", "body", "background")
LABELS = ("lighting", *PARTITION, "left shoe")
KEYWORDS = {"face": ("face", "head"), "clothing": ("dress", "shirt")}


def selfie_answer(picture: np.ndarray) -> list[np.ndarray]:
    """A stand-in for the selfie network: six classes by brightness. Its real file is not on this machine."""
    brightness = picture.mean(2, keepdims=True)
    return [(-((brightness - np.linspace(0, 1, 6, dtype=np.float32)) ** 2) * 40)[None]]


@dataclass(frozen=True)
class Case:
    """A loaded segmenter, the entry of the table that it came through, and where its weights are."""

    backend: str
    folders: WeightFolders
    segmenter: Segmenter

    def segment(
        self, images: Tensor, labels: tuple[str, ...] = LABELS, keep_overlaps: bool = False
    ) -> SemanticMasks:
        prompts = {label: Prompt(KEYWORDS.get(label, (label,)), (), 0.05) for label in labels}
        return self.segmenter.segment(images, SegmentRequest(prompts, "off", keep_overlaps))


def nobodys(answer: SemanticMasks) -> Tensor:
    """Float[B, H, W]: what no region has. The embedded segmenter leaves places on persons that it doubts."""
    return 1 - parts(answer).sum(1)


def parts(answer: SemanticMasks) -> Tensor:
    """Float[B, 5, H, W]: the regions that share out every pixel."""
    return answer.masks[:, [answer.labels.index(label) for label in PARTITION]]


CASES = {
    "sam3": ("sam3", {"sam3": "tiny_sam3"}),
    "sam2 package": ("sam2", {"sam2": "tiny_sam2_package", "grounding-dino": "tiny_grounding_dino"}),
    "sam2 transformers": ("sam2_tiny", {"sams": "tiny_sam2", "grounding-dino": "tiny_grounding_dino"}),
    "sam2 embedded detector": ("sam2", {"sam2": "tiny_sam2", "mediapipe": "weights"}),
    "mediapipe": ("mediapipe", {"mediapipe": "weights"}),
    "segformer": ("segformer", {"parsers": "tiny_parser"}),
    "selfie": ("selfie", {"mediapipe": "selfie_file"}),
}
"""Entry of the table, and kinds of weight folder with the fixture that fills each."""


@pytest.fixture(scope="module")
def selfie_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("selfie")
    (folder / parser_selfie.FILE).write_bytes(stand_ins.TFLITE)
    return folder


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    backend, fixtures = CASES[request.param]
    folders = {kind: (request.getfixturevalue(fixture),) for kind, fixture in fixtures.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parser_selfie, "read_network", lambda file: selfie_answer)
        segmenter = BACKENDS[backend].functions().load(folders, "cpu")
    if hasattr(segmenter, "model"):
        segmenter.model.threshold = 0.05  # type: ignore[attr-defined]
    return Case(backend, folders, segmenter)


@pytest.fixture(scope="module")
def pictures(photographs: Path) -> Tensor:
    """Float[4, 160, 128, 3]: a woman, the same in grey, darkness, noise."""
    photograph = cv2.imread(str(photographs / "astronaut.png"))
    assert photograph is not None
    woman = cv2.resize(photograph[:480, 32:416, ::-1], (128, 160), interpolation=cv2.INTER_AREA) / 255
    grey = woman.mean(2, keepdims=True).repeat(3, 2)
    noise = np.random.default_rng(0).random((160, 128, 3))
    return torch.from_numpy(np.stack([woman, grey, np.zeros_like(woman), noise])).float()


@pytest.fixture(scope="module")
def answer(case: Case, pictures: Tensor) -> SemanticMasks:
    return case.segment(pictures)


def test_there_is_one_mask_in_0_to_1_for_every_label_and_picture(answer):
    assert answer.labels == LABELS
    assert answer.masks.shape == (4, len(LABELS), 160, 128)
    assert answer.masks.dtype == torch.float32
    assert torch.isfinite(answer.masks).all()
    assert answer.masks.min() >= 0 and answer.masks.max() <= 1


def test_regions_share_out_every_pixel_or_leave_a_doubtful_part_of_a_person(case, answer):
    doubted = torch.stack([p.sum(0) for p in answer.persons]) if case.backend == "mediapipe" else 0
    assert (nobodys(answer) >= -1e-5).all()
    assert (nobodys(answer) <= doubted + 1e-2).all()


def test_something_is_found_in_a_photograph(answer):
    assert parts(answer)[0, :4].sum(0).max() > 0.5


def test_persons_are_soft_and_share_their_pixels(answer):
    assert len(answer.persons) == 4
    for persons in answer.persons:
        assert persons.shape[1:] == (160, 128)
        assert torch.isfinite(persons).all() and (persons >= 0).all()
        assert (persons.sum(0) <= 1 + 1e-5).all()


def test_each_picture_is_answered_as_if_it_were_alone(case, answer, pictures):
    for index, picture in enumerate(pictures):
        alone = case.segment(picture[None])
        assert torch.equal(alone.masks[0], answer.masks[index])
        assert torch.equal(alone.persons[0], answer.persons[index])


def test_the_same_pictures_in_another_order_give_the_same_masks(case, answer, pictures):
    others = [3, 0]
    assert torch.equal(case.segment(pictures[others]).masks, answer.masks[others])


@pytest.mark.parametrize("size", [(1, 1), (8, 2000), (33, 7)])
def test_any_size_is_answered_in_its_own_size(case, size):
    picture = torch.from_numpy(np.random.default_rng(1).random((1, *size, 3))).float()
    answer = case.segment(picture)
    assert answer.masks.shape == (1, len(LABELS), *size)
    assert torch.isfinite(answer.masks).all()
    assert nobodys(answer).min() >= -1e-5
    assert all(persons.shape[1:] == size for persons in answer.persons)


def test_kept_overlaps_take_nothing_from_a_region(case, pictures):
    # without "background": asked for as a word, it may change what a detector says to the other words
    kept = case.segment(pictures[:1], PARTITION[:4], keep_overlaps=True)
    shared = case.segment(pictures[:1], PARTITION[:4])
    assert (kept.masks >= shared.masks - 1e-6).all()
    assert kept.masks.max() <= 1
    torch.testing.assert_close(kept.persons[0], shared.persons[0])


def test_background_is_what_no_part_or_person_covers(case, pictures):
    kept = case.segment(pictures[:1], PARTITION, keep_overlaps=True)
    layers = parts(kept)[0, :4]
    finds_words = "unsupported" not in kept.provenance
    covered = layers.amax(0) if finds_words else layers.sum(0)  # detections overlap, shares add up
    covered = torch.maximum(covered, kept.persons[0].sum(0))
    assert (parts(kept)[0, 4] >= 1 - covered - 1e-5).all()


def test_a_category_of_the_users_own_is_found_or_named_as_unsupported(case, answer):
    if BACKENDS[case.backend].prompted and "unsupported" not in answer.provenance:
        assert answer.masks[0, LABELS.index("left shoe")].max() > 0
    else:
        assert answer.provenance["unsupported"] == "left shoe"
        assert answer.masks[:, LABELS.index("left shoe")].max() == 0


def test_the_provenance_names_backend_and_weights(case, answer):
    assert answer.provenance["backend"] == case.backend.removesuffix(f"_{BACKENDS[case.backend].variant}")
    assert answer.provenance["weights"] == BACKENDS[case.backend].functions().weights_id(case.folders)
    assert all(isinstance(value, str) for value in answer.provenance.values())


def test_no_pictures_no_masks(case):
    assert case.segment(torch.zeros(0, 16, 24, 3)).masks.shape == (0, len(LABELS), 16, 24)


def test_wrong_shape_is_named(case):
    with pytest.raises(ValueError, match=r"\[B, H, W, 3\], got shape \[1, 3, 8, 8\]"):
        case.segment(torch.zeros(1, 3, 8, 8))


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "mediapipe"])
def test_absent_weights_are_named_with_licence_size_and_command(backend, tmp_path):
    functions = BACKENDS[backend].functions()
    reason = functions.missing({"sam3": [tmp_path], "parsers": [tmp_path]})
    assert reason is not None
    assert "licence" in reason and "MB" in reason or "GB" in reason
    assert "semantic_focus fetch" in reason or "put https://" in reason
    for call in (functions.load, functions.weights_id):
        with pytest.raises(MissingWeightsError, match="has no weights"):
            call({})


def test_auto_takes_the_best_that_can_run_and_never_what_has_to_be_opted_into(
    tiny_sam3, tiny_parser, weights
):
    everything = {"sam3": [tiny_sam3], "parsers": [tiny_parser], "mediapipe": [weights]}
    assert choose("auto", everything) == "sam3"
    assert choose("auto", {"parsers": [tiny_parser], "mediapipe": [weights]}) == "mediapipe"
    with pytest.raises(MissingWeightsError, match="sam2: "):
        choose("standard", {"parsers": [tiny_parser]})


def test_a_size_of_sam2_is_only_itself(tiny_sam2, weights):
    folders = {"sam2": [tiny_sam2], "mediapipe": [weights]}
    assert BACKENDS["sam2"].functions().missing(folders) is None
    assert BACKENDS["sam2_tiny"].functions().missing(folders) is None
    reason = BACKENDS["sam2_large"].functions().missing(folders)
    assert reason and "sam2.1-large" in reason and "sam2.1-tiny" not in reason


def test_scores_are_told_for_every_picture(answer):
    if "scores" in answer.provenance:
        assert len(json.loads(answer.provenance["scores"])) == 4
