"""Safetensors files: the same bytes for the same content, and damage is noticed.

Those that we write have a digest of their tensors and header in it, and whoever reads them checks it. Files
without one, of other programs or of version 0.2.0, are read as they are.
"""

import ctypes
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .names import check_readable
from .text import printable
from .writing import MakeWay, write_bytes

ALIGNMENT = 8
"""Bytes that the length of a safetensors header is a multiple of."""

DIGEST_KEY = "semantic_focus.digest"

LARGEST_HEADER = 16 << 20
"""Longest header that is believed, in bytes: of a LoRA with all that trainers write it has a tenth of it."""

CHUNK = 1 << 20
"""Bytes that are read at once to compute a digest."""

MAPPED_FILES_ARE_HELD = os.name == "nt"

_METADATA = "__metadata__"

_DIGEST = re.compile(r"sha256 ([0-9a-f]{32})/(\d+) ([0-9a-f]{32})/(\d+) ([0-9a-f]{16})")
"""Digest and length of the header without this entry, of the tensors' bytes, and a digest of these four. The
lengths tell a file that another program wrote anew, header and all, from one that was damaged."""

_DAMAGED = "damaged: it is not what was written, by the digest in its header"


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
    content = memoryview(save(contiguous, said or None))  # no JSON of nothing and {}
    _forget_array_types()
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
        dtypes: the same, as safetensors names them ("F32").

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
            self.dtypes: dict[str, str] = {name: header[name]["dtype"] for name in self.shapes}
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
            return {name: _unmapped(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 (not a mapping)

    def tensor(self, name: str) -> Tensor:
        """One tensor, to be read after `check` where all of them would take much memory. Raises as it."""
        with _damage_named(), utf8_name(self._path) as path, safe_open(path, framework="pt") as file:
            return _unmapped(file.get_tensor(name))


def _unmapped(tensor: Tensor) -> Tensor:
    """The tensor, on Windows in memory of its own: a file that is mapped cannot be replaced there."""
    return tensor.clone() if MAPPED_FILES_ARE_HELD else tensor


def _forget_array_types() -> None:
    """Let go of the types that safetensors makes, one for every length of a tensor.

    Before Python 3.14 ctypes keeps each as long as the program runs: 4 KiB, seven times for a mask file.
    """
    kept = getattr(ctypes, "_pointer_type_cache", {})
    for kind in [kind for kind in list(kept) if isinstance(kind, type) and issubclass(kind, ctypes.Array)]:
        kept.pop(kind, None)


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
