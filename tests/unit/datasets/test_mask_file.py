"""Mask files: what comes back, what is refused, and what a damaged or hostile file does."""

import io
import json
import struct
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from semantic_focus.datasets import mask_file, mask_limits
from semantic_focus.datasets.mask_file import (
    MaskFileError,
    load_masks,
    mask_path,
    read_header,
    read_masks,
    save_masks,
)
from semantic_focus.datasets.mask_levels import as_stored
from semantic_focus.regions.masks import SemanticMasks, partition


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


def png(picture: Image.Image) -> Tensor:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return torch.frombuffer(bytearray(buffer.getvalue()), dtype=torch.uint8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "image_001_zi_masks.safetensors"


class TestRoundTrip:
    def test_the_file_lies_beside_its_picture(self):
        assert mask_path(Path("set/image.001.png")) == Path("set/image.001_zi_masks.safetensors")

    def test_values_come_back_to_within_one_of_51_steps(self, file: Path):
        masks = {"face": soft(20, 30), "hair": soft(20, 30, seed=1)}
        save_masks(file, masks)
        loaded = load_masks(file)
        assert list(loaded) == ["face", "hair"]
        for name, mask in masks.items():
            assert loaded[name].dtype == torch.float32
            assert (loaded[name] - mask).abs().max() <= 1 / 51 + 1e-6

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
        people = (soft(count, 3, 4) > 0.5).float().repeat_interleave(2, 1).repeat_interleave(2, 2)
        people = people / people.sum(0).clamp_min(1)
        people = people * (people == 1)  # where two would share a pixel, nobody is
        masks = SemanticMasks(soft(1, 1, 6, 8), ("face",), (people,))
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
        assert header["format_version"] == mask_file.FORMAT_VERSION
        assert json.loads(header["image_size"]) == [48, 64]
        assert json.loads(header["latent_size"]) == [6, 8]
        assert json.loads(header["categories_detected"]) == ["face"]
        assert json.loads(header["labels"]) == ["face", "hair"]

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
    def test_float_files_of_other_programs_are_read(self, file: Path, dtype: torch.dtype):
        mask = soft(6, 8).to(dtype)
        save_file({"face_mask": mask, "hair_mask": 1 - mask, "unrelated": torch.zeros(3)}, file)
        loaded = load_masks(file)
        assert set(loaded) == {"face", "hair"}
        assert torch.equal(loaded["face"], mask.float())


class TestEncodings:
    def masks(self) -> SemanticMasks:
        """A smooth blob that takes part of the picture, its background and a busy lighting layer."""
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, 301), torch.linspace(-1, 1, 200), indexing="ij")
        face = (3 - 6 * (rows**2 + columns**2)).clamp(0, 1)
        regions = torch.stack((face, 1 - face, soft(301, 200)))[None]
        return SemanticMasks(regions, ("face", "background", "lighting"), (face[None],))

    @pytest.mark.parametrize("encoding", mask_file.ENCODINGS)
    def test_what_comes_back_is_what_as_stored_says(self, file: Path, encoding: str):
        save_masks(file, self.masks(), encoding=encoding)
        expected, found = as_stored(self.masks(), encoding), read_masks(file)
        assert torch.equal(found.masks, expected.masks)
        assert torch.equal(found.persons[0], expected.persons[0])

    def test_float_files_hold_plain_maps_that_any_program_can_read(self, file: Path):
        save_masks(file, self.masks(), encoding="float")
        tensors = load_file(file)
        assert set(tensors) == {"face_mask", "background_mask", "lighting_mask", "persons"}
        assert (tensors["face_mask"].float() - self.masks().masks[0, 0]).abs().max() <= 2**-11
        assert tensors["persons"].shape == (1, 301, 200)

    def test_png_files_hold_pictures_and_leave_out_what_follows_from_them(self, file: Path):
        save_masks(file, self.masks())
        tensors = load_file(file)
        assert set(tensors) == {"face_mask", "lighting_mask", "persons"}
        with Image.open(io.BytesIO(tensors["face_mask"].numpy().tobytes())) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (200, 301))

    def test_a_background_that_does_not_follow_is_kept(self, file: Path):
        save_masks(file, {"face": torch.zeros(4, 4), "background": torch.full((4, 4), 0.5)})
        assert load_masks(file)["background"].unique().tolist() == [pytest.approx(26 / 51)]

    def test_png_is_the_smaller_by_far(self, file: Path):
        save_masks(file, self.masks(), encoding="float")
        large = file.stat().st_size
        file.unlink()
        save_masks(file, self.masks())
        assert file.stat().st_size < large / 10

    def test_an_encoding_that_there_is_not(self, file: Path):
        with pytest.raises(ValueError, match="encoding must be one of png, float; got 'jpeg'"):
            save_masks(file, self.masks(), encoding="jpeg")

    def test_the_header_is_read_without_the_masks(self, file: Path):
        save_masks(file, self.masks(), {"note": "mine"})
        header = read_header(file)
        assert (
            header.items() < header_of(file).items()
            and header["note"] == "mine"
            and header["encoding"] == "png"
        )
        coverage = json.loads(header["coverage"])
        assert coverage["face"] == pytest.approx(self.masks().masks[0, 0].mean().item(), abs=0.002)


class TestHostilePng:
    """Files that say encoding=png and hold something else."""

    GOOD = {"encoding": "png", "labels": '["face"]', "image_size": "[4, 4]"}

    def refused(self, file: Path, tensors: dict[str, Tensor], header: dict[str, str], what: str) -> None:
        save_file(tensors, file, {**self.GOOD, **header})
        with pytest.raises(MaskFileError, match=what) as caught:
            read_masks(file)
        assert str(file) in str(caught.value)

    def test_the_good_one_is_read(self, file: Path):
        save_file({"face_mask": png(Image.new("L", (4, 4), 51))}, file, self.GOOD)
        assert load_masks(file)["face"].unique().tolist() == [pytest.approx(0.2)]

    @pytest.mark.parametrize(
        ("picture", "what"),
        [
            (Image.new("L", (5, 4)), "face_mask is L 5x4, expected L 4x4"),
            (Image.new("RGB", (4, 4)), "face_mask is RGB 4x4"),
            (Image.new("L", (20000, 9000)), "face_mask is L 20000x9000|decompression bomb"),
        ],
        ids=["another size", "colour", "a bomb"],
    )
    def test_another_picture(self, file: Path, picture: Image.Image, what: str):
        self.refused(file, {"face_mask": png(picture)}, {}, what)

    def test_half_a_picture(self, file: Path):
        whole = png(Image.effect_noise((4, 4), 90))
        self.refused(file, {"face_mask": whole[: len(whole) // 2].clone()}, {}, "not a complete PNG")

    def test_bytes_of_another_kind(self, file: Path):
        self.refused(file, {"face_mask": torch.zeros(50, dtype=torch.uint8)}, {}, "not a complete PNG")

    def test_a_map_instead_of_bytes(self, file: Path):
        self.refused(file, {"face_mask": torch.zeros(4, 4)}, {}, "expected the bytes of a PNG")

    @pytest.mark.parametrize(
        ("header", "what"),
        [
            ({"image_size": "[4]"}, "image_size"),
            ({"image_size": "[4, 4.5]"}, "image_size"),
            ({"image_size": "[true, 4]"}, "image_size"),
            ({"image_size": "[32768, 32768]"}, "a mask file holds 268435456 pixels"),
            ({"image_size": "[0, 4]"}, "sides must be"),
            ({"image_size": "[" * 100_000}, "'image_size' is not JSON"),
            ({"labels": "[]"}, "labels"),
            ({"labels": '["face", "face"]'}, "labels"),
            ({"labels": '["face", "hair"]'}, "no tensor named hair_mask"),
            ({"labels": '["background"]'}, "no tensor named background_mask"),
        ],
    )
    def test_a_header_that_lies(self, file: Path, header: dict[str, str], what: str):
        self.refused(file, {"face_mask": png(Image.new("L", (4, 4)))}, header, what)

    @pytest.mark.parametrize("count", ["-1", "2", "257", "99999999999", "null", '"1"'])
    def test_persons_that_are_not_there(self, file: Path, count: str):
        tensors = {"face_mask": png(Image.new("L", (4, 4))), "persons": png(Image.new("L", (4, 4)))}
        self.refused(file, tensors, {"persons": count}, "persons")


class TestAsStored:
    def test_a_partition_still_sums_to_1_exactly_and_moves_by_less_than_one_step(self):
        scores = {name: soft(60, 80, seed=k) for k, name in enumerate(("face", "hair", "clothing", "body"))}
        regions = partition(scores)
        masks = SemanticMasks(torch.stack(list(regions.values()))[None], tuple(regions))
        rounded = as_stored(masks).masks
        steps = rounded * 51
        torch.testing.assert_close(steps, steps.round(), atol=1e-4, rtol=0)
        assert torch.equal(steps.round().sum(1), torch.full((1, 60, 80), 51.0))
        assert (rounded - masks.masks).abs().max() < 1 / 51 + 1e-6

    def test_what_is_absent_stays_absent_whatever_stands_before_it(self):
        face = soft(1, 60, 80)
        masks = SemanticMasks(torch.stack((face, 0 * face, 1 - face), 1), ("face", "hair", "background"))
        assert not as_stored(masks).region("hair").any()

    def test_user_layers_and_persons_are_rounded_by_themselves(self):
        masks = SemanticMasks(
            torch.tensor([0.3, 0.7]).view(1, 2, 1, 1), ("face", "tattoo"), (torch.tensor([[[0.1]]]),)
        )
        rounded = as_stored(masks)
        assert abs(rounded.region("tattoo").item() - 0.7) <= 0.5 / 51 + 1e-6
        assert rounded.persons[0].item() == pytest.approx(2 / 15, abs=1e-6)  # 1.5 steps of 15

    def test_persons_keep_the_mean_of_each_block_and_never_sum_to_more_than_before(self):
        people = soft(3, 5, 7)
        people = people / people.sum(0)
        rounded = as_stored(SemanticMasks(soft(1, 1, 5, 7), ("face",), (people,))).persons[0]
        torch.testing.assert_close(rounded.sum(0), torch.ones(5, 7), atol=1e-5, rtol=0)
        for person, kept in zip(people, rounded, strict=True):
            for top in range(0, 5, 2):
                for left in range(0, 7, 2):
                    block = (slice(top, top + 2), slice(left, left + 2))
                    assert kept[block].unique().numel() == 1
                    assert abs(kept[block].mean() - person[block].mean()) <= 1 / 15 + 1e-5

    def test_lighting_keeps_the_mean_of_each_block_in_32_levels(self):
        masks = SemanticMasks(soft(1, 1, 5, 7), ("lighting",))
        rounded = as_stored(masks).masks[0, 0]
        for top in range(0, 5, 2):
            for left in range(0, 7, 2):
                block = masks.masks[0, 0, top : top + 2, left : left + 2]
                kept = rounded[top : top + 2, left : left + 2]
                assert kept.unique().numel() == 1
                assert abs(kept.mean() - block.mean()) <= 0.5 / 31 + 0.5 / 255 + 1e-6

    def test_twice_is_once(self):
        names = ("face", "hair", "background", "lighting", "tattoo")
        scores = soft(2, 5, 9, 11)
        scores[:, 2] = 1 - scores[:, 0] / 2 - scores[:, 1] / 2
        scores[:, :2] /= 2
        once = as_stored(SemanticMasks(scores, names, (soft(1, 9, 11), soft(2, 9, 11))))
        twice = as_stored(once)
        assert torch.equal(once.masks, twice.masks)
        assert all(torch.equal(a, b) for a, b in zip(once.persons, twice.persons, strict=True))

    def test_regions_that_overlap_after_all_stay_in_0_to_1(self):
        masks = SemanticMasks(torch.tensor([0.5 / 255, 1.0]).view(1, 2, 1, 1), ("face", "hair"))
        assert as_stored(masks).masks.max() <= 1


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

        def full(handle: int) -> None:
            raise OSError("no space left on device")

        monkeypatch.setattr("semantic_focus.files.writing.os.fsync", full)
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
        assert "Run the segmentation again to make it anew" in str(caught.value)

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

    @pytest.mark.parametrize("shape", [(mask_limits.MAX_SIDE + 1, 1), (0, 4)])
    def test_a_side_beyond_the_limit(self, file: Path, shape: tuple[int, int]):
        save_file({"face_mask": torch.zeros(shape, dtype=torch.uint8)}, file)
        self.refused(file, f"1 to {mask_limits.MAX_SIDE}")

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


class TestLimits:
    def test_many_persons_on_a_large_picture_come_back_whatever_pillow_thinks_of_their_size(
        self, file: Path, monkeypatch: pytest.MonkeyPatch
    ):
        people = torch.zeros(3, 40, 60)
        people[0, :, :20] = people[1, :, 20:40] = people[2, :, 40:] = 1
        save_masks(file, SemanticMasks(people[None, :1], ("face",), (people,)))
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
        assert torch.equal(read_masks(file).persons[0], people)

    def test_what_could_not_be_read_again_is_not_written(self, file: Path):
        people = torch.zeros(mask_limits.MAX_PERSONS + 1, 2, 2)
        with pytest.raises(ValueError, match="257 persons of 2x2, a mask file holds 256"):
            save_masks(file, SemanticMasks(torch.zeros(1, 1, 2, 2), ("face",), (people,)))
        with pytest.raises(ValueError, match=f"sides up to {mask_limits.MAX_SIDE}"):
            save_masks(file, {"face": torch.zeros(1, mask_limits.MAX_SIDE + 1)})
        assert not file.exists()
