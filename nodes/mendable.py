"""Which picture and which mask file an editor of masks means.

The browser sends back what the server gave it, a place: a picture of a folder that was listed, or one that a
node showed. It never names a mask file.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..semantic_focus.datasets.cache import picture_digest
from ..semantic_focus.datasets.folder import load_picture
from ..semantic_focus.datasets.mask_file import mask_path
from ..semantic_focus.datasets.mending import WORKING_SIDE, nothing_yet, working_size
from ..semantic_focus.datasets.orientation import upright_size
from ..semantic_focus.datasets.ownership import SUFFIX
from ..semantic_focus.datasets.thumbnails import thumbnail
from ..semantic_focus.files.text import shortened
from ..semantic_focus.files.writing import version_of
from ..semantic_focus.regions.masks import SemanticMasks
from ..semantic_focus.regions.refine import luminance
from .dataset_routes import ListedFolders, text_of
from .paths import file_to_write, picture_to_read
from .shown import SHOWN, Shown, kept_folder, make_kept_folder

MOST_PICTURES = 4
"""Pictures that wait decoded for the next request; the brush asks for one again and again."""


@dataclass(frozen=True)
class WorkingPicture:
    """A picture at the size that an editor works at: RGB, and Float[h, w] luminance in 0..1."""

    image: Image.Image
    light: np.ndarray


@dataclass(frozen=True)
class Mendable:
    """A picture whose masks can be mended.

    Attributes:
        file: its mask file, which need not be there.
        name: shown to the user.
        size: (height, width).
        picture: the picture, at the working size.
        start: its masks where there is no file.
    """

    file: Path
    name: str
    size: tuple[int, int]
    picture: Callable[[], WorkingPicture]
    start: Callable[[], SemanticMasks]


class WorkingPictures:
    """The pictures that were asked for last, decoded; safe to share between threads."""

    def __init__(self):
        self._found: OrderedDict[Any, WorkingPicture] = OrderedDict()
        self._lock = Lock()

    def get(self, path: Path, size: tuple[int, int]) -> WorkingPicture:
        """The picture of a file, whose (height, width) is known. Raises as `thumbnail`."""
        key = (path, version_of(path.resolve()))
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        height, width = working_size(size)
        image = thumbnail(path, WORKING_SIDE)
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        made = WorkingPicture(image, luminance(torch.from_numpy(np.array(image, np.float32) / 255)))
        with self._lock:
            self._found[key] = made
            while len(self._found) > MOST_PICTURES:
                self._found.popitem(last=False)
        return made


class Places:
    """Finds what a place means."""

    def __init__(self, listed: ListedFolders):
        self._listed, self._pictures = listed, WorkingPictures()

    def find(self, place: Mapping[str, Any]) -> Mendable:
        """The picture that a place means.

        Raises:
            NotListedError: a folder that was not listed.
            ValueError: no place, or one that may not be read.
            FileNotFoundError: the picture is gone.
        """
        if "shown" in place:
            return self._shown(SHOWN.get(text_of(place, "shown")))
        folder, name = text_of(place, "folder"), text_of(place, "name")
        if folder not in self._listed:
            raise NotListedError(
                f"{shortened(folder)!r} was not listed since ComfyUI started: refresh the list of pictures"
            )
        picture = picture_to_read(folder, name)
        size = upright_size(picture)
        file = file_to_write("the mask file", str(mask_path(picture).absolute()))

        def start() -> SemanticMasks:
            return nothing_yet(size, picture_digest(load_picture(picture)))

        return Mendable(file, name, size, lambda: self._pictures.get(picture, size), start)

    def _shown(self, shown: Shown) -> Mendable:
        if shown.file.parent == kept_folder():
            make_kept_folder()
            file = shown.file
        else:
            file = file_to_write("the mask file", str(shown.file))

        def start() -> SemanticMasks:
            if shown.masks is None:
                raise ValueError(f"{file}: the mask file is gone. Run the node again")
            return shown.masks.unpacked()

        name = "" if shown.masks is not None else file.name.removesuffix(SUFFIX)
        return Mendable(file, name, shown.size, lambda: self._pictures.get(shown.picture, shown.size), start)


class NotListedError(Exception):
    """A place in a folder that nobody has listed."""
