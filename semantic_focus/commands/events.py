"""The argument --events: where a command tells other programs how it goes."""

import argparse
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..files.lines import Lines, opened, standard_output_taken
from ..training.events import EventWriter
from .outcome import CannotStartError, say

STANDARD_OUTPUT = "-"


def add_events_argument(parser: argparse.ArgumentParser) -> None:
    """Where events go."""
    parser.add_argument(
        "--events",
        metavar="FILE",
        help="tell other programs how it goes: one JSON object a line, added to this file; - : on standard "
        "output, where nothing else is then (see docs/headless.md)",
    )


@contextmanager
def events_to(place: str | None, is_first: bool = True) -> Iterator[EventWriter]:
    """A writer of events to a file, to standard output, or to nobody.

    Args:
        place: FILE, "-", or None.
        is_first: of several processes that one alone writes; the others keep off standard output.

    Raises:
        CannotStartError: the file cannot be opened.
    """
    if place == STANDARD_OUTPUT:
        with standard_output_taken() as handle:
            if is_first:
                yield from _written(Lines(handle, "--events -", say))
            else:
                os.close(handle)
                yield EventWriter()
    elif place is None or not is_first:
        yield EventWriter()
    else:
        try:
            handle = opened(Path(place))
        except OSError as error:
            raise CannotStartError(
                f"--events {place}: cannot be written ({error.strerror}). Give a file in a folder that is "
                "there, or - for standard output"
            ) from error
        yield from _written(Lines(handle, f"--events {place}", say))


def _written(lines: Lines) -> Iterator[EventWriter]:
    try:
        yield EventWriter(lines.put, lost=lambda: lines.lost)
    finally:
        lines.close()


def this_process() -> dict[str, Any]:
    """What the first event of a process says of it."""
    return {"process": os.getpid(), "machine": socket.gethostname()}
