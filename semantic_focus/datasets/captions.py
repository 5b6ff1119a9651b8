"""Captions: which text file belongs to a picture, and the words in it.

`<stem>.txt` is what most trainers read, `<stem>.caption` what kohya's do by default; both may be in capitals.
A file without words is a caption without words, which some want for a style; no file is no caption.
"""

import codecs
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from ..files.names import not_allowed
from ..files.text import some

CAPTION_SUFFIXES = (".txt", ".caption")
"""The first that is there is used."""

MOST_BYTES = 1 << 20
"""No caption is longer; what is, is another text."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks, which say how a text is encoded. Without one it is UTF-8."""

BRACKET = re.compile(r"(?<!\\)[()]")


def is_caption(path: Path) -> bool:
    """Whether a file's name is one of a caption."""
    return path.suffix.lower() in CAPTION_SUFFIXES


def by_stem(files: Iterable[Path]) -> dict[Path, list[Path]]:
    """The caption files among some files of a folder, by their path without ending; the one used is first."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(filter(is_caption, files), key=_rank):
        found.setdefault(path.with_suffix(""), []).append(path)
    return found


def _rank(path: Path) -> tuple[int, bool, str]:
    suffix = path.suffix.lower()
    return CAPTION_SUFFIXES.index(suffix), suffix != path.suffix, path.name


def caption_file_of(picture: Path) -> Path | None:
    """The caption file beside a picture; None when it has none."""
    try:
        beside = [path for path in picture.parent.iterdir() if path.stem == picture.stem and path.is_file()]
    except FileNotFoundError:
        return None
    return next(iter(by_stem(beside).values()), [None])[0]


def read_caption(path: Path) -> str:
    """The words of a caption file, without blanks around them.

    Raises:
        ValueError: it is no text in UTF-8, nor in UTF-16 or UTF-32 with a byte order mark; it is too long; or
            it may not be read.
        OSError: it cannot be read for another reason.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except PermissionError as error:
        raise ValueError(not_allowed(path)) from error
    if len(content) > MOST_BYTES:
        raise ValueError(f"{path}: longer than {MOST_BYTES} bytes, which is no caption. Move it away")
    mark, encoding = next((one for one in MARKS if content.startswith(one[0])), (b"", "utf-8"))
    try:
        words = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text ({error}). Save the caption as UTF-8") from error
    if "\0" in words:
        raise ValueError(f"{path}: not UTF-8 text (it holds zero bytes). Save the caption as UTF-8")
    return words.strip()


def without_emphasis(words: str) -> str:
    """The words for ComfyUI's text encoders, to which ( ) are emphasis and \\( \\) are brackets."""
    return BRACKET.sub(r"\\\g<0>", words)


def with_trigger(words: str, trigger: str) -> str:
    """A caption that begins with the trigger word, or has it somewhere as a word of its own already."""
    trigger = trigger.strip()
    if not trigger or re.search(rf"(?<!\w){re.escape(trigger)}(?!\w)", words, re.IGNORECASE):
        return words
    return f"{trigger}, {words}" if words else trigger


def notes_on(own: Mapping[Path, str | None], spoken: Mapping[Path, str]) -> list[str]:
    """What is worth knowing of a dataset's captions, in sentences.

    Args:
        own: by picture; None where a picture has no caption file.
        spoken: what the text encoder will be given.
    """
    empty = [picture.name for picture, words in own.items() if words == "" and not spoken[picture]]
    bracketed = [picture.name for picture, words in spoken.items() if BRACKET.search(words)]
    notes = []
    if empty:
        notes.append(f"{_times(empty)} an empty caption file, and no words then: {named(empty)}")
    if bracketed:
        notes.append(
            f"{_times(bracketed)} ( ) in the caption, which ComfyUI's text encoders may take for emphasis: "
            f"{named(bracketed)}. Switch literal_brackets on to have them as they are"
        )
    return notes


def _times(names: list[str]) -> str:
    return "1 picture has" if len(names) == 1 else f"{len(names)} pictures have"


def named(names: Iterable[str], most: int = 10) -> str:
    """`some` of the names of files, as the remarks on a folder have them."""
    return some(names, most)
