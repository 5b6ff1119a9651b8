"""Small pictures look as the dataset loader reads the large ones, and regions lie where the masks are."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from semantic_focus.categories import SEMANTIC_CATEGORIES
from semantic_focus.datasets.folder import DatasetError, load_picture
from semantic_focus.datasets.mask_file import mask_path, save_masks
from semantic_focus.datasets.thumbnails import region_layer, thumbnail
from semantic_focus.regions.masks import SemanticMasks


def quarters(width: int = 400, height: int = 200) -> np.ndarray:
    """uint8[H, W, 3]: red, green, blue and yellow quarters."""
    picture = np.zeros((height, width, 3), np.uint8)
    half, middle = height // 2, width // 2
    picture[:half, :middle], picture[:half, middle:] = (255, 0, 0), (0, 255, 0)
    picture[half:, :middle], picture[half:, middle:] = (0, 0, 255), (255, 255, 0)
    return picture


def in_quarters(picture: np.ndarray) -> np.ndarray:
    """Float[4, 3]: the colours in the middle of the quarters."""
    height, width = picture.shape[:2]
    places = [(1, 1), (1, 3), (3, 1), (3, 3)]
    return np.array([picture[height * y // 4, width * x // 4] for y, x in places], float)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_thumbnails_are_turned_as_the_loader_turns_pictures(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(quarters()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    small = thumbnail(tmp_path / "a.jpg", 100)
    assert small.size == ((100, 50) if orientation < 5 else (50, 100))
    whole = load_picture(tmp_path / "a.jpg").numpy() * 255
    assert np.abs(in_quarters(np.asarray(small)) - in_quarters(whole)).max() < 12


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "I;16", "CMYK"])
def test_every_mode_looks_as_the_loader_reads_it(tmp_path: Path, mode: str):
    picture = Image.fromarray(quarters())
    if mode == "I;16":
        grey = quarters()[..., 0].astype(np.uint16) * 200
        picture = Image.fromarray(grey)
    elif mode in ("RGBA", "LA"):
        picture.putalpha(128)
        picture = picture.convert(mode)
    else:
        picture = picture.convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture.save(path)
    whole = load_picture(path).numpy() * 255
    assert np.abs(in_quarters(np.asarray(thumbnail(path, 100))) - in_quarters(whole)).max() < 8


def test_a_small_picture_stays_as_it_is(tmp_path: Path):
    Image.fromarray(quarters(40, 20)).save(tmp_path / "a.png")
    assert thumbnail(tmp_path / "a.png", 192).size == (40, 20)


def test_a_torn_file_is_named(tmp_path: Path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(
        tmp_path / "a.png"
    )
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=r"a\.png: cannot be read"):
        thumbnail(tmp_path / "a.png", 32)


def test_regions_are_where_the_masks_are_in_the_colours_asked_for(tmp_path: Path):
    Image.fromarray(quarters()).save(tmp_path / "a.png")
    regions = torch.zeros(1, 4, 200, 400)
    regions[0, 0, :100, :200] = 1  # face
    regions[0, 1, :100, 200:] = 1  # hair
    regions[0, 2, 100:, :200] = 1  # background
    regions[0, 3] = 1  # lighting
    labels = ("face", "hair", "background", "lighting")
    save_masks(mask_path(tmp_path / "a.png"), SemanticMasks(regions, labels, (), {}))
    layer = region_layer(tmp_path / "a.png", 100, {"hair": (1, 2, 3)})
    assert layer.size == thumbnail(tmp_path / "a.png", 100).size == (100, 50)
    face, background = (SEMANTIC_CATEGORIES[name].colour for name in ("face", "background"))
    drawn = [tuple(colour) for colour in in_quarters(np.asarray(layer)).astype(int)]
    assert drawn[:3] == [(*face, 255), (1, 2, 3, 255), (*background, 128)]
    assert drawn[3][3] == 0
