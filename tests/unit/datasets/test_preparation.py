"""A folder made ready for a training: what is made, what is kept, and what is made anew."""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from semantic_focus.datasets.fit import fit
from semantic_focus.datasets.folder import DatasetError, load_picture
from semantic_focus.datasets.mask_file import mask_path, read_masks, save_masks
from semantic_focus.datasets.on_disk import OnDisk
from semantic_focus.datasets.preparation import (
    Encoders,
    Preparation,
    PreparedDataset,
    Watcher,
    prepare,
)
from semantic_focus.datasets.prepared_file import SUFFIX, CannotBeKeptError, put_together, taken_apart
from semantic_focus.regions.masks import picture_names

from ..faults import FAULTS, refuse
from .fake_segmenter import REQUEST, FakeLazy, snapshot

NAMES = ("a.png", "b.png", "c.png")
BROKEN = "broken"
"""A VAE that overflows."""
SETTINGS = Preparation((64,), 16, REQUEST)


@dataclass
class World:
    """A folder with what it is prepared with; `encoded` is what has been since the last look."""

    folder: Path
    settings: Preparation = SETTINGS
    vae: str = "vae"
    clip: str = "clip"
    lazy: FakeLazy = field(default_factory=FakeLazy)
    encoded: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def prepare(self) -> PreparedDataset:
        def picture(pixels: Tensor) -> Tensor:
            self.encoded.append("latent")
            factor = math.nan if self.vae == BROKEN else len(self.vae)
            return torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8) * factor

        def text(words: str) -> list:
            self.encoded.append(f"text {words}")
            return [[torch.full((1, len(words) + 1, 2), 0.5), {"pooled_output": torch.ones(1, 2)}]]

        encoders = Encoders(picture, text, self.vae, self.clip)
        return prepare(self.folder, self.settings, encoders, self.lazy, Watcher(say=self.said.append))  # type: ignore[arg-type]

    def made(self) -> dict[str, int]:
        """What another preparation makes, as counted by it and by what was called."""
        self.encoded.clear()
        before = self.lazy.segmenter.calls
        made = dict(self.prepare().made)
        found = {name: count for name, count in made.items() if count}
        assert found.get("latents", 0) == self.encoded.count("latent")
        assert found.get("captions", 0) == len(self.encoded) - self.encoded.count("latent")
        assert found.get("segmented", 0) == self.lazy.segmenter.calls - before
        return found

    def file(self, name: str, kind: str) -> Path:
        (found,) = self.folder.glob(f"{Path(name).stem}_{kind}_*{SUFFIX}")
        return found


@pytest.fixture
def world(tmp_path: Path) -> World:
    for number, name in enumerate(NAMES):
        picture(tmp_path / name, number)
        (tmp_path / name).with_suffix(".txt").write_text(f"picture {name[0]}")
    return World(tmp_path)


def picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def test_latents_masks_and_captions_are_those_of_each_step_by_itself(world: World):
    world.settings = replace(SETTINGS, resolutions=(64, 32), trigger="sks")
    found = world.prepare()
    assert [one[0][0].shape[1] for one in found.conditionings[::2]] == [len("sks, picture a") + 1] * 3
    assert found.conditionings[0] is found.conditionings[1]
    assert picture_names(found.masks) == picture_names(world.prepare().masks)
    assert picture_names(found.masks) == tuple(name for name in NAMES for _ in (64, 32))
    assert found.empty_prompt[0][0].shape == (1, 1, 2)
    for number, name in enumerate(NAMES):
        image, whole = load_picture(world.folder / name)[None], read_masks(mask_path(world.folder / name))
        for at, resolution in enumerate((64, 32)):
            latent, masks = found.latents[2 * number + at], found.masks[2 * number + at]
            pixels, cut = fit(image, whole, resolution, 16)
            rows, columns = pixels.shape[1] // 8, pixels.shape[2] // 8
            assert isinstance(latent, OnDisk) and isinstance(masks.masks, OnDisk)
            assert torch.equal(latent + 0, 3 * torch.nn.functional.avg_pool2d(pixels.movedim(-1, 1), 8))
            assert cut is not None and masks.labels == ("face", "hair")
            assert torch.equal(masks.masks + 0, cut.to_latent((rows, columns)).masks)


def touch(world: World) -> None:
    later = (world.folder / "b.png").stat().st_mtime_ns + 10**10
    os.utime(world.folder / "b.png", ns=(later, later))


def mend(world: World) -> None:
    path = mask_path(world.folder / "b.png")
    masks = read_masks(path)
    path.unlink()
    save_masks(path, replace(masks, masks=masks.masks.flip(3), provenance={}))


def setting(**changed) -> Callable[[World], None]:
    return lambda world: setattr(world, "settings", replace(world.settings, **changed))


def damage(kind: str) -> Callable[[World], None]:
    def spoil(world: World) -> None:
        file = world.file("b.png", kind)
        file.write_bytes(b"spoiled" + file.read_bytes()[7:])

    return spoil


CHANGES = {
    "nothing": (lambda world: None, {}),
    "a picture": (
        lambda world: picture(world.folder / "b.png", 9),
        {"latents": 1, "segmented": 1, "masks": 1},
    ),
    "the time of a picture": (touch, {}),
    "a caption": (lambda world: (world.folder / "b.txt").write_text("changed"), {"captions": 1}),
    "masks, by hand": (mend, {"masks": 1}),
    "no mask file": (lambda world: mask_path(world.folder / "b.png").unlink(), {"segmented": 1}),
    "a picture more": (
        lambda world: (picture(world.folder / "d.png", 7), (world.folder / "d.txt").write_text("d")),
        {"latents": 1, "segmented": 1, "masks": 1, "captions": 1},
    ),
    "the VAE": (lambda world: setattr(world, "vae", "other"), {"latents": 3}),
    "the CLIP": (lambda world: setattr(world, "clip", "other"), {"captions": 4}),
    "the segmenter": (lambda world: setattr(world, "lazy", FakeLazy("v2")), {"segmented": 3, "masks": 3}),
    "the resolution": (setting(resolutions=(96,)), {"latents": 3, "masks": 3}),
    "the trigger word": (setting(trigger="sks"), {"captions": 3}),
    "a damaged latent": (damage("latent"), {"latents": 1}),
    "damaged masks": (damage("masks"), {"masks": 1}),
    "a damaged caption": (damage("text"), {"captions": 1}),
}
"""What changes between two preparations, and what the second makes. (The fourth caption is the empty one.)"""


@pytest.mark.parametrize(("change", "made"), CHANGES.values(), ids=CHANGES)
def test_only_what_a_change_touches_is_made_anew_and_then_nothing(
    world: World, change: Callable[[World], object], made: dict[str, int]
):
    assert world.made() == {"latents": 3, "segmented": 3, "masks": 3, "captions": 4}
    change(world)
    assert world.made() == made
    before = snapshot(world.folder)
    assert world.made() == {}
    assert snapshot(world.folder) == before


def test_equal_captions_are_encoded_once(world: World):
    for name in "abc":
        (world.folder / f"{name}.txt").unlink()
    world.settings = replace(SETTINGS, trigger="sks")
    found = world.prepare()
    assert world.encoded.count("text sks") == 1 and world.made() == {}
    assert all(one is found.conditionings[0] for one in found.conditionings)


def test_a_file_of_somebody_else_is_moved_aside_and_never_lost(world: World):
    world.prepare()
    mine = world.file("a.png", "latent")
    mine.write_bytes(b"somebody's own")
    assert world.made() == {"latents": 1}
    assert mine.with_name(f"{mine.name}.before").read_bytes() == b"somebody's own"
    assert not world.prepare().notes  # it is not taken for something in the dataset


def test_where_nothing_can_be_written_the_same_is_given_and_said_once(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    expected = world.prepare()
    latents = [latent + 0 for latent in expected.latents]
    masks = [one.masks + 0 for one in expected.masks]
    for file in world.folder.glob("*.safetensors"):
        file.unlink()
    refuse(monkeypatch, world.folder, FAULTS["read-only"])
    found = world.prepare()
    assert all(map(torch.equal, latents, found.latents))
    assert all(torch.equal(old, new.masks) for old, new in zip(masks, found.masks, strict=True))
    assert found.unkept and len(world.said) == 2
    assert all("made again next time" in sentence for sentence in world.said)
    assert not list(world.folder.glob("*.safetensors"))


def test_values_that_are_no_numbers_are_given_but_not_kept(world: World):
    world.vae = BROKEN
    found = world.prepare()
    assert found.unkept and "a.png: latent has values that are no numbers" in world.said[0]
    assert bool(found.latents[0].isnan().all()) and not list(world.folder.glob(f"*_latent_*{SUFFIX}"))
    assert world.made() == {"latents": 3}


def test_a_latent_whose_file_was_changed_afterwards_is_refused_by_name(world: World):
    found = world.prepare()
    world.file("a.png", "latent").unlink()
    with pytest.raises(DatasetError, match=rf"a_latent_\w+{re.escape(SUFFIX)}: .*Run again"):
        found.latents[0].clone()


def test_all_pictures_that_cannot_be_read_or_segmented_are_named(world: World):
    (world.folder / "a.png").write_bytes(b"no picture")
    (world.folder / "c.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"a\.png.*\n.*c\.png"):
        world.prepare()
    assert world.file("b.png", "latent").exists()  # for the next time


def test_what_a_text_encoder_gives_is_taken_apart_and_put_together():
    value = [
        [torch.ones(1, 2, 3), {"guidance": 3.5, "ids": torch.tensor([1, 2]), "no": None, "of": ("x", [])}]
    ]
    structure, tensors = taken_apart(value)
    ((text, extras),) = put_together(structure, tensors)
    assert torch.equal(text, value[0][0]) and torch.equal(extras.pop("ids"), torch.tensor([1, 2]))
    assert extras == {"guidance": 3.5, "no": None, "of": ["x", []]}
    with pytest.raises(CannotBeKeptError, match="object"):
        taken_apart([[torch.ones(1), {"hooks": object()}]])
