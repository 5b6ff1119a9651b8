"""How a command ends: exit codes, and what is said to the person who started it."""

import contextlib
import os
import sys
from typing import TextIO

from ..files.text import printable

SUCCESS, FAILED, CANNOT_START, TRY_AGAIN, INTERRUPTED = 0, 1, 2, 75, 130
EXIT_CODES = (
    "Exit codes: 0 all was done; 1 something failed on the way, and it is said what is kept; 2 it cannot "
    "start; 75 one of several processes is gone, and the same command goes on; "
    "128 + n stopped by signal n (129 the terminal was closed, 130 Ctrl+C, 143 SIGTERM)."
)


class CannotStartError(ValueError):
    """Arguments with which nothing can be done; the message says what to change."""


def say(*lines: str) -> None:
    """Messages on standard error."""
    _write(sys.stderr, "".join(printable(line) + "\n" for line in lines))


def answer(text: str) -> None:
    """What programs read of a command: a line on standard output."""
    _write(sys.stdout, text + "\n")


class Screen:
    """Standard error for a progress bar, which ends no program by what it cannot write."""

    encoding = "utf-8"

    def write(self, text: str) -> None:
        _write(sys.stderr, text)

    def flush(self) -> None:
        """Nothing is left to be flushed."""

    def fileno(self) -> int:
        """By which the bar finds the width of the terminal."""
        return sys.stderr.fileno()


def _write(stream: TextIO, text: str) -> None:
    """Write to a stream that may be gone: a terminal that was closed, or a program that stopped reading.

    Work goes on without it, and so does the end of the program, where Python flushes once more.
    """
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
