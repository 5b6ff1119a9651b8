"""Large pictures: what is kept of them smaller stands for the same as at full size."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from semantic_focus.datasets.mask_file import read_masks, save_masks
from semantic_focus.datasets.mask_levels import as_stored
from semantic_focus.regions import large
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.overlay import overlay, region_colour
from semantic_focus.regions.persons import select_persons

HEIGHT, WIDTH = 61, 83
LABELS = ("background", "face", "body", "lighting", "sword")


@pytest.fixture(autouse=True)
def pictures_are_large_from_here_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE", HEIGHT * WIDTH - 1)


def soft(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def in_blocks(persons: Tensor) -> Tensor:
    """The first of each 2x2 block."""
    return persons[:, ::2, ::2].contiguous()


def two_persons() -> Tensor:
    """Float[2, H, W] of one value for each 2x2 block, at most 1 in all; the left one is first."""
    blocks = soft(2, HEIGHT // 2 + 1, WIDTH // 2 + 1) / 2
    blocks[0, :, 30:], blocks[1, :, :12] = 0, 0
    return blocks.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, :HEIGHT, :WIDTH]


def picture(persons: Tensor) -> SemanticMasks:
    masks = soft(1, len(LABELS), HEIGHT, WIDTH)
    masks[:, :3] /= masks[:, :3].sum(1, keepdim=True)
    return SemanticMasks(masks, LABELS, (persons,))


@pytest.mark.parametrize(
    "change",
    [
        lambda masks: masks.crop(3, 5, 40, 51),
        lambda masks: masks.mirrored(),
        lambda masks: masks.padded(1, 2, 3, 4),
        lambda masks: select_persons(masks, "leftmost"),
    ],
    ids=["crop", "mirrored", "padded", "select"],
)
def test_persons_in_blocks_are_the_same_persons(change: Callable[[SemanticMasks], SemanticMasks]):
    whole = two_persons()
    found, known = change(picture(in_blocks(whole))), change(picture(whole))
    assert torch.equal(found.masks, known.masks)
    assert torch.equal(found.persons[0], known.persons[0]) or torch.equal(
        found.persons[0], in_blocks(known.persons[0])
    )


@pytest.mark.parametrize("encoding", ["png", "float"])
def test_persons_of_a_large_picture_come_back_in_blocks(tmp_path: Path, encoding: str):
    path = tmp_path / "one_zi_masks.safetensors"
    save_masks(path, picture(two_persons()), encoding=encoding)
    known, read = path.read_bytes(), read_masks(path)
    assert read.persons[0].shape == (2, 31, 42) and read.persons[0].dtype == torch.float16
    # 15 levels, or half precision
    assert (read.persons[0].float() - in_blocks(two_persons())).abs().max() <= 1 / 15
    save_masks(path, read, encoding=encoding)
    assert path.read_bytes() == known
    assert torch.equal(as_stored(read, encoding).persons[0], read.persons[0])


def test_a_large_picture_has_the_same_file_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its regions are rounded one by one."""
    path = tmp_path / "one_zi_masks.safetensors"
    save_masks(path, picture(two_persons()))
    one_by_one = path.read_bytes()
    monkeypatch.setattr(large, "LARGE", HEIGHT * WIDTH)
    save_masks(path, picture(two_persons()))
    assert path.read_bytes() == one_by_one


@pytest.mark.parametrize("size", [(700, 90), (61, 200), (300, 83)])
def test_what_is_enlarged_in_bands_is_enlarged_as_a_whole(size: tuple[int, int]):
    layer = soft(1, HEIGHT, WIDTH)
    whole = interpolate(layer[None], size, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(large.enlarged(layer, size, torch.float32), whole, atol=1e-5, rtol=0)


def test_the_overlay_of_a_large_picture_is_drawn_at_the_size_it_was_worked_on(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(large, "LARGE", 40 * 60)
    face = torch.zeros(1, 1, 80, 120)
    face[..., :60] = 1
    drawn = overlay(torch.full((1, 80, 120, 3), 0.5), SemanticMasks(face, ("face",)), 0.4)
    assert drawn.shape == (1, 40, 60, 3)
    torch.testing.assert_close(drawn[0, 20, 10], 0.3 + 0.4 * torch.tensor(region_colour("face")) / 255)
    torch.testing.assert_close(drawn[0, 20, 50], torch.full((3,), 0.5))
