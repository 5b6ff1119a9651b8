"""What was made of a picture for training, kept beside it: latents, masks on their grid, encoded captions.

    <stem>_<kind>_<8 hex digits>_zi_prepared.safetensors

The digits stand for what it was made with, so that two settings or models never share a file. The header says
what it was made from; who asks compares. Everything in such a file can be made again: it may be deleted at
any time.
"""

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..files.tensors import DamagedFileError, TensorFile, write_safetensors
from ..files.text import parsed_json
from ..files.writing import is_regular, others_aside
from .folder import DatasetError
from .freshness import identity
from .on_disk import OnDisk

log = logging.getLogger("semantic_focus.datasets.prepared_file")

SUFFIX = "_zi_prepared.safetensors"
VERSION_FIELD, VERSION = "prepared", "1"
"""Raised with every change of what is made of a picture."""
STRUCTURE = "structure"
"""Header field of a nested value: JSON, in which {"tensor": name} stands for a tensor."""
_TENSOR = "tensor"


class CannotBeKeptError(ValueError):
    """A nested value with something in it that a file of tensors does not hold."""


@dataclass(frozen=True)
class PreparedFile:
    """A file of this kind, which need not be there.

    Attributes:
        picture: what it was made from, or beside which it lies.
    """

    path: Path
    picture: Path

    @staticmethod
    def of(picture: Path, kind: str, made_with: Sequence[str]) -> "PreparedFile":
        """The file of a picture.

        Args:
            kind: one word, what is in it.
            made_with: all settings that two of its users may differ in.
        """
        key = hashlib.sha256(json.dumps([VERSION, kind, *made_with]).encode()).hexdigest()[:8]
        return PreparedFile(picture.with_name(f"{picture.stem}_{kind}_{key}{SUFFIX}"), picture)

    def header(self) -> dict[str, str]:
        """What it says of itself; nothing where no file of ours is, or a damaged one."""
        return _header(self.path)

    def write(self, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
        """Write it, not older than its picture; what is there and not ours, or damaged, is moved aside.

        Raises:
            NotWrittenError: the disk is full or read-only, say.
        """
        metadata = {**header, VERSION_FIELD: VERSION}
        write_safetensors(self.path, tensors, metadata, others_aside(self.path, _is_ours))
        with suppress(OSError):
            latest = max(self.path.stat().st_mtime_ns, self.picture.stat().st_mtime_ns)
            os.utime(self.path, ns=(latest, latest))

    def tensors(self) -> dict[str, Tensor]:
        """All that is in it.

        Raises:
            DatasetError: damaged, or gone.
        """
        try:
            with torch.inference_mode(False):
                return TensorFile(self.path).tensors()
        except (DamagedFileError, OSError) as error:
            raise DatasetError(f"{self.path}: {error}. Delete it and run again: it is made anew") from error

    def waiting(self) -> dict[str, Tensor]:
        """The same; those of fp32 stay on the disk until they are used.

        Whoever uses one after its file was changed gets a DatasetError.

        Raises:
            DatasetError: damaged, or gone.
        """
        try:
            file, state = TensorFile(self.path), identity(self.path)
            of_fp32 = [name for name in file.shapes if file.dtypes[name] == "F32"]
            others = {} if len(of_fp32) == len(file.shapes) else file.tensors()
        except (DamagedFileError, OSError) as error:
            raise DatasetError(f"{self.path}: {error}. Delete it and run again: it is made anew") from error
        return {
            name: OnDisk(partial(self._read, name, state), tuple(shape)) if name in of_fp32 else others[name]
            for name, shape in file.shapes.items()
        }

    def waiting_one(self, name: str) -> Tensor | None:
        """One of them; None where it is not there or damaged."""
        try:
            return self.waiting().get(name)
        except DatasetError as error:
            log.info("%s", error)
            return None

    def _read(self, name: str, state: tuple[int, ...] | None) -> Tensor:
        if identity(self.path) != state:
            raise DatasetError(
                f"{self.path}: it was made anew, moved or deleted after the folder was prepared. Run again"
            )
        return self.tensors()[name]


def _header(path: Path) -> dict[str, str]:
    try:
        metadata = TensorFile(path).metadata if is_regular(path) else {}
    except (DamagedFileError, OSError):
        return {}
    return metadata if VERSION_FIELD in metadata else {}


def _is_ours(path: Path) -> bool:
    return bool(_header(path))


def taken_apart(value: Any) -> tuple[str, dict[str, Tensor]]:
    """A nested value as JSON, see STRUCTURE, and its tensors by name.

    Args:
        value: lists, tuples and dictionaries by text, of tensors, numbers, texts and None.

    Raises:
        CannotBeKeptError: something else is in it.
    """
    tensors: dict[str, Tensor] = {}

    def plain(part: Any) -> Any:
        if type(part) is Tensor or isinstance(part, OnDisk):
            name = str(len(tensors))
            tensors[name] = part
            return {_TENSOR: name}
        if isinstance(part, list | tuple):
            return [plain(one) for one in part]
        if isinstance(part, Mapping) and all(isinstance(key, str) for key in part):
            return {"of": {key: plain(one) for key, one in part.items()}}
        if part is None or isinstance(part, bool | int | float | str):
            return part
        raise CannotBeKeptError(f"a {type(part).__name__} cannot be kept in a file")

    return json.dumps(plain(value)), tensors


def put_together(structure: str, tensors: Mapping[str, Tensor]) -> Any:
    """What was taken apart; tuples come back as lists.

    Raises:
        ValueError: not what `taken_apart` gives.
    """

    def nested(part: Any) -> Any:
        if isinstance(part, list):
            return [nested(one) for one in part]
        if not isinstance(part, dict):
            return part
        if _TENSOR in part:
            return tensors[part[_TENSOR]]
        return {key: nested(one) for key, one in part["of"].items()}

    try:
        return nested(parsed_json(structure))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is not the structure of what was kept ({error!r})") from error
