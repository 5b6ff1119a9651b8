"""Settings out of a TOML file, or tables like its, each checked by itself; errors name file, line and key."""

import difflib
import json
import math
import re
import reprlib
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..training.memory import WAYS, MemorySetting

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from ..files.text import parsed_json, shortened

Parse = Callable[[Any], Any]
"""Gives the value of a setting, or raises ValueError saying what it must be."""


MOST_BYTES = 2**20
"""Size of a config file."""
DEEPEST = 32
"""Brackets within brackets, and names in one dotted key. Parsing takes a stack for the first, and time that
grows with the square of the second."""

ALL = sys.maxsize
"""As a count: whatever there is."""

_TEXTS = re.compile(
    r"""
    "{3} (?: [^\\] | \\.? )*? (?: "{3} | \Z )
    | '{3} .*? (?: '{3} | \Z )
    | " (?: [^"\\\n] | \\. )* "?
    | ' [^'\n]* '?
    | \# [^\n]*
    """,
    re.DOTALL | re.VERBOSE,
)
"""Quoted texts and comments. What is not closed goes on to the end, so that nothing is looked at twice."""


class ConfigError(ValueError):
    """A config file that cannot be used; the message names file, line and key."""


class Tables:
    """Sections of settings.

    Args:
        path: the file that they are in.
        tables: section -> key -> value.
    """

    def __init__(self, path: str | Path, tables: dict[str, Any]):
        self.path, self.tables = Path(path), tables

    def place(self, section: str, key: str, number: int) -> str:
        """Where in the file something is."""
        return str(self.path)

    def error(self, section: str, key: str, problem: str, number: int = 0) -> ConfigError:
        """An error about a key of a section (of the `number`-th, in an array), or about a section."""
        name = f"[{shortened(section)}] {shortened(key)}" if key else f"[{shortened(section)}]"
        return ConfigError(f"{self.place(section, key, number)}: {name} {problem}")

    def table(self, section: str) -> dict[str, Any]:
        """A top-level section; empty when it is not there."""
        table = self.tables.get(section, {})
        if not isinstance(table, dict):
            raise self.error(section, "", f"is {shown(table)}: it must be a section, [{section}]")
        return table

    def tables_of(self, section: str, key: str) -> list[dict[str, Any]]:
        """An array of sections, [[section.key]]; empty when it is not there."""
        array = self.table(section).get(key, [])
        if not isinstance(array, list) or not all(isinstance(table, dict) for table in array):
            raise self.error(section, key, f"is {shown(array)}: write one [[{section}.{key}]] for each")
        return array


class JsonFile(Tables):
    """The same as JSON.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: not JSON, or no object.
    """

    def __init__(self, path: str | Path):
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such config file")
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(
                f"{path}: is {path.stat().st_size} bytes long, a config file at most {MOST_BYTES}"
            )
        try:
            tables = parsed_json(path.read_bytes().decode("utf-8-sig"), once=True)
        except ValueError as error:
            raise ConfigError(f"{path}: not valid JSON: {error}") from error
        if not isinstance(tables, dict):
            raise ConfigError(f"{path}: is {shown(tables)}: it must be an object of sections, {{...}}")
        super().__init__(path, tables)


class TomlFile(Tables):
    """A TOML file that knows its lines. `tables` is its content.

    Raises:
        FileNotFoundError: no such file.
        ConfigError: not TOML.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f"{self.path}: no such config file")
        size = self.path.stat().st_size
        if size > MOST_BYTES:
            raise ConfigError(f"{self.path}: is {size} bytes long, a config file at most {MOST_BYTES}")
        try:
            self._text = self.path.read_text(encoding="utf-8-sig")
            self._check_depth()
            self.tables: dict[str, Any] = tomllib.loads(self._text)
        except ConfigError:
            raise
        except UnicodeDecodeError as error:  # as editors and shells of Windows may write it
            raise ConfigError(
                f"{self.path}: not valid TOML: byte {error.start} is no UTF-8. Save it as UTF-8"
            ) from error
        except ValueError as error:  # of the encoding, of TOML, or of a number too long for Python
            raise ConfigError(f"{self.path}: not valid TOML: {error}") from error

    def _check_depth(self) -> None:
        """Refuse what no settings need and a parser takes too long or too deep a stack for."""
        bare = _TEXTS.sub(lambda found: "text" + "\n" * found[0].count("\n"), self._text)
        for number, line in enumerate(bare.split("\n"), 1):
            if any(run.count(".") >= DEEPEST for run in re.split(r"[=,\[\]{}]", line)):
                raise ConfigError(
                    f"{self.path}, line {number}: a key of more than {DEEPEST} names with dots between them: "
                    "settings have at most 3"
                )
        depth, number = 0, 1
        for found in re.finditer(r"[\[\]{}\n]", bare):
            number += found[0] == "\n"
            depth = max(0, depth + (found[0] in "[{") - (found[0] in "]}"))
            if depth > DEEPEST:
                raise ConfigError(
                    f"{self.path}, line {number}: more than {DEEPEST} brackets within each other: "
                    "is one of them not closed?"
                )

    def place(self, section: str, key: str, number: int) -> str:
        """The file, and the line where it can be told."""
        line = self._line(section, key, number)
        return f"{self.path}, line {line}" if line else str(self.path)

    def _line(self, section: str, key: str, number: int) -> int:
        """1-based; 0 if it cannot be told (a dotted or inline form)."""
        inside, passed = False, -1
        for line, text in enumerate(self._text.split("\n"), 1):
            header = _header(text)
            if header is not None:
                passed += header == section
                inside = header == section and passed == number
                if inside and not key:
                    return line
            elif inside and key and _sets(text, key):
                return line
        return 0


@dataclass(frozen=True)
class Setting:
    """One value, under any of several names.

    Attributes:
        places: "section.key"; the first is our own, the others are read as well.
        parse: of the first place, and of every other one that is not in `others`.
        others: parsers of other places.
    """

    parse: Parse
    places: tuple[str, ...]
    others: Mapping[str, Parse] | None = None

    def found(self, file: Tables) -> str | None:
        """The place where the file has it.

        Raises:
            ConfigError: at two places.
        """
        there = [place for place in self.places if _key(place) in file.table(_section(place))]
        if len(there) > 1:
            other = f"[{_section(there[0])}] {_key(there[0])}"
            raise file.error(
                _section(there[1]), _key(there[1]), f"says the same as {other}: keep one of them"
            )
        return there[0] if there else None


def given(file: Tables, settings: Mapping[str, Setting]) -> dict[str, Any]:
    """The values that a file gives for some settings, by their names.

    Raises:
        ConfigError: a setting at two places, or a value that cannot be used.
    """
    values = {}
    for name, setting in settings.items():
        place = setting.found(file)
        if place is not None:
            section, key = _section(place), _key(place)
            parse = (setting.others or {}).get(place, setting.parse)
            values[name] = parsed(file, section, key, file.table(section)[key], parse)
    return values


def parsed(file: Tables, section: str, key: str, value: Any, parse: Parse, number: int = 0) -> Any:
    """`parse(value)`; what it raises becomes a ConfigError."""
    try:
        return parse(value)
    except ValueError as error:
        raise file.error(section, key, f"is {shown(value)}: {error}", number) from error


def check_keys(
    file: Tables, section: str, table: Mapping[str, Any], known: Iterable[str], number: int = 0
) -> None:
    """Raise ConfigError for a key of a section that is none of the known ones."""
    names = list(known)
    for key in table:
        if key not in names:
            raise file.error(section, key, f"is not known: {meant(key, names)}", number)


def meant(word: str, known: Sequence[str]) -> str:
    """The known word that is most like another one, or all of them."""
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(known)}"


def _section(place: str) -> str:
    return place.rpartition(".")[0]


def _key(place: str) -> str:
    return place.rpartition(".")[2]


def _header(line: str) -> str | None:
    """The name in a line that begins a section."""
    line = line.lstrip()
    if not line.startswith("["):
        return None
    name, closed, _ = line[1:].removeprefix("[").partition("]")
    return name.strip() if closed else None


def _sets(line: str, key: str) -> bool:
    """Whether a line gives a key its value."""
    line = line.lstrip()
    for quote in ("", '"', "'"):
        name = quote + key + quote
        if line.startswith(name) and line[len(name) :].lstrip().startswith("="):
            return True
    return False


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring = 4, 200
_SHORT.maxlist = _SHORT.maxdict = 20


def shown(value: Any) -> str:
    """A value as TOML writes it, as far as that matters, and as much of it as a message can have."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{shortened(value)}"'
    if isinstance(value, int):  # Python refuses to write very long ones
        return str(value) if value.bit_length() <= 256 else f"a number of {value.bit_length()} bits"
    return _SHORT.repr(value) if isinstance(value, list | dict) else str(value)


def quoted(text: str) -> str:
    """A text as TOML writes it, also one that is a key; JSON's escapes are a subset of TOML's, which wants
    that of DEL as well.
    """
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def whole(low: int, high: int | None = None) -> Parse:
    """A whole number of `low` or more, up to `high`."""
    rule = f"of {low} or more" if high is None else f"from {low} to {high}"

    def parse(value: Any) -> int:
        whole_number = isinstance(value, int) and not isinstance(value, bool)
        if not whole_number or value < low or (high is not None and value > high):
            raise ValueError(f"it must be a whole number {rule}")
        return value

    return parse


def number(low: float = 0.0, below: float = math.inf, above: bool = False) -> Parse:
    """A finite number of `low` or more (with `above`: greater than it), and less than `below`."""
    kind = "a finite number" if below == math.inf else "a number"
    limit = "" if below == math.inf else f" and below {below:g}"
    rule = f"{kind} above {low:g}{limit}" if above else f"{kind} of {low:g} or more{limit}"

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"it must be {rule}")
        if not low <= value < below or (above and value == low):
            raise ValueError(f"it must be {rule}")
        try:
            return float(value)
        except OverflowError as error:  # a whole number of over 308 digits
            raise ValueError(f"it must be {rule}") from error

    return parse


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("it must be true or false")
    return value


def text(value: Any) -> str:
    """A text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it must be a text in quotes")
    return value


def one_of(options: Iterable[str]) -> Parse:
    """One of some words."""
    names = list(options)

    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError(
                meant(value, names) if isinstance(value, str) else f"choose from {', '.join(names)}"
            )
        return value

    return parse


def memory(value: Any) -> MemorySetting:
    """How much of a model waits in RAM, in the words of `MemorySetting`."""
    try:
        return MemorySetting.of(value)
    except ValueError:
        raise ValueError(WAYS) from None


def saved_steps(value: Any) -> int:
    """Of how many saved steps something stays; `ALL` of all."""
    words = {"last": 1, "all": ALL}
    if isinstance(value, str) and value in words:
        return words[value]
    try:
        return whole(0)(value)
    except ValueError:
        raise ValueError('it must be "last", "all", or of how many saved steps, 0 or more') from None


def texts(value: Any) -> tuple[str, ...]:
    """A list of texts."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError('it must be a list of texts, ["...", "..."]')
    return tuple(value)


def numbers(value: Any) -> tuple[float, ...]:
    """A list of numbers."""
    if not isinstance(value, list):
        raise ValueError("it must be a list of numbers, [0.9, 0.5]")
    return tuple(number(-math.inf)(item) for item in value)
