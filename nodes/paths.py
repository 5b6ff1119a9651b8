"""The one path policy of nodes and routes: which files and folders they may read, and which they may write.

A graph may come from a stranger and a request from another program. So no node and no route opens a path that
it was given: it asks here, and gets a path or a refusal in words.
"""

from pathlib import Path

import folder_paths

from ..semantic_focus.datasets.folder import dataset_folder
from ..semantic_focus.files import named_path

SAFETENSORS = ".safetensors"


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


def _named(name: str, value: str) -> Path:
    try:
        return named_path(value)
    except ValueError as error:
        raise ValueError(f"{name} is {value!r}: {error}") from error
