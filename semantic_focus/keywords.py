"""The text form in which users write named values: one `name: value` per line."""

import re
from collections.abc import Mapping

RESERVED = ("residual", "global", "total")
"""Names that losses and reports give to what is no category."""

NAME = re.compile(r"[^\W\d][\w -]{0,39}")


def _lines(text: str, what: str) -> dict[str, str]:
    entries: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, colon, value = (part.strip() for part in line.replace("：", ":").partition(":"))
        if not colon or not NAME.fullmatch(name):
            raise ValueError(f"{what}, line {number}: {line.strip()!r} is not of the form 'name: value'")
        if name in RESERVED:
            raise ValueError(f"{what}, line {number}: {name!r} is a name that reports use: choose another")
        if name in entries:
            raise ValueError(f"{what}, line {number}: {name!r} is there twice: join the two lines")
        entries[name] = value
    return entries


def parse_keywords(text: str) -> dict[str, tuple[str, ...]]:
    """Category -> keywords from lines like ``face: face, head, eyes``; a category without keywords is its
    own.

    Raises:
        ValueError: a line of another form, a category twice, or none at all.
    """
    entries = _lines(text, "keywords")
    if not entries:
        raise ValueError("keywords: no category in it. Write one per line, for example 'face: face, eyes'")
    split = {
        name: tuple(w.strip() for w in re.split("[,，、]", value) if w.strip())
        for name, value in entries.items()
    }
    return {name: words or (name,) for name, words in split.items()}


def format_keywords(keywords: Mapping[str, tuple[str, ...]]) -> str:
    """The text that `parse_keywords` reads."""
    return "\n".join(f"{name}: {', '.join(words)}" for name, words in keywords.items())


def parse_weights(text: str) -> dict[str, float]:
    """Category -> weight from lines like ``tattoo: 0.8``.

    Raises:
        ValueError: a line of another form, or a value that is not a number of 0 or more.
    """
    weights = {}
    for name, value in _lines(text, "weights").items():
        try:
            weights[name] = float(value)
        except ValueError:
            raise ValueError(f"weights: {name!r} is {value!r}, which is not a number") from None
        if not 0 <= weights[name] < float("inf"):
            raise ValueError(f"weights: {name!r} is {value}: weights are finite numbers of 0 or more")
    return weights
