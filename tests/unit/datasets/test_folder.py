"""Dataset folders as users have them, and pictures of every kind."""

import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from semantic_focus.datasets.folder import (
    DatasetError,
    load_picture,
    picture_files,
    scan,
    sharing,
)

GRADIENT = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 14


def put_picture(path: Path, pixels: np.ndarray = GRADIENT, **options) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def dataset(folder: Path, **captions: str | None) -> Path:
    for stem, caption in captions.items():
        put_picture(folder / f"{stem}.png")
        if caption is not None:
            (folder / f"{stem}.txt").write_text(caption, encoding="utf-8")
    return folder


class TestScan:
    def test_pictures_come_by_name_with_their_captions(self, tmp_path: Path):
        pictures = scan(dataset(tmp_path, b="a red hat\n", a="  戴帽子的女人 ")).pictures
        assert [(p.path.name, p.caption) for p in pictures] == [
            ("a.png", "戴帽子的女人"),
            ("b.png", "a red hat"),
        ]
        assert pictures[0].mask_file == tmp_path / "a_zi_masks.safetensors"

    def test_files_that_are_no_training_pictures_are_passed_over(self, tmp_path: Path):
        dataset(tmp_path, a="x")
        put_picture(tmp_path / "a-masklabel.png")
        put_picture(tmp_path / ".hidden.png")
        (tmp_path / "a_zi_masks.safetensors").write_bytes(b"")
        (tmp_path / "notes.md").write_text("x")
        (tmp_path / "a folder.png").mkdir()
        assert [p.path.name for p in scan(tmp_path).pictures] == ["a.png"]

    def test_suffixes_may_be_in_capitals(self, tmp_path: Path):
        put_picture(tmp_path / "IMG_1.JPG")
        assert scan(tmp_path, "x").pictures[0].path.name == "IMG_1.JPG"

    def test_the_default_caption_serves_pictures_without_a_file_and_an_empty_file_is_an_empty_caption(
        self, tmp_path: Path
    ):
        dataset(tmp_path, a="own", b=None, c="  \n")
        found = scan(tmp_path, " a photo ")
        assert [p.caption for p in found.pictures] == ["own", "a photo", ""]
        assert found.notes == ["1 picture has an empty caption file, and no words then: c.png"]

    def test_a_trigger_word_fills_an_empty_file_and_nothing_is_said_of_it(self, tmp_path: Path):
        dataset(tmp_path, a="own", c="")
        found = scan(tmp_path, trigger="sks")
        assert [p.caption for p in found.pictures] == ["sks, own", "sks"] and found.notes == []

    @pytest.mark.parametrize("form", ['"{}"', "'{}'", " {} \n", '  "{}"'])
    def test_a_path_may_be_pasted_as_file_managers_copy_it(self, tmp_path: Path, form: str):
        folder = tmp_path / "my photos"
        folder.mkdir()
        put_picture(folder / "a.png")
        assert [p.path.name for p in scan(form.format(folder), "x").pictures] == ["a.png"]

    def test_a_quote_that_belongs_to_the_name_stays(self, tmp_path: Path):
        folder = tmp_path / "Anna's"
        folder.mkdir()
        put_picture(folder / "a.png")
        assert scan(str(folder), "x").pictures[0].path == folder / "a.png"

    def test_a_picture_is_not_its_folder(self, tmp_path: Path):
        put_picture(tmp_path / "a.png")
        with pytest.raises(DatasetError, match=rf"a.png: a file.*: {re.escape(str(tmp_path))}$"):
            scan(tmp_path / "a.png")

    def test_no_folder(self, tmp_path: Path):
        with pytest.raises(DatasetError, match="nowhere: no such folder. Give the path"):
            scan(tmp_path / "nowhere")

    def test_no_picture(self, tmp_path: Path):
        (tmp_path / "a.txt").write_text("x")
        with pytest.raises(DatasetError, match=r"no picture in it. Put files of type \.png"):
            scan(tmp_path)

    def test_missing_captions_are_named_but_not_endlessly(self, tmp_path: Path):
        dataset(tmp_path, **{f"p{number:02}": None for number in range(12)}, q="x", r="")
        with pytest.raises(DatasetError, match=r"no caption for p00.png, .*, p09.png and 2 more\..*p00\.txt"):
            scan(tmp_path)

    def test_two_pictures_of_one_stem_are_refused_with_both_names(self, tmp_path: Path):
        dataset(tmp_path, a="x")
        put_picture(tmp_path / "a.jpg")
        with pytest.raises(DatasetError, match="a.jpg and a.png would share one caption.*rename"):
            scan(tmp_path)

    @pytest.mark.parametrize(
        ("folds", "names", "shared"),
        [
            (False, ["A.png", "a.png"], []),
            (False, ["A.png", "a.jpg", "a.png"], [("a.jpg", "a.png")]),
            (True, ["A.png", "a.jpg"], [("A.png", "a.jpg")]),
            (True, ["A.png", "b.png", "B.jpg"], [("b.png", "B.jpg")]),
        ],
    )
    def test_two_stems_are_one_where_the_disk_says_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folds: bool, names: list[str], shared: list
    ):
        for name in names:
            put_picture(tmp_path / name)
        if folds:  # as Windows and macOS have it

            def one_file(path: Path, other: Path) -> bool:
                return path.exists() and str(path).casefold() == str(other).casefold()

            monkeypatch.setattr(os.path, "samefile", one_file)
        found = sharing([tmp_path / name for name in names])
        assert [(one.name, other.name) for one, other in found] == shared


class TestLoadPicture:
    def test_8_bit_colours(self, tmp_path: Path):
        picture = load_picture(put_picture(tmp_path / "a.png"))
        assert picture.dtype == torch.float32
        torch.testing.assert_close(picture, torch.from_numpy(GRADIENT).float() / 255)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_exif_orientation_is_applied(self, tmp_path: Path, orientation: int):
        """The eight ways a camera stores a picture, as numpy undoes them."""
        upright = {
            1: GRADIENT,
            2: GRADIENT[:, ::-1],
            3: GRADIENT[::-1, ::-1],
            4: GRADIENT[::-1],
            5: GRADIENT.transpose(1, 0, 2),
            6: np.rot90(GRADIENT, -1),
            7: GRADIENT[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(GRADIENT, 1),
        }[orientation]
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = put_picture(tmp_path / "a.png", exif=exif)
        expected = torch.from_numpy(upright.copy()).float() / 255
        torch.testing.assert_close(load_picture(path), expected)

    def test_transparency_becomes_white(self, tmp_path: Path):
        """Red at alpha 1, 0 and 51/255 = .2."""
        pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [255, 0, 0, 51]]], dtype=np.uint8)
        picture = load_picture(put_picture(tmp_path / "a.png", pixels))
        expected = torch.tensor([[[1, 0, 0], [1, 1, 1], [1, 0.8, 0.8]]])
        torch.testing.assert_close(picture, expected, atol=1 / 255, rtol=0)

    def test_grey_has_three_equal_channels(self, tmp_path: Path):
        picture = load_picture(put_picture(tmp_path / "a.png", np.array([[0, 128, 255]], dtype=np.uint8)))
        assert picture.shape == (1, 3, 3)
        torch.testing.assert_close(picture[0, :, 0], torch.tensor([0, 128 / 255, 1]))
        assert torch.equal(picture[..., 0], picture[..., 1]) and torch.equal(picture[..., 0], picture[..., 2])

    def test_16_bit_grey_keeps_its_range(self, tmp_path: Path):
        levels = np.array([[0, 1000, 32768, 65535]], dtype=np.uint16)
        picture = load_picture(put_picture(tmp_path / "a.png", levels))
        assert picture.shape == (1, 4, 3)
        torch.testing.assert_close(picture[0, :, 1], torch.tensor([0, 1000 / 65535, 32768 / 65535, 1]))

    def test_palette_pictures_show_their_colours(self, tmp_path: Path):
        indexed = Image.new("P", (2, 1))
        indexed.putpalette([10, 20, 30, 200, 100, 50])
        indexed.putdata([1, 0])
        indexed.save(tmp_path / "a.png")
        expected = torch.tensor([[[200, 100, 50], [10, 20, 30]]]) / 255
        torch.testing.assert_close(load_picture(tmp_path / "a.png"), expected)

    def test_a_transparent_palette_entry_becomes_white(self, tmp_path: Path):
        indexed = Image.new("P", (2, 1))
        indexed.putpalette([10, 20, 30, 200, 100, 50])
        indexed.putdata([1, 0])
        indexed.save(tmp_path / "a.png", transparency=0)
        expected = torch.tensor([[[200, 100, 50], [255, 255, 255]]]) / 255
        torch.testing.assert_close(load_picture(tmp_path / "a.png"), expected)

    @pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "gif", "tif", "jp2", "avif"])
    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
    def test_a_cut_off_file_is_named_with_the_way_out(self, tmp_path: Path, suffix: str, share: float):
        noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
        path = put_picture(tmp_path / f"a.{suffix}", noise)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(
            DatasetError, match=rf"a\.{suffix}: cannot be read.*Replace the file or remove it"
        ):
            load_picture(path)

    def test_text_in_a_picture_file_is_refused(self, tmp_path: Path):
        (tmp_path / "a.png").write_text("<html>404</html>")
        with pytest.raises(DatasetError, match=r"a\.png: cannot be read as a picture"):
            load_picture(tmp_path / "a.png")

    def test_a_decompression_bomb_is_refused(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
        with pytest.raises(DatasetError, match="a.png.*decompression bomb"):
            load_picture(put_picture(tmp_path / "a.png"))


def test_a_turned_picture_with_another_exif_field_damaged_is_turned_all_the_same(tmp_path: Path):
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    resolution = struct.pack("<HHI4s", 0x011A, 2, 4, b"72\0\0")  # text instead of a fraction
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + orientation + resolution + bytes(4)
    picture = tmp_path / "turned.jpg"
    Image.new("RGB", (8, 4)).save(picture, exif=exif)
    with Image.open(picture) as file, pytest.raises((TypeError, ValueError, struct.error)):
        ImageOps.exif_transpose(file)
    assert load_picture(picture).shape == (8, 4, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as file:
        expected = np.asarray(ImageOps.exif_transpose(file))
    found = (load_picture(tmp_path / "x.png") * 255).round().byte().numpy()
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("folder", ["", "  "])
def test_no_folder_is_not_the_working_directory(folder: str):
    with pytest.raises(DatasetError, match="no folder given"):
        picture_files(folder, recursive=True)
    with pytest.raises(DatasetError, match="no folder given"):
        scan(folder)


def test_a_home_folder_that_is_not_there_is_named():
    for look in (picture_files, scan):
        with pytest.raises(DatasetError, match=r"^~2024: no such home folder.*\./~2024"):
            look("~2024")
