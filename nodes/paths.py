"""The one path policy of nodes and routes: which files and folders they may read, and which they may write.

A graph may come from a stranger and a request from another program. So no node and no route opens a path that
it was given: it asks here, and gets a path or a refusal in words. What may be read is in docs/security.md.
"""

import os
from collections.abc import Callable
from pathlib import Path

import folder_paths
from comfy.cli_args import args

from ..semantic_focus.datasets.folder import dataset_folder
from ..semantic_focus.datasets.status import picture_in
from ..semantic_focus.files import named_path
from ..semantic_focus.settings.access import (
    FILE,
    VARIABLE,
    Access,
    AccessError,
    is_network,
    server_access,
    shown,
)

SAFETENSORS = ".safetensors"

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
    file = Path(folder_paths.get_user_directory(), FILE)
    return server_access(own, args.listen, file, os.environ.get(VARIABLE, ""))


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


def file_to_write(name: str, value: str, suffix: str = SAFETENSORS) -> Path:
    """The file that the input `name` names, to be written.

    Raises:
        ValueError: as `file_to_read`, or another ending.
    """
    path = _named(name, value)
    if not path.name.endswith(suffix):
        raise ValueError(f"{name} is {value!r}: give a path that ends in {suffix}")
    return path


def output_folder(*parts: str) -> Path:
    """A folder below ComfyUI's output folder, where everything goes that nobody chose a place for."""
    return Path(folder_paths.get_output_directory(), *parts)


def _named(name: str, value: str, base: Path = Path()) -> Path:
    def find(text: str) -> Path:
        path = named_path(text)
        return path if is_network(str(path)) else base / path

    try:
        return access().named(value, find)
    except ValueError as error:
        raise ValueError(f"{name} is {shown(value)!r}: {error}") from error
