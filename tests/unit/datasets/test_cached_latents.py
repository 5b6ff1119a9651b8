"""Folders of cached latents and text embeddings, written here as the documented format says."""

import logging
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from semantic_focus.datasets.cache import picture_digest
from semantic_focus.datasets.cached_latents import DatasetSource, find_pictures, load_dataset
from semantic_focus.datasets.folder import DatasetError, load_picture
from semantic_focus.datasets.mask_file import MaskFileError, save_masks
from semantic_focus.regions.hand import with_hand
from semantic_focus.regions.layers import HandLayer
from semantic_focus.regions.masks import SemanticMasks


def write_latent(
    folder: Path, stem: str, width: int, height: int, value: float = 0.0, name: str = ""
) -> Path:
    rows, columns = height // 8, width // 8
    path = folder / (name or f"{stem}_{width}x{height}_zi.safetensors")
    latents = torch.full((16, rows, columns), value, dtype=torch.bfloat16)
    save_file({f"latents_1x{rows}x{columns}_bf16": latents}, path)
    return path


def write_text(folder: Path, stem: str, tokens: int = 3, **more: torch.Tensor) -> Path:
    path = folder / f"{stem}_zi_te.safetensors"
    embedding = torch.arange(tokens * 2560).view(tokens, 2560).to(torch.bfloat16)
    save_file({"varlen_vl_embed_bf16": embedding, **more}, path)
    return path


def write_masks(folder: Path, stem: str, width: int, height: int, digest: str = "") -> Path:
    """A face in the left half, background in the right one."""
    path = folder / f"{stem}_zi_masks.safetensors"
    face = torch.zeros(height, width)
    face[:, : width // 2] = 1
    masks = SemanticMasks(torch.stack((face, 1 - face))[None], ("face", "background"))
    path.unlink(missing_ok=True)
    save_masks(path, masks, {"image_digest": digest} if digest else None)
    return path


def write_picture(folder: Path, stem: str, width: int, height: int) -> str:
    """The digest of a new picture."""
    Image.new("RGB", (width, height), (200, 100, 50)).save(folder / f"{stem}.png")
    return picture_digest(load_picture(folder / f"{stem}.png"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One complete picture, a_b, of 64x32 pixels: latents of 8x4 cells."""
    write_latent(tmp_path, "a_b", 64, 32)
    write_text(tmp_path, "a_b")
    write_masks(tmp_path, "a_b", 64, 32)
    return tmp_path


def load(folder: Path, **options):
    return load_dataset([DatasetSource(folder, **options)])


def test_latents_come_back_to_what_the_vae_gave(folder: Path):
    write_latent(folder, "a_b", 64, 32, value=0.5)
    samples = load(folder).latents[0]["samples"]
    assert samples.shape == (1, 16, 4, 8)
    # z with (z - 0.1159) * 0.3611 = 0.5
    torch.testing.assert_close(samples, torch.full((1, 16, 4, 8), 1.50056), atol=1e-5, rtol=0)


def test_text_is_one_conditioning_without_extras(folder: Path):
    [[embedding, extras]] = load(folder).conditionings[0]
    assert embedding.shape == (1, 3, 2560) and embedding.dtype == torch.float32 and extras == {}
    assert embedding[0, 0, :3].tolist() == [0, 1, 2]


def test_a_pooled_embedding_is_handed_on(folder: Path):
    write_text(folder, "a_b", pooled_output=torch.ones(7))
    assert load(folder).conditionings[0][0][1]["pooled_output"].tolist() == [[1.0] * 7]


def test_masks_are_averaged_over_the_latent_cells(folder: Path):
    masks = load(folder).masks[0]
    assert masks.labels == ("face", "background") and masks.size == (4, 8)
    assert masks.masks[0, 0].tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]] * 4


def test_what_a_person_mended_is_trained(folder: Path):
    path = write_masks(folder, "a_b", 64, 32)
    path.unlink()
    half = torch.zeros(32, 64)
    half[:, :32] = 1
    machine = SemanticMasks(
        torch.stack((half, 1 - half))[None], ("face", "background"), (), {"image_digest": "d"}
    )
    upper = torch.zeros(32, 64, dtype=torch.bool)
    upper[:16] = True
    save_masks(path, with_hand(machine, {"face": HandLayer(torch.full((32, 64), 51 / 255), upper)}))
    masks = load(folder).masks[0]
    below = [1.0, 1, 1, 1, 0, 0, 0, 0]
    torch.testing.assert_close(masks.masks[0, 0], torch.tensor([[0.2] * 8] * 2 + [below] * 2))
    torch.testing.assert_close(masks.masks[0, 1], 1 - masks.masks[0, 0])


def test_masks_at_the_size_of_a_larger_picture_follow_its_resizing(folder: Path):
    # 130x70 resized to a longest side of 64: 64x34.5, on multiples of 8 64x32
    write_masks(folder, "a_b", 130, 70)
    masks = load(folder).masks[0]
    assert masks.size == (4, 8)
    assert masks.masks[0, 0].mean().item() == pytest.approx(0.5)


def test_masks_of_another_aspect_are_refused_with_both_sizes(folder: Path):
    write_masks(folder, "a_b", 64, 64)
    with pytest.raises(DatasetError, match=r"a_b_zi_masks.*64x64.*64x32 pixels.*aspect"):
        load(folder)


def test_latents_of_odd_sides_keep_their_size(folder: Path):
    (folder / "a_b_64x32_zi.safetensors").unlink()
    write_latent(folder, "a_b", 72, 40)
    write_masks(folder, "a_b", 72, 40)
    dataset = load(folder)
    assert dataset.latents[0]["samples"].shape[-2:] == (5, 9) and dataset.masks[0].size == (5, 9)


def test_latents_under_the_other_name_are_found(folder: Path):
    (folder / "a_b_64x32_zi.safetensors").unlink()
    write_latent(folder, "a_b", 64, 32, name="a_b_zi_latent.safetensors")
    assert load(folder).names == ["a_b"]


def test_mask_and_text_files_are_never_taken_for_latents(folder: Path):
    assert [picture.latent.name for picture in find_pictures(DatasetSource(folder))] == [
        "a_b_64x32_zi.safetensors"
    ]


def test_pictures_above_the_limit_are_left_out(folder: Path):
    write_latent(folder, "large", 128, 64)
    write_text(folder, "large")
    write_masks(folder, "large", 128, 64)
    assert load(folder).names == ["a_b", "large"]
    assert load(folder, resolution_limit=64).names == ["a_b"]
    with pytest.raises(DatasetError, match="no cached latents of at most 32"):
        load(folder, resolution_limit=32)


def test_repeats_are_those_of_the_folder(folder: Path, tmp_path: Path):
    other = tmp_path / "other"
    other.mkdir()
    write_latent(other, "c", 64, 32)
    write_text(other, "c")
    write_masks(other, "c", 64, 32)
    dataset = load_dataset([DatasetSource(folder, 3), DatasetSource(other)])
    assert (dataset.names, dataset.repeats) == (["a_b", "c"], [3, 1])


def test_pictures_and_masks_may_lie_elsewhere(folder: Path, tmp_path: Path):
    images = tmp_path / "images"
    images.mkdir()
    (folder / "a_b_zi_masks.safetensors").rename(images / "a_b_zi_masks.safetensors")
    assert load(folder, image_directory=images).names == ["a_b"]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("a_b_zi_te.safetensors", "a_b: no text embedding"),
        ("a_b_zi_masks.safetensors", r"a_b: no masks .*\nMake the masks:\n.*semantic_focus masks"),
        ("a_b_64x32_zi.safetensors", r"a_b: no latents .*\n.*pictures without them is trained in a graph"),
    ],
)
def test_a_missing_file_is_named(folder: Path, missing: str, message: str):
    (folder / missing).unlink()
    with pytest.raises(DatasetError, match=message):
        load(folder)


def test_all_problems_are_told_at_once_up_to_five(folder: Path):
    for stem in "cdefgh":
        write_latent(folder, stem, 64, 32)
        write_text(folder, stem)
    with pytest.raises(DatasetError, match="and 1 more") as caught:
        load(folder)
    assert [f"{stem}: no masks" in str(caught.value) for stem in "cdefgh"] == [True] * 5 + [False]


def test_two_latents_of_one_picture_are_named(folder: Path):
    write_latent(folder, "a_b", 128, 64)
    with pytest.raises(DatasetError, match="a_b_128x64_zi.safetensors and a_b_64x32_zi.safetensors"):
        load(folder)


def test_a_name_that_lies_about_its_size_is_refused(folder: Path):
    (folder / "a_b_64x32_zi.safetensors").rename(folder / "a_b_32x64_zi.safetensors")
    with pytest.raises(DatasetError, match=r"its name says 32x64, its latents are of 64x32 pixels"):
        load(folder)


def test_latents_without_a_size_in_their_name_are_named(folder: Path):
    write_latent(folder, "x", 64, 32, name="x_zi.safetensors")
    with pytest.raises(DatasetError, match=r"x_zi\.safetensors: no size in its name"):
        load(folder)


def test_foreign_keys_are_named(folder: Path):
    save_file({"latent": torch.zeros(16, 4, 8)}, folder / "a_b_64x32_zi.safetensors")
    with pytest.raises(DatasetError, match="a_b_64x32_zi.*holds latent, expected latents"):
        load(folder)


def test_damaged_files_are_named(folder: Path):
    path = folder / "a_b_zi_te.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DatasetError, match="a_b_zi_te.safetensors: not a complete safetensors file"):
        load(folder)
    write_text(folder, "a_b")
    (folder / "a_b_zi_masks.safetensors").write_bytes(b"no masks")
    with pytest.raises(MaskFileError, match="a_b_zi_masks"):
        load(folder)


def test_values_that_are_no_numbers_are_refused(folder: Path):
    write_latent(folder, "a_b", 64, 32, value=float("nan"))
    with pytest.raises(DatasetError, match="a_b_64x32_zi.*no numbers"):
        load(folder)


def test_masks_of_an_edited_picture_are_stale(folder: Path):
    digest = write_picture(folder, "a_b", 64, 32)
    write_masks(folder, "a_b", 64, 32, digest)
    assert load(folder).names == ["a_b"]
    Image.new("RGB", (64, 32), (0, 0, 0)).save(folder / "a_b.png")
    with pytest.raises(DatasetError, match=r"a_b_zi_masks.*stale.*edited since.*a_b\.png"):
        load(folder)


def test_masks_made_by_hand_need_no_digest(folder: Path):
    write_picture(folder, "a_b", 64, 32)
    assert load(folder).names == ["a_b"]


def test_no_folder_and_empty_folder_are_named(tmp_path: Path):
    with pytest.raises(DatasetError, match="nowhere: no such folder"):
        load(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="no cached latents"):
        load(tmp_path)


def test_that_text_embeddings_do_not_say_how_they_were_made_is_said_once(
    folder: Path, caplog: pytest.LogCaptureFixture
):
    with caplog.at_level(logging.WARNING):
        load(folder)
    assert len([r for r in caplog.records if "text embeddings do not say" in r.message]) == 1


class TestNames:
    """Pictures of one name are held out together, so a name is one picture's alone."""

    def sources(self, tmp_path: Path, one: str, two: str, **options) -> list[DatasetSource]:
        """Two folders with a picture 001 each, whose masks tell these digests."""
        folders = [tmp_path / "anna" / "cache", tmp_path / "bert" / "cache"]
        for folder, digest in zip(folders, (one, two), strict=True):
            folder.mkdir(parents=True)
            write_latent(folder, "001", 64, 32)
            write_text(folder, "001")
            write_masks(folder, "001", 64, 32, digest)
        return [DatasetSource(folder, **options) for folder in folders]

    @pytest.mark.parametrize(("one", "two"), [("a" * 16, "b" * 16), ("", "")])
    def test_another_picture_of_the_same_stem_has_another_name(self, tmp_path: Path, one: str, two: str):
        names = load_dataset(self.sources(tmp_path, one, two)).names
        assert names == [f"{tmp_path / person / 'cache'}/001" for person in ("anna", "bert")]

    def test_the_folder_alone_tells_them_apart_where_it_can(self, tmp_path: Path):
        sources = self.sources(tmp_path, "a" * 16, "b" * 16)
        moved = sources[1].cache_directory.rename(tmp_path / "bert" / "latents")
        assert load_dataset([sources[0], DatasetSource(moved)]).names == ["cache/001", "latents/001"]

    def test_one_picture_in_two_sizes_keeps_its_name(self, tmp_path: Path):
        assert load_dataset(self.sources(tmp_path, "a" * 16, "a" * 16)).names == ["001", "001"]
        beside = tmp_path / "images"
        beside.mkdir()
        write_masks(beside, "001", 64, 32)
        sources = [
            DatasetSource(tmp_path / who / "cache", image_directory=beside) for who in ("anna", "bert")
        ]
        assert load_dataset(sources).names == ["001", "001"]


@pytest.mark.parametrize("ending", [".JPG", ".Png", ".jpeg"])
def test_masks_are_compared_with_a_picture_however_its_ending_is_written(folder: Path, ending: str):
    Image.new("RGB", (64, 32), (0, 0, 0)).save(folder / f"a_b{ending}", "PNG")
    write_masks(folder, "a_b", 64, 32, digest="0" * 16)
    with pytest.raises(DatasetError, match=rf"a_b_zi_masks.*stale.*a_b\{ending}"):
        load(folder)
