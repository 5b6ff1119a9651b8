"""The words beside a picture, however they were saved."""

import codecs
from pathlib import Path

import pytest
from PIL import Image

from semantic_focus.datasets.captions import MOST_BYTES, with_trigger, without_emphasis
from semantic_focus.datasets.folder import DatasetError, caption_of, scan

WORDS = "a hat, 戴帽子的女人 🎩"


def put(folder: Path, **texts: bytes | None) -> Path:
    """Pictures of these stems, and their caption files; the ending is .txt."""
    for stem, content in texts.items():
        Image.new("RGB", (4, 4)).save(folder / f"{stem}.png")
        if content is not None:
            (folder / f"{stem}.txt").write_bytes(content)
    return folder


@pytest.mark.parametrize(
    "content",
    [
        WORDS.encode(),
        WORDS.encode("utf-8-sig"),
        f" {WORDS}\r\n".encode(),
        codecs.BOM_UTF16_LE + WORDS.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + WORDS.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + WORDS.encode("utf-32-be"),
    ],
)
def test_texts_are_read_in_every_encoding_that_says_what_it_is(tmp_path: Path, content: bytes):
    assert scan(put(tmp_path, a=content)).pictures[0].caption == WORDS


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("帽子".encode("gb18030"), "not UTF-8 text.*Save the caption as UTF-8"),
        ("é".encode("latin-1"), "not UTF-8 text"),
        ("a hat".encode("utf-16-le"), r"not UTF-8 text \(it holds zero bytes\)"),
        (codecs.BOM_UTF16_LE + b"a", "not UTF-8 text"),
        (b"x" * (MOST_BYTES + 1), "which is no caption"),
    ],
)
def test_what_is_no_text_is_refused_by_name(tmp_path: Path, content: bytes, said: str):
    put(tmp_path, a=content)
    with pytest.raises(DatasetError, match=rf"a\.txt: .*{said}"):
        scan(tmp_path)
    with pytest.raises(DatasetError, match=rf"a\.txt: .*{said}"):
        caption_of(tmp_path / "a.png")


def test_all_faults_of_captions_are_told_at_once(tmp_path: Path):
    put(tmp_path, a=b"\xff", b=b"fine", c=None, d=b"\xfe\xff\x00", e=None)
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path)
    missing, *faults = str(caught.value).splitlines()
    assert "no caption for c.png, e.png." in missing
    assert [line.split(": ")[0] for line in faults] == [str(tmp_path / "a.txt"), str(tmp_path / "d.txt")]
    with pytest.raises(DatasetError) as caught:
        scan(tmp_path, "a default")
    assert str(caught.value).splitlines() == faults


@pytest.mark.parametrize(
    ("names", "used"),
    [
        (["a.txt"], "a.txt"),
        (["a.TXT"], "a.TXT"),
        (["a.caption"], "a.caption"),
        (["a.Caption"], "a.Caption"),
        (["a.caption", "a.txt"], "a.txt"),
        (["a.TXT", "a.caption"], "a.TXT"),
        (["a.TXT", "a.txt"], "a.txt"),
        (["b.txt"], None),
        (["a.png.txt"], None),
    ],
)
def test_which_file_is_the_caption_and_which_is_not_used(tmp_path: Path, names: list[str], used: str | None):
    put(tmp_path, a=None)
    for name in names:
        (tmp_path / name).write_text(f"words of {name}")
    found = scan(tmp_path, "the default")
    assert found.pictures[0].caption == (f"words of {used}" if used else "the default")
    assert caption_of(tmp_path / "a.png") == (f"words of {used}" if used else None)
    others = " ".join(found.left_out)
    assert [name for name in names if name in others.replace(f"beside {used}", "")] == [
        name for name in names if name != used
    ]
    if used and len(names) > 1:
        assert f"beside {used} (two captions of one picture: the latter is used)" in others


@pytest.mark.parametrize(
    ("words", "literal"),
    [
        ("miku (vocaloid)", r"miku \(vocaloid\)"),
        (r"miku \(vocaloid\)", r"miku \(vocaloid\)"),
        ("(red:1.4) hat", r"\(red:1.4\) hat"),
        ("a hat :)", r"a hat :\)"),
        ("[a] {b} <c>", "[a] {b} <c>"),
    ],
)
def test_brackets_are_said_to_be_emphasis_and_can_be_taken_as_they_are(
    tmp_path: Path, words: str, literal: str
):
    assert without_emphasis(words) == literal
    put(tmp_path, a=words.encode(), b=b"plain")
    as_emphasis, as_written = scan(tmp_path), scan(tmp_path, literal_brackets=True)
    assert [as_emphasis.pictures[0].caption, as_written.pictures[0].caption] == [words, literal]
    said = [note for note in as_emphasis.notes if "( ) in the caption" in note and "a.png" in note]
    assert len(said) == (words != literal) and as_written.notes == []


def test_brackets_of_the_default_caption_count_as_well(tmp_path: Path):
    (note,) = scan(put(tmp_path, a=None), "a (hat)").notes
    assert "a.png" in note


@pytest.mark.parametrize(
    ("words", "trigger", "spoken"),
    [
        ("a woman", "sks", "sks, a woman"),
        ("a woman", " sks ", "sks, a woman"),
        ("", "sks", "sks"),
        ("a woman", "", "a woman"),
        ("portrait of SKS", "sks", "portrait of SKS"),
        ("two sksks", "sks", "sks, two sksks"),
        ("sks.", "sks", "sks."),
        ("a c++ book", "c++", "a c++ book"),
    ],
)
def test_the_trigger_word_is_put_before_captions_that_lack_it(words: str, trigger: str, spoken: str):
    assert with_trigger(words, trigger) == spoken


def test_with_a_trigger_word_no_picture_needs_a_caption(tmp_path: Path):
    assert [it.caption for it in scan(put(tmp_path, a=None, b=b"x"), trigger="sks").pictures] == [
        "sks",
        "sks, x",
    ]
