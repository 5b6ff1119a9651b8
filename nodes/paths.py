"""The one path policy of nodes and routes: which files and folders they may read, and which they may write.

A graph may come from a stranger and a request from another program. So no node and no route opens a path that
it was given: it asks here, and gets a path or a refusal in words. What may be read is in docs/security.md.
"""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PureWindowsPath

import folder_paths
from comfy.cli_args import args

from ..semantic_focus.datasets.folder import dataset_folder
from ..semantic_focus.datasets.ownership import SUFFIX
from ..semantic_focus.datasets.status import picture_in
from ..semantic_focus.files.names import QUOTED, name_problem, named_path
from ..semantic_focus.files.text import shortened
from ..semantic_focus.files.writing import make_folder
from ..semantic_focus.settings.access import (
    FETCH_SECTION,
    FILE,
    VARIABLE,
    Access,
    AccessError,
    is_network,
    server_access,
)

SYSTEM_FOLDERS = ("/dev", "/proc", "/sys")
"""Folders of devices and of the running system."""

RUNS = "semantic_focus"
"""Folder of the runs, below ComfyUI's output folder."""

NOT_DATA = ("custom_nodes", "configs")
"""Kinds of ComfyUI's folders that hold programs and settings."""


def access() -> Access:
    """What may be read now: the operator's file is read anew, so that nothing has to be started again."""
    own = [
        folder_paths.get_input_directory(),
        folder_paths.get_output_directory(),
        folder_paths.get_temp_directory(),
        folder_paths.get_user_directory(),
        folder_paths.models_dir,
    ]
    for kind, (folders, *_) in folder_paths.folder_names_and_paths.items():
        if kind not in NOT_DATA:
            own += folders
    return _access(own)


def _access(own: list[str]) -> Access:
    file = Path(folder_paths.get_user_directory(), FILE)
    return server_access(own, args.listen, file, os.environ.get(VARIABLE, ""))


def input_folder() -> Path:
    """ComfyUI's input folder, where users put pictures."""
    return Path(folder_paths.get_input_directory())


def folders_to_choose_below() -> list[Path]:
    """The folders below which somebody may choose one: ComfyUI's input, and what the operator lists."""
    return [input_folder(), *map(Path, _access([]).folders)]


def dataset_folder_to_write(name: str) -> Path:
    """The folder of this name below ComfyUI's input folder, for pictures that somebody adds; made if missing.

    Args:
        name: names of folders with slashes between.

    Raises:
        ValueError: a part of it is no plain name, or it leads where may not be read.
        OSError: it cannot be made.
    """
    parts = name.replace("\\", "/").split("/")
    if problem := next(filter(None, map(name_problem, parts)), None):
        raise ValueError(f"{shortened(name)!r} is no name for a folder: {problem}")
    folder = input_folder()
    for part in parts:
        folder = access().admitted(folder / part)
        make_folder(folder)
    return folder


def may_not_fetch() -> str:
    """Why who can reach the server may not have it fetch weights; empty when they may."""
    if access().fetch:
        return ""
    return (
        "others can reach this ComfyUI, so its operator fetches the weights, in a shell; or allows it to "
        f"all: write fetch = true under [{FETCH_SECTION}] into {FILE} in ComfyUI's user folder"
    )


def folder_to_read(folder: str) -> Path:
    """The folder of a dataset; it need not exist.

    Raises:
        DatasetError: no name, the home folder of a user that this computer does not know, or one that may
            not be read.
    """
    return access().named(folder, dataset_folder)


def picture_to_read(folder: str, name: str) -> Path:
    """The picture of this name in a folder or below it.

    Raises:
        DatasetError: as `folder_to_read`, the name leads out of the folder or is none of a picture.
        FileNotFoundError: there is no such file.
    """
    admission = access()
    return picture_in(admission.named(folder, dataset_folder), name, admission.admitted)


def run_folder_to_read(folder: str) -> Path:
    """The folder of a training that somebody watches; it need not exist. A relative path is below the output
    folder.

    Raises:
        ValueError: as `file_to_read`.
    """
    return access().named(folder, _from(output_folder()))


def runs_to_choose_below() -> list[Path]:
    """The folders below which somebody may choose a run: ComfyUI's output, and what the operator lists."""
    return [output_folder(), *map(Path, _access([]).folders)]


def refusals() -> Callable[[Path], str]:
    """Says of a folder that was found below another why it may not be read; nothing when it may."""
    admission = access()

    def refusal(folder: Path) -> str:
        try:
            admission.admitted(folder)
        except AccessError as error:
            return str(error)
        return ""

    return refusal


def file_to_read(name: str, value: str, base: Path = Path()) -> Path:
    """The file or folder that the input `name` names.

    Args:
        base: where relative paths start; the server's working folder unless given.

    Raises:
        ValueError: no path, the home folder of a user that this computer does not know, or a place that may
            not be read.
    """
    return _named(name, value, base)


def file_to_write(name: str, value: str) -> Path:
    """The mask file that the input `name` names, to be written; `datasets/ownership.py` judges what is there.

    Raises:
        ValueError: as `file_to_read`, a relative path, another ending, or a folder of the system.
    """
    path = _named(name, value)
    if not path.name.endswith(SUFFIX):
        raise ValueError(f"{name} is {shortened(value)!r}: give a path that ends in {SUFFIX}")
    if not path.is_absolute():
        raise ValueError(
            f"{name} is {shortened(value)!r}: give the whole path, a relative one starts where the server "
            "does"
        )
    if any(_is_of_the_system(folder) for folder in (path.parent, Path(os.path.realpath(path.parent)))):
        raise ValueError(f"{name} is {shortened(value)!r}: give a path outside {', '.join(SYSTEM_FOLDERS)}")
    return path


def folder_to_write(name: str, value: str) -> Path:
    """The folder that the input `name` names, for files of ours; a relative path is below the output folder.

    Raises:
        ValueError: as `file_to_read`, a folder of the system, or a relative path that leads out of the output
            folder.
    """
    text = QUOTED.sub(r"\2", value.strip())
    if not (Path(text).is_absolute() or is_network(text) or text.startswith("~")):
        try:
            value = str(output_folder(*output_prefix(text).split("/")))
        except ValueError as error:
            raise ValueError(f"{name} is {error}") from error
    path = _named(name, value)
    if any(_is_of_the_system(folder) for folder in (path, Path(os.path.realpath(path)))):
        raise ValueError(f"{name} is {shortened(value)!r}: give a path outside {', '.join(SYSTEM_FOLDERS)}")
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
    try:
        place = output_prefix(prefix)
    except ValueError as error:
        raise ValueError(f"{name} is {error}") from error
    try:
        folder, stem, first, *_ = folder_paths.get_save_image_path(place, str(output_folder()))
    except OSError as error:
        raise ValueError(
            f"{name} is {shortened(prefix)!r}: its folder cannot be made ({error.strerror})"
        ) from error
    return (Path(folder) / f"{stem}_{number:05}_{ending}" for number in itertools.count(first))


def output_prefix(prefix: str) -> str:
    """A place below ComfyUI's output folder, with slashes: names of folders, and the beginning of a file's.

    Raises:
        ValueError: it leads out of the output folder, or a part of it is no plain name.
    """
    parts = prefix.replace("\\", "/").strip().split("/")
    if PureWindowsPath(prefix).anchor or prefix.startswith("/") or ".." in parts:
        raise ValueError(
            f"{shortened(prefix)!r}: it leads out of ComfyUI's output folder. Give a path that starts in it, "
            "such as loras/my_person"
        )
    for part in parts:
        if problem := name_problem(part):
            raise ValueError(
                f"{shortened(prefix)!r}: {shortened(part)!r} is no name to save under: {problem}"
            )
    return "/".join(parts)


def new_folder_name(name: str) -> str:
    """The name of a folder that somebody gives to something new.

    Raises:
        ValueError: it is no plain name.
    """
    if problem := name_problem(name):
        raise ValueError(f"{shortened(name)!r}: {problem}. Give a plain folder name, such as my_person")
    return name


def output_folder(*parts: str) -> Path:
    """A folder below ComfyUI's output folder, where everything goes that nobody chose a place for."""
    return Path(folder_paths.get_output_directory(), *parts)


def _named(name: str, value: str, base: Path = Path()) -> Path:
    try:
        return access().named(value, _from(base))
    except ValueError as error:
        raise ValueError(f"{name} is {shortened(value)!r}: {error}") from error


def _from(base: Path) -> Callable[[str], Path]:
    """Finds what a text names; a relative path starts at `base`."""

    def find(text: str) -> Path:
        path = named_path(text)
        return path if is_network(str(path)) else base / path

    return find
