"""The text form in which users write named values: one `name: value` per line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

RESERVED = ("residual", "global", "total")
"""Names that losses and reports give to what is no category."""

NAME = re.compile(r"[^\W\d][\w -]{0,39}")


@dataclass(frozen=True)
class Prompt:
    """The words that a category is found by.

    Attributes:
        words: what belongs to it; the strongest of them counts at each pixel.
        exclude: what is taken away from it again.
        threshold: score in 0..1 that a detection needs; None leaves it to the backend.
    """

    words: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    threshold: float | None = None


def check_name(name: str) -> None:
    """Raise ValueError unless `name` can be a category."""
    if not NAME.fullmatch(name):
        raise ValueError(
            f"category {name!r}: write 1 to 40 letters, digits, spaces or hyphens, with a letter first"
        )
    if name in RESERVED:
        raise ValueError(f"category {name!r}: it is a name that reports use: choose another")


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


def plain(word: str) -> str:
    """The form in which a word is asked: lower case, single spaces."""
    return " ".join(word.lower().split())


def parse_keywords(text: str) -> dict[str, Prompt]:
    """Category -> prompt from lines like ``clothing: shirt, dress, -bag, @0.4``.

    A word with a minus is taken away from the category, `@` gives its score threshold. A category without
    words is its own.

    Raises:
        ValueError: a line of another form, a category twice, a threshold outside 0..1, or no category.
    """
    entries = _lines(text, "keywords")
    if not entries:
        raise ValueError("keywords: no category in it. Write one per line, for example 'face: face, eyes'")
    return {name: _prompt(name, value) for name, value in entries.items()}


def _prompt(name: str, value: str) -> Prompt:
    words: list[str] = []
    exclude: list[str] = []
    threshold = None
    for item in (part.strip() for part in re.split("[,，、]", value)):
        if item.startswith("@"):
            if threshold is not None:
                raise ValueError(f"keywords: {name!r} has two thresholds: keep one '@'")
            threshold = _share(name, item[1:])
        elif item[:1] in ("-", "−"):
            if not item[1:].strip():
                raise ValueError(f"keywords: {name!r} has a minus without a word: write '-word'")
            exclude.append(item[1:].strip())
        elif item:
            words.append(item)
    return Prompt(tuple(words) or (name,), tuple(exclude), threshold)


def _share(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise ValueError(f"keywords: the threshold of {name!r} is {text.strip()!r}: write '@' and 0 to 1")
    return value


def format_keywords(prompts: Mapping[str, Prompt]) -> str:
    """The text that `parse_keywords` reads."""
    lines = []
    for name, prompt in prompts.items():
        items = [*prompt.words, *(f"-{word}" for word in prompt.exclude)]
        if prompt.threshold is not None:
            items.append(f"@{prompt.threshold:g}")
        lines.append(f"{name}: {', '.join(items)}")
    return "\n".join(lines)


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
