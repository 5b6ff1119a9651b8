"""What tells one state of a picture file from another, and that mask files depend on nothing else."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from semantic_focus.datasets.bulk import CacheSettings, cache_pictures
from semantic_focus.datasets.cache import is_untouched, picture_stamp
from semantic_focus.datasets.folder import picture_files
from semantic_focus.datasets.mask_file import mask_path
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import LazySegmenter

HEIGHT, WIDTH = 400, 600
FORMATS = {
    "png": {},
    "stored.png": {"compress_level": 0},
    "bmp": {},
    "jpg": {"quality": 92},
    "webp": {"quality": 90},
    "lossless.webp": {"lossless": True},
}


def saved(path: Path, pixels: np.ndarray) -> Path:
    name = path.name.partition(".")[2]
    Image.fromarray(pixels).save(path, **FORMATS[name])
    return path


def later(path: Path, than: Path) -> None:
    """Date a file as if it had been written a second after another, whatever the disk's clock can tell."""
    time = than.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(time, time))


@pytest.fixture(scope="module")
def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize("row", [0, HEIGHT // 3, HEIGHT - 1])
@pytest.mark.parametrize("name", FORMATS)
def test_an_edit_anywhere_in_a_picture_is_noticed(tmp_path: Path, noise: np.ndarray, name: str, row: int):
    picture, masks = saved(tmp_path / f"a.{name}", noise), tmp_path / "a_zi_masks.safetensors"
    masks.touch()
    header = {"picture_stamp": picture_stamp(picture)}
    assert is_untouched(picture, masks, header)
    edited = noise.copy()
    edited[row : row + 8, 300:308] = 255 - edited[row : row + 8, 300:308]
    saved(picture, edited)
    later(picture, masks)
    assert not is_untouched(picture, masks, header)


@pytest.mark.parametrize("name", FORMATS)
def test_another_picture_in_its_place_is_noticed_whatever_its_date(
    tmp_path: Path, noise: np.ndarray, name: str
):
    picture, masks = saved(tmp_path / f"a.{name}", noise), tmp_path / "a_zi_masks.safetensors"
    header = {"picture_stamp": picture_stamp(picture)}
    saved(picture, noise[::-1])
    os.utime(picture, ns=(1, 1))
    masks.touch()
    assert not is_untouched(picture, masks, header)


def test_a_copy_at_another_time_under_another_name_has_the_same_stamp(tmp_path: Path, noise: np.ndarray):
    picture = saved(tmp_path / "a.png", noise)
    shutil.copy(picture, tmp_path / "b.png")
    os.utime(tmp_path / "b.png", ns=(1, 1))
    assert picture_stamp(tmp_path / "b.png") == picture_stamp(picture)


def test_other_metadata_is_another_stamp(tmp_path: Path, noise: np.ndarray):
    before = picture_stamp(saved(tmp_path / "a.png", noise))
    about = PngInfo()
    about.add_text("Title", "a")
    Image.fromarray(noise).save(tmp_path / "a.png", pnginfo=about)
    assert picture_stamp(tmp_path / "a.png") != before


def test_copies_of_a_folder_get_the_same_mask_files_byte_for_byte(
    tmp_path: Path, photographs: Path, weights: Path
):
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    for name in ("astronaut.png", "zidane.jpg"):
        with Image.open(photographs / name) as picture:
            picture.convert("RGB").reduce(2).save(first / f"{Path(name).stem}.png")
    second.mkdir()
    for path in first.iterdir():
        (second / path.name).write_bytes(path.read_bytes())  # with another date
    for folder, workers in ((first, 1), (second, 3)):
        results = cache_pictures(
            picture_files(folder),
            SegmentRequest(),
            LazySegmenter("mediapipe"),
            CacheSettings(workers=workers),
        )
        assert {result.status for result in results} == {"segmented"}
    for picture in picture_files(first):
        masks = mask_path(picture)
        assert masks.read_bytes() == (second / masks.name).read_bytes()
