"""How a command ends: exit codes, and what is said to the person who started it."""

import sys

from ..files import printable

SUCCESS, FAILED, CANNOT_START, INTERRUPTED = 0, 1, 2, 130


class CannotStartError(ValueError):
    """Arguments with which nothing can be done; the message says what to change."""


def say(*lines: str) -> None:
    """Messages on standard error."""
    sys.stderr.writelines(printable(line) + "\n" for line in lines)
    sys.stderr.flush()
