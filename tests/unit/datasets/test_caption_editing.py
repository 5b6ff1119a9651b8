"""A caption that is changed in an editor: written where it was, and never over somebody else's words."""

from pathlib import Path

import pytest

from semantic_focus.datasets.caption_editing import NO_FILE, add_trigger, look_at_caption, write_caption
from semantic_focus.datasets.captions import MOST_BYTES
from semantic_focus.datasets.folder import DatasetError
from semantic_focus.datasets.mending import ChangedMeanwhileError


@pytest.mark.parametrize("there", [None, "a.txt", "a.caption", "a.TXT"])
def test_the_words_go_into_the_file_that_a_picture_has_or_into_a_new_one(tmp_path: Path, there: str | None):
    picture = tmp_path / "a.png"
    if there:
        (tmp_path / there).write_text("before", encoding="utf-16")
    words, stamp = look_at_caption(picture)
    assert (words, stamp == NO_FILE) == (("before", False) if there else ("", True))
    write_caption(picture, "  a woman, 红色帽子\n", stamp)
    assert {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()} == {
        there or "a.txt": "a woman, 红色帽子\n"
    }
    words, stamp = look_at_caption(picture)
    assert words == "a woman, 红色帽子"
    write_caption(picture, " ", stamp)
    assert (tmp_path / (there or "a.txt")).read_bytes() == b""


def test_words_that_another_program_wrote_meanwhile_stay(tmp_path: Path):
    picture = tmp_path / "a.png"
    _, stamp = look_at_caption(picture)
    (tmp_path / "a.txt").write_text("theirs")
    with pytest.raises(ChangedMeanwhileError):
        write_caption(picture, "mine", stamp)
    _, stamp = look_at_caption(picture)
    (tmp_path / "a.txt").unlink()
    with pytest.raises(ChangedMeanwhileError):
        write_caption(picture, "mine", stamp)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_caption_is_not_written(tmp_path: Path):
    with pytest.raises(DatasetError, match="a.png: longer than"):
        write_caption(tmp_path / "a.png", "x" * MOST_BYTES, NO_FILE)
    (tmp_path / "notes").write_text("elsewhere")
    (tmp_path / "a.txt").symlink_to(tmp_path / "notes")
    _, stamp = look_at_caption(tmp_path / "a.png")
    with pytest.raises(DatasetError, match="a link to another file"):
        write_caption(tmp_path / "a.png", "words", stamp)
    assert (tmp_path / "notes").read_text() == "elsewhere"


@pytest.mark.parametrize(
    ("there", "then"),
    [
        (None, "ohwx\n"),
        ("", "ohwx\n"),
        ("a dog", "ohwx, a dog\n"),
        ("a dog, OHWX", None),
        ("ohwxy, a dog", "ohwx, ohwxy, a dog\n"),
        ("a.b 人ohwx", "ohwx, a.b 人ohwx\n"),
    ],
)
def test_a_trigger_word_is_put_before_captions_that_lack_it(
    tmp_path: Path, there: str | None, then: str | None
):
    """`then` is None where the file stays as it is."""
    if there is not None:
        (tmp_path / "a.txt").write_text(there, encoding="utf-8")
    assert add_trigger(tmp_path / "a.png", "ohwx") is (then is not None)
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == (there if then is None else then)
    assert add_trigger(tmp_path / "a.png", "ohwx") is False
