"""Mask pictures of other trainers, read and written."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.datasets.folder import load_picture, scan
from semantic_focus.datasets.interchange import export_masks, save_mask_picture
from semantic_focus.datasets.mask_file import mask_path, save_masks
from semantic_focus.datasets.mask_pictures import FORMS, import_mask, read_mask_picture
from semantic_focus.datasets.report import MARK as REPORT_MARK
from semantic_focus.files.writing import version_of, write_png
from semantic_focus.regions.masks import SemanticMasks

SIZE = (9, 14)
"""Height and width: odd and unequal, so that nothing fits by accident."""


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two pictures with mask files: a.jpg and b.png; a face of 0.5 in the left half, hair in one row."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.jpg", "b.png"):
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(folder / name)
        masks = torch.zeros(1, 3, *SIZE)
        masks[0, 0, :, :7] = 0.5
        masks[0, 1, 0] = 0.25
        masks[0, 2] = 1 - masks[0, :2].sum(0)
        save_masks(mask_path(folder / name), SemanticMasks(masks, ("face", "hair", "background")))
    return folder


def pictures(dataset: Path) -> list[Path]:
    return [dataset / "a.jpg", dataset / "b.png"]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_exported_is_imported_again(dataset, tmp_path, form):
    """The face is 0.5, times 0.6 is 0.3, in steps of 1/255; hair is 0.25 or 64 of 255, times 1."""
    folder = None if form == "masklabel" else tmp_path / "masks"
    files = export_masks(pictures(dataset), folder, form, {"face": 0.6, "hair": 1.0})
    names = {"masklabel": ["a-masklabel.png", "b-masklabel.png"]}.get(form, ["a.png", "b.png"])
    assert [file.name for file in files] == names
    assert {file.parent for file in files} == {folder or dataset}
    for picture, file in zip(pictures(dataset), files, strict=True):
        mask = import_mask(file, form) if form == "alpha" else import_mask(picture, form, folder)
        assert mask.shape == SIZE
        torch.testing.assert_close(mask[1:, :7], torch.full((8, 7), 0.3), atol=1.5 / 255, rtol=0)
        torch.testing.assert_close(mask[0, 7:], torch.full((7,), 0.25), atol=1.5 / 255, rtol=0)
        assert mask[1:, 7:].max() == 0


@pytest.mark.parametrize("form", ["masklabel", "folder"])
def test_mask_pictures_are_8_bit_grey(dataset, tmp_path, form):
    for file in export_masks(pictures(dataset), tmp_path / "masks", form, {"background": 1}):
        with Image.open(file) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "L", (14, 9))


def test_a_picture_with_alpha_keeps_its_colours_even_where_it_is_transparent(dataset, tmp_path):
    file = export_masks([dataset / "b.png"], tmp_path / "cut", "alpha", {"hair": 1.0})[0]
    with Image.open(file) as cut, Image.open(dataset / "b.png") as picture:
        assert cut.mode == "RGBA"
        np.testing.assert_array_equal(np.asarray(cut)[..., :3], np.asarray(picture))


def test_weights_add_up_to_1_at_most_and_the_rest_has_a_weight(dataset, tmp_path):
    masks = SemanticMasks(torch.full((1, 1, *SIZE), 0.6), ("tattoo",))
    mask_path(dataset / "b.png").unlink()
    save_masks(mask_path(dataset / "b.png"), masks)
    file = export_masks([dataset / "b.png"], None, "masklabel", {"tattoo": 0.5}, fallback=0.25)[0]
    # 0.6 of 255 is 153: 0.5 * 0.6 + 0.25 * 0.4 = 0.4, which is 102 of 255
    assert np.unique(np.asarray(Image.open(file))).tolist() == [102]
    file = export_masks([dataset / "b.png"], None, "masklabel", {"tattoo": 2.0})[0]
    assert np.unique(np.asarray(Image.open(file))).tolist() == [255]


def test_exported_masklabels_are_no_pictures_of_the_dataset(dataset):
    export_masks(pictures(dataset), None, "masklabel", {"face": 1})
    assert [picture.path for picture in scan(dataset, "a caption").pictures] == pictures(dataset)


def test_nothing_is_left_half_written(dataset):
    files = export_masks(pictures(dataset), None, "masklabel", {"face": 1})
    before = {path.name for path in dataset.iterdir()}
    assert before == {"a.jpg", "b.png", "a_zi_masks.safetensors", "b_zi_masks.safetensors"} | {
        file.name for file in files
    }


def test_ours_is_replaced_and_a_mask_made_by_hand_is_not(dataset):
    first = export_masks(pictures(dataset), None, "masklabel", {"face": 1})[0].read_bytes()
    assert export_masks(pictures(dataset), None, "masklabel", {"hair": 1})[0].read_bytes() != first
    by_hand = dataset / "b-masklabel.png"
    Image.new("L", (14, 9), 255).save(by_hand)
    kept = (dataset / "a-masklabel.png").read_bytes(), by_hand.read_bytes()
    with pytest.raises(ValueError, match=r"b-masklabel\.png: it was made by hand.*move it away"):
        export_masks(pictures(dataset), None, "masklabel", {"face": 1})
    assert ((dataset / "a-masklabel.png").read_bytes(), by_hand.read_bytes()) == kept


def folder(path):
    path.mkdir()


def pipe(path):
    os.mkfifo(path)


def link_to_a_picture(path):
    Image.new("L", (14, 9)).save(path.parent / "precious.png")
    path.symlink_to(path.parent / "precious.png")


def link_to_nothing(path):
    path.symlink_to(path.parent / "nothing.png")


def link_to_one_of_ours(path):
    save_mask_picture(path.parent / "ours.png", torch.ones(9, 14))
    path.symlink_to(path.parent / "ours.png")


def report(path):
    write_png(path, Image.new("RGB", (14, 9)), REPORT_MARK)


def cut_short(path):
    save_mask_picture(path, torch.ones(9, 14))
    path.write_bytes(path.read_bytes()[:20])


@pytest.mark.parametrize(
    "make", [folder, pipe, link_to_a_picture, link_to_nothing, link_to_one_of_ours, report, cut_short]
)
def test_whatever_else_is_in_the_place_of_an_export_stays(dataset, tmp_path, make):
    out = tmp_path / "masks"
    out.mkdir()
    make(out / "b.png")
    before = {path.name: version_of(path) for path in out.iterdir()}
    with pytest.raises(ValueError, match=r"b\.png: it was made by hand or by another program, and is never"):
        export_masks(pictures(dataset), out, "folder", {"face": 1})
    assert {path.name: version_of(path) for path in out.iterdir()} == before


def test_an_export_makes_its_folder_and_no_other(dataset, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder .*mistyped to make it in"):
        export_masks(pictures(dataset), tmp_path / "mistyped" / "masks", "folder", {"face": 1})
    assert not (tmp_path / "mistyped").exists()
    assert len(export_masks(pictures(dataset), tmp_path / "masks", "folder", {"face": 1})) == 2


def test_exports_that_would_land_among_the_pictures(dataset):
    for form in ("folder", "alpha"):
        with pytest.raises(ValueError, match=r"a\.png would be taken for one of them: give another folder"):
            export_masks(pictures(dataset), dataset, form, {"face": 1})


def test_two_pictures_that_would_share_a_mask(dataset, tmp_path):
    other = tmp_path / "more"
    other.mkdir()
    Image.new("RGB", (14, 9)).save(other / "a.png")
    with pytest.raises(ValueError, match=r"masks/a\.png: .*a\.jpg and .*more/a\.png would share it"):
        export_masks([*pictures(dataset), other / "a.png"], tmp_path / "masks", "folder", {"face": 1})
    assert not (tmp_path / "masks").exists()


def test_export_errors_name_the_file(dataset, tmp_path):
    with pytest.raises(ValueError, match=r"a_zi_masks\.safetensors: no category 'fase'.*face, hair"):
        export_masks(pictures(dataset), None, "masklabel", {"fase": 1})
    mask_path(dataset / "b.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"b_zi_masks\.safetensors.*Segment the picture first"):
        export_masks([dataset / "b.png"], None, "masklabel", {"face": 1})
    with pytest.raises(ValueError, match="masklabel, folder, alpha; got 'gimp'"):
        export_masks(pictures(dataset), None, "gimp", {"face": 1})
    with pytest.raises(ValueError, match="'folder' needs the folder"):
        export_masks(pictures(dataset), None, "folder", {"face": 1})
    with pytest.raises(ValueError, match="'alpha' needs a folder"):
        export_masks(pictures(dataset), None, "alpha", {"face": 1})


def test_mask_file_of_another_cut_of_the_picture(dataset):
    Image.new("RGB", (14, 10)).save(dataset / "b.png")
    with pytest.raises(ValueError, match=r"b_zi_masks\.safetensors: masks are 14x9, the picture is 14x10"):
        export_masks([dataset / "b.png"], None, "masklabel", {"face": 1})


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".BMP"])
def test_masks_in_a_folder_have_the_pictures_stem_and_any_suffix(dataset, tmp_path, suffix):
    Image.new("L", (14, 9), 255).save(tmp_path / f"a{suffix}")
    assert import_mask(dataset / "a.jpg", "folder", tmp_path).min() > 0.99


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA", "P", "I;16"])
def test_every_kind_of_grey_file_gives_the_same_mask(tmp_path, mode):
    grey = np.zeros(SIZE, np.uint8)
    grey[2:5] = 255
    path = tmp_path / "mask.png"
    if mode == "I;16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(grey).convert(mode).save(path)
    torch.testing.assert_close(read_mask_picture(path), torch.from_numpy(grey).float() / 255)


def test_what_is_transparent_in_a_mask_is_black(tmp_path):
    white = Image.new("RGBA", (14, 9), (255, 255, 255, 0))
    white.paste((255, 255, 255, 255), (0, 0, 14, 3))
    white.save(tmp_path / "mask.png")
    mask = read_mask_picture(tmp_path / "mask.png")
    assert mask[:3].min() == 1 and mask[3:].max() == 0


def test_alpha_of_the_picture_itself(tmp_path):
    picture = Image.new("RGBA", (14, 9), (10, 20, 30, 51))
    picture.save(tmp_path / "a.png")
    torch.testing.assert_close(import_mask(tmp_path / "a.png", "alpha"), torch.full(SIZE, 0.2))


def test_import_follows_the_pictures_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: shown turned by 90 degrees
    Image.new("RGB", (14, 9)).save(tmp_path / "a.jpg", exif=exif)
    assert load_picture(tmp_path / "a.jpg").shape == (14, 9, 3)
    Image.new("L", (9, 14), 255).save(tmp_path / "a-masklabel.png")
    assert import_mask(tmp_path / "a.jpg", "masklabel").shape == (14, 9)


def test_import_errors_name_the_file_and_the_way_out(dataset, tmp_path):
    picture = dataset / "a.jpg"
    with pytest.raises(ValueError, match=r"a-masklabel\.png: no mask of a\.jpg there"):
        import_mask(picture, "masklabel")
    with pytest.raises(ValueError, match=r"nowhere: no such folder"):
        import_mask(picture, "folder", tmp_path / "nowhere")
    masks = tmp_path / "masks"
    masks.mkdir()
    with pytest.raises(ValueError, match=r"masks: no mask of a\.jpg there. Put a grey picture a\.png"):
        import_mask(picture, "folder", masks)
    Image.new("L", (28, 18)).save(masks / "a.png")
    with pytest.raises(ValueError, match=r"a\.png: the mask is 28x18 but a\.jpg is 14x9: .*resize"):
        import_mask(picture, "folder", masks)
    Image.new("L", (14, 9)).save(masks / "a.webp")
    with pytest.raises(ValueError, match=r"a\.png and a\.webp are both masks of a\.jpg: keep one"):
        import_mask(picture, "folder", masks)
    with pytest.raises(ValueError, match=r"a\.jpg: it has no alpha channel"):
        import_mask(picture, "alpha")
    with pytest.raises(ValueError, match=r"b\.png: a picture in colours, no mask"):
        import_mask(dataset / "b.png", "folder", dataset)
    (masks / "b.png").write_bytes((dataset / "b.png").read_bytes()[:80])
    with pytest.raises(ValueError, match=r"b\.png: cannot be read as a picture"):
        import_mask(dataset / "b.png", "folder", masks)


@pytest.mark.parametrize("fallback", [float("nan"), -0.1, 1.5])
def test_a_fallback_that_is_no_share_is_refused(tmp_path: Path, fallback: float):
    with pytest.raises(ValueError, match="fallback is a weight of 0 to 1"):
        export_masks([], tmp_path, "folder", {"face": 1.0}, fallback)
