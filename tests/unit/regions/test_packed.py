"""Packed masks are the same to the bit when they are unpacked, and take little."""

import pytest
import torch
from torch import Tensor

from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.regions.packed import PackedMasks

SIZE = (37, 150)


def drawn(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, *SIZE, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


def in_steps(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Whole steps of 1/255, as mask files and segmenters have them."""
    return ((drawn(*shape) * 255).round() / 255).to(dtype)


def odd() -> Tensor:
    """Values that no mask should have are not mended on the way."""
    layers = torch.zeros(1, 4, *SIZE)
    layers[0, 0], layers[0, 1], layers[0, 2], layers[0, 3, 0, 0] = torch.nan, 2, -0.5, torch.inf
    return layers


CASES: dict[str, tuple[Tensor, tuple[Tensor, ...]]] = {
    "steps": (in_steps(1, 3), ()),
    "steps in half precision": (in_steps(2, 3, dtype=torch.float16), ()),
    "soft": (drawn(2, 3), (drawn(2), drawn(1))),
    "soft in half precision": (drawn(1, 3, dtype=torch.float16), (in_steps(2, dtype=torch.float16),)),
    "one step of which is not whole": (in_steps(1, 1).index_fill(3, torch.tensor([149]), 0.3), ()),
    "some pictures without a person": (in_steps(2, 1), (torch.zeros(0, *SIZE), in_steps(3))),
    "other types": (drawn(1, 2, dtype=torch.float64), (drawn(1, dtype=torch.bfloat16),)),
    "no region": (torch.zeros(2, 0, *SIZE), ()),
    "no picture": (torch.zeros(0, 2, *SIZE), ()),
    "no mask": (odd(), ()),
}


@pytest.mark.parametrize("name", CASES)
def test_they_are_the_same_to_the_bit(name: str):
    masks, persons = CASES[name]
    labels = tuple("abcd"[: masks.shape[1]])
    packed = PackedMasks.of(SemanticMasks(masks.clone(), labels, persons, {"backend": "x"}))
    found = packed.unpacked()
    assert (found.labels, found.provenance) == (labels, {"backend": "x"})
    for one, other in zip((found.masks, *found.persons), (masks, *persons), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert torch.equal(one.nan_to_num(7), other.nan_to_num(7))


def test_they_are_not_changed_through_what_they_were_made_of_or_what_is_unpacked():
    masks = SemanticMasks(in_steps(1, 2), ("face", "hair"))
    before = masks.masks.clone()
    packed = PackedMasks.of(masks)
    masks.masks.zero_()
    packed.unpacked().masks.zero_()
    assert torch.equal(packed.unpacked().masks, before)


def test_a_window_of_large_masks_takes_a_fraction_of_a_byte_a_pixel():
    rows, columns = torch.arange(1500)[:, None], torch.arange(2000)[None]
    face = ((600 - ((rows - 700) ** 2 + (columns - 900) ** 2).sqrt()) / 8).clamp(0, 1)  # a soft disc
    steps = (face * 51).round() * 5
    face, rest = (steps / 255).half(), ((255 - steps) / 255).half()
    whole = SemanticMasks(torch.stack((face, rest))[None], ("face", "background"), (face[None],))
    window = PackedMasks.of(whole.crop(100, 100, 1200, 1200))
    assert window.bytes_kept < 3 * 1200 * 1200 / 50
    assert torch.equal(window.unpacked().masks[0, 0], face[100:1300, 100:1300])
