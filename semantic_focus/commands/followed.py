"""A command that another program runs and follows by the lines on its standard output."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any, Protocol

from .starting import ENDS_WITH

PAUSE = 0.1
"""Seconds between two looks at whether to stop."""
UNBEGUN = 3.0
"""Seconds that a command has to end which has done nothing yet."""
LONGEST_END = 600.0
"""Seconds that one has to write what it has done; where it takes longer, it hangs."""


class Follower(Protocol):
    """Who follows a command; all is called in the thread that does."""

    def take(self, line: bytes) -> None:
        """A line of its standard output, without its end."""

    def check(self) -> None:
        """Called all the time; what it raises asks the command to stop."""

    def has_begun(self) -> bool:
        """Whether the command has something to write when it is asked to stop."""
        ...

    def is_impatient(self) -> bool:
        """Called while it stops: whether it was asked once more, and is to end at once."""
        ...


def followed(command: Sequence[str], follower: Follower) -> int:
    """Run a command to its end; its exit code, negative where a signal ended it.

    It does not outlive this process. Signals do not go to it with those of this process's terminal.

    Raises:
        OSError: it cannot be started.
        what `check` raises, once the command has ended.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={**os.environ, ENDS_WITH: str(os.getpid())},
        start_new_session=True,
    )
    lines: queue.Queue[bytes | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), name="followed", daemon=True)
    reader.start()
    try:
        _follow(lines, follower)
        return process.wait()
    except BaseException:
        _stop(process, follower)
        reader.join(UNBEGUN)
        with contextlib.suppress(queue.Empty):
            while (line := lines.get_nowait()) is not None:
                follower.take(line)
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _read(stream: Any, lines: "queue.Queue[bytes | None]") -> None:
    with stream:
        for line in stream:
            lines.put(line.rstrip(b"\r\n"))
    lines.put(None)


def _follow(lines: "queue.Queue[bytes | None]", follower: Follower) -> None:
    while True:
        with contextlib.suppress(queue.Empty):
            if (line := lines.get(timeout=PAUSE)) is None:
                return
            follower.take(line)
        follower.check()


def _stop(process: "subprocess.Popen[bytes]", follower: Follower) -> None:
    """Ask a command to end, as one Ctrl+C after the other does."""
    for patience in (LONGEST_END if follower.has_begun() else PAUSE, UNBEGUN, UNBEGUN, UNBEGUN):
        process.send_signal(signal.SIGTERM)
        end = time.monotonic() + patience
        while process.poll() is None and time.monotonic() < end:
            time.sleep(PAUSE)  # two signals at once would be one
            if patience > UNBEGUN and follower.is_impatient():
                break
        if process.poll() is not None:
            return
