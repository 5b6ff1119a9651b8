"""SIGTERM while a training runs: the step ends and its state is kept before ComfyUI goes."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from server import PromptServer

from ..semantic_focus.training_run import StopTraining


@contextmanager
def termination_noted() -> Iterator[Callable[[], None]]:
    """Gives a function that raises StopTraining once SIGTERM was received; afterwards ComfyUI ends by it.

    Signal handlers belong to the main thread, nodes run in another: ComfyUI's event loop sets it there. On
    Windows there is no such signal.
    """
    received = threading.Event()

    def check() -> None:
        if received.is_set():
            raise StopTraining("SIGTERM")

    if sys.platform == "win32":
        yield check
        return
    loop = PromptServer.instance.loop
    loop.call_soon_threadsafe(loop.add_signal_handler, signal.SIGTERM, received.set)
    try:
        yield check
    finally:
        loop.call_soon_threadsafe(loop.remove_signal_handler, signal.SIGTERM)
        if received.is_set():
            loop.call_soon_threadsafe(os.kill, os.getpid(), signal.SIGTERM)
