"""What lies in a dataset folder and is not taken is named, with the reason."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from semantic_focus.datasets.contents import MOST_LOOKED_AT
from semantic_focus.datasets.folder import DatasetError, caption_of, list_pictures, load_picture, scan
from semantic_focus.datasets.mask_file import read_header, read_masks, save_masks
from semantic_focus.lora.file import load_lora, load_metadata
from semantic_focus.training.state import load_train_state

NOBODY = 65534


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path, "PNG")
    return path


MASK = "a mask picture of another trainer"


def touch(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(b"x")


CASES: dict[str, tuple[Callable[[Path], object], str]] = {
    "photo.heic": (touch("photo.heic"), "a kind of picture that is not read"),
    "photo.HEIF": (touch("photo.HEIF"), "a kind of picture that is not read"),
    "raw.CR2": (touch("raw.CR2"), "a kind of picture that is not read"),
    "drawing.eps": (touch("drawing.eps"), "a kind of picture that is not read"),
    "film.mp4": (touch("film.mp4"), "a kind of picture that is not read"),
    "broken.png": (lambda folder: (folder / "broken.png").symlink_to("nowhere"), "a link to nothing"),
    "round.png": (lambda folder: (folder / "round.png").symlink_to("round.png"), "a link to nothing"),
    "pipe.png": (lambda folder: os.mkfifo(folder / "pipe.png"), "no file that can be read"),
    "10_anna/": (lambda folder: picture(folder / "10_anna" / "a.png"), "a folder with pictures of its own"),
    "img/": (lambda folder: picture(folder / "img" / "5_x" / "a.JPG"), "a folder with pictures of its own"),
    "masked.png/": (lambda folder: picture(folder / "masked.png" / "a.png"), "a folder with pictures"),
    "a-masklabel.jpg": (lambda folder: picture(folder / "a-masklabel.jpg"), MASK),
    "b-MaskLabel.png": (lambda folder: picture(folder / "b-MaskLabel.png"), MASK),
    "a-condlabel.png": (lambda folder: picture(folder / "a-condlabel.png"), MASK),
    "typo.txt": (touch("typo.txt"), "a caption without a picture of its name"),
    "typo.CAPTION": (touch("typo.CAPTION"), "a caption without a picture of its name"),
    "notes.md": (touch("notes.md"), "no picture"),
    "a.npz": (touch("a.npz"), "no picture"),
    "README": (touch("README"), "no picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("only", [False, True])
def test_what_is_not_taken_is_named_with_its_reason(tmp_path: Path, name: str, only: bool):
    make, reason = CASES[name]
    make(tmp_path)
    if only:
        with pytest.raises(DatasetError) as caught:
            list_pictures(tmp_path)
        assert "no picture in it. Put files of type .png" in str(caught.value)
        assert f"What is there: {name} ({reason}" in str(caught.value)
        return
    picture(tmp_path / "one.png")
    for listed in (list_pictures(tmp_path), scan(tmp_path, "words")):
        (line,) = listed.left_out
        assert line.startswith(f"{name} ({reason}")
    assert [path.name for path in list_pictures(tmp_path).pictures] == ["one.png"]


def test_all_of_it_is_named_at_once_and_long_lists_are_counted(tmp_path: Path):
    picture(tmp_path / "one.png")
    for make, _ in CASES.values():
        make(tmp_path)
    for number in range(20):
        (tmp_path / f"more {number:02}.heic").write_bytes(b"x")
    lines = list_pictures(tmp_path).left_out
    assert {reason for _, reason in CASES.values()} == {
        reason for _, reason in CASES.values() if any(f"({reason}" in line for line in lines)
    }
    (heic,) = [line for line in lines if ".heic" in line]
    assert heic.startswith("drawing.eps, film.mp4, more 00.heic") and "and 15 more (a kind of" in heic


def test_what_belongs_beside_pictures_and_what_is_hidden_is_not_left_out(tmp_path: Path):
    picture(tmp_path / "one.png")
    for name in ("one.txt", "one_zi_masks.safetensors", "one_zi_te.safetensors", "one_8x8_zi.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    for name in (".zi_masks.lock", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty folder").mkdir()
    assert list_pictures(tmp_path).left_out == []


def test_with_subfolders_their_pictures_are_taken_and_their_rest_is_named_by_its_place(tmp_path: Path):
    picture(tmp_path / "10_anna" / "a.png")
    (tmp_path / "10_anna" / "a.caption").write_text("words")
    (tmp_path / "10_anna" / "b.heic").write_bytes(b"x")
    listed = list_pictures(tmp_path, recursive=True)
    assert [path.name for path in listed.pictures] == ["a.png"]
    assert listed.captions == {tmp_path / "10_anna" / "a.png": tmp_path / "10_anna" / "a.caption"}
    assert [line.split(" (")[0] for line in listed.left_out] == ["10_anna/b.heic"]


def test_subfolders_are_not_searched_without_end(tmp_path: Path):
    picture(tmp_path / "one.png")
    (tmp_path / "large").mkdir()
    for number in range(MOST_LOOKED_AT + 1):
        (tmp_path / "large" / str(number)).touch()
    assert list_pictures(tmp_path).left_out == ["large/ (a folder that was not looked into)"]


def test_names_that_are_no_text_are_printable(tmp_path: Path):
    picture(tmp_path / "one.png")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.heic")).write_bytes(b"x")
    (line,) = list_pictures(tmp_path).left_out
    assert line.encode() and line.startswith(r"\xff.heic (")


@pytest.fixture
def unprivileged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """unprivileged(): from now on permissions apply to this process, in the folder of the test."""
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o755)
    before = os.geteuid()
    yield lambda: os.seteuid(NOBODY if before == 0 else before)
    os.seteuid(before)
    for path in tmp_path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


READERS: dict[str, Callable[[Path], object]] = {
    "a.png": load_picture,
    "a.txt": lambda path: caption_of(path.with_suffix(".png")),
    "masks_zi_masks.safetensors": read_masks,
    "header_zi_masks.safetensors": read_header,
    "lora.safetensors": load_lora,
    "metadata.safetensors": load_metadata,
    "state.safetensors": load_train_state,
    "folder": list_pictures,
}


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read_is_not_called_missing(
    name: str, tmp_path: Path, unprivileged: Callable[[], None]
):
    path = Path(name)
    picture(Path("a.png"))
    if name == "folder":
        path.mkdir()
    elif name != "a.png":
        save_masks(path, {"face": torch.zeros(2, 2)})
    path.chmod(0)
    unprivileged()
    with pytest.raises((ValueError, OSError)) as caught:
        READERS[name](path)
    said = str(caught.value)
    assert name in said and "it is there, but the user that runs this program may not read it" in said
    assert "no such" not in said.lower() and "delete" not in said.lower()
