"""Files that have the name of weights and are none: what they look like, going by a few of their bytes."""

import json
import logging
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..files.text import in_short

log = logging.getLogger("semantic_focus.segmenters.damage")

SAFETENSORS, TORCH, TFLITE = ".safetensors", (".pt", ".pth", ".bin", ".ckpt"), ".tflite"
WEIGHTS = (SAFETENSORS, *TORCH, TFLITE)
"""Endings of weight files."""

LARGEST_HEADER = 100 << 20
"""Longest safetensors header that is believed, in bytes."""
START = 1 << 10
"""Bytes at the beginning that tell a text from weights."""
PICKLE, ZIP = b"\x80", b"PK\x03\x04"


def damage(file: Path) -> str | None:
    """What a file that should hold weights looks like instead; None where nothing speaks against it."""
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(START)
    except OSError as error:
        return f"cannot be read ({error.strerror or in_short(error)})"
    return _no_weights(start, size) or _damaged_form(file, start, size)


def _no_weights(start: bytes, size: int) -> str | None:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not size:
        return "is empty"
    if start.startswith(b"version https://git-lfs"):
        return "is a Git-LFS pointer, not the file itself (its repository was cloned without git lfs)"
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page, not the file itself (a download that needs an account, say)"
    if not start.count(0) and _is_text(start):
        line = " ".join(start[:80].decode("utf-8", "replace").split())
        return f"is a text of {size} bytes, not weights ({line!r})"
    return None


def _is_text(start: bytes) -> bool:
    try:
        return start.decode("utf-8").replace("\n", " ").replace("\r", " ").replace("\t", " ").isprintable()
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4 and start[: error.start].decode().isprintable()


def _damaged_form(file: Path, start: bytes, size: int) -> str | None:
    """By the file's ending: whether it is what that says, and all of it."""
    if file.suffix == SAFETENSORS:
        # a header of 128 or 384 bytes begins like a pickle
        if start.startswith(ZIP) or start.startswith(PICKLE) and start[8:9] != b"{":
            return "is a PyTorch file (.pt) under another name, no safetensors"
        return _damaged_safetensors(file, start, size)
    if file.suffix == TFLITE:
        return None if start[4:8] == b"TFL3" else "is no TFLite file"
    if start.startswith(ZIP):
        # the table of contents is the last thing in it
        return None if zipfile.is_zipfile(file) else f"is cut short (it ends after {size} bytes)"
    return None if start.startswith(PICKLE) else "is no PyTorch file"


def _damaged_safetensors(file: Path, start: bytes, size: int) -> str | None:
    (length,) = struct.unpack("<Q", start[:8].ljust(8, b"\0"))
    if not 2 <= length <= LARGEST_HEADER:
        return "is no safetensors file"
    if 8 + length > size:
        return (
            f"is cut short ({size} bytes, its header alone has {8 + length})"
            if start[8:9] == b"{"
            else "is no safetensors file"
        )
    with file.open("rb") as stream:
        stream.seek(8)
        try:
            end = 8 + length + _end_of_tensors(json.loads(stream.read(length)))
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
            return "is no safetensors file (its header is damaged)"
    if end > size:
        return f"is cut short ({size} of {end} bytes)"
    return f"is longer than its header says ({size} bytes instead of {end})" if end < size else None


def _end_of_tensors(header: dict[str, Any]) -> int:
    return max(
        (int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"), default=0
    )


def damaged_files(path: Path) -> Iterator[tuple[Path, str]]:
    """The weight files of a model (a file, or a folder's safetensors) that are none, and what they are."""
    for file in sorted(path.glob(f"*{SAFETENSORS}")) if path.is_dir() else [path]:
        if fault := damage(file):
            yield file, fault


def is_whole(path: Path) -> bool:
    """Whether nothing speaks against the weights of a model, a file or a folder; what does is logged once."""
    faults = [f"{file} {fault}" for file, fault in damaged_files(path)]
    for fault in faults:
        _tell(fault)
    return not faults


@lru_cache(maxsize=256)
def _tell(fault: str) -> None:
    log.warning("Segmenter weights are passed over: %s", fault)


class WeightsNotLoadedError(ValueError):
    """Weights are there, but cannot be loaded; the message names the file."""


class OtherNetworkError(ValueError):
    """Weights of another network than they should be; the message names the file and what does not fit."""


@contextmanager
def loading(backend: str, path: Path, advice: str) -> Iterator[None]:
    """Around whatever loads the weights in `path`: its errors name file and way out.

    Args:
        advice: how to get them again.

    Raises:
        WeightsNotLoadedError: in the place of any error but a want of memory.
    """
    try:
        yield
    except (MemoryError, WeightsNotLoadedError):
        raise
    except Exception as error:  # each runtime has its own
        if "out of memory" in str(error).lower():
            raise
        faults = [f"{file} {fault}" for file, fault in damaged_files(path)]
        unlike = str(error) if isinstance(error, OtherNetworkError) else ""
        unlike = unlike or f"{path} does not load ({in_short(error)}): damaged, or of another kind"
        what = "; ".join(faults) or unlike
        raise WeightsNotLoadedError(
            f"segmentation backend {backend!r}: {what}. Move it away and get it again:\n{advice}"
        ) from error
