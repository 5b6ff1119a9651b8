"""Captions as a person changes them in an editor: nothing that another program wrote meanwhile is lost."""

import hashlib
from pathlib import Path

from ..files.writing import write_bytes
from .captions import CAPTION_SUFFIXES, MOST_BYTES, caption_file_of, with_trigger
from .folder import DatasetError, caption_of
from .mending import ChangedMeanwhileError

NO_FILE = ""
"""Stamp of a picture without a caption file."""


def look_at_caption(picture: Path) -> tuple[str, str]:
    """The words of a picture's caption, and the stamp that changes when its file does.

    Raises:
        DatasetError: it cannot be read, or is no text.
    """
    path = caption_file_of(picture)
    return caption_of(picture) or "", NO_FILE if path is None else _stamp(path)


def write_caption(picture: Path, words: str, stamp: str) -> None:
    """Write a picture's caption into the file that it has, or into a new `<stem>.txt`, as UTF-8.

    Args:
        stamp: of `look_at_caption`, of the words that were changed.

    Raises:
        ChangedMeanwhileError: the file is not the one that was looked at.
        DatasetError: more than a caption can be, or its file is a link.
        NotWrittenError: the disk is full, say.
    """
    content = f"{words.strip()}\n".encode() if words.strip() else b""
    if len(content) > MOST_BYTES:
        raise DatasetError(f"{picture.name}: longer than {MOST_BYTES} bytes, which is no caption. Shorten it")
    path = caption_file_of(picture) or picture.with_suffix(CAPTION_SUFFIXES[0])
    if path.is_symlink():
        raise DatasetError(f"{path}: a link to another file. Change the words there, or put a copy here")

    def make_way(temporary: Path) -> bool:
        if _stamp(path) != stamp:
            raise ChangedMeanwhileError(path)
        return True

    write_bytes(path, [content], make_way)


def add_trigger(picture: Path, trigger: str) -> bool:
    """Put a trigger word before a picture's caption, see `with_trigger`; False where it has it already.

    Raises:
        ChangedMeanwhileError, DatasetError, NotWrittenError: as `write_caption`.
    """
    words, stamp = look_at_caption(picture)
    if (changed := with_trigger(words, trigger)) == words:
        return False
    write_caption(picture, changed, stamp)
    return True


def _stamp(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return NO_FILE
