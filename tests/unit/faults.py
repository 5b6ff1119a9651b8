"""Disks that take no files: what a full, read-only or vanished folder says to whoever writes there."""

import errno
import os
from pathlib import Path

import pytest

FAULTS = {
    "full": errno.ENOSPC,
    "over quota": errno.EDQUOT,
    "read-only": errno.EROFS,
    "no permission": errno.EACCES,
    "gone": errno.ENOENT,
}


def refuse(patch: pytest.MonkeyPatch, folder: Path, number: int, after: int = 0) -> list[str]:
    """Let every file that is begun in `folder` or below fail with this error, after so many that do not.

    Returns:
        the names of the files that were refused, as they come.
    """
    whole, refused, begun = os.open, [], []

    def opened(path, flags, *more, **named):
        name = os.fspath(path)
        if flags & os.O_CREAT and isinstance(name, str) and name.startswith(f"{folder}{os.sep}"):
            begun.append(name)
            if len(begun) > after:
                refused.append(os.path.basename(name))
                raise OSError(number, os.strerror(number), name)
        return whole(path, flags, *more, **named)

    patch.setattr(os, "open", opened)
    return refused
