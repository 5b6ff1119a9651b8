"""Mask pictures as other programs leave them, and what is said of sets that train nothing."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.datasets.mask_pictures import MaskPictureError, import_mask, import_masks
from semantic_focus.datasets.on_disk import OnDisk

SHAPE, SIZE = (16, 24), (24, 16)
REGION = np.zeros(SHAPE, bool)
REGION[4:12, 6:18] = True

BINARY, ALPHA, DEEP = "its values go up to 1", "its alpha channel was read", "its values go up to 255"


def grey(white: int, kind: type = np.uint8) -> Image.Image:
    return Image.fromarray((REGION * white).astype(kind))


def layered(colour: int, alpha: np.ndarray) -> Image.Image:
    layers = np.full((*SHAPE, 4), colour, np.uint8)
    layers[..., 3] = alpha
    return Image.fromarray(layers)


def palette() -> Image.Image:
    indexed = Image.fromarray(REGION.astype(np.uint8), "P")
    indexed.putpalette([0, 0, 0, 1, 1, 1])
    return indexed


@pytest.mark.parametrize(
    ("mask", "note"),
    [
        (grey(255), ""),
        (grey(1), BINARY),
        (palette(), BINARY),
        (grey(1, np.uint16), BINARY),
        (grey(255, np.uint16), DEEP),
        (grey(65535, np.uint16), ""),
        (grey(255).convert("1"), ""),
        (layered(0, REGION * np.uint8(255)), ALPHA),
        (layered(255, REGION * np.uint8(255)), ""),
        (Image.merge("LA", (Image.new("L", SIZE), grey(255))), ALPHA),
    ],
)
def test_a_mask_is_read_as_it_is_meant_and_that_is_said(tmp_path: Path, mask: Image.Image, note: str):
    Image.new("RGB", SIZE).save(tmp_path / "a.png")
    mask.save(tmp_path / "a-masklabel.png")
    (found,), notes = import_masks([tmp_path / "a.png"], "masklabel")
    assert isinstance(found, OnDisk) and found.shape == (1, *SHAPE)
    torch.testing.assert_close(found[0], torch.from_numpy(REGION).float())
    assert [("a.png" in line, note in line) for line in notes] == ([(True, True)] if note else [])


def test_a_mask_that_is_changed_meanwhile_is_refused_by_name(tmp_path: Path):
    Image.new("RGB", SIZE).save(tmp_path / "a.png")
    grey(255).save(tmp_path / "a-masklabel.png")
    (found,), _ = import_masks([tmp_path / "a.png"], "masklabel")
    Image.new("L", SIZE, 7).save(tmp_path / "a-masklabel.png")
    with pytest.raises(MaskPictureError, match=r"a-masklabel\.png: it was changed, moved or deleted after"):
        found.sum()


FULL, EMPTY = np.full(SHAPE, 255, np.uint8), np.zeros(SHAPE, np.uint8)
RIGHT = (REGION * 255).astype(np.uint8)
TO_THE_EDGE = RIGHT.copy()
TO_THE_EDGE[8:, 6:18] = 255
NEARLY_EMPTY = EMPTY.copy()
NEARLY_EMPTY[8, 8] = 200


@pytest.mark.parametrize(
    ("masks", "said"),
    [
        ([RIGHT, TO_THE_EDGE], []),
        ([RIGHT, NEARLY_EMPTY], []),
        ([RIGHT, EMPTY], ["1 of 2 masks are black all over, and train nothing: 1.png"]),
        ([EMPTY, EMPTY], ["2 of 2 masks are black all over, and train nothing: 0.png, 1.png"]),
        ([FULL, FULL], ["2 of 2 masks are white all over"]),
        ([RIGHT, FULL], []),
        ([255 - RIGHT, 255 - RIGHT], ["2 of 2 masks are white at the border and black inside"]),
        ([255 - RIGHT, RIGHT], []),
        ([255 - RIGHT, EMPTY], ["black all over, and train nothing: 1.png", "1 of 2 masks are white at"]),
    ],
)
@pytest.mark.parametrize("form", ["masklabel", "folder", "alpha"])
def test_sets_that_train_nothing_or_look_inverted_are_told(
    tmp_path: Path, masks: list[np.ndarray], said: list[str], form: str
):
    pictures, folder = [], tmp_path / "masks"
    folder.mkdir()
    for number, mask in enumerate(masks):
        pictures.append(tmp_path / f"{number}.png")
        picture = Image.fromarray(np.dstack([np.full((*SHAPE, 3), 90, np.uint8), mask]))
        (picture if form == "alpha" else picture.convert("RGB")).save(pictures[-1])
        Image.fromarray(mask).save(tmp_path / f"{number}-masklabel.png")
        Image.fromarray(mask).save(folder / f"{number}.png")
    _, notes = import_masks(pictures, form, folder if form == "folder" else None)
    assert len(notes) == len(said)
    for line, words in zip(notes, said, strict=True):
        assert words in line


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPG", ".webp", ".tif"])
@pytest.mark.parametrize("ending", ["-masklabel", "-MaskLabel"])
def test_a_masklabel_may_be_any_picture(tmp_path: Path, suffix: str, ending: str):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("L", (8, 8), 255).save(tmp_path / f"a{ending}{suffix}")
    assert import_mask(tmp_path / "a.png", "masklabel").min() > 0.99


def no_mask(folder: Path) -> None:
    (folder / "1-masklabel.png").unlink()


def another_size(folder: Path) -> None:
    Image.new("L", (9, 9)).save(folder / "1-masklabel.png")


def torn(folder: Path) -> None:
    (folder / "1-masklabel.png").write_bytes(b"torn")


def two(folder: Path) -> None:
    Image.new("L", (8, 8)).save(folder / "1-masklabel.jpg")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(no_mask, "no mask of 1.png"), (another_size, "the mask is 9x9"), (torn, "cannot be read as a picture")]
    + [(two, "are both masks of 1.png: keep one")],
)
def test_every_mask_that_cannot_be_had_is_named_at_once(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
):
    pictures = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(pictures):
        Image.new("RGB", (8, 8)).save(path)
        Image.new("L", (8, 8), 255).save(tmp_path / f"{number}-masklabel.png")
    spoil(tmp_path)
    (tmp_path / "2-masklabel.png").unlink()
    with pytest.raises(MaskPictureError) as caught:
        import_masks(pictures, "masklabel")
    first, second = str(caught.value).splitlines()
    assert said in first and "no mask of 2.png" in second


def test_a_folder_of_masks_is_listed_once_for_all_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pictures, masks = [tmp_path / f"{number}.png" for number in range(5)], tmp_path / "masks"
    masks.mkdir()
    for picture in pictures:
        Image.new("RGB", (4, 4)).save(picture)
        Image.new("L", (4, 4), 255).save(masks / picture.name)
    looks, listed = [], Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: looks.append(path) or listed(path))
    found, _ = import_masks(pictures, "folder", masks)
    assert len(found) == 5 and looks == [masks]
