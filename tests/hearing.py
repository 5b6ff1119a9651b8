"""Programs under test that hear signals, whoever started the tests."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def hearing_signals() -> Iterator[None]:
    """What is started inside hears Ctrl+C and a closed terminal.

    Tests in the background, or under nohup, do not, and what they start would not either.
    """
    names = ["SIGINT"] if sys.platform == "win32" else ["SIGINT", "SIGHUP"]
    before = {number: signal.getsignal(number) for number in map(signal.Signals.__getitem__, names)}
    for number in before:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
