"""Writing of anything: complete or absent, and the same bytes for the same content. Names and text of files.

Safetensors files that we write have a digest of their tensors and header in it, and whoever reads them checks
it. Files without one, of other programs or of version 0.2.0, are read as they are.

This is the only place that writes (but for `segmenters/embedded/weights.py`, which runs before anything is
installed).
"""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from PIL.Image import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

TEMPORARY = re.compile(r"\.(?P<mark>.+)\.[0-9a-f]{8}\.part")
"""Names of temporary files, which a killed program leaves behind; `mark` is `mark_of` the file's name. (Up to
version 0.2.0 it was the name itself.)"""

QUOTED = re.compile(r"""^(["'])(.*)\1$""")

ALIGNMENT = 8
"""Bytes that the length of a safetensors header is a multiple of."""

DIGEST_KEY = "semantic_focus.digest"
LARGEST_HEADER = 16 << 20
"""Longest header that is believed, in bytes: of a LoRA with all that trainers write it has a tenth of it."""
CHUNK = 1 << 20
"""Bytes that are read at once to compute a digest."""

_METADATA = "__metadata__"
_DIGEST = re.compile(r"sha256 ([0-9a-f]{32})/(\d+) ([0-9a-f]{32})/(\d+) ([0-9a-f]{16})")
"""Digest and length of the header without this entry, of the tensors' bytes, and a digest of these four. The
lengths tell a file that another program wrote anew, header and all, from one that was damaged."""
_DAMAGED = "damaged: it is not what was written, by the digest in its header"

REASONS = {
    errno.ENOSPC: "the disk is full. Free some space, or give a folder on another disk",
    errno.EDQUOT: "your share of the disk is used up. Free some space, or give a folder on another disk",
    errno.EROFS: "the disk is read-only. Give a folder on another one",
    errno.EACCES: "you have no permission to write there. Change the folder's permissions, or give another",
    errno.EPERM: "you have no permission to write there. Change the folder's permissions, or give another",
    errno.ENOENT: "its folder is gone. Give one that is there",
    errno.ENOTDIR: "a part of its path is a file, not a folder. Give another path",
    errno.EEXIST: "a part of its path is a file, not a folder. Give another path",
    errno.EISDIR: "there is a folder of that name. Give another name",
    errno.ENAMETOOLONG: "its name is too long for the disk. Give a shorter one",
    errno.EFBIG: "it is larger than files may be there. Give a folder on another disk",
}
"""Why a file cannot be written and what to do, by the system's error number."""
PROBE = 1 << 20
"""Bytes that are written to learn whether a disk takes them; more than a usual mask file."""

BUSY_TRIES, BUSY_SECONDS = 10, 0.2
"""How often Windows is asked to replace a file that another program has open, and the time between."""


class NotWrittenError(OSError):
    """A file that could not be written; the message names it, why, and the way out. `errno` is kept."""

    def __init__(self, path: Path, error: OSError):
        why = REASONS.get(error.errno or 0, error.strerror or str(error))
        super().__init__(f"{path}: cannot be written: {why}")
        self.errno = error.errno


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and move it into place.

    The folder is made if it is missing. If `write` fails, nothing is left behind and an older file stays as
    it was. The temporary name is short, so that any name that fits the disk can be written.

    Raises:
        NotWrittenError: the disk is full or read-only, say.
    """
    try:
        _write_atomically(path, write)
    except OSError as error:
        if error.errno is None or isinstance(error, NotWrittenError):
            raise  # not the disk's: what fills the file ended it
        raise NotWrittenError(path, error) from error


def check_can_write(path: Path) -> None:
    """Raise NotWrittenError unless a file of `PROBE` bytes could be written there; nothing is left behind."""
    probe = path.with_name(f".{mark_of(path.name)}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb") as file:
            file.write(bytes(PROBE))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise NotWrittenError(path, error) from error
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _write_atomically(path: Path, write: Callable[[Path], object]) -> None:
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
        with suppress(OSError):  # a folder that vanished, or is read-only now: the first error counts
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
    """Add one line to a text file. Not atomic: whoever reads it leaves out a line that is cut short.

    Raises:
        NotWrittenError: the disk is full or read-only, say.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o666)
        with os.fdopen(handle, "a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")
    except OSError as error:
        raise NotWrittenError(path, error) from error


def write_safetensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors, atomically; equal tensors and metadata give equal bytes, in whatever order they come.

    The header gets a digest of all that is in the file, which `TensorFile` checks.

    Args:
        tensors: of any device and layout; they are stored contiguous.
        metadata: strings for the header.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # not `save_file`: it writes through a file of its own, which a killed program leaves behind
    content = memoryview(save(contiguous, dict(metadata or {})))
    length = int.from_bytes(content[:8], "little")
    # the library has the metadata in random order
    header = _header_with_digest(json.loads(bytes(content[8 : 8 + length])), content[8 + length :])
    header += b" " * (-len(header) % ALIGNMENT)
    write_bytes(Path(path), [len(header).to_bytes(8, "little"), header, content[8 + length :]])


class DamagedFileError(ValueError):
    """A safetensors file that cannot be used; the message says why, without the file's name."""


class TensorFile:
    """A safetensors file whose header was read and checked.

    Attributes:
        metadata: the strings of its header.
        shapes: of its tensors, by name.

    Raises:
        DamagedFileError: cut, damaged, hostile, or no safetensors file.
        OSError: it cannot be opened.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        with _damage_named():
            header, self._begin = _raw_header(self._path)
            with safe_open(self._path, framework="pt") as file:
                self.metadata: dict[str, str] = file.metadata() or {}
            self.shapes: dict[str, list[int]] = {
                name: entry["shape"] for name, entry in header.items() if name != _METADATA
            }
            self._data_digest = self._checked_header(header)
        self.metadata.pop(DIGEST_KEY, None)

    def _checked_header(self, header: Mapping[str, Any]) -> str | None:
        """The digest that the tensors' bytes must have; None where nothing is known of it."""
        if any(_DIGEST.fullmatch(text) and key != DIGEST_KEY for key, text in self.metadata.items()):
            raise DamagedFileError(_DAMAGED)
        entry = self.metadata.get(DIGEST_KEY)
        if entry is None:
            return None
        said = _DIGEST.fullmatch(entry)
        if said is None or _short(entry.rpartition(" ")[0]) != said[5]:
            raise DamagedFileError(_DAMAGED)
        content = _canonical(header)
        if (len(content), self._path.stat().st_size - self._begin) != (int(said[2]), int(said[4])):
            return None  # another program wrote the file anew, and took the header over
        if _digest(content) != said[1]:
            raise DamagedFileError(_DAMAGED)
        return said[3]

    def check(self) -> None:
        """Read the whole file for its digest; no tensor is made.

        Raises:
            DamagedFileError: it is not what was written.
            OSError: it cannot be read.
        """
        if self._data_digest is None:
            return
        found = hashlib.sha256()
        with self._path.open("rb") as file:
            file.seek(self._begin)
            while chunk := file.read(CHUNK):
                found.update(chunk)
        if found.hexdigest()[:32] != self._data_digest:
            raise DamagedFileError(_DAMAGED)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors, after `check`. Raises as it."""
        self.check()
        with _damage_named(), safe_open(self._path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)


def _header_with_digest(header: Mapping[str, Any], data: memoryview) -> bytes:
    """The header of a file, as JSON in one order, with the digest of it and of the tensors' bytes.

    Args:
        header: as safetensors has it, name -> entry and `__metadata__`.
    """
    content = _canonical(header)
    entry = f"sha256 {_digest(content)}/{len(content)} {_digest(data)}/{len(data)}"
    metadata = {**header.get(_METADATA, {}), DIGEST_KEY: f"{entry} {_short(entry)}"}
    return _json({**header, _METADATA: metadata})


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of a tensor with a value that is no finite number; None when there is none."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(_of_known_type(tensor).isfinite().all()):
            return name
    return None


def _of_known_type(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.element_size() == 1 else tensor


def _raw_header(path: Path) -> tuple[dict[str, Any], int]:
    """The header and where the tensors begin."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise DamagedFileError(f"not a complete safetensors file ({size} bytes)")
        if length > LARGEST_HEADER:
            raise DamagedFileError(f"its header is {length} bytes long, at most {LARGEST_HEADER} are read")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise DamagedFileError("not a complete safetensors file (its header is no JSON object)")
    return header, 8 + length


def _canonical(header: Mapping[str, Any]) -> bytes:
    """The header without its digest, in one order."""
    metadata = {key: text for key, text in header.get(_METADATA, {}).items() if key != DIGEST_KEY}
    entries = {name: entry for name, entry in header.items() if name != _METADATA}
    return _json({**entries, _METADATA: metadata} if metadata else entries)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def _digest(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:32]


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@contextmanager
def _damage_named() -> Iterator[None]:
    """Hostile headers make readers raise nearly anything; what the disk says stays as it is."""
    try:
        yield
    except (DamagedFileError, OSError, MemoryError):
        raise
    except SafetensorError as error:
        raise DamagedFileError(f"not a complete safetensors file ({error})") from error
    except Exception as error:
        raise DamagedFileError(
            f"not a complete safetensors file ({type(error).__name__}: {error})"
        ) from error


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
