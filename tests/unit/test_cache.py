"""Mask files: what comes back, what counts as stale, and what a damaged or hostile file does."""

import dataclasses
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from semantic_focus import cache
from semantic_focus.backends import SegmentRequest
from semantic_focus.cache import (
    MaskFileError,
    get_or_segment,
    load_masks,
    mask_path,
    picture_digest,
    read_masks,
    request_fields,
    save_masks,
    stale_reason,
    to_8_bit,
)
from semantic_focus.masks import SemanticMasks, partition

KEYWORDS = {"face": ("face", "eyes"), "hair": ("hair",)}
REQUEST = SegmentRequest(KEYWORDS)


def soft(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def write_raw(path: Path, header: bytes | dict, payload: bytes = b"") -> Path:
    """A safetensors file with exactly this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + payload)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "image_001_zi_masks.safetensors"


class TestRoundTrip:
    def test_the_file_lies_beside_its_picture(self):
        assert mask_path(Path("set/image.001.png")) == Path("set/image.001_zi_masks.safetensors")

    def test_values_come_back_to_within_half_an_8_bit_step(self, file: Path):
        masks = {"face": soft(20, 30), "hair": soft(20, 30, seed=1)}
        save_masks(file, masks)
        loaded = load_masks(file)
        assert list(loaded) == ["face", "hair"]
        for name, mask in masks.items():
            assert loaded[name].dtype == torch.float32
            assert (loaded[name] - mask).abs().max() <= 0.5 / 255 + 1e-6

    def test_0_and_1_come_back_exactly(self, file: Path):
        mask = (soft(20, 30) > 0.5).float()
        save_masks(file, {"face": mask})
        assert torch.equal(load_masks(file)["face"], mask)

    def test_labels_keep_their_order_and_may_be_of_any_script(self, file: Path):
        names = ("刺青", "hair", "a sword", "face")
        save_masks(file, {name: soft(4, 5, seed=k) for k, name in enumerate(names)})
        assert read_masks(file).labels == names

    @pytest.mark.parametrize("count", [2, 1, 0])
    def test_persons_come_back(self, file: Path, count: int):
        masks = SemanticMasks(soft(1, 1, 6, 8), ("face",), ((soft(count, 6, 8) > 0.5).float(),))
        save_masks(file, masks)
        (persons,) = read_masks(file).persons
        assert torch.equal(persons, masks.persons[0])

    def test_masks_that_cannot_tell_persons_apart_come_back_as_such(self, file: Path):
        save_masks(file, SemanticMasks(soft(1, 1, 6, 8), ("face",)))
        assert read_masks(file).persons == ()

    def test_the_header_says_what_is_inside(self, file: Path):
        face = torch.zeros(48, 64)
        face[3, 5] = 0.6
        hair = torch.full((48, 64), 0.4)
        masks = SemanticMasks(
            torch.stack((face, hair))[None], ("face", "hair"), provenance={"sam_version": "x 1"}
        )
        save_masks(file, masks, {"note": "mine"})
        header = header_of(file)
        assert all(isinstance(value, str) for value in header.values())
        assert header["sam_version"] == "x 1" and header["note"] == "mine"
        assert header["format_version"] == cache.FORMAT_VERSION
        assert json.loads(header["image_size"]) == [48, 64]
        assert json.loads(header["latent_size"]) == [6, 8]
        assert json.loads(header["categories_detected"]) == ["face"]
        assert json.loads(header["labels"]) == ["face", "hair"]

    def test_the_header_of_a_segmented_picture_makes_staleness_detectable(self, file: Path):
        image = soft(1, 6, 8, 3)
        segment(image, FakeLazy(), [file])
        header = header_of(file)
        assert header["image_digest"] == picture_digest(image[0])
        assert json.loads(header["keywords"]) == {"face": ["face", "eyes"], "hair": ["hair"]}
        assert header["sam_version"] == "fake v1" and header["refine"] == "fast"

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_float_files_of_other_programs_are_read(self, file: Path, dtype: torch.dtype):
        mask = soft(6, 8).to(dtype)
        save_file({"face_mask": mask, "hair_mask": 1 - mask, "unrelated": torch.zeros(3)}, file)
        loaded = load_masks(file)
        assert set(loaded) == {"face", "hair"}
        assert torch.equal(loaded["face"], mask.float())


class TestTo8Bit:
    def test_a_partition_still_sums_to_1_exactly_and_moves_by_less_than_one_step(self):
        scores = {name: soft(60, 80, seed=k) for k, name in enumerate(("face", "hair", "clothing", "body"))}
        regions = partition(scores)
        masks = SemanticMasks(torch.stack(list(regions.values()))[None], tuple(regions))
        rounded = to_8_bit(masks).masks
        steps = rounded * 255
        torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
        assert torch.equal(steps.round().sum(1), torch.full((1, 60, 80), 255.0))
        assert (rounded - masks.masks).abs().max() < 1 / 255 + 1e-6

    def test_what_is_absent_stays_absent_whatever_stands_before_it(self):
        face = soft(1, 60, 80)
        masks = SemanticMasks(torch.stack((face, 0 * face, 1 - face), 1), ("face", "hair", "background"))
        assert not to_8_bit(masks).region("hair").any()

    def test_soft_layers_and_persons_are_rounded_by_themselves(self):
        masks = SemanticMasks(
            torch.tensor([0.3, 0.4, 0.7]).view(1, 3, 1, 1),
            ("face", "lighting", "tattoo"),
            (torch.tensor([[[0.1]]]),),
        )
        rounded = to_8_bit(masks)
        for label, value in (("lighting", 0.4), ("tattoo", 0.7)):
            assert abs(rounded.region(label).item() - value) <= 0.5 / 255 + 1e-6
        assert rounded.persons[0].item() == pytest.approx(26 / 255, abs=1e-6)  # 25.5 steps

    def test_regions_that_overlap_after_all_stay_in_0_to_1(self):
        masks = SemanticMasks(torch.tensor([0.5 / 255, 1.0]).view(1, 2, 1, 1), ("face", "hair"))
        assert to_8_bit(masks).masks.max() <= 1


class TestRefusedToSave:
    @pytest.mark.parametrize(
        ("masks", "message"),
        [
            ({}, "no mask to save"),
            (SemanticMasks(torch.zeros(1, 0, 4, 4), ()), "no mask to save"),
            ({"face": torch.zeros(4, 4), "hair": torch.zeros(4, 5)}, "of one size"),
            (SemanticMasks(torch.zeros(2, 1, 4, 4), ("face",)), "one picture, got 2"),
            ({"face": torch.full((4, 4), 1.01)}, "0..1"),
            ({"face": torch.full((4, 4), -0.01)}, "0..1"),
            ({"face": torch.full((4, 4), float("nan"))}, "0..1"),
        ],
        ids=["none", "no label", "sizes", "batch", "above", "below", "nan"],
    )
    def test_the_message_names_the_file_and_nothing_is_written(self, file: Path, masks, message: str):
        with pytest.raises(ValueError, match=f"{file.name}.*{message}"):
            save_masks(file, masks)
        assert not list(file.parent.iterdir())

    def test_a_failing_write_leaves_the_old_file_and_no_other(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ):
        save_masks(file, {"face": torch.ones(4, 4)})
        before = file.read_bytes()

        def half(tensors, path, metadata):
            Path(path).write_bytes(b"half")
            raise OSError("no space left on device")

        monkeypatch.setattr(cache, "save_file", half)
        with pytest.raises(OSError, match="no space"):
            save_masks(file, {"face": torch.zeros(4, 4)})
        assert file.read_bytes() == before
        assert list(file.parent.iterdir()) == [file]


class TestDamagedOrHostile:
    """Every one of them is a MaskFileError that names the file and says what to do."""

    def refused(self, file: Path, what: str) -> None:
        with pytest.raises(MaskFileError, match=what) as caught:
            read_masks(file)
        assert str(file) in str(caught.value)
        assert "Delete the file, or run the segmentation again" in str(caught.value)

    @pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
    def test_a_truncated_file(self, file: Path, share: float):
        save_masks(file, {"face": soft(20, 30)})
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        self.refused(file, "not a complete safetensors file")

    @pytest.mark.parametrize(
        "content",
        [b"\x89PNG\r\n\x1a\n" + bytes(200), struct.pack("<Q", 1 << 62) + b"{}", b"\xff" * 4],
        ids=["another format", "a header of 4 EiB", "four bytes"],
    )
    def test_no_safetensors_at_all(self, file: Path, content: bytes):
        file.write_bytes(content)
        self.refused(file, "not a complete safetensors file")

    def test_a_header_that_is_no_json(self, file: Path):
        write_raw(file, b'{"face_mask": oops}')
        self.refused(file, "not a complete safetensors file")

    @pytest.mark.parametrize("shape", [[1 << 31, 1 << 31], [1 << 62, 8], [4000, 4000]])
    def test_a_size_that_the_file_does_not_hold(self, file: Path, shape: list[int]):
        entry = {"dtype": "U8", "shape": shape, "data_offsets": [0, 16]}
        write_raw(file, {"face_mask": entry}, bytes(16))
        self.refused(file, "not a complete safetensors file")

    @pytest.mark.parametrize("shape", [(cache.MAX_SIDE + 1, 1), (0, 4)])
    def test_a_side_beyond_the_limit(self, file: Path, shape: tuple[int, int]):
        save_file({"face_mask": torch.zeros(shape, dtype=torch.uint8)}, file)
        self.refused(file, f"1 to {cache.MAX_SIDE}")

    @pytest.mark.parametrize("shape", [(4,), (1, 4, 4), (4, 4, 1, 1), ()])
    def test_a_tensor_of_another_rank(self, file: Path, shape: tuple[int, ...]):
        save_file({"face_mask": torch.zeros(shape, dtype=torch.uint8)}, file)
        self.refused(file, r"\[H, W\] of one size")

    def test_masks_of_different_sizes(self, file: Path):
        save_file({"face_mask": torch.zeros(4, 4), "hair_mask": torch.zeros(4, 5)}, file)
        self.refused(file, r"of one size.*\[4, 5\]")

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.01, 1.01, 255.0])
    def test_values_that_are_no_cover(self, file: Path, bad: float):
        mask = torch.zeros(4, 4)
        mask[1, 2] = bad
        save_file({"face_mask": mask}, file)
        self.refused(file, "face has values outside 0..1")

    @pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.complex64])
    def test_a_type_that_is_no_cover(self, file: Path, dtype: torch.dtype):
        save_file({"face_mask": torch.zeros(4, 4, dtype=dtype)}, file)
        self.refused(file, f"{dtype}, expected uint8 or a float type")

    def test_a_file_of_another_kind(self, file: Path):
        save_file({"latents_1x8x8_bf16": torch.zeros(16, 8, 8)}, file)
        self.refused(file, "no tensor named <category>_mask")

    @pytest.mark.parametrize(
        "shape", [(2, 4, 5), (4, 4), (300, 4, 4)], ids=["other size", "no count", "300 persons"]
    )
    def test_persons_that_do_not_fit(self, file: Path, shape: tuple[int, ...]):
        save_file({"face_mask": torch.zeros(4, 4), "persons": torch.zeros(shape)}, file)
        self.refused(file, "persons is")

    @pytest.mark.parametrize(
        "labels", ["{", "[" * 100_000, "1" * 5_000], ids=["open", "deep", "a long number"]
    )
    def test_a_label_list_that_is_no_json(self, file: Path, labels: str):
        save_file({"face_mask": torch.zeros(4, 4)}, file, {"labels": labels})
        self.refused(file, "'labels' is not JSON")

    @pytest.mark.parametrize("labels", ['["hair"]', '"face"', "{}", "[1, [2]]", '["face", "face"]'])
    def test_a_label_list_that_lies_is_not_believed(self, file: Path, labels: str):
        save_file({"face_mask": torch.zeros(4, 4)}, file, {"labels": labels})
        assert read_masks(file).labels == ("face",)

    def test_no_file_is_told_apart_from_a_bad_one(self, file: Path):
        with pytest.raises(FileNotFoundError, match=file.name):
            read_masks(file)


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


class TestStaleness:
    FIELDS = request_fields("d1", REQUEST, "fake", "v1")

    def test_equal_fields_are_fresh_and_more_fields_do_not_matter(self):
        assert stale_reason(self.FIELDS, self.FIELDS) is None
        assert stale_reason({**self.FIELDS, "note": "mine"}, self.FIELDS) is None

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            (request_fields("d2", REQUEST, "fake", "v1"), "another picture"),
            (request_fields("d1", REQUEST, "fake", "v2"), "fake v1.*fake v2"),
            (request_fields("d1", REQUEST, "other", "v1"), "fake v1.*other v1"),
            (request_fields("d1", SegmentRequest({**KEYWORDS, "face": ("face",)}), "fake", "v1"), "keywords"),
            (request_fields("d1", SegmentRequest({"face": KEYWORDS["face"]}), "fake", "v1"), "keywords"),
            (request_fields("d1", dataclasses.replace(REQUEST, refine="fine"), "fake", "v1"), "fast.*fine"),
            ({**FIELDS, "format_version": "2"}, "format version is 1, now 2"),
        ],
        ids=["picture", "weights", "backend", "keyword", "category", "refine", "format"],
    )
    def test_each_field_counts(self, fields: dict[str, str], reason: str):
        found = stale_reason(self.FIELDS, fields)
        assert found and re.search(reason, found)

    def test_a_header_without_our_fields_is_stale(self):
        assert stale_reason({}, self.FIELDS) == "its format version is unknown, now 1"


class FakeSegmenter:
    """Soft face and, if wanted, what is left as hair; counts its calls."""

    def __init__(self, persons: bool = True):
        self.calls = 0
        self.persons = persons

    def segment(self, images: Tensor, request: SegmentRequest) -> SemanticMasks:
        self.calls += 1
        batch, height, width = images.shape[:3]
        face = soft(batch, height, width, seed=11)
        masks = torch.stack((face, 1 - face)[: len(request.keywords)], 1)
        persons = tuple(soft(1, height, width, seed=12) for _ in range(batch)) if self.persons else ()
        return SemanticMasks(masks, tuple(request.keywords), persons, {"backend": "fake"})


class FakeLazy:
    """What get_or_segment needs of a LazySegmenter."""

    def __init__(self, weights_id: str = "v1", persons: bool = True):
        self.name, self.weights_id = "fake", weights_id
        self.loads = 0
        self.segmenter = FakeSegmenter(persons)

    def get(self) -> FakeSegmenter:
        self.loads += 1
        return self.segmenter


def segment(images: Tensor, lazy: FakeLazy, files, request: SegmentRequest = REQUEST):
    """(masks, messages)."""
    messages: list[str] = []
    return get_or_segment(images, request, lazy, files, messages.append), messages  # type: ignore[arg-type]


class TestGetOrSegment:
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
                lambda image, lazy, request: (image, lazy, SegmentRequest({"face": ("visage",)})),
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
        assert lazy.segmenter.calls == 1 and masks.labels == tuple(request.keywords)
        assert len(messages) == 1 and file.name in messages[0] and reason in messages[0]
        assert segment(image, lazy, [file], request)[1] == []
        assert lazy.segmenter.calls == 1

    def test_a_mask_file_of_another_picture_is_not_used(self, file: Path):
        left, right = soft(1, 6, 8, 3), soft(1, 6, 10, 3, seed=1)
        segment(left, FakeLazy(), [file])
        masks, messages = segment(right, FakeLazy(), [file])
        assert masks.size == (6, 10) and "another picture" in messages[0]

    def test_masks_made_by_hand_are_never_overwritten(self, file: Path):
        save_masks(file, {"face": torch.ones(6, 8)})
        before = file.read_bytes()
        with pytest.raises(MaskFileError, match="by hand or by another program.*Load Mask Cache"):
            segment(soft(1, 6, 8, 3), FakeLazy(), [file])
        assert file.read_bytes() == before

    def test_a_damaged_file_is_reported_and_replaced(self, file: Path):
        image = soft(1, 6, 8, 3)
        file.write_bytes(b"broken")
        masks, messages = segment(image, FakeLazy(), [file])
        assert file.name in messages[0] and "segmenting again" in messages[0]
        assert torch.equal(read_masks(file).masks, masks.masks)

    def test_only_the_pictures_without_a_fresh_file_are_segmented(self, tmp_path: Path):
        images = soft(3, 6, 8, 3)
        files = [tmp_path / f"{k}.safetensors" for k in range(3)]
        segment(images[1:2], FakeLazy(), files[1:2])
        lazy = FakeLazy()
        masks, _ = segment(images, lazy, files)
        assert lazy.segmenter.calls == 2 and masks.provenance["cache"] == "1/3"
        assert len(masks.persons) == 3

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
        save_masks(file, masks, request_fields(picture_digest(image[0]), REQUEST, "fake", "v1"))
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
