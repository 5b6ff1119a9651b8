"""Several processes of a training on this machine: started, told what this one is told, and waited for."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from .joining import ENDED, FOLDER, RANK, SIZE, STARTED_BY
from .outcome import TRY_AGAIN, say
from .stop_signals import SIGNALS

PACKAGE = Path(__file__).resolve().parents[1]
GRACE = 30.0
"""Seconds that the others have to end once the first process has."""
PAUSE = 0.05
ENDS_WITH = "SEMANTIC_FOCUS_ENDS_WITH"
"""Variable with the number of the process that has started this one, and without which it does not go on."""


def run_processes(
    count: int,
    arguments: Sequence[str],
    killed: Callable[[str], None],
    heard: Callable[[str], None] | None = None,
) -> int:
    """Run the command line `arguments` in so many processes, one GPU each where there are GPUs.

    Signals go on to all of them, once each: they are in sessions of their own. The first one asks them to
    stop, the second one ends them, the third one also those that do not hear. The end of the process that
    `ENDS_WITH` names is one.

    Args:
        killed: told in a sentence that the first process, which speaks for all, was killed.
        heard: told each line that the first process writes to standard output; None: they go to that of this
            process.

    Returns:
        the exit code of the first process, which speaks for all; `TRY_AGAIN` where something killed it.
    """
    with tempfile.TemporaryDirectory(prefix="semantic-focus-") as folder:
        processes: list[subprocess.Popen[bytes]] = []
        received: list[int] = []

        def hand_on(number: int, _frame: FrameType | None) -> None:
            received.append(number)
            if len(received) > 2:
                raise SystemExit(128 + number)
            for process in processes:
                if process.poll() is None:
                    process.send_signal(number)

        minded = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, hand_on) for number in minded}
        try:
            for rank in range(count):
                output = subprocess.DEVNULL if rank else None if heard is None else subprocess.PIPE
                processes.append(_started(rank, count, Path(folder), arguments, output))
            with listening(processes[0], heard):
                return _ended(processes, Path(folder), killed)
        finally:
            for process in processes:
                process.kill()
                process.wait()
            for number, handler in before.items():
                signal.signal(number, handler)


@contextmanager
def listening(process: "subprocess.Popen[bytes]", heard: Callable[[str], None] | None) -> Iterator[None]:
    """Hand its lines on meanwhile."""
    pipe = process.stdout
    if pipe is None or heard is None:
        yield
        return

    def listen() -> None:
        for line in pipe:
            heard(line.decode(errors="replace").rstrip("\n"))

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(GRACE if process.poll() is not None else 0)


def _started(
    rank: int, count: int, folder: Path, arguments: Sequence[str], output: int | None
) -> subprocess.Popen[bytes]:
    variables = {
        **os.environ,
        RANK: str(rank),
        SIZE: str(count),
        FOLDER: str(folder),
        STARTED_BY: str(os.getpid()),
    }
    variables.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    python = [sys.executable, *(["-I"] if sys.flags.isolated else [])]
    return subprocess.Popen(
        [*python, str(PACKAGE), *arguments], env=variables, stdout=output, start_new_session=True
    )


def _ended(processes: Sequence[subprocess.Popen[bytes]], folder: Path, killed: Callable[[str], None]) -> int:
    """Wait for all to end; the exit code of all together."""
    first, others = processes[0], processes[1:]
    above = os.environ.get(ENDS_WITH)
    while first.poll() is None:
        if above is not None and above != str(os.getppid()):
            above = None
            os.kill(os.getpid(), signal.SIGTERM)
        if any(process.poll() for process in others):
            (folder / ENDED).touch()
        time.sleep(PAUSE)
    if first.returncode:
        (folder / ENDED).touch()
    end = time.monotonic() + GRACE
    while any(process.poll() is None for process in others) and time.monotonic() < end:
        time.sleep(PAUSE)
    if first.returncode >= 0:
        return first.returncode
    if -first.returncode in SIGNALS:  # the second one that was handed on
        return 128 - first.returncode
    how = signal.Signals(-first.returncode).name
    message = f"process 0 (pid {first.pid}) was ended by {how}: the same command goes on from its last state"
    if TRY_AGAIN not in (process.returncode for process in others):
        say(message)
    killed(message)
    return TRY_AGAIN
