"""Masks are written where nothing is, or where a segmenter of ours wrote; nothing else is touched."""

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from semantic_focus.datasets.bulk import cache_pictures
from semantic_focus.datasets.cache import get_or_segment, picture_digest
from semantic_focus.datasets.folder import load_picture
from semantic_focus.datasets.mask_file import load_masks, mask_path, save_masks
from semantic_focus.datasets.ownership import MaskFileError, place_to_write

from .test_cache import REQUEST, FakeLazy

NAME = "photo_zi_masks.safetensors"
NEW = {"face": torch.full((4, 6), 0.4), "hair": torch.full((4, 6), 0.6)}


def ours(path: Path) -> None:
    save_masks(path, {"face": torch.ones(4, 6)}, {"image_digest": "of some picture"})


def by_hand(path: Path) -> None:
    save_masks(path, {"face": torch.ones(4, 6)})


def by_another_program(path: Path) -> None:
    save_file({"face_mask": torch.ones(4, 6)}, path)


def lora(path: Path) -> None:
    save_file({"unet.lora_up.weight": torch.ones(4, 6)}, path, {"image_digest": "of some picture"})


def nothing_in_it(path: Path) -> None:
    save_file({}, path)


def cut_short(path: Path) -> None:
    by_hand(path)
    path.write_bytes(path.read_bytes()[:-1])


def garbage(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 62) + b"{}")


def picture_bytes(path: Path) -> None:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))


def empty(path: Path) -> None:
    path.touch()


def folder(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("mine")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/full")


def linked(make: Callable[[Path], None], name: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        target = path.parent / "elsewhere" / name
        target.parent.mkdir()
        make(target)
        path.symlink_to(target)

    return link


def link_to_nothing(path: Path) -> None:
    path.symlink_to(path.parent / "gone" / NAME)


def link_to_another_name(path: Path) -> None:
    path.symlink_to(path.parent / "new.txt")


def circle(path: Path) -> None:
    path.symlink_to(path)


STAYS = {
    by_hand: "by hand or by another program, and is never replaced",
    by_another_program: "by hand or by another program, and is never replaced",
    lora: "holds no masks but unet.lora_up.weight",
    nothing_in_it: "holds no masks but nothing",
    folder: "it is a folder, no file",
    pipe: "it is a device or a pipe, no file",
    device: "it is a device or a pipe, no file",
    link_to_nothing: "there is no folder",
    link_to_another_name: "leads to new.txt, whose name does not end in _zi_masks.safetensors",
    circle: "cannot be written",
    linked(by_hand, NAME): "by hand or by another program, and is never replaced",
    linked(lora, NAME): "holds no masks",
    linked(by_another_program, "masks.safetensors"): "leads to masks.safetensors, whose name does not end in",
}


def content(folder: Path) -> dict[str, tuple[str, bytes]]:
    """All that is below a folder: what it is and what it holds."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path)] = ("link", os.fsencode(os.readlink(path)))
        elif path.is_file():
            found[str(path)] = ("file", path.read_bytes())
        else:
            found[str(path)] = ("folder or pipe", b"")
    return found


@pytest.mark.parametrize("make", STAYS)
@pytest.mark.parametrize("encoding", ["png", "float"])
def test_what_is_not_ours_stays_as_it_is(tmp_path: Path, make: Callable[[Path], None], encoding: str):
    make(tmp_path / NAME)
    before = content(tmp_path)
    with pytest.raises(MaskFileError, match=f"{NAME}: .*{STAYS[make]}"):
        save_masks(tmp_path / NAME, NEW, {"image_digest": "of another picture"}, encoding)
    assert content(tmp_path) == before


@pytest.mark.parametrize("make", [cut_short, garbage, picture_bytes, empty])
def test_what_is_damaged_is_kept_under_another_name(tmp_path: Path, make: Callable[[Path], None]):
    made = []
    for _ in range(2):
        make(tmp_path / NAME)
        made.append((tmp_path / NAME).read_bytes())
        save_masks(tmp_path / NAME, NEW)
        assert set(load_masks(tmp_path / NAME)) == {"face", "hair"}
        (tmp_path / NAME).unlink()
    kept = [(tmp_path / f"{NAME}.{ending}").read_bytes() for ending in ("damaged", "damaged_2")]
    assert kept == made and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("make", [ours, linked(ours, NAME), lambda path: None])
def test_ours_and_nothing_give_way_and_a_link_stays_one(tmp_path: Path, make: Callable[[Path], None]):
    make(tmp_path / NAME)
    was_link = (tmp_path / NAME).is_symlink()
    save_masks(tmp_path / NAME, NEW)
    assert set(load_masks(tmp_path / NAME)) == {"face", "hair"}
    assert (tmp_path / NAME).is_symlink() == was_link and not list(tmp_path.rglob("*.damaged"))


def test_the_same_masks_by_hand_again_are_no_fault_and_leave_the_file_alone(tmp_path: Path):
    save_masks(tmp_path / NAME, NEW)
    before = (tmp_path / NAME).stat()
    save_masks(tmp_path / NAME, NEW)
    after = (tmp_path / NAME).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize("name", ["photo.png", "model.safetensors", "notes.txt", "zi_masks.safetensors"])
def test_a_file_of_another_name_is_not_ours_whatever_it_holds(tmp_path: Path, name: str):
    ours(tmp_path / NAME)
    (tmp_path / NAME).rename(tmp_path / name)
    before = content(tmp_path)
    with pytest.raises(MaskFileError, match=f"{name}: its name does not end in .*not ours to replace"):
        save_masks(tmp_path / name, NEW)
    assert content(tmp_path) == before


@pytest.mark.parametrize("path", [f"no/such/{NAME}", f"file/{NAME}", "n" * 240 + NAME])
def test_no_folder_appears_and_no_name_is_cut(tmp_path: Path, path: str):
    (tmp_path / "file").write_text("mine")
    before = content(tmp_path)
    with pytest.raises(MaskFileError, match=f"{NAME}: .*(no folder|too long)"):
        save_masks(tmp_path / path, NEW)
    assert content(tmp_path) == before


def test_masks_that_a_person_saves_while_a_picture_is_segmented_stay(tmp_path: Path):
    path = tmp_path / NAME
    lazy = FakeLazy()
    segment = lazy.segmenter.segment

    def meanwhile(images, request):
        by_hand(path)
        return segment(images, request)

    lazy.segmenter.segment = meanwhile  # type: ignore[method-assign]
    with pytest.raises(MaskFileError, match="never replaced"):
        get_or_segment(torch.rand(1, 4, 6, 3), REQUEST, lazy, [path])  # type: ignore[arg-type]
    assert set(load_masks(path)) == {"face"}


@pytest.mark.parametrize("make", [*STAYS, cut_short, garbage, picture_bytes, empty, ours])
def test_caching_a_folder_goes_by_the_same_rule(tmp_path: Path, make: Callable[[Path], None]):
    picture = tmp_path / "photo.png"
    Image.new("RGB", (6, 4), (200, 100, 50)).save(picture)
    make(mask_path(picture))
    before = content(tmp_path)
    (result,) = cache_pictures([picture], REQUEST, FakeLazy())  # type: ignore[arg-type]
    after = content(tmp_path)
    if make in STAYS:
        assert after == before and result.status in ("kept", "failed") and NAME in result.reason
        return
    digest = picture_digest(load_picture(picture))
    assert result.status == "segmented" and digest.encode() in after[str(mask_path(picture))][1]
    aside = [value for name, value in after.items() if name.endswith(".damaged")]
    assert aside == ([] if make is ours else [before[str(mask_path(picture))]])


def test_a_link_in_the_folder_part_is_followed(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert place_to_write(tmp_path / "link" / NAME) == tmp_path / "link" / NAME
    save_masks(tmp_path / "link" / NAME, NEW)
    assert (tmp_path / "real" / NAME).is_file()
