"""Words and categories of the user's own, before segmenters that read none."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from semantic_focus.datasets.bulk import cache_pictures
from semantic_focus.datasets.cache import get_or_segment
from semantic_focus.datasets.folder import load_picture
from semantic_focus.datasets.mask_file import mask_path, read_masks
from semantic_focus.datasets.remarks import remarks_on
from semantic_focus.datasets.report import write
from semantic_focus.datasets.staleness import request_fields, stale_reason
from semantic_focus.datasets.survey import survey
from semantic_focus.keywords import parse_keywords
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import BACKENDS, LazySegmenter

from .fake_segmenter import make


@dataclass(frozen=True)
class Counted(LazySegmenter):
    """A segmenter of the table without its networks: face is the left half, all else is not there."""

    calls: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def weights_id(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return "v1"

    def get(self):
        return self

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        self.calls.append(request.labels)
        masks = torch.zeros(len(images), len(request.labels), *images.shape[1:3])
        if "face" in request.labels:
            masks[:, request.labels.index("face"), :, : images.shape[2] // 2] = 1
        return SemanticMasks(masks, request.labels, (), {"backend": self.name})


def request(keywords: str) -> SegmentRequest:
    return SegmentRequest(parse_keywords(keywords.replace(";", "\n")))


PLAIN = "face: face; hair: hair"


@pytest.mark.parametrize(
    ("keywords", "again"),
    [
        (PLAIN, False),
        ("face: nose, eyes; hair: wig, @0.3", False),
        ("hair: hair; face: face", False),
        ("face: face; hair: hair; tattoo: dragon", False),
        ("face: face", False),
        ("face: face; hair: hair; body: skin", True),
    ],
)
def test_only_what_the_segmenter_can_find_makes_a_mask_file_stale(tmp_path: Path, keywords: str, again: bool):
    segmenter = Counted("mediapipe")
    (picture,) = make(tmp_path, "a.png")
    cache_pictures([picture], request(PLAIN), segmenter)
    assert len(segmenter.calls) == 1
    cache_pictures([picture], request(keywords), segmenter)
    assert len(segmenter.calls) == 1 + again
    wanted = request(keywords)
    found = get_or_segment(load_picture(picture)[None], wanted, segmenter, [mask_path(picture)])
    assert len(segmenter.calls) == 1 + again
    assert found.labels == wanted.labels
    assert {label: float(found.region(label).mean()) for label in found.labels} == {
        label: 0.5 if label == "face" else 0 for label in wanted.labels
    }


WORDS = "face: face, Eyes; hair: hair, -hat, @0.4; background: wall; lighting: sun; scar: scar"


@pytest.mark.parametrize(
    ("keywords", "keep_overlaps", "again"),
    [
        (WORDS, False, False),
        (WORDS.replace("face, Eyes", "nose, Eyes"), False, True),
        (WORDS.replace("-hat", "-cap"), False, True),
        (WORDS.replace("0.4", "0.3"), False, True),
        (f"{WORDS}; tattoo: x", False, True),
        (WORDS.replace("; scar: scar", ""), False, False),
        (WORDS.replace("hair: hair, -hat, @0.4; ", ""), False, True),
        (WORDS.replace("face, Eyes", "eyes,  FACE, eyes"), False, False),
        (WORDS.replace("sun", "shadow, @0.9"), False, False),
        (WORDS.replace("wall", "sky"), False, False),
        (WORDS.replace("wall", "sky"), True, True),
        ("scar: scar; lighting: x; background: y; hair: hair, -hat, @0.4; face: face, eyes", False, False),
    ],
)
def test_a_segmenter_that_reads_words_goes_by_those_that_it_reads(
    tmp_path: Path, keywords: str, keep_overlaps: bool, again: bool
):
    segmenter = Counted("sam3")
    (picture,) = make(tmp_path, "a.png")
    cache_pictures([picture], replace(request(WORDS), keep_overlaps=keep_overlaps), segmenter)
    wanted = replace(request(keywords), keep_overlaps=keep_overlaps)
    cache_pictures([picture], wanted, segmenter)
    assert len(segmenter.calls) == 1 + again
    found = get_or_segment(load_picture(picture)[None], wanted, segmenter, [mask_path(picture)])
    assert len(segmenter.calls) == 1 + again and found.labels == wanted.labels
    assert float(found.region("face").mean()) == 0.5


def test_files_that_version_0_2_0_made_stay_fresh_whatever_words_are_in_their_header():
    segmenter = Counted("mediapipe")
    wanted = request_fields(request(PLAIN), segmenter)
    words = {name: {"words": [name], "exclude": [], "threshold": None} for name in ("hair", "face", "tattoo")}
    for header in (json.dumps(words), json.dumps({"face": {}, "hair": {}}), json.dumps(["face", "hair"])):
        assert stale_reason({**wanted, "keywords": header}, wanted) is None
    for header in (json.dumps({"face": {}}), "", "{", "3", '"face hair"'):
        assert stale_reason({**wanted, "keywords": header}, wanted) == "the keywords changed"


def test_mask_files_of_one_folder_have_the_same_labels_whenever_they_were_made(tmp_path: Path):
    segmenter = Counted("mediapipe")
    first, second = make(tmp_path, "a.png", "b.png")
    cache_pictures([first], request(PLAIN), segmenter)
    cache_pictures([first, second], request("tattoo: dragon; hair: hair; face: face"), segmenter)
    assert read_masks(mask_path(first)).labels == read_masks(mask_path(second)).labels == ("face", "hair")


def test_a_segmenter_that_knows_nothing_of_a_request_is_asked_all_the_same(tmp_path: Path):
    (picture,) = make(tmp_path, "a.png")
    (result,) = cache_pictures([picture], request("tattoo: dragon"), Counted("mediapipe"))
    assert result.status == "segmented"


def remarks(folder: Path, keywords: str, backend: str) -> list[str]:
    segmenter, wanted = Counted(backend), request(keywords)
    pictures = make(folder, "a.png", "b.png")
    results = cache_pictures(pictures, wanted, segmenter)
    return list(remarks_on(["c.heic (why)"], survey(folder, results).entries, wanted, segmenter))


@pytest.mark.parametrize(
    ("keywords", "backend", "said"),
    [
        ("face: face", "mediapipe", []),
        (
            "face: face; tattoo: dragon",
            "mediapipe",
            ["tattoo: mediapipe reads no words and cannot find that"],
        ),
        ("face: face; tattoo: dragon", "sam3", ["tattoo: in no picture, so a weight on it trains nothing"]),
        ("face: face; hair: hair", "mediapipe", ["hair: in no picture"]),
        (
            "face: face; hair: hair; tattoo: x; scar: y",
            "mediapipe",
            ["tattoo, scar: mediapipe reads no words", "hair: in no picture"],
        ),
        ("face: face; tattoo: x", "segformer", ["tattoo: segformer reads no words"]),
    ],
)
def test_what_was_found_in_no_picture_is_said_also_when_the_keywords_name_it(
    tmp_path: Path, keywords: str, backend: str, said: list[str]
):
    for _ in range(2):  # when masks are made, and when they are fresh
        *found, left_out = remarks(tmp_path, keywords, backend)
        assert left_out == "left out: c.heic (why)"
        assert len(found) == len(said)
        assert all(line.startswith(words) for line, words in zip(found, said, strict=True))


def test_the_report_says_it_at_its_head(tmp_path: Path):
    (picture,) = make(tmp_path / "data", "a.png")
    segmenter = Counted("mediapipe")
    found = survey(tmp_path / "data", cache_pictures([picture], request(PLAIN), segmenter))
    lines = remarks_on(["<b>.heic (why)"], found.entries, request(PLAIN), segmenter)
    for suffix in (".html", ".png"):
        write(type(found)(found.folder, found.entries, found.spread, lines), tmp_path / f"report{suffix}")
    head = (tmp_path / "report.html").read_text(encoding="utf-8").split("<table>")[0]
    assert "<li>hair: in no picture" in head and "<li>left out: &lt;b&gt;.heic (why)</li>" in head


def test_every_segmenter_says_whether_it_reads_words(tmp_path: Path):
    assert {
        name: LazySegmenter(name, {}).fixed for name in BACKENDS if name in ("mediapipe", "sam3", "sam2")
    } == {
        "mediapipe": True,
        "sam3": False,
        "sam2": True,  # no GroundingDINO here: the embedded detector finds the boxes
    }
