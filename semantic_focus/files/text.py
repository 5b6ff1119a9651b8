"""Text that leaves us, in a form that can be printed; JSON that somebody else may have written."""

import json
import math
import re
import textwrap
from collections.abc import Iterable
from typing import Any

MOST_DIGITS = 100
"""Digits of a whole number in a header."""

UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
"""What is no Unicode character, moves a terminal's cursor, or turns the direction of what follows."""


def printable(text: object) -> str:
    r"""The text with what cannot be printed written out: a byte of a file name as ``\xff``.

    File names need not be UTF-8; Python has their bytes as lone surrogates, which no terminal, log or JSON
    reader takes. Others hold escape sequences, or marks that turn the rest of a line around. Line ends stay.
    """
    return UNPRINTABLE.sub(_written_out, str(text))


def in_short(error: BaseException) -> str:
    """Kind of an error and the beginning of what it says, on one printable line."""
    return textwrap.shorten(printable(f"{type(error).__name__}: {error}"), 200, placeholder=" …")


def _written_out(character: re.Match[str]) -> str:
    code = ord(character[0])
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def some(names: Iterable[object], most: int = 5) -> str:
    """The first of many names, in printable characters, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(map(str, names[:most]))) + more


def shortened(text: object, most: int = 200) -> str:
    """A text with its middle left out if it has more characters than a message can have."""
    text = str(text)
    kept = most - len(" ... ")
    return text if len(text) <= most else f"{text[: kept - kept // 2]} ... {text[-(kept // 2) :]}"


def short(value: object, most: int = 200) -> str:
    """A value that somebody else wrote, as Python writes it, as far as a message can have it."""
    return shortened(repr(value), most)


def parsed_json(text: str, once: bool = False) -> Any:
    """The value of a JSON text that somebody else may have written: its numbers are finite, also as floats.

    Args:
        once: no key may be there twice in an object; else the last one counts.

    Raises:
        ValueError: not JSON, a number that is too long or none, or brackets too deep within each other.
    """
    try:
        return json.loads(
            text,
            parse_int=_whole,
            parse_float=_finite,
            parse_constant=_finite,
            object_pairs_hook=_once_each if once else None,
        )
    except RecursionError:
        raise ValueError("brackets too deep within each other") from None


def _finite(digits: str) -> float:
    if not math.isfinite(value := float(digits)):
        raise ValueError(f"{digits[:20]} is no finite number")
    return value


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"the key {short(twice)} is there twice")
    return found


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits")
    return int(digits)
