"""Programs in processes of their own, which may be killed, forked from one interpreter that has torch loaded.

`serve` is the program of that interpreter. It forks for each program, before torch has any thread of its own.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent


class Fork:
    """A program that was started. Its id stays its own, and can be killed safely, until `end` or `poll` told
    its exit status.
    """

    def __init__(self, ask: Callable[..., int | None], pid: int, output: Path, errors: Path):
        self._ask, self.pid, self._output, self._errors = ask, pid, output, errors
        self.status: int | None = None
        """Negative where a signal ended it; None as long as nobody has asked."""

    def send(self, kind: int) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.status is None:
            os.kill(self.pid, kind)

    def poll(self) -> int | None:
        """Its exit status, None while it runs."""
        if self.status is None:
            self.status = self._ask("poll", self.pid)
        return self.status

    def end(self) -> int:
        """Wait for it; its exit status."""
        if self.status is None:
            self.status = self._ask("end", self.pid)
        assert self.status is not None
        return self.status

    @property
    def output(self) -> str:
        """What it has written to its standard output."""
        return self._output.read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        """What it has written to its standard error."""
        return self._errors.read_text(encoding="utf-8")


class Forks:
    """The interpreter that forks. Program and outputs of each fork lie in `folder`."""

    def __init__(self, folder: Path):
        self._folder, self._started = folder, 0
        path = os.pathsep.join((str(HERE), str(HERE.parents[1])))
        self._process = subprocess.Popen(
            [sys.executable, "-c", "import forks; forks.serve()"],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(self, module: str, function: str, *arguments: Any) -> Fork:
        """Call a function of a module, given by its file relative to this one, in a process of its own.

        What it returns, or gives to `sys.exit`, is its exit status, None being 0. Arguments are such as JSON
        has.
        """
        self._started += 1
        output, errors = (self._folder / f"{self._started}.{name}" for name in ("out", "err"))
        pid = self._ask("start", str(HERE / module), function, arguments, str(output), str(errors))
        assert pid is not None
        return Fork(self._ask, pid, output, errors)

    def load(self, module: str) -> None:
        """Import a module that the next forks then need not import."""
        self._ask("load", module)

    def close(self) -> None:
        """End the interpreter, and wait for it."""
        self._process.communicate()

    def _ask(self, *request: Any) -> int | None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def serve() -> None:
    """Answer requests until the input ends."""
    torch.set_num_threads(1)
    requests: dict[str, Callable[..., int | None]] = {
        "load": _load,
        "start": _start,
        "poll": _poll,
        "end": _end,
    }
    while line := sys.stdin.readline():
        kind, *arguments = json.loads(line)
        sys.stdout.write(json.dumps(requests[kind](*arguments)) + "\n")
        sys.stdout.flush()


def _load(module: str) -> None:
    importlib.import_module(module)


def _start(module: str, function: str, arguments: Sequence[Any], output: str, errors: str) -> int:
    Path(errors).touch()
    Path(output).touch()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _redirect(0, os.devnull, os.O_RDONLY)
            _redirect(1, output, os.O_WRONLY)
            _redirect(2, errors, os.O_WRONLY)
            # where the tests themselves were started in the background, or by nohup, these are switched off
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGHUP, signal.SIG_DFL)
            status = _status_of(Path(module), function, arguments)
        finally:
            with contextlib.suppress(ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)
    return child


def _redirect(descriptor: int, file: str, flags: int) -> None:
    opened = os.open(file, flags)
    os.dup2(opened, descriptor)
    os.close(opened)


def _status_of(file: Path, function: str, arguments: Sequence[Any]) -> int:
    sys.path.insert(0, str(file.parent))
    try:
        return getattr(importlib.import_module(file.stem), function)(*arguments) or 0
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1


def _poll(child: int) -> int | None:
    ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
