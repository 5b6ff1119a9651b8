"""The mask cache: what counts as fresh, and when a picture is segmented again."""

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from semantic_focus.datasets.cache import get_or_segment, picture_digest
from semantic_focus.datasets.mask_file import FORMAT_VERSION, MaskFileError, read_masks, save_masks
from semantic_focus.datasets.staleness import request_fields, stale_reason
from semantic_focus.keywords import Prompt
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.protocol import SegmentRequest

from ..faults import FAULTS, refuse

PROMPTS = {"face": Prompt(("face", "eyes")), "hair": Prompt(("hair",))}
REQUEST = SegmentRequest(PROMPTS)


def soft(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "image_001_zi_masks.safetensors"


class TestDigest:
    def test_it_is_the_same_for_8_bit_and_float_pixels(self):
        pixels = torch.arange(24, dtype=torch.uint8).view(2, 4, 3)
        assert picture_digest(pixels) == picture_digest(pixels.float() / 255)

    def test_one_step_in_one_channel_changes_it(self):
        pixels = torch.zeros(2, 4, 3, dtype=torch.uint8)
        edited = pixels.clone()
        edited[1, 3, 2] = 1
        assert picture_digest(pixels) != picture_digest(edited)

    def test_the_same_bytes_in_another_size_are_another_picture(self):
        assert picture_digest(torch.zeros(2, 4, 3)) != picture_digest(torch.zeros(4, 2, 3))


class FakeSegmenter:
    """Soft face and, if wanted, what is left as hair; counts its calls."""

    def __init__(self, persons: bool = True):
        self.calls = 0
        self.persons = persons

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        self.calls += 1
        batch, height, width = images.shape[:3]
        face = soft(batch, height, width, seed=11)
        masks = torch.stack((face, 1 - face)[: len(request.labels)], 1)
        persons = tuple(soft(1, height, width, seed=12) for _ in range(batch)) if self.persons else ()
        scores = json.dumps([{"face": round(float(image.mean()), 4)} for image in images])
        return SemanticMasks(masks, request.labels, persons, {"backend": "fake", "scores": scores})


class FakeLazy:
    """What get_or_segment needs of a LazySegmenter."""

    def __init__(self, weights_id: str = "v1", persons: bool = True):
        self.name, self.weights_id = "fake", weights_id
        self.prompted = self.overlaps = True
        self.fixed = False
        self.loads = 0
        self.segmenter = FakeSegmenter(persons)

    def answerable(self, request: SegmentRequest) -> SegmentRequest:
        return request

    def get(self) -> FakeSegmenter:
        self.loads += 1
        return self.segmenter


def fields(request: SegmentRequest = REQUEST, backend: str = "fake", weights: str = "v1") -> dict[str, str]:
    lazy = FakeLazy(weights)
    lazy.name = backend
    return {**request_fields(request, lazy), "image_digest": "d1"}  # type: ignore[arg-type]


class TestStaleness:
    def test_equal_fields_are_fresh_and_more_fields_do_not_matter(self):
        assert stale_reason(fields(), fields()) is None
        assert stale_reason({**fields(), "note": "mine"}, fields()) is None

    def test_a_picture_that_was_not_looked_at_is_not_judged(self):
        unknown = {name: value for name, value in fields().items() if name != "image_digest"}
        assert stale_reason(fields(), unknown) is None

    @pytest.mark.parametrize(
        ("wanted", "reason"),
        [
            ({**fields(), "image_digest": "d2"}, "another picture"),
            (fields(weights="v2"), "fake v1.*fake v2"),
            (fields(backend="other"), "fake v1.*other v1"),
            (fields(SegmentRequest({**PROMPTS, "face": Prompt(("face",))})), "keywords"),
            (fields(SegmentRequest({**PROMPTS, "hair": Prompt(("hair",), ("hat",))})), "keywords"),
            (fields(SegmentRequest({**PROMPTS, "hair": Prompt(("hair",), (), 0.3)})), "keywords"),
            (fields(SegmentRequest({"face": PROMPTS["face"]})), "keywords"),
            (fields(dataclasses.replace(REQUEST, refine="fine")), "fast.*fine"),
            (fields(dataclasses.replace(REQUEST, keep_overlaps=True)), "shared out, now kept"),
            ({**fields(), "format_version": "99"}, f"format version is {FORMAT_VERSION}, now 99"),
        ],
        ids=["picture", "weights", "backend", "word", "minus", "threshold", "category", "refine", "overlaps"]
        + ["format"],
    )
    def test_each_field_counts(self, wanted: dict[str, str], reason: str):
        found = stale_reason(fields(), wanted)
        assert found and re.search(reason, found)

    def test_words_do_not_matter_to_a_segmenter_that_does_not_read_them(self):
        lazy = FakeLazy()
        lazy.prompted = False
        other = SegmentRequest({name: Prompt(("something else",)) for name in PROMPTS})
        assert request_fields(REQUEST, lazy) == request_fields(other, lazy)  # type: ignore[arg-type]

    def test_a_header_without_our_fields_is_stale(self):
        assert stale_reason({}, fields()) == f"its format version is unknown, now {FORMAT_VERSION}"


def segment(images: Tensor, lazy: FakeLazy, files, request: SegmentRequest = REQUEST):
    """(masks, messages)."""
    messages: list[str] = []
    return get_or_segment(images, request, lazy, files, messages.append), messages  # type: ignore[arg-type]


class TestGetOrSegment:
    def test_the_header_says_what_makes_a_file_stale(self, file: Path):
        image = soft(1, 6, 8, 3)
        segment(image, FakeLazy(), [file])
        header = header_of(file)
        assert header["image_digest"] == picture_digest(image[0])
        assert json.loads(header["keywords"]) == {
            "face": {"words": ["face", "eyes"], "exclude": [], "threshold": None},
            "hair": {"words": ["hair"], "exclude": [], "threshold": None},
        }
        assert header["sam_version"] == "fake v1" and header["refine"] == "fast"

    def test_a_hit_reads_the_file_and_loads_no_segmenter(self, file: Path):
        image = soft(1, 6, 8, 3)
        first, _ = segment(image, FakeLazy(), [file])
        again = FakeLazy()
        second, messages = segment(image, again, [file])
        assert again.loads == 0 and not messages
        assert torch.equal(first.masks, second.masks) and first.labels == second.labels == ("face", "hair")
        assert torch.equal(first.persons[0], second.persons[0])
        assert (first.provenance["cache"], second.provenance["cache"]) == ("0/1", "1/1")

    def test_without_files_every_picture_is_segmented(self):
        lazy = FakeLazy()
        masks, _ = segment(soft(2, 6, 8, 3), lazy, [])
        assert lazy.segmenter.calls == 2 and masks.masks.shape == (2, 2, 6, 8)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda image, lazy, request: (1 - image, lazy, request), "another picture"),
            (lambda image, lazy, request: (image, FakeLazy("v2"), request), "fake v1, now fake v2"),
            (
                lambda image, lazy, request: (image, lazy, dataclasses.replace(request, refine="fine")),
                "refinement",
            ),
            (
                lambda image, lazy, request: (image, lazy, SegmentRequest({"face": Prompt(("visage",))})),
                "keywords",
            ),
        ],
        ids=["picture", "weights", "refine", "keywords"],
    )
    def test_a_stale_file_is_reported_and_replaced(self, file: Path, change: Callable, reason: str):
        image = soft(1, 6, 8, 3)
        segment(image, FakeLazy(), [file])
        image, lazy, request = change(image, FakeLazy(), REQUEST)
        masks, messages = segment(image, lazy, [file], request)
        assert lazy.segmenter.calls == 1 and masks.labels == request.labels
        assert len(messages) == 1 and file.name in messages[0] and reason in messages[0]
        assert segment(image, lazy, [file], request)[1] == []
        assert lazy.segmenter.calls == 1

    def test_a_mask_file_of_another_picture_is_not_used(self, file: Path):
        left, right = soft(1, 6, 8, 3), soft(1, 6, 10, 3, seed=1)
        segment(left, FakeLazy(), [file])
        masks, messages = segment(right, FakeLazy(), [file])
        assert masks.size == (6, 10) and "another picture" in messages[0]

    def test_masks_made_by_hand_are_read_as_they_are_and_never_replaced(self, file: Path):
        """Their regions are found by name; the background is what the others leave, the rest is empty."""
        prompts = {name: Prompt((name,)) for name in ("hair", "face", "background", "lighting")}
        face = torch.zeros(6, 8)
        face[:, :3] = 1
        save_masks(file, {"tattoo": torch.ones(6, 8), "face": face})
        before, lazy = file.read_bytes(), FakeLazy()
        masks, messages = segment(soft(1, 6, 8, 3), lazy, [file], SegmentRequest(prompts))
        empty = torch.zeros(6, 8)
        assert torch.equal(masks.masks[0], torch.stack((empty, face, 1 - face, empty)))
        assert masks.labels == tuple(prompts) and masks.provenance["cache"] == "1/1"
        assert masks.provenance["backend"] == "by hand" and "image_digest" not in masks.provenance
        (said,) = messages
        assert file.name in said and "by hand or by another program" in said
        assert "no hair, background, lighting" in said and "tattoo is not among the keywords" in said
        assert lazy.loads == 0 and file.read_bytes() == before

    @pytest.mark.parametrize(
        ("content", "problem"),
        [
            ({"face_mask": torch.ones(8, 6)}, "for a picture of 6x8, and this one is 8x6"),
            ({"face_mask": torch.ones(6, 8, dtype=torch.int64)}, "expected uint8 or a float type"),
            ({"face_mask": torch.full((6, 8), 2.0)}, "values outside 0..1"),
        ],
        ids=["size", "dtype", "values"],
    )
    def test_masks_made_by_hand_that_do_not_fit_are_named_and_stay(self, file: Path, content, problem: str):
        save_file(content, file)
        before = file.read_bytes()
        with pytest.raises(
            MaskFileError, match=f"{file.name}: it was made by hand.*{problem}.*Correct it, or"
        ):
            segment(soft(1, 6, 8, 3), FakeLazy(), [file])
        assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names are always Unicode")
    @pytest.mark.parametrize("name", [b"caf\xe9", b"\xff\xfe"])
    def test_masks_under_a_name_that_is_not_utf8_are_read(self, tmp_path: Path, name: bytes):
        path = tmp_path / f"{os.fsdecode(name)}_zi_masks.safetensors"
        image = soft(1, 6, 8, 3)
        made, _ = segment(image, FakeLazy(), [path])
        again, messages = segment(image, FakeLazy(), [path])
        assert messages == [] and torch.equal(made.masks, again.masks)
        path.unlink()
        save_masks(path, {"face": torch.ones(6, 8)})
        by_hand, _ = segment(image, FakeLazy(), [path])
        assert by_hand.provenance["backend"] == "by hand" and list(tmp_path.iterdir()) == [path]

    def test_damaged_masks_made_by_hand_are_kept_under_another_name(self, file: Path):
        save_masks(file, {"face": torch.ones(6, 8)})
        content = file.read_bytes()
        broken = content.replace(b"IDAT", b"TADI")
        for damaged in (content[:-1], content[:9], broken):
            file.write_bytes(damaged)
            masks, messages = segment(soft(1, 6, 8, 3), FakeLazy(), [file])
            aside = Path(masks.provenance["aside"])
            assert aside.parent == file.parent and aside.name.startswith(f"{file.name}.damaged")
            assert aside.read_bytes() == damaged and "segmenting again" in messages[0]
            file.unlink()

    def test_a_damaged_file_is_reported_and_replaced(self, file: Path):
        image = soft(1, 6, 8, 3)
        file.write_bytes(b"broken")
        masks, messages = segment(image, FakeLazy(), [file])
        assert file.name in messages[0] and "segmenting again" in messages[0]
        assert torch.equal(read_masks(file).masks, masks.masks)
        assert Path(masks.provenance["aside"]).read_bytes() == b"broken"

    @pytest.mark.parametrize("fault", FAULTS)
    def test_where_a_file_cannot_be_kept_the_masks_are_there_all_the_same(
        self, fault: str, file: Path, monkeypatch: pytest.MonkeyPatch
    ):
        image = soft(1, 6, 8, 3)
        expected, _ = segment(image, FakeLazy(), [])
        refuse(monkeypatch, file.parent, FAULTS[fault])
        found, messages = segment(image, FakeLazy(), [file])
        assert torch.equal(found.masks, expected.masks) and not file.exists()
        assert len(messages) == 1 and messages[0].startswith(f"{file}: cannot be written: ")

    def test_only_the_pictures_without_a_fresh_file_are_segmented(self, tmp_path: Path):
        images = soft(3, 6, 8, 3)
        files = [tmp_path / f"{k}.safetensors" for k in range(3)]
        segment(images[1:2], FakeLazy(), files[1:2])
        lazy = FakeLazy()
        masks, _ = segment(images, lazy, files)
        assert lazy.segmenter.calls == 2 and masks.provenance["cache"] == "1/3"
        assert len(masks.persons) == 3

    def test_every_picture_keeps_its_own_scores_from_a_file_or_not(self, tmp_path: Path):
        images = torch.stack([torch.full((6, 8, 3), level) for level in (0.25, 0.5, 0.75)])
        files = [tmp_path / f"{k}.safetensors" for k in range(3)]
        segment(images[1:2], FakeLazy(), files[1:2])
        masks, _ = segment(images, FakeLazy(), files)
        assert json.loads(masks.provenance["scores"]) == [{"face": 0.25}, {"face": 0.5}, {"face": 0.75}]

    def test_a_picture_with_none_as_its_file_is_not_kept(self, tmp_path: Path):
        segment(soft(2, 6, 8, 3), FakeLazy(), [None, tmp_path / "kept.safetensors"])
        assert [path.name for path in tmp_path.iterdir()] == ["kept.safetensors"]

    def test_a_segmenter_without_persons_works_with_any_mix_of_hits(self, tmp_path: Path):
        images, files = soft(2, 6, 8, 3), [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
        segment(images[:1], FakeLazy(persons=False), files[:1])
        assert segment(images, FakeLazy(persons=False), files)[0].persons == ()

    @pytest.mark.parametrize(
        "masks",
        [{"face": torch.zeros(6, 8)}, {"face": torch.zeros(3, 4), "hair": torch.zeros(3, 4)}],
        ids=["a region is missing", "another size"],
    )
    def test_a_file_whose_header_fits_but_not_its_masks_is_replaced(self, file: Path, masks):
        image = soft(1, 6, 8, 3)
        save_masks(file, masks, {**fields(), "image_digest": picture_digest(image[0])})
        lazy = FakeLazy()
        result, messages = segment(image, lazy, [file])
        assert lazy.segmenter.calls == 1 and result.masks.shape == (1, 2, 6, 8)
        assert "is stale: it holds face" in messages[0]

    def test_what_was_segmented_before_a_crash_is_kept(self, tmp_path: Path):
        lazy = FakeLazy()
        segment_one = lazy.segmenter.segment

        def fails_on_the_second(images, request):
            if lazy.segmenter.calls == 1:
                raise RuntimeError("out of memory")
            return segment_one(images, request)

        lazy.segmenter.segment = fails_on_the_second  # type: ignore[method-assign]
        files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
        with pytest.raises(RuntimeError, match="out of memory"):
            segment(soft(2, 6, 8, 3), lazy, files)
        assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]

    def test_as_many_files_as_pictures_are_needed(self, file: Path):
        with pytest.raises(ValueError, match="2 pictures but 1 mask files"):
            segment(soft(2, 6, 8, 3), FakeLazy(), [file])
