"""Patterns of layer names: plain wildcards, and regular expressions that cannot hang.

A pattern is searched in a name, without regard to case, as

wildcards            where it begins with * or ?, or has one of them without a dot before it and nothing else
                     that only a regular expression has: * is anything, ? one character, a dot is a dot
regular expression   otherwise, or after `re:`; what has a bounded time is understood: . [] | () ^ $, * + ?
                     {}, and \\d \\w \\s with their opposites

Python's own search can take longer than anybody lives, and nothing else runs meanwhile. Here a name is read
once, from left to right, with the set of all states in which the pattern can be (Thompson 1968).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

MOST_CHARACTERS = 300
"""Length of a pattern."""
MOST_PATTERNS = 200
"""Patterns in one list."""
MOST_STATES = 1000
"""States of a pattern, repetitions written out."""
MOST_DEPTH = 20
"""Brackets within brackets."""
MOST_KEPT = 10_000
"""Steps that are remembered."""

ONLY_REGEX = frozenset("\\^$()[]{}+|")
COUNTS = re.compile(r"\{([0-9]*)(?:(,)([0-9]*))?\}")
START, END = "\x02", "\x03"
"""What ^ and $ stand for: they are read before and after each name."""
CLASSES = {
    "d": frozenset("0123456789"),
    "w": frozenset("abcdefghijklmnopqrstuvwxyz0123456789_"),
    "s": frozenset(" \t\n\r\f\v"),
}


@dataclass(frozen=True)
class _Symbols:
    """Characters that take one step: those of a set, or (`others`) all but those."""

    characters: frozenset[str]
    others: bool = False

    def take(self, character: str) -> bool:
        if self.others and character in (START, END):
            return False
        return (character in self.characters) != self.others


ANYTHING = _Symbols(frozenset(), others=True)

_Fragment = Callable[["_Program", int], int]
"""Adds states that lead to a given one; gives the state in which it begins."""


@dataclass
class _Program:
    """States: what takes which step, and what is reached without one. State 0 is the end."""

    steps: list[tuple[_Symbols, int] | None] = field(default_factory=lambda: [None])
    free: list[list[int]] = field(default_factory=lambda: [[]])

    def add(self, step: tuple[_Symbols, int] | None = None, free: tuple[int, ...] = ()) -> int:
        if len(self.steps) >= MOST_STATES:
            raise ValueError("it repeats too much: write fewer or smaller repetitions")
        self.steps.append(step)
        self.free.append(list(free))
        return len(self.steps) - 1

    def reached(self, states: set[int]) -> frozenset[int]:
        """These states and those reached from them without a step."""
        found, waiting = set(states), list(states)
        while waiting:
            for state in self.free[waiting.pop()]:
                if state not in found:
                    found.add(state)
                    waiting.append(state)
        return frozenset(found)


class LayerPattern:
    """One pattern; `text` is what was written.

    Args:
        wildcard: how it is read; unless given, as said at the top of this file.

    Raises:
        ValueError: it is too long, no regular expression, or one that is not understood here.
    """

    def __init__(self, text: str, wildcard: bool | None = None):
        self.text = text
        if len(text) > MOST_CHARACTERS:
            raise ValueError(
                f"layer pattern '{text[:40]}…' has {len(text)} characters, a pattern has {MOST_CHARACTERS} "
                "at most: give several patterns, one a line"
            )
        self.is_wildcard = _is_wildcard(text) if wildcard is None else wildcard
        self._program = _Program()
        try:
            fragment = _wildcard(text) if self.is_wildcard else _Regex(text.removeprefix("re:")).read()
            self._first = self._program.reached({fragment(self._program, 0)})
        except ValueError as error:
            raise ValueError(
                f"layer pattern '{text}' is no regular expression that is understood here: {error}. With "
                "wildcards: *attn* for all names with attn in them, *blocks.1.* for one block"
            ) from error
        self._next: dict[tuple[frozenset[int], str], frozenset[int]] = {}

    def read_otherwise(self) -> "LayerPattern | None":
        """The same text as the other kind of pattern, where it can be both."""
        begins = self.text.startswith(("*", "?", "re:"))
        if begins or ONLY_REGEX.intersection(self.text) or not set(".*?").intersection(self.text):
            return None
        try:
            return LayerPattern(self.text, not self.is_wildcard)
        except ValueError:
            return None

    def found_in(self, name: str) -> bool:
        """Whether it matches any part of a name."""
        states = self._first
        for character in (START, *name.lower(), END):
            if 0 in states:
                return True
            states = self._after(states, character)
        return 0 in states

    def _after(self, states: frozenset[int], character: str) -> frozenset[int]:
        key = (states, character)
        if key not in self._next:
            if len(self._next) >= MOST_KEPT:
                self._next.clear()
            steps = (self._program.steps[state] for state in states)
            taken = {step[1] for step in steps if step is not None and step[0].take(character)}
            self._next[key] = self._program.reached(taken) | self._first
        return self._next[key]


def _is_wildcard(text: str) -> bool:
    if text.startswith(("*", "?", "re:")):
        return not text.startswith("re:")
    return not ONLY_REGEX.intersection(text) and bool(re.search(r"(?<!\.)[*?]", text)) and ".*" not in text


def _wildcard(text: str) -> _Fragment:
    wild = {"*": _repeated(_one(ANYTHING), 0, None), "?": _one(ANYTHING)}
    return _sequence([wild.get(character) or _one(_literal(character)) for character in text])


def _literal(character: str) -> _Symbols:
    return _Symbols(frozenset(character.lower()))


def _one(symbols: _Symbols) -> _Fragment:
    return lambda program, after: program.add((symbols, after))


def _sequence(parts: list[_Fragment]) -> _Fragment:
    def build(program: _Program, after: int) -> int:
        if not parts:  # every part has a state, so that repetitions of it count
            return program.add(free=(after,))
        for part in reversed(parts):
            after = part(program, after)
        return after

    return build


def _either(branches: list[_Fragment]) -> _Fragment:
    return lambda program, after: program.add(free=tuple(branch(program, after) for branch in branches))


def _repeated(part: _Fragment, least: int, most: int | None) -> _Fragment:
    def build(program: _Program, after: int) -> int:
        if most is None:
            again = program.add(free=(after,))
            program.free[again].append(part(program, again))
            after = again
        else:
            end = after
            for _ in range(most - least):
                after = program.add(free=(part(program, after), end))
        for _ in range(least):
            after = part(program, after)
        return after

    return build


class _Regex:
    """Reads a regular expression once, from left to right."""

    def __init__(self, text: str):
        self._text, self._at, self._depth = text, 0, 0

    def read(self) -> _Fragment:
        fragment = self._branches()
        if self._at < len(self._text):
            raise ValueError("a bracket ) has no ( before it")
        return fragment

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise ValueError("it ends too early")
        self._at += 1
        return character

    def _skip(self, text: str) -> bool:
        skipped = self._text.startswith(text, self._at)
        self._at += len(text) if skipped else 0
        return skipped

    def _branches(self) -> _Fragment:
        branches = [self._sequence()]
        while self._skip("|"):
            branches.append(self._sequence())
        return _either(branches) if len(branches) > 1 else branches[0]

    def _sequence(self) -> _Fragment:
        parts = []
        while self._peek() not in ("", "|", ")"):
            anchor = self._peek() in ("^", "$")
            part = self._atom()
            counts = self._counts()
            if counts and anchor:
                raise ValueError("^ and $ cannot be repeated")
            parts.append(_repeated(part, *counts) if counts else part)
            if counts and self._counts():
                raise ValueError("a repetition of a repetition: put brackets around the first")
        return _sequence(parts)

    def _counts(self) -> tuple[int, int | None] | None:
        """How often the last part is to come, if that is said here."""
        simple: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}
        if self._peek() in simple:
            counts = simple[self._take()]
        elif found := COUNTS.match(self._text, self._at):
            self._at = found.end()
            least, comma, most = found.groups()
            if not least and not most:
                raise ValueError(f"{found[0]} gives no number of repetitions")
            counts = int(least or 0), (int(most) if most else None) if comma else int(least)
            if counts[1] is not None and counts[0] > counts[1]:
                raise ValueError(f"{found[0]} has its smaller number last")
        else:
            return None
        self._skip("?")  # as few as possible: that makes no difference to whether there is a match
        return counts

    def _atom(self) -> _Fragment:
        character = self._take()
        if character == "(":
            return self._group()
        if character == "[":
            return _one(self._set())
        if character == "\\":
            return _one(self._escaped())
        if character in "*+?":
            raise ValueError(f"there is nothing before {character} to repeat")
        if character in "^$":
            return _one(_Symbols(frozenset(START if character == "^" else END)))
        return _one(ANYTHING if character == "." else _literal(character))

    def _group(self) -> _Fragment:
        if not self._skip("?:") and self._peek() == "?":
            raise ValueError("(?…) has no bounded time, or is not needed: only ( ) and (?: ) are")
        self._depth += 1
        if self._depth > MOST_DEPTH:
            raise ValueError(f"more than {MOST_DEPTH} brackets within each other")
        inside = self._branches()
        if not self._skip(")"):
            raise ValueError("a bracket ( is not closed")
        self._depth -= 1
        return inside

    def _escaped(self) -> _Symbols:
        character = self._take()
        if character.lower() in CLASSES:
            return _Symbols(CLASSES[character.lower()], others=character.isupper())
        if character.isalnum():
            raise ValueError(f"\\{character} is not understood")
        return _literal(character)

    def _set(self) -> _Symbols:
        others = self._skip("^")
        found: set[str] = set()
        while not found or self._peek() != "]":
            found |= set(self._range())
        self._at += 1
        return _Symbols(frozenset(found), others)

    def _range(self) -> Iterator[str]:
        """What one character of a set, or two with a - between them, stand for."""
        first = self._member()
        if isinstance(first, frozenset):
            yield from first
            return
        last = first
        if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
            self._at += 1
            last = self._member()
        if isinstance(last, frozenset) or not ord(first) <= ord(last) < 0x250:
            raise ValueError(f"[{first}-…] is no range of letters")
        for code in range(ord(first), ord(last) + 1):
            yield chr(code).lower()

    def _member(self) -> str | frozenset[str]:
        character = self._take()
        if character != "\\":
            return character
        escaped = self._escaped()
        if escaped.others:
            raise ValueError("the opposite of a class cannot be in a set")
        return escaped.characters if len(escaped.characters) > 1 else next(iter(escaped.characters))


def layer_patterns(lines: Iterable[str]) -> list[LayerPattern]:
    """The patterns of some texts; several wildcards or names may be in one, with commas between them.

    Raises:
        ValueError: as `LayerPattern`.
    """
    patterns = []
    for line in lines:
        plain = not line.startswith("re:") and not ONLY_REGEX.intersection(line)
        parts = [part.strip() for part in line.split(",")] if plain else [line]
        patterns += [LayerPattern(part) for part in parts if part or line == ""]
        if len(patterns) > MOST_PATTERNS:
            raise ValueError(f"more than {MOST_PATTERNS} layer patterns: wildcards make one of several")
    return patterns
