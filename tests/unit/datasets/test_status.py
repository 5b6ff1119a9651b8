"""What the dataset browser is told of a folder: each status once, remembered as long as nothing changes."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from semantic_focus.datasets.cache import picture_digest, picture_stamp
from semantic_focus.datasets.folder import DatasetError, list_pictures, load_picture
from semantic_focus.datasets.mask_file import mask_path, save_masks
from semantic_focus.datasets.staleness import request_fields
from semantic_focus.datasets.status import PictureStatus, StatusMemory, dataset_status, picture_in
from semantic_focus.keywords import Prompt
from semantic_focus.regions.masks import SemanticMasks
from semantic_focus.segmenters.protocol import SegmentRequest
from semantic_focus.segmenters.table import LazySegmenter

REQUEST = SegmentRequest({"face": Prompt(("face",)), "background": Prompt(("wall",))})
SEGMENTER = LazySegmenter("mediapipe")


def picture(path: Path, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.new("RGB", size, (200, 100, 50)).save(path)
    return path


def masks(
    path: Path, request: SegmentRequest = REQUEST, *, by_hand: bool = False, stamped: bool = True
) -> Path:
    """The mask file of a picture: its left quarter is the face."""
    image = load_picture(path)
    face = torch.zeros(image.shape[:2])
    face[:, : image.shape[1] // 4] = 1
    fields = {**request_fields(request, SEGMENTER), "image_digest": picture_digest(image)}
    if stamped:
        fields["picture_stamp"] = picture_stamp(path)
    made = SemanticMasks(torch.stack([face, 1 - face])[None], ("face", "background"), (), {})
    save_masks(mask_path(path), made if by_hand else replace(made, provenance=fields))
    return mask_path(path)


def status(folder: Path, recursive: bool = False, **options) -> dict[str, PictureStatus]:
    listed = list_pictures(folder, recursive)
    return {found.name: found for found in dataset_status(listed, REQUEST, SEGMENTER, **options)}


def test_every_status_is_told_with_its_reason(tmp_path: Path):
    masks(picture(tmp_path / "done 好.png"), stamped=False)  # as in a copied folder, where dates are others
    masks(picture(tmp_path / "hand.PNG"), by_hand=True)
    masks(picture(tmp_path / "old.jpg"), replace(REQUEST, refine="fine"))
    picture(tmp_path / "new.webp")
    (tmp_path / "torn.png").write_bytes(b"not a picture")
    found = status(tmp_path)
    assert {name: one.status for name, one in found.items()} == {
        "done 好.png": "ok",
        "hand.PNG": "by hand",
        "new.webp": "missing",
        "old.jpg": "stale",
        "torn.png": "failed",
    }
    assert found["done 好.png"].reason == ""
    assert "its refinement is fine, now fast" in found["old.jpg"].reason
    assert "torn.png: cannot be read as a picture" in found["torn.png"].reason
    assert found["done 好.png"].coverage == pytest.approx({"face": 0.25, "background": 0.75})
    assert found["new.webp"].coverage == {} and found["new.webp"].mask_stamp == ""


def test_what_stands_out_is_a_problem_and_a_missing_mask_is_none(tmp_path: Path):
    masks(picture(tmp_path / "face.png"))
    empty = picture(tmp_path / "wall.png")
    masks(empty)
    image = load_picture(empty)
    background = torch.stack([torch.zeros(image.shape[:2]), torch.ones(image.shape[:2])])[None]
    fields = {**request_fields(REQUEST, SEGMENTER), "image_digest": picture_digest(image)}
    save_masks(mask_path(empty), SemanticMasks(background, REQUEST.labels, (), fields))
    picture(tmp_path / "new.png")
    found = status(tmp_path)
    assert list(found["wall.png"].problems) == ["no person found"]
    assert list(found["face.png"].problems) == list(found["new.png"].problems) == []


def test_an_empty_caption_file_is_another_answer_than_none(tmp_path: Path):
    for name, words in (("full", "a woman"), ("blank", " \n"), ("latin", "é".encode("latin-1"))):
        picture(tmp_path / f"{name}.png")
        (tmp_path / f"{name}.txt").write_bytes(words if isinstance(words, bytes) else words.encode())
    picture(tmp_path / "none.png")
    found = status(tmp_path)
    assert [found[f"{name}.png"].captioned for name in ("full", "blank", "none")] == [True, True, False]
    notes = [list(found[f"{name}.png"].notes) for name in ("full", "blank", "none")]
    assert notes == [[], ["its caption file is empty: it is trained without words"], []]
    assert "not UTF-8" in found["latin.png"].problems[0]


def test_names_of_subfolders_have_slashes(tmp_path: Path):
    picture(tmp_path / "a.png")
    picture(tmp_path / "more" / "b.png")
    assert list(status(tmp_path)) == ["a.png"]
    assert list(status(tmp_path, recursive=True)) == ["a.png", "more/b.png"]


def spoil(path: Path) -> None:
    """Make a file unreadable without a sign of it in its size and date: whoever opens it finds out."""
    before = path.stat()
    path.write_bytes(b"\xff" * before.st_size)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_second_look_opens_no_file_and_a_change_is_noticed(tmp_path: Path):
    """Mask files made by hand or without a stamp, and captions, are what takes time."""
    path = picture(tmp_path / "a.png")
    masks(path, stamped=False)
    masks(picture(tmp_path / "hand.png"), by_hand=True)
    (tmp_path / "a.txt").write_text("a woman")
    memory = StatusMemory()
    before = status(tmp_path, memory=memory)
    assert {name: one.status for name, one in before.items()} == {"a.png": "ok", "hand.png": "by hand"}
    for file in tmp_path.iterdir():
        spoil(file)
    assert status(tmp_path, memory=memory) == before
    assert {one.status for one in status(tmp_path).values()} == {"failed"}

    (tmp_path / "a.txt").unlink()
    masks(picture(path), stamped=False)
    assert [one.captioned for one in status(tmp_path, memory=memory).values()] == [False, False]
    Image.fromarray(np.full((6, 8, 3), 7, np.uint8)).save(path)
    os.utime(path, ns=(1, 1))
    after = status(tmp_path, memory=memory)["a.png"]
    assert after.status == "stale" and "edited" in after.reason
    assert after.stamp != before["a.png"].stamp
    mask_path(path).unlink()
    assert status(tmp_path, memory=memory)["a.png"].status == "missing"


def test_pictures_are_judged_against_those_remembered(tmp_path: Path):
    """A picture alone without a face is no problem; beside one with a face it is."""
    memory = StatusMemory()
    faceless = picture(tmp_path / "a.png")
    labels = ("hair", "background")
    half = torch.zeros(1, 2, 6, 8)
    half[0, 0, :3], half[0, 1, 3:] = 1, 1
    save_masks(mask_path(faceless), SemanticMasks(half, labels, (), {}))
    assert status(tmp_path, memory=memory)["a.png"].problems == []
    masks(picture(tmp_path / "b.png"))
    assert status(tmp_path, memory=memory)["a.png"].problems == ["no face found"]


def test_other_settings_are_not_answered_from_memory(tmp_path: Path):
    masks(picture(tmp_path / "a.png"))
    memory = StatusMemory()
    assert dataset_status(list_pictures(tmp_path), REQUEST, SEGMENTER, memory=memory)[0].status == "ok"
    fine = replace(REQUEST, refine="fine")
    assert dataset_status(list_pictures(tmp_path), fine, SEGMENTER, memory=memory)[0].status == "stale"


def test_without_time_one_picture_is_looked_at_and_a_later_call_goes_on(tmp_path: Path):
    """However long it takes to list a folder, who asks again and again comes to an end."""
    for name in "abc":
        picture(tmp_path / f"{name}.png")
        masks(tmp_path / f"{name}.png", by_hand=True)
        (tmp_path / f"{name}.txt").write_bytes(b"\xff")
    memory = StatusMemory()
    hurried = status(tmp_path, memory=memory, seconds=-1)
    assert [one.status for one in hurried.values()] == ["by hand", "unchecked", "unchecked"]
    for one in [*hurried.values()][1:]:
        assert (one.problems, one.reason, one.coverage) == ([], "", {})
    hurried = status(tmp_path, memory=memory, seconds=-1)
    assert [one.status for one in hurried.values()] == ["by hand", "by hand", "unchecked"]
    later = status(tmp_path, memory=memory)
    assert {one.status for one in later.values()} == {"by hand"}
    assert all("not UTF-8" in one.problems[0] for one in later.values())


@pytest.mark.parametrize(
    "name", ["../a.png", "sub/../../a.png", "/etc/a.png", "", "a.txt", "a.png\0.png", ".."]
)
def test_names_that_leave_the_folder_or_are_no_pictures_are_refused(tmp_path: Path, name: str):
    picture(tmp_path / "a.png")
    picture(tmp_path / "sub" / "b.png")
    with pytest.raises(DatasetError):
        picture_in(tmp_path / "sub", name)


@pytest.mark.parametrize("folder", ["", " "])
def test_without_a_folder_no_picture_is_looked_for(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    picture(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError, match="no folder given"):
        picture_in(folder, "a.png")


def test_names_in_the_folder_and_links_of_its_owner_are_pictures(tmp_path: Path):
    inside = picture(tmp_path / "sub" / "deep" / "好 b.JPG")
    assert picture_in(tmp_path / "sub", "deep/好 b.JPG") == inside
    (tmp_path / "sub" / "link.png").symlink_to(picture(tmp_path / "a.png"))
    assert picture_in(tmp_path / "sub", "link.png").samefile(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match="gone.png"):
        picture_in(tmp_path, "gone.png")
