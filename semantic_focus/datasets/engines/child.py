"""One of several processes: it says when it is ready, takes pictures, and tells what became of each."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from queue import Empty, Queue

from ...segmenters.protocol import MissingWeightsError
from ..freshness import Due, PictureResult
from .messages import Busy, Full, Message, Ready
from .order import Order, SegmenterLoadError
from .pipeline import Pipeline
from .worker import HandedOver, load_with_one_thread

LEFT_TO_THE_PARENT = ("SIGINT", "SIGTERM", "SIGHUP")
"""Signals that a terminal or a scheduler sends to all processes. The parent says what is done about them."""


@dataclass(frozen=True)
class Stop:
    """From the parent: finish what is under way, and leave the rest."""


@dataclass(frozen=True)
class End:
    """From the parent: nothing comes any more."""


def live(connection: Connection, order: Order, level: int) -> None:
    """Take pictures of an order from a connection and tell what became of them, until the parent ends it.

    Args:
        level: of the log.
    """
    for name in LEFT_TO_THE_PARENT:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    parent = _Parent(connection)
    logging.basicConfig(level=level, handlers=[HandedOver(parent.tell)], force=True)
    try:
        load_with_one_thread(order)
        parent.tell(Ready(order.freshness.wanted, f"process {os.getpid()}"))
        Pipeline(order, parent).run()
    except (MissingWeightsError, SegmenterLoadError) as error:
        parent.tell(error)
    except Exception as error:
        logging.getLogger(__name__).exception("a worker failed")
        parent.tell(SegmenterLoadError(f"a worker failed ({type(error).__name__}: {error})"))


class _Parent:
    """The source of pictures of a pipeline: they come by a thread. When the parent is gone, so is this."""

    def __init__(self, connection: Connection):
        self._connection, self._telling = connection, threading.Lock()
        self._inbox = Queue[Due | Stop | End]()
        self._at_hand: Due | None = None
        self._is_asked_to_stop = False
        self._has_ended = False
        threading.Thread(target=self._listen, name="parent", daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                os._exit(1)
            self._is_asked_to_stop |= isinstance(message, Stop)
            self._inbox.put(message)

    def tell(self, message: Message) -> None:
        with self._telling:
            try:
                self._connection.send(message)
            except OSError:
                os._exit(1)

    @property
    def is_over(self) -> bool:
        return self._has_ended and self._at_hand is None

    def should_stop(self) -> bool:
        return self._is_asked_to_stop

    def next(self) -> Due | None:
        if self._at_hand is None:
            with contextlib.suppress(Empty):
                self._take(self._inbox.get_nowait())
        due, self._at_hand = self._at_hand, None
        return due

    def wait(self) -> None:
        if self._at_hand is None and not self._has_ended:
            self._take(self._inbox.get())

    def _take(self, message: Due | Stop | End) -> None:
        if isinstance(message, Due):
            self._at_hand = message
        else:
            self._has_ended = True

    def settle(self, result: PictureResult) -> None:
        self.tell(result)

    def busy(self, due: Due) -> None:
        self.tell(Busy(due))

    def leave(self, dues: Iterable[Due]) -> None:
        if not self._is_asked_to_stop:
            self.tell(Full())
        left = [*dues, *([self._at_hand] if self._at_hand else [])]
        with contextlib.suppress(Empty):
            while True:
                message = self._inbox.get_nowait()
                left += [message] if isinstance(message, Due) else []
        self._at_hand, self._has_ended = None, True
        for due in left:
            self.tell(PictureResult(due.picture, "left"))
