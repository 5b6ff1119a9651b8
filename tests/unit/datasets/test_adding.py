"""What a person adds to a dataset folder: nothing is replaced, nothing that cannot be read is kept."""

import io
from pathlib import Path

import pytest
from PIL import Image

from semantic_focus.datasets.adding import Added, add_file
from semantic_focus.datasets.choices import Choice, folders_with_pictures
from semantic_focus.datasets.folder import DatasetError, scan
from semantic_focus.datasets.listing import Bounds


def picture(colour: str, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 6), colour).save(buffer, kind)
    return buffer.getvalue()


def test_pictures_and_captions_are_there_as_a_training_reads_them(tmp_path: Path):
    assert add_file(tmp_path, "Anna 好.png", picture("red")) == Added("Anna 好.png", "new")
    assert add_file(tmp_path, "Anna 好.txt", "a woman".encode("utf-16")) == Added("Anna 好.txt", "new")
    (found,) = scan(tmp_path).pictures
    assert (found.path.name, found.caption) == ("Anna 好.png", "a woman")


def test_names_that_are_taken_stay_with_what_has_them(tmp_path: Path):
    for colour, name, then in (
        ("red", "a.png", Added("a.png", "new")),
        ("red", "a.png", Added("a.png", "same")),
        ("blue", "a.png", Added("a_2.png", "renamed")),
        ("blue", "a.png", Added("a_2.png", "same")),
        ("green", "A.PNG", Added("A_3.PNG", "renamed")),
    ):
        assert add_file(tmp_path, name, picture(colour)) == then
    # a.jpg would share a.txt and the mask file of a.png
    assert add_file(tmp_path, "a.jpg", picture("red", "JPEG")) == Added("a_4.jpg", "renamed")
    assert (tmp_path / "a.png").read_bytes() == picture("red")
    add_file(tmp_path, "a.txt", b"first")
    assert add_file(tmp_path, "a.txt", b"first") == Added("a.txt", "same")
    with pytest.raises(DatasetError, match="a.txt: another caption is there, and stays"):
        add_file(tmp_path, "a.txt", b"second")
    assert (tmp_path / "a.txt").read_bytes() == b"first"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("../a.png", picture("red"), "/ may not be in it"),
        ("CON.png", picture("red"), "Windows keeps it for a device"),
        ("a.heic", b"x", "a kind of picture that is not read"),
        ("run.sh", b"x", "a kind of picture that is not read"),
        ("a.png", picture("red")[:-26], "^a.png: cannot be read as a picture"),
        ("a.png", b"%!PS", "^a.png: cannot be read as a picture .it looks like an EPS"),
        ("a.txt", b"\xff\x00", "^a.txt: not UTF-8 text"),
    ],
    ids=["elsewhere", "device", "not read", "program", "cut short", "drawing", "no text"],
)
def test_what_cannot_be_used_is_named_and_not_kept(tmp_path: Path, name: str, content: bytes, said: str):
    with pytest.raises(DatasetError, match=said):
        add_file(tmp_path, name, content)
    assert list(tmp_path.iterdir()) == []


def test_folders_with_pictures_of_their_own_are_choices(tmp_path: Path):
    for place in ("b/one.png", "b/deep/two.JPG", "b/deep/three.png", "a/notes.txt", ".hidden/four.png"):
        path = tmp_path / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = folders_with_pictures([tmp_path, tmp_path / "b", tmp_path / "gone"], Bounds())
    assert found == [Choice(tmp_path / "b", 1), Choice(tmp_path / "b" / "deep", 2)]
