"""SIGTERM, Ctrl+C or a closed terminal while a training runs: its state is kept before ComfyUI goes."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..semantic_focus.commands.stop_signals import SIGNALS
from ..semantic_focus.training.run import StopTraining


@contextmanager
def termination_noted() -> Iterator[Callable[[], None]]:
    """Gives a function that raises StopTraining once ComfyUI was told to end; afterwards ComfyUI does.

    A second signal ends it at once. Signal handlers belong to the main thread, nodes run in another:
    ComfyUI's event loop sets and restores them there. On Windows it cannot.
    """
    received: list[signal.Signals] = []

    def check() -> None:
        if received:
            raise StopTraining(received[0].name)

    if sys.platform == "win32":
        yield check
        return
    from server import PromptServer

    loop, before = PromptServer.instance.loop, {}

    def watch() -> None:
        for number in SIGNALS:
            before[number] = signal.getsignal(number)
            if before[number] != signal.SIG_IGN:
                loop.add_signal_handler(number, note, number)

    def note(number: signal.Signals) -> None:
        received.append(number)
        if len(received) > 1:
            leave()

    def leave() -> None:
        for number, handler in before.items():
            if loop.remove_signal_handler(number):
                signal.signal(number, handler or signal.SIG_DFL)  # None: set outside of Python
        before.clear()
        if received:
            os.kill(os.getpid(), received[-1])

    loop.call_soon_threadsafe(watch)
    try:
        yield check
    finally:
        loop.call_soon_threadsafe(leave)
