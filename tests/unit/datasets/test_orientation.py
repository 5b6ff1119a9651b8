"""Photographs that are stored turned, and their masks for programs that look at the EXIF field or do not."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file

from semantic_focus.commands import main as cli
from semantic_focus.datasets.cached_latents import DatasetSource, load_dataset
from semantic_focus.datasets.folder import DatasetError, load_picture
from semantic_focus.datasets.interchange import export_masks
from semantic_focus.datasets.mask_file import mask_path, save_masks
from semantic_focus.datasets.mask_pictures import import_mask, import_masks
from semantic_focus.datasets.orientation import orientation_of, shape_tells

TURNED = range(2, 9)
"""The EXIF orientations of what is not stored upright."""
SHAPES = {"wide": (16, 24), "square": (20, 20)}
"""Height and width as they are stored."""


def stored_pixels(shape: tuple[int, int]) -> np.ndarray:
    """Grey, with a white rectangle in a corner and a half white one along a side: no turn gives the same."""
    pixels = np.zeros(shape, np.uint8)
    pixels[:4, :8] = 255
    pixels[-3:, :] = 128
    return pixels


def write_photograph(path: Path, shape: tuple[int, int], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored_pixels(shape)).convert("RGB").save(path, exif=exif)


def segment(path: Path) -> None:
    """Masks that are the picture itself: where it is white is a face."""
    face = load_picture(path)[..., 0]
    save_masks(mask_path(path), {"face": face, "background": 1 - face}, encoding="float")


@pytest.fixture(params=TURNED)
def orientation(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(params=SHAPES)
def photograph(request: pytest.FixtureRequest, tmp_path: Path, orientation: int) -> Path:
    (tmp_path / "set").mkdir()
    path = tmp_path / "set" / "photograph.png"
    write_photograph(path, SHAPES[request.param], orientation)
    segment(path)
    return path


def test_a_mask_as_stored_lies_on_the_stored_pixels(photograph: Path, tmp_path: Path, orientation: int):
    """That is what sd-scripts and diffusion-pipe lay it on."""
    assert orientation_of(photograph) == orientation
    [mask] = export_masks([photograph], tmp_path / "masks", "folder", {"face": 1}, orientation="as stored")
    with Image.open(mask) as found, Image.open(photograph) as stored:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(stored)[..., 0])


@pytest.mark.parametrize("form", ["folder", "masklabel"])
def test_an_upright_mask_lies_on_what_a_viewer_shows(photograph: Path, tmp_path: Path, form: str):
    """That is what OneTrainer lays it on, by Pillow's own function."""
    folder = tmp_path / "masks"
    [mask] = export_masks([photograph], folder, form, {"face": 1}, orientation="upright")
    with Image.open(mask) as found, Image.open(photograph) as stored:
        np.testing.assert_array_equal(np.asarray(found), np.asarray(ImageOps.exif_transpose(stored))[..., 0])


@pytest.mark.parametrize("written", ["as stored", "upright"])
def test_what_was_exported_comes_back_upright_unasked(photograph: Path, tmp_path: Path, written: str):
    export_masks([photograph], tmp_path / "masks", "folder", {"face": 1}, orientation=written)
    mask = import_mask(photograph, "folder", tmp_path / "masks")
    torch.testing.assert_close(mask, load_picture(photograph)[..., 0])


def other_masks(photograph: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Masks of another program: as the picture is stored, and as it is shown."""
    with Image.open(photograph) as stored:
        for name, pixels in (("as stored", stored), ("upright", ImageOps.exif_transpose(stored))):
            (folder / name).mkdir(parents=True)
            Image.fromarray(np.asarray(pixels)[..., 0]).save(folder / name / photograph.name)
            yield name, folder / name


def test_masks_of_another_program_are_taken_as_they_are_said_to_be(photograph: Path, tmp_path: Path):
    for made, folder in other_masks(photograph, tmp_path / "masks"):
        mask = import_mask(photograph, "folder", folder, made)
        torch.testing.assert_close(mask, load_picture(photograph)[..., 0])


def test_unsaid_their_size_tells_or_they_are_refused(photograph: Path, tmp_path: Path, orientation: int):
    wide = load_picture(photograph).shape[0] != load_picture(photograph).shape[1]
    assert shape_tells(photograph) == (wide and orientation >= 5)
    for _, folder in other_masks(photograph, tmp_path / "masks"):
        if shape_tells(photograph):
            mask = import_mask(photograph, "folder", folder)
            torch.testing.assert_close(mask, load_picture(photograph)[..., 0])
        else:
            with pytest.raises(ValueError, match=r"photograph\.png: stored turned.*'as stored'.*'upright'"):
                import_mask(photograph, "folder", folder)


def test_a_mask_that_is_stored_turned_like_its_picture_fits_it(photograph: Path, tmp_path: Path):
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / photograph.name).write_bytes(photograph.read_bytes())
    torch.testing.assert_close(import_mask(photograph, "folder", folder), load_picture(photograph)[..., 0])


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Two photographs that are stored turned and square, and one that is not turned."""
    folder = tmp_path / "album"
    folder.mkdir()
    for name, orientation in (("one", 6), ("three", 3), ("upright", 1)):
        write_photograph(folder / f"{name}.png", SHAPES["square"], orientation)
        segment(folder / f"{name}.png")
    return folder


def test_the_shell_names_all_of_them_at_once_and_writes_nothing(album: Path, tmp_path: Path, capsys):
    arguments = ["export", str(album), "--form", "folder", "--to", str(tmp_path / "masks")]
    assert cli.main(arguments) == 2
    said = capsys.readouterr().err
    assert "one.png, three.png: stored turned" in said and "upright.png" not in said
    assert "--as-stored" in said and "--upright" in said
    assert not (tmp_path / "masks").exists()
    assert cli.main([*arguments, "--as-stored"]) == 0
    for name in ("one", "three", "upright"):
        with Image.open(tmp_path / "masks" / f"{name}.png") as mask:
            np.testing.assert_array_equal(np.asarray(mask), stored_pixels(SHAPES["square"]))


@pytest.mark.parametrize(("form", "to"), [("masklabel", ()), ("alpha", ("--to", "masks"))])
def test_forms_that_show_pictures_upright_ask_nothing_and_refuse_as_stored(
    album: Path, tmp_path: Path, capsys, monkeypatch, form: str, to: tuple[str, ...]
):
    monkeypatch.chdir(tmp_path)
    arguments = ["export", str(album), "--form", form, *to]
    assert cli.main([*arguments, "--as-stored"]) == 2
    assert f"masks of the form '{form}' are upright" in capsys.readouterr().err
    assert cli.main(arguments) == 0


def test_all_masks_that_nothing_tells_of_are_named_at_once(album: Path, tmp_path: Path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("one", "three", "upright"):
        Image.new("L", SHAPES["square"]).save(masks / f"{name}.png")
    pictures = sorted(album.glob("*.png"))
    with pytest.raises(ValueError, match=r"masks: one\.png, three\.png: stored turned"):
        import_masks(pictures, "folder", masks)
    assert len(import_masks(pictures, "folder", masks, "upright")[0]) == 3
    with pytest.raises(ValueError, match="by size, upright, as stored; got 'sideways'"):
        import_masks(pictures, "folder", masks, "sideways")


def test_latents_of_another_trainer_whose_orientation_nothing_tells_are_refused(tmp_path: Path):
    for name, orientation in (("a", 3), ("b", 6), ("c", 1)):
        write_photograph(tmp_path / f"{name}.png", (64, 64), orientation)
        segment(tmp_path / f"{name}.png")
        save_file({"latents_1x8x8_bf16": torch.zeros(16, 8, 8)}, tmp_path / f"{name}_64x64_zi.safetensors")
        save_file({"varlen_vl_embed_bf16": torch.zeros(3, 8)}, tmp_path / f"{name}_zi_te.safetensors")
    with pytest.raises(DatasetError, match=r"a\.png, b\.png: stored turned.*Save these pictures upright"):
        load_dataset([DatasetSource(tmp_path)])
    for name in ("a", "b"):
        write_photograph(tmp_path / f"{name}.png", (64, 64), 1)
    assert load_dataset([DatasetSource(tmp_path)]).names == ["a", "b", "c"]
