"""Which folders a server may read for whoever can reach it, and how its operator allows more of them."""

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..datasets.folder import DatasetError
from ..files.text import printable, shortened
from .toml import ConfigError, Setting, TomlFile, check_keys, flag, given, texts

FILE = "semantic_focus.toml"
VARIABLE = "SEMANTIC_FOCUS_READ"
SECTION = "read"
SETTINGS = {
    "folders": Setting(texts, (f"{SECTION}.folders",)),
    "strict": Setting(flag, (f"{SECTION}.strict",)),
}
FETCH_SECTION = "weights"
FETCH_SETTINGS = {"fetch": Setting(flag, (f"{FETCH_SECTION}.fetch",))}
HOW = (
    f'write folders = ["…"] under [{SECTION}] into {FILE} in ComfyUI\'s user folder, or set the environment '
    f"variable {VARIABLE}"
)
"""How a folder is allowed."""

NETWORK = re.compile(r"[\\/]{2}|\\\?\?\\")
"""How a path begins for which Windows asks another computer, or a device."""

LONGEST_NAME, LONGEST_PATH = 255, 4096
"""Of one name and of a whole path; no file system takes more."""


class AccessError(DatasetError):
    """A place that is not read; the message names it and says how it can be allowed."""


@dataclass(frozen=True)
class Access:
    """What may be read.

    Attributes:
        folders: with everything below them. A network or device path counts only below one that is listed.
        anywhere: everything else on this computer, too.
        problem: why what the operator has allowed is not known; empty when it is.
        fetch: whether who can reach the server may have it fetch weights from the hub.
    """

    folders: tuple[str, ...]
    anywhere: bool
    problem: str = ""
    fetch: bool = False

    def admitted(self, path: Path) -> Path:
        """The path, or where it leads when only some folders may be read. It need not exist.

        Nothing is asked of the file system for a network or device path that is not allowed. Whether there is
        something at a place that may not be read makes no difference to the answer.

        Raises:
            AccessError: it may not be read, or is no path that can be.
        """
        text = os.fspath(path)
        _check_form(text)
        if is_network(text) and not any(_below_as_written(text, folder) for folder in self.folders):
            raise AccessError(
                f"{shortened(path)}: a network or device path that is not allowed: nothing is asked of it, "
                f"because Windows may log in to whoever it names. If you know it, {HOW}"
            )
        if self.anywhere:
            return path
        place = os.path.realpath(text)
        if not self._holds(place):
            raise AccessError(self._refusal(path))
        if (link := self._stray_link(place)) is not None:
            raise AccessError(
                f"{shortened(path)}: {shortened(link)} in it is a link that leads out of the folders that "
                f"may be read. Put a copy there; or, to allow the folder that it leads to, {HOW}"
            )
        return Path(place)

    def named(self, text: str, find: Callable[[str], Path]) -> Path:
        """`admitted(find(text))`, where finding it may fail.

        Whether a user of this computer has a home folder is not told to those who may not read it.

        Raises:
            AccessError: as `admitted`.
            ValueError: what `find` raises, where everything may be read.
        """
        try:
            path = find(text)
        except ValueError:
            if self.anywhere or not text.strip().startswith("~"):
                raise
            raise AccessError(self._refusal(text)) from None
        return self.admitted(path)

    @cached_property
    def _places(self) -> list[str]:
        return [os.path.realpath(folder) for folder in self.folders]

    def _holds(self, place: str) -> bool:
        return any(_below(place, folder) for folder in self._places)

    def _refusal(self, said: Path | str) -> str:
        if self.problem:
            return f"{shortened(said)}: it is not known whether this may be read: {self.problem}"
        return (
            f"{shortened(said)}: this ComfyUI does not read that place for those who can reach it, only its "
            f"own folders (input, output, temp, user, models) and what its operator allows: {HOW}"
        )

    def _stray_link(self, place: str) -> str | None:
        """The name of a link in a folder that leads to what may not be read."""
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if _is_link(entry) and not self._holds(os.path.realpath(entry.path)):
                        return entry.name
        except OSError:  # no folder, or one that cannot be opened: whoever reads it says so
            return None
        return None


def server_access(own: Sequence[str], listen: str, file: Path, variable: str) -> Access:
    """What a server may read.

    Args:
        own: folders that it reads for everybody.
        listen: the addresses that it listens on, with commas between them.
        file: where the operator lists more folders; it need not exist.
        variable: more folders, with the system's separator of paths between them.
    """
    folders, strict, fetch, problem = list(own), False, None, ""
    try:
        listed, strict, fetch = _file_rules(file)
        folders += listed
        folders += _whole(filter(None, map(str.strip, variable.split(os.pathsep))), VARIABLE)
    except (ValueError, OSError) as error:
        problem = printable(error).replace(str(file), f"{FILE} in ComfyUI's user folder")
    anywhere = is_local(listen) and not strict and not problem
    return Access(tuple(folders), anywhere, problem, anywhere if fetch is None else fetch and not problem)


def is_local(listen: str) -> bool:
    """Whether a server that listens on these addresses is reached from its own computer only."""
    return all(map(_is_loopback, listen.split(",")))


def is_network(text: str) -> bool:
    r"""Whether a path may name another computer or a device: ``\\host``, ``//host``, ``\\?\``, ``\??\``.

    The same on every system, because graphs travel.
    """
    return NETWORK.match(text) is not None


def _file_rules(file: Path) -> tuple[list[str], bool, bool | None]:
    """The folders that a file lists, whether it is strict, and what it says of fetching weights."""
    if not file.exists():
        return [], False, None
    rules = TomlFile(file)
    sections = {SECTION: SETTINGS, FETCH_SECTION: FETCH_SETTINGS}
    for section in rules.tables:
        if section not in sections:
            known = " and ".join(f"[{name}]" for name in sections)
            raise rules.error(section, "", f"is not known: the sections are {known}")
    for section, settings in sections.items():
        check_keys(rules, section, rules.table(section), settings)
    values = given(rules, SETTINGS | FETCH_SETTINGS)
    listed = _whole(values.get("folders", ()), f"{rules.path}: [{SECTION}] folders")
    return listed, values.get("strict", False), values.get("fetch")


def _whole(folders: Iterable[str], name: str) -> list[str]:
    """Listed folders; ``~`` is the home folder of whom the server runs as."""
    whole = [os.path.expanduser(folder) for folder in folders]
    for path in whole:
        if not os.path.isabs(path) and not is_network(path):
            raise ConfigError(f'{name} has "{shortened(path)}": give the whole path of the folder')
    return whole


def _is_loopback(address: str) -> bool:
    address = address.strip().removeprefix("[").removesuffix("]")
    if address.lower() == "localhost":
        return True
    try:
        number = ipaddress.ip_address(address)
    except ValueError:  # a name, which may mean any address
        return False
    return (getattr(number, "ipv4_mapped", None) or number).is_loopback


def _check_form(text: str) -> None:
    """Refuse what no file system can have, before one is asked and fails in its own words."""
    if "\0" in text:
        raise AccessError(f"{shortened(text)!r}: a zero byte is in it, which no path can have")
    try:
        length = len(os.fsencode(text))
        longest = max(len(os.fsencode(part)) for part in re.split(r"[\\/]", text))
    except UnicodeEncodeError as error:
        raise AccessError(
            f"{shortened(text)}: {error.object[error.start]!r} is no character that a path can have"
        ) from None
    if length > LONGEST_PATH or longest > LONGEST_NAME:
        raise AccessError(
            f"{shortened(text)}: too long: a path has at most {LONGEST_PATH} bytes, a name in it "
            f"{LONGEST_NAME}"
        )


def _below(place: str, folder: str) -> bool:
    place, folder = os.path.normcase(place), os.path.normcase(folder)
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)


def _below_as_written(text: str, folder: str) -> bool:
    """Whether a network path is below a listed one, by their texts alone."""
    names = [part.casefold() for part in re.split(r"[\\/]", text)]
    above = [part.casefold() for part in re.split(r"[\\/]", folder.rstrip("\\/"))]
    return is_network(folder) and ".." not in names and names[: len(above)] == above


def _is_link(entry: "os.DirEntry[str]") -> bool:
    """A symbolic link, or one of Windows' junctions."""
    if entry.is_symlink():
        return True
    attributes = getattr(entry.stat(follow_symlinks=False), "st_file_attributes", 0) if os.name == "nt" else 0
    return bool(attributes & 0x400)  # FILE_ATTRIBUTE_REPARSE_POINT
