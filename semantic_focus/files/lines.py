"""Lines for other programs, written beside the work: who reads slowly, or a full disk, holds nothing up."""

import os
import queue
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MOST_WAITING = 10_000
"""Lines that wait to be written; what comes beyond is lost."""
PATIENCE = 5.0
"""Seconds that a reader has at the end to take what waits."""


class Lines:
    """Lines that go one by one to a file, which they are added to, or to a pipe.

    A line is written whole or not at all, but for the last one of a process that is killed; what it leaves is
    ended before the first line. What cannot be written is told once, and counted.

    Args:
        handle: a descriptor to write to; `close` closes it.
        name: what messages call it.
        tell: told in a sentence what is lost.

    Attributes:
        lost: lines that could not be written so far.
    """

    def __init__(self, handle: int, name: str, tell: Callable[[str], None], most: int = MOST_WAITING):
        self._handle, self._name, self._tell = handle, name, tell
        self.lost = 0
        self._told = self._is_over = False
        self._is_file = stat.S_ISREG(os.fstat(handle).st_mode)
        self._waiting: queue.Queue[bytes | None] = queue.Queue(most)
        self._thread = threading.Thread(target=self._work, name="lines", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Add a line; never waits."""
        if self._is_over:
            self.lost += 1
            return
        try:
            self._waiting.put_nowait(line.encode() + b"\n")
        except queue.Full:
            self._lose("nobody reads it")

    def close(self, seconds: float = PATIENCE) -> None:
        """Write what waits, as far as it is taken in this time."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=seconds)
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._lose("nobody reads it")
        else:
            os.close(self._handle)

    def _lose(self, why: str) -> None:
        self.lost += 1
        if not self._told:
            self._told = True
            self._tell(f"{self._name}: lines are lost, {why}. The work goes on")

    def _work(self) -> None:
        while (line := self._waiting.get()) is not None:
            try:
                self._write(line)
            except OSError as error:
                self._is_over = not self._is_file
                self._lose(error.strerror or str(error))

    def _write(self, line: bytes) -> None:
        size, done = os.fstat(self._handle).st_size, 0
        try:
            while done < len(line):
                done += os.write(self._handle, line[done:])
        except OSError:
            if self._is_file and done and os.fstat(self._handle).st_size == size + done:
                os.ftruncate(self._handle, size)
            raise


def opened(path: Path) -> int:
    """A descriptor for `Lines` that adds to a file, or writes to a named pipe that somebody reads.

    Raises:
        OSError: there is no such folder, say.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    # a pipe that nobody reads is an error and no wait; Windows has neither, and set_blocking refuses files
    waits = not hasattr(os, "O_NONBLOCK")
    handle = os.open(path, flags if waits else flags | os.O_NONBLOCK, 0o666)
    try:
        if not waits:
            os.set_blocking(handle, True)
        if stat.S_ISREG(os.fstat(handle).st_mode) and not _ends_with_a_line(path):
            os.write(handle, b"\n")
    except OSError:
        os.close(handle)
        raise
    return handle


def _ends_with_a_line(path: Path) -> bool:
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


@contextmanager
def standard_output_taken() -> Iterator[int]:
    """A descriptor of the standard output; meanwhile what others write there goes to standard error."""
    own, before = os.dup(1), os.dup(1)
    try:
        os.dup2(2, 1)
        yield own
    finally:
        os.dup2(before, 1)
        os.close(before)


def new_lines(path: Path, start: int = 0) -> tuple[list[bytes], int]:
    """The lines of a file from a place on, without one that is still being written; the place behind them.

    Raises:
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        file.seek(start)
        content = file.read()
    end = content.rfind(b"\n") + 1
    return content[:end].splitlines(), start + end
