"""Writing of anything: complete or absent, never over what is not ours, and the same bytes for the same
content. Names and text of files.

Safetensors files that we write have a digest of their tensors and header in it, and whoever reads them checks
it. Files without one, of other programs or of version 0.2.0, are read as they are.

This is the only place that writes (but for `segmenters/embedded/weights.py`, which runs before anything is
installed).
"""

import errno
import hashlib
import json
import logging
import math
import os
import re
import secrets
import stat
import sys
import textwrap
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

from PIL import Image
from PIL.Image import Image as Picture
from PIL.PngImagePlugin import PngInfo
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

TEMPORARY = re.compile(r"\.(?P<mark>.+)\.[0-9a-f]{8}\.part")
"""Names of temporary files, which a killed program leaves behind; `mark` is `mark_of` the file's name. (Up to
version 0.2.0 it was the name itself.)"""

log = logging.getLogger("semantic_focus.files")

QUOTED = re.compile(r"""^(["'])(.*)\1$""")

PNG_FIELD = "Software"
"""PNG text that says which part of this pack wrote a picture."""

ALIGNMENT = 8
"""Bytes that the length of a safetensors header is a multiple of."""

NAME_BYTES, PATH_BYTES = 255, 4095
"""Of a file's name, and of a path, on the systems that we know; some take less."""
MOST_DIGITS = 100
"""Digits of a whole number in a header."""
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


MakeWay = Callable[[Path], bool]
"""Asked with the complete temporary file, right before it is moved into place: raises to refuse, moves aside
what is there, or answers False to leave it as it is."""

MOST_TRIES = 100
"""How often a place is looked at again in which something has appeared just then."""

NAME_BYTES = 200
"""Longest name that a person may give, in bytes of UTF-8: disks hold 255, and what is added needs room."""

FORBIDDEN = '<>:"/\\|?*'
"""Characters that some systems refuse in a name."""

RESERVED = (
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{device}{n}" for device in ("COM", "LPT") for n in "123456789¹²³"),
)
"""Names that Windows keeps for devices, whatever ending they have."""


class NotWrittenError(OSError):
    """A file that could not be written; the message names it, why, and the way out. `errno` is kept."""

    def __init__(self, path: Path, error: OSError):
        why = REASONS.get(error.errno or 0, error.strerror or str(error))
        super().__init__(f"{path}: cannot be written: {why}")
        self.errno = error.errno


def write_atomically(path: Path, write: Callable[[Path], object], make_way: MakeWay | None = None) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk and move it into place.

    The folder must be there: a mistyped path makes none. If `write` fails, nothing is left behind and an
    older file stays as it was. The temporary name is short, so that any name that fits the disk can be
    written.

    Args:
        make_way: says whether what is there may be replaced; what appears after its answer is not. None:
            anything may be.

    Raises:
        FileNotFoundError: there is no folder for it.
        NotWrittenError: the disk is full or read-only, say.
    """
    try:
        _write_atomically(path, write, make_way)
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


def _write_atomically(path: Path, write: Callable[[Path], object], make_way: MakeWay | None) -> None:
    _check_folder(path)
    temporary = path.with_name(f".{mark_of(path.name)}.{secrets.token_hex(4)}.part")
    try:
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)  # 0o666 less the umask, whatever `write` makes of it
        os.close(handle)
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(mode)
        if make_way is None:
            _move(temporary, path)
        else:
            _move_if_way_is_made(temporary, path, make_way)
    finally:
        with suppress(OSError):  # a folder that vanished, or is read-only now: the first error counts
            temporary.unlink(missing_ok=True)


def _check_folder(path: Path) -> None:
    try:
        if stat.S_ISDIR(os.stat(path.parent).st_mode):
            return
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{path}: there is no folder {path.parent}. Make it first, or correct the path"
        ) from error
    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path.parent))


def _move_if_way_is_made(temporary: Path, path: Path, make_way: MakeWay) -> None:
    for _ in range(MOST_TRIES):
        judged = version_of(path)
        if not make_way(temporary):
            return
        if judged is not None and judged == version_of(path):
            _move(temporary, path)
            return
        try:
            _move_to_nothing(temporary, path)
            return
        except FileExistsError:  # somebody was faster: whose is it?
            continue
    raise FileExistsError(f"{path}: somebody else writes there all the time. Give another name")


def version_of(path: Path) -> tuple[int, ...] | None:
    """Tells one version of what is at a path from another, links unfollowed; None when nothing is there."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _move_to_nothing(temporary: Path, path: Path) -> None:
    """Move a file to where nothing is; FileExistsError if something is, also if it came just now."""
    if sys.platform == "win32":
        os.rename(temporary, path)  # it replaces nothing there
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        _move(temporary, path)


def nothing_is_there(path: Path) -> MakeWay:
    """For `write_atomically`: FileExistsError unless nothing is there, not even a dangling link."""

    def make_way(temporary: Path) -> bool:
        if os.path.lexists(path):
            raise FileExistsError(f"{path}: something is there already. Give another name, or move it away")
        return True

    return make_way


def others_aside(path: Path, is_ours: Callable[[Path], bool]) -> MakeWay:
    """For `write_atomically`, where nobody chose the name: what is there and not ours gets another name."""

    def make_way(temporary: Path) -> bool:
        if os.path.lexists(path) and not (is_regular(path) and is_ours(path)):
            aside = move_aside(path, "before")
            log.warning("%s", printable(f"{path}: it was not ours to replace, and is now {aside.name}"))
        return True

    return make_way


def is_regular(path: Path) -> bool:
    """Whether a path is a file: no folder, link, device, pipe or socket, and not nothing."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def move_aside(path: Path, why: str) -> Path:
    """Rename a file to `<name>.<why>` in its folder, or `<name>.<why>_2` and so on; its new path.

    Nothing is ever replaced by it, and no program takes the file for what it was.
    """
    name = os.fsencode(path.name)[:NAME_BYTES].decode("utf-8", "ignore") if _is_long(path.name) else path.name
    for number in range(1, sys.maxsize):
        aside = path.with_name(f"{name}.{why}" + (f"_{number}" if number > 1 else ""))
        try:
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except FileExistsError:
            continue
        try:
            os.replace(path, aside)
        except OSError:
            aside.unlink()
            raise
        return aside
    raise AssertionError("there is always another number")


def _is_long(name: str) -> bool:
    return len(os.fsencode(name)) > NAME_BYTES


def make_folder(folder: Path) -> None:
    """Make a folder inside one that is there; nothing when it is there itself.

    Raises:
        FileNotFoundError: there is no folder to make it in, as when a path was mistyped.
        FileExistsError: a file of that name.
    """
    try:
        folder.mkdir(exist_ok=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"{folder}: there is no folder {folder.parent} to make it in. Correct the path, or make that one"
        ) from error
    except FileExistsError as error:
        raise FileExistsError(f"{folder}: a file, not a folder. Give another path") from error


def name_problem(name: str) -> str | None:
    """Why a name that a person gave to something new is refused; None when every system takes it."""
    if not name.strip():
        return "it is empty"
    if found := next((character for character in name if character in FORBIDDEN), None):
        return f"{found} may not be in it"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        return "it has characters that cannot be printed"
    if name[0] in ". " or name[-1] in ". ":
        return "it begins or ends with a dot or a blank"
    if name.split(".")[0].rstrip().upper() in RESERVED:
        return "Windows keeps it for a device"
    if _is_long(name):
        return f"it is {len(os.fsencode(name))} bytes long, {NAME_BYTES} is the limit"
    return None


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


def write_bytes(path: Path, parts: Iterable[bytes | memoryview], make_way: MakeWay | None = None) -> None:
    """Write the parts one after the other, atomically."""

    def fill(temporary: Path) -> None:
        with open(temporary, "wb") as file:
            file.writelines(parts)

    write_atomically(path, fill, make_way)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text with plain line ends, atomically."""
    write_bytes(path, [text.encode("utf-8")])


def write_png(
    path: Path,
    picture: Picture,
    mark: str = "",
    make_way: MakeWay | None = None,
    texts: Mapping[str, str] = MappingProxyType({}),
    **options: Any,
) -> None:
    """Write a picture, atomically.

    Args:
        mark: what `has_png_mark` knows it by.
        texts: what it says besides.
        options: Pillow's.
    """
    if mark:
        options["pnginfo"] = info = PngInfo()
        for name, text in {PNG_FIELD: mark, **texts}.items():
            info.add_text(name, text)
    write_atomically(path, lambda temporary: picture.save(temporary, "PNG", **options), make_way)


def has_png_mark(path: Path, mark: str) -> bool:
    """Whether a file, and no link to one, is a picture that `write_png` wrote with this mark."""
    if not is_regular(path):
        return False
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return picture.info.get(PNG_FIELD) == mark
    except (OSError, SyntaxError, ValueError):
        return False


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
    path: str | Path,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    make_way: MakeWay | None = None,
) -> None:
    """Write tensors, atomically; equal tensors and metadata give equal bytes, in whatever order they come.

    The header gets a digest of all that is in the file, which `TensorFile` checks.

    Args:
        tensors: of any device and layout; they are stored contiguous.
        metadata: strings for the header; see `printable`.
        make_way: as of `write_atomically`.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # not `save_file`: it writes through a file of its own, which a killed program leaves behind
    said = {name: printable(value) for name, value in (metadata or {}).items()}
    content = memoryview(save(contiguous, said))
    length = int.from_bytes(content[:8], "little")
    # the library has the metadata in random order
    header = _header_with_digest(json.loads(bytes(content[8 : 8 + length])), content[8 + length :])
    header += b" " * (-len(header) % ALIGNMENT)
    parts = [len(header).to_bytes(8, "little"), header, content[8 + length :]]
    write_bytes(Path(path), parts, make_way)


class DamagedFileError(ValueError):
    """A safetensors file that cannot be used; the message says why, without the file's name."""


class TensorFile:
    """A safetensors file whose header was read and checked.

    Attributes:
        metadata: the strings of its header.
        shapes: of its tensors, by name.

    Raises:
        DamagedFileError: cut, damaged, hostile, or no safetensors file.
        OSError: it cannot be opened; a PermissionError in words.
    """

    def __init__(self, path: str | Path):
        self._path = Path(path)
        check_readable(self._path)
        with _damage_named():
            header, self._begin = _raw_header(self._path)
            with utf8_name(self._path) as name, safe_open(name, framework="pt") as file:
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
        with _damage_named(), utf8_name(self._path) as path, safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)

    def tensor(self, name: str) -> Tensor:
        """One tensor, to be read after `check` where all of them would take much memory. Raises as it."""
        with _damage_named(), utf8_name(self._path) as path, safe_open(path, framework="pt") as file:
            return file.get_tensor(name)


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


@contextmanager
def utf8_name(path: Path) -> Iterator[Path]:
    """A name of a file for libraries that take UTF-8 only: its own, or one that leads to it meanwhile."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:  # on Linux, where any bytes are a name
        handle = os.open(path, os.O_RDONLY)
        try:
            yield Path(f"/proc/self/fd/{handle}")
        finally:
            os.close(handle)
    else:
        yield path


def named_path(text: str | Path) -> Path:
    """The path that a person named; ``~`` is the home folder.

    Quotes around a name are left out: file managers copy paths with them.

    Raises:
        ValueError: no name, one that no disk takes, or the home folder of a user that this computer does not
            know.
    """
    if not isinstance(text, str | Path):
        raise ValueError(f"{text!r} is no path: give the path as text")
    if isinstance(text, str):
        text = QUOTED.sub(r"\2", text.strip())
    if not str(text).strip():
        raise ValueError("no path given")
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in (str(text), *Path(text).parts)]
    if sizes[0] > PATH_BYTES or any(size > NAME_BYTES for size in sizes[1:]):
        raise ValueError(
            f"a path that begins with {str(text)[:40]!r} is longer than a disk takes, which is {NAME_BYTES} "
            f"bytes for a name and {PATH_BYTES} in all: shorten it"
        )
    try:
        if "\0" in str(text):
            raise ValueError("it has a zero byte in it, which no file name has")
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"{text}: it has half a character in it, which no file name has") from error
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{text}: no such home folder. If the ~ belongs to the name, write ./{text} or the whole path"
        ) from error


UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""What is no Unicode character, moves a terminal's cursor, or turns the direction of what follows."""


def printable(text: object) -> str:
    r"""The text with what cannot be printed written out: a byte of a file name as ``\xff``.

    File names need not be UTF-8; Python has their bytes as lone surrogates, which no terminal, log or JSON
    reader takes. Others hold escape sequences, or marks that turn the rest of a line around. Line ends stay.
    """
    return UNPRINTABLE.sub(_written_out, str(text))


def in_short(error: BaseException) -> str:
    """Kind of an error and the beginning of what it says, on one printable line."""
    return textwrap.shorten(printable(f"{type(error).__name__}: {error}"), 200, placeholder=" …")


def _written_out(character: re.Match[str]) -> str:
    code = ord(character[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def short(value: object) -> str:
    """A value of somebody else's file as far as a message can have it."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:150]} ... ({len(text)} characters)"


def parsed_json(text: str) -> Any:
    """The value of a JSON text that somebody else may have written: its numbers are finite, also as floats.

    Raises:
        ValueError: not JSON, a number that is too long or none, or brackets too deep within each other.
    """
    try:
        return json.loads(text, parse_int=_whole, parse_float=_finite, parse_constant=_finite)
    except RecursionError:
        raise ValueError("brackets too deep within each other") from None


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:20]} is no finite number")
    return value


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)


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
