"""Writing of anything: complete or absent, and the same bytes for the same content. Names and text of files.

This is the only place that writes (but for `segmenters/embedded/weights.py`, which runs before anything is
installed).
"""

import hashlib
import json
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL.Image import Image
from safetensors.torch import save
from torch import Tensor

TEMPORARY = re.compile(r"\.(?P<mark>.+)\.[0-9a-f]{8}\.part")
"""Names of temporary files, which a killed program leaves behind; `mark` is `mark_of` the file's name. (Up to
version 0.2.0 it was the name itself.)"""

QUOTED = re.compile(r"""^(["'])(.*)\1$""")

ALIGNMENT = 8
"""Bytes that the length of a safetensors header is a multiple of."""

BUSY_TRIES, BUSY_SECONDS = 10, 0.2
"""How often Windows is asked to replace a file that another program has open, and the time between."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and move it into place.

    The folder is made if it is missing. If `write` fails, nothing is left behind and an older file stays as
    it was. The temporary name is short, so that any name that fits the disk can be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{mark_of(path.name)}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)  # 0o666 less the umask, whatever `write` makes of it
        os.close(handle)
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        _move(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def mark_of(name: str) -> str:
    """12 hex digits that stand for a file's name in that of its temporary file."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _move(temporary: Path, path: Path) -> None:
    for _ in range(BUSY_TRIES if sys.platform == "win32" else 0):
        try:
            os.replace(temporary, path)
            return
        except PermissionError:  # a virus scanner or a viewer has the target open
            time.sleep(BUSY_SECONDS)
    os.replace(temporary, path)


def write_bytes(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write the parts one after the other, atomically."""

    def fill(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.writelines(parts)

    write_atomically(path, fill)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain line ends, atomically."""
    write_bytes(path, [text.encode("utf-8")])


def write_png(path: Path, picture: Image, **options: Any) -> None:
    """Write a picture, atomically; the options are Pillow's."""
    write_atomically(path, lambda temporary: picture.save(temporary, "PNG", **options))


def append_line(path: Path, line: str) -> None:
    """Add one line to a text file. Not atomic: whoever reads it leaves a last line out that is cut short."""
    with open(path, "a", encoding="utf-8", newline="\n") as file:
        file.write(line + "\n")


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors, atomically; equal tensors and metadata give equal bytes, in whatever order they come.

    Args:
        tensors: of any device and layout; they are stored contiguous.
        metadata: strings for the header.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # not `save_file`: it writes through a file of its own, which a killed program leaves behind
    content = memoryview(save(contiguous, dict(metadata or {})))
    length = int.from_bytes(content[:8], "little")
    header = json.loads(bytes(content[8 : 8 + length]))
    # the library has the metadata in random order
    ordered = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
    ordered += b" " * (-len(ordered) % ALIGNMENT)
    write_bytes(Path(path), [len(ordered).to_bytes(8, "little"), ordered, content[8 + length :]])


def named_path(text: str | Path) -> Path:
    """The path that a person named; ``~`` is the home folder.

    Quotes around a name are left out: file managers copy paths with them.

    Raises:
        ValueError: no name, or the home folder of a user that this computer does not know.
    """
    if isinstance(text, str):
        text = QUOTED.sub(r"\2", text.strip())
    if not str(text).strip():
        raise ValueError("no path given")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{text}: no such home folder. If the ~ belongs to the name, write ./{text} or the whole path"
        ) from error


def printable(text: object) -> str:
    r"""The text with what is no Unicode character written out: a byte of a file name as ``\xff``.

    File names need not be UTF-8; Python has their bytes as lone surrogates, which no terminal, log or JSON
    reader takes.
    """
    return re.sub("[\ud800-\udfff]", _written_out, str(text))


def _written_out(surrogate: re.Match[str]) -> str:
    code = ord(surrogate[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def check_readable(path: Path) -> None:
    """Raise PermissionError, in words, where a file is there and may not be read.

    To be asked before a library reads it that takes every refusal for a missing file, as safetensors does.
    """
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise PermissionError(not_allowed(path)) from error


def not_allowed(path: Path) -> str:
    """What is said of a file or folder that is there and may not be read."""
    return (
        f"{path}: it is there, but the user that runs this program may not read it. Change its permissions, "
        "or choose another"
    )
