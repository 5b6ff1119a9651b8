"""The one path policy of nodes and routes: which files and folders they may read, and which they may write.

A graph may come from a stranger and a request from another program. So no node and no route opens a path that
it was given: it asks here, and gets a path or a refusal in words.
"""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

import folder_paths

from ..semantic_focus.datasets.folder import dataset_folder
from ..semantic_focus.datasets.ownership import SUFFIX
from ..semantic_focus.files import name_problem, named_path

SYSTEM_FOLDERS = ("/dev", "/proc", "/sys")
"""Folders of devices and of the running system."""

MOST_SHOWN = 300
"""Characters of a value in a message."""


def folder_to_read(folder: str) -> Path:
    """The folder of a dataset; it need not exist.

    Raises:
        DatasetError: no name, or the home folder of a user that this computer does not know.
    """
    return dataset_folder(folder)


def file_to_read(name: str, value: str, base: Path | None = None) -> Path:
    """The file or folder that the input `name` names.

    Args:
        base: where relative paths start; the server's working folder unless given.

    Raises:
        ValueError: no path, or the home folder of a user that this computer does not know.
    """
    return (base or Path()) / _named(name, value)


def file_to_write(name: str, value: str) -> Path:
    """The mask file that the input `name` names, to be written; `datasets/ownership.py` judges what is there.

    Raises:
        ValueError: as `file_to_read`, a relative path, another ending, or a folder of the system.
    """
    path = _named(name, value)
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"{name} is {_shown(value)}: give a path that ends in {SUFFIX}")
    if not path.is_absolute():
        raise ValueError(
            f"{name} is {_shown(value)}: give the whole path, a relative one starts where the server does"
        )
    if any(_is_of_the_system(folder) for folder in (path.parent, Path(os.path.realpath(path.parent)))):
        raise ValueError(f"{name} is {_shown(value)}: give a path outside {', '.join(SYSTEM_FOLDERS)}")
    return path


def _is_of_the_system(folder: Path) -> bool:
    return any(map(folder.is_relative_to, SYSTEM_FOLDERS)) and not folder.is_relative_to("/dev/shm")


def new_output_files(name: str, prefix: str, ending: str) -> Iterator[Path]:
    """Places in ComfyUI's output folder: `<prefix>_00001_<ending>` and so on, after the numbers taken.

    Args:
        name: of the input that says `prefix`: names of folders with slashes between, and the beginning of a
            file's name; %year% and the like as in ComfyUI's own nodes.

    Raises:
        ValueError: a prefix that leads out of the output folder, or a part of it that is no plain name.
    """
    if not isinstance(prefix, str):
        raise ValueError(f"{name} is {_shown(prefix)}: give the beginning of a file name")
    parts = prefix.replace("\\", "/").strip().split("/")
    if PureWindowsPath(prefix).anchor or prefix.startswith("/") or ".." in parts:
        raise ValueError(
            f"{name} is {_shown(prefix)}: it leads out of ComfyUI's output folder. Give a path that starts "
            "in it, such as loras/my_person"
        )
    for part in parts:
        if problem := name_problem(part):
            raise ValueError(f"{name} is {_shown(prefix)}: {part!r} is no name to save under: {problem}")
    try:
        folder, stem, first, *_ = folder_paths.get_save_image_path("/".join(parts), str(output_folder()))
    except OSError as error:
        raise ValueError(
            f"{name} is {_shown(prefix)}: its folder cannot be made ({error.strerror})"
        ) from error
    return (Path(folder) / f"{stem}_{number:05}_{ending}" for number in itertools.count(first))


def new_folder_name(name: str, value: str) -> str:
    """The name of a folder that the input `name` gives to something new.

    Raises:
        ValueError: it is no plain name.
    """
    problem = name_problem(value) if isinstance(value, str) else "it is no text"
    if problem:
        raise ValueError(f"{name} is {_shown(value)}: {problem}. Give a plain folder name, such as my_person")
    return value


def output_folder(*parts: str) -> Path:
    """A folder below ComfyUI's output folder, where everything goes that nobody chose a place for."""
    return Path(folder_paths.get_output_directory(), *parts)


def _shown(value: object) -> str:
    """A value as it was given, cut where it is very long."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def _named(name: str, value: str) -> Path:
    try:
        return named_path(value)
    except ValueError as error:
        raise ValueError(f"{name} is {_shown(value)}: {error}") from error
