"""A command that is followed by its lines: to its end, or to that of what follows it."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from semantic_focus.commands.followed import followed

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

SECONDS = 60
FAKE = """
import os, signal, sys, time
if sys.argv[1:] == ["train"]:  # one of the processes
    def heard(number, frame):
        print("stopped", number, flush=True)
        sys.exit(128 + number)
    signal.signal(signal.SIGTERM, heard if "deaf" not in os.environ["HOW"] else lambda number, frame: None)
    print(os.getpid(), flush=True)
    if os.environ["HOW"] == "fail":
        sys.exit(3)
    end = time.monotonic() + 600  # where a test fails that ought to end it
    while os.environ["HOW"] != "done" and time.monotonic() < end:
        time.sleep(0.05)
else:
    import semantic_focus.commands.starting as starting
    starting.PACKAGE = __file__
    sys.exit(starting.run_processes(2, ["train"], lambda message: None))
"""
"""A command of two processes that do nothing, for as long as HOW says so."""


class Follower:
    """Stops when `stop` says so of the lines so far."""

    def __init__(self, stop: Callable[[list[bytes]], bool] = lambda lines: False, begun: bool = True):
        self.lines: list[bytes] = []
        self._stop, self._begun = stop, begun
        self.impatient = False

    def take(self, line: bytes) -> None:
        self.lines.append(line)

    def check(self) -> None:
        if self._stop(self.lines):
            raise KeyboardInterrupt

    def has_begun(self) -> bool:
        return self._begun

    def is_impatient(self) -> bool:
        return self.impatient


@pytest.fixture
def command(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    file = tmp_path / "fake.py"
    file.write_text(FAKE)
    monkeypatch.setenv("PYTHONPATH", str(repo))

    def how(text: str) -> list[str]:
        monkeypatch.setenv("HOW", text)
        return [sys.executable, str(file)]

    return how


def is_gone(pid: int) -> bool:
    """Also one that has ended and that nobody has asked for its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


@pytest.mark.parametrize(("how", "code"), [("done", 0), ("fail", 3)])
def test_its_lines_are_taken_and_its_exit_code_is_given(
    command: Callable[[str], list[str]], how: str, code: int
):
    follower = Follower()
    assert followed(command(how), follower) == code
    assert len(follower.lines) == 1 and follower.lines[0].isdigit()


@pytest.mark.parametrize(
    ("how", "begun", "impatient", "said"),
    [("go on", True, False, [b"stopped 15"]), ("deaf", True, True, []), ("deaf", False, False, [])],
    ids=["what has begun ends by itself", "asked twice", "nothing was begun"],
)
def test_who_stops_following_ends_it_and_takes_what_it_says_last(
    command: Callable[[str], list[str]], how: str, begun: bool, impatient: bool, said: list[bytes]
):
    follower = Follower(bool, begun)
    follower.impatient = impatient
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        followed(command(how), follower)
    assert time.monotonic() - began < SECONDS
    assert follower.lines[1:] == said and is_gone(int(follower.lines[0]))


def test_it_does_not_outlive_who_follows_it(command: Callable[[str], list[str]], repo: Path, tmp_path: Path):
    program = f"""
import sys
sys.path.insert(0, {str(repo / "tests" / "unit" / "commands")!r})
from test_followed import Follower, followed
class Telling(Follower):
    def take(self, line):
        print(line.decode(), flush=True)
followed({command("go on")!r}, Telling())
"""
    above = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert above.stdout is not None
    pid = int(above.stdout.readline())
    assert not is_gone(pid)
    above.kill()
    above.wait()
    end = time.monotonic() + SECONDS
    while not is_gone(pid):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_command_that_is_not_there_is_an_error():
    with pytest.raises(OSError, match="no_such_program"):
        followed(["/no_such_program"], Follower())
