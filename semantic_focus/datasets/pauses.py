"""Work with very many objects that does not keep the other threads waiting."""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

NEVER = 1 << 30
"""Collections of middle-aged garbage before a full one."""


class _Holding:
    """How many hold full collections off, and the threshold that comes back after the last of them."""

    def __init__(self):
        self._lock = threading.Lock()
        self._count = 0
        self._usual = gc.get_threshold()[2]

    def begin(self) -> None:
        with self._lock:
            if not self._count:
                *younger, self._usual = gc.get_threshold()
                gc.set_threshold(*younger, NEVER)
            self._count += 1

    def end(self) -> None:
        with self._lock:
            self._count -= 1
            if not self._count:
                gc.set_threshold(*gc.get_threshold()[:2], self._usual)


_HOLDING = _Holding()


@contextmanager
def no_full_collections() -> Iterator[None]:
    """Within, Python collects young garbage only, in all threads.

    A full collection stops every thread until it has looked at each object there is: with the objects of a
    list of 90,000 pictures that takes a server a second and more, again and again. What became garbage
    meanwhile is collected afterwards.
    """
    _HOLDING.begin()
    try:
        yield
    finally:
        _HOLDING.end()
