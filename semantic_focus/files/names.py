"""Names of files and folders: the paths that people give, and names that every system can have."""

import os
import re
import unicodedata
from pathlib import Path, PurePath, PureWindowsPath

QUOTED = re.compile(r"""^(["'])(.*)\1$""")

LONGEST_NAME, LONGEST_PATH = 255, 4095
"""Of a file's name, and of a path, on the systems that we know; some take less."""

NAME_BYTES = 200
"""Longest name that a person may give, in bytes of UTF-8: disks hold 255, and what is added needs room."""

FORBIDDEN = '<>:"/\\|?*'
"""Characters that some systems refuse in a name."""

RESERVED = (
    "CON",
    "PRN",
    "AUX",
    "NUL",
    *(f"{device}{n}" for device in ("COM", "LPT") for n in "123456789¹²³"),
)
"""Names that Windows keeps for devices, whatever ending they have."""


def is_long(name: str) -> bool:
    """Whether a name is too long to be given to something new."""
    return len(os.fsencode(name)) > NAME_BYTES


def name_problem(name: str) -> str | None:
    """Why a name that a person gave to something new is refused; None when every system takes it."""
    if not name.strip():
        return "it is empty"
    if found := next((character for character in name if character in FORBIDDEN), None):
        return f"{found} may not be in it"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        return "it has characters that cannot be printed"
    if name[0] in ". " or name[-1] in ". ":
        return "it begins or ends with a dot or a blank"
    if _is_reserved(name):
        return "Windows keeps it for a device"
    if is_long(name):
        return f"it is {len(os.fsencode(name))} bytes long, {NAME_BYTES} is the limit"
    return None


def folds_case(path: Path) -> bool:
    """Whether the disk of a file that is there takes names that differ in case alone for one."""
    try:
        return os.path.samefile(path, path.with_name(path.name.swapcase()))
    except OSError:
        return False


def _is_reserved(name: str) -> bool:
    return name.split(".")[0].rstrip().upper() in RESERVED


def leads_out(name: str, system: type[PurePath] = PurePath) -> bool:
    """Whether a name that comes from elsewhere, of a member of an archive or an object in a store, leads out
    of the folder that it is joined to, or to a device, on a system with such paths.
    """
    path = system(name)
    if path.anchor or ".." in path.parts:
        return True
    if not isinstance(path, PureWindowsPath):
        return False
    return any(":" in part or _is_reserved(part) or not part.strip(". ") for part in path.parts)


def named_path(text: str | Path) -> Path:
    """The path that a person named; ``~`` is the home folder.

    Quotes around a name are left out: file managers copy paths with them.

    Raises:
        ValueError: no name, one that no disk takes, or the home folder of a user that this computer does not
            know.
    """
    if not isinstance(text, str | Path):
        raise ValueError(f"{text!r} is no path: give the path as text")
    if isinstance(text, str):
        text = QUOTED.sub(r"\2", text.strip())
    if not str(text).strip():
        raise ValueError("no path given")
    sizes = [len(part.encode("utf-8", "surrogatepass")) for part in (str(text), *Path(text).parts)]
    if sizes[0] > LONGEST_PATH or any(size > LONGEST_NAME for size in sizes[1:]):
        raise ValueError(
            f"a path that begins with {str(text)[:40]!r} is longer than a disk takes, which is "
            f"{LONGEST_NAME} bytes for a name and {LONGEST_PATH} in all: shorten it"
        )
    try:
        if "\0" in str(text):
            raise ValueError("it has a zero byte in it, which no file name has")
        os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError(f"{text}: it has half a character in it, which no file name has") from error
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"{text}: no such home folder. If the ~ belongs to the name, write ./{text} or the whole path"
        ) from error


def check_readable(path: Path) -> None:
    """Raise PermissionError, in words, where a file is there and may not be read.

    To be asked before a library reads it that takes every refusal for a missing file, as safetensors does.
    """
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise PermissionError(not_allowed(path)) from error


def not_allowed(path: Path) -> str:
    """What is said of a file or folder that is there and may not be read."""
    return (
        f"{path}: it is there, but the user that runs this program may not read it. Change its permissions, "
        "or choose another"
    )
