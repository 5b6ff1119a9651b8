"""Whose the file is that lies where masks go, and whether masks may be written there.

Ours is what has our suffix and the header of one of our segmenters: it can be made again, and is replaced.
What a person or another program made is never replaced, what is damaged cannot be told from it and is moved
aside, and what is no mask file at all stays where it is.
"""

import filecmp
import logging
import stat
from pathlib import Path

from ..files.tensors import DamagedFileError, TensorFile
from ..files.text import printable
from ..files.writing import MakeWay, is_regular, move_aside
from .mask_header import DIGEST, by_hand_of, has_hand, known_header

log = logging.getLogger("semantic_focus.datasets.ownership")

SUFFIX = "_zi_masks.safetensors"
DAMAGED = "damaged"
"""Ending of a mask file that was moved aside because it could not be read."""


class MaskFileError(ValueError):
    """A mask file that cannot be used; the message names the file, what is wrong and what to do.

    Attributes:
        problem: what is wrong, without file and way out.
    """

    def __init__(
        self,
        path: Path,
        problem: str,
        way_out: str = "Run the segmentation again to make it anew, or choose another file",
    ):
        super().__init__(f"{path}: {problem}. {way_out}")
        self.problem = problem


class DamagedMaskFileError(MaskFileError):
    """A mask file that cannot be read, whoever made it."""


class ForeignMaskFileError(MaskFileError):
    """A mask file that no segmenter of ours made; it is never replaced."""

    def __init__(self, path: Path):
        super().__init__(
            path,
            "it was made by hand or by another program, and is never replaced",
            "Give another file, or move this one away if it is not wanted any more",
        )


class HandLayersError(MaskFileError):
    """A mask file of which a person changed some regions; it is never replaced unread."""

    def __init__(self, path: Path, regions: str):
        super().__init__(
            path,
            f"in it is made by hand: {regions}; that is never replaced",
            "Give another file, or take it back first (in the large view of the masks)",
        )


class NoMaskFileError(MaskFileError):
    """Something that is no mask file, where one is to be; it is never replaced."""

    def __init__(self, path: Path, what: str):
        super().__init__(path, what, f"Give the path of a mask file (…{SUFFIX}), or move this away")


def place_to_write(path: Path) -> Path:
    """Where the masks for `path` go: there, or where a link of that name leads. No content is looked at.

    Raises:
        NoMaskFileError: no folder for it, something else than a file is there, or a file without our suffix.
    """
    try:
        target = path.resolve() if path.is_symlink() else path
        if not target.parent.is_dir():
            raise NoMaskFileError(path, f"there is no folder {target.parent}")
        kind = target.lstat().st_mode
    except FileNotFoundError:
        kind = stat.S_IFREG
    except (OSError, RuntimeError) as error:  # too long a name, a circle of links
        raise NoMaskFileError(path, f"it cannot be written ({getattr(error, 'strerror', error)})") from error
    if not stat.S_ISREG(kind):
        raise NoMaskFileError(path, _kind(kind))
    if not target.name.endswith(SUFFIX) and (target != path or is_regular(target)):
        link = f"it leads to {target.name}, whose name" if target != path else "its name"
        raise NoMaskFileError(path, f"{link} does not end in {SUFFIX}, and so it is not ours to replace")
    return target


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "it cannot be written (a link that leads to itself)"
    return f"it is {'a folder' if stat.S_ISDIR(mode) else 'a device or a pipe'}, no file"


def header_of_ours(path: Path) -> dict[str, str]:
    """The header of a mask file that one of our segmenters made.

    Raises:
        FileNotFoundError: nothing is there.
        DamagedMaskFileError: it cannot be read.
        NoMaskFileError: it holds no masks, or is no file.
        ForeignMaskFileError: a person or another program made them.
        MaskFileError: the file may not be read.
    """
    try:
        if not path.exists():  # also where a file stands in place of its folder
            raise FileNotFoundError(f"{path}: nothing is there")
        if not path.is_file():
            raise NoMaskFileError(path, _kind(path.stat().st_mode))
        file = TensorFile(path)
    except DamagedFileError as error:
        raise DamagedMaskFileError(path, str(error)) from error
    except FileNotFoundError:
        raise
    except OSError as error:
        way_out = "Allow the program to read it, or correct the path"
        raise MaskFileError(path, f"it cannot be read ({error.strerror or error})", way_out) from error
    if not any(name.endswith("_mask") for name in file.shapes):
        held = ", ".join(sorted(file.shapes)[:3]) or "nothing"
        raise NoMaskFileError(path, f"it holds no masks but {held}")
    header = known_header(file.metadata)
    if DIGEST not in header:
        raise ForeignMaskFileError(path)
    return header


def keep_damaged(path: Path, error: MaskFileError) -> str:
    """Move a damaged mask file (or what a link leads to) aside and say so in the log.

    Returns:
        Where it is now, printable; empty when another program has taken it away meanwhile.
    """
    try:
        aside = printable(move_aside(place_to_write(path), DAMAGED))
    except FileNotFoundError:
        return ""
    log.warning("%s: damaged (%s), kept as %s", printable(path), printable(error.problem), aside)
    return aside


def way_for_masks(target: Path, over_hand: bool = False) -> MakeWay:
    """For `writing.write_atomically`: the policy above, for a place of `place_to_write`.

    Args:
        over_hand: what a person changed of the masks that are there is kept, or taken back.
    """

    def make_way(temporary: Path) -> bool:
        if not place_to_write(target).exists():
            return True
        try:
            header = header_of_ours(target)
            if has_hand(header) and filecmp.cmp(temporary, target, shallow=False):
                return False
            if has_hand(header) and not over_hand:
                raise HandLayersError(target, ", ".join(by_hand_of(header)))
        except DamagedMaskFileError as error:
            keep_damaged(target, error)
        except ForeignMaskFileError:
            if filecmp.cmp(temporary, target, shallow=False):
                return False  # the same graph again: what a person made is there already
            raise
        return True

    return make_way
