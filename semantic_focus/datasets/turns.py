"""Work on one place after the other, where many ask for it at once."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

Answer = TypeVar("Answer")


class Turns(Generic[Answer]):
    """Jobs in threads, at each place one at a time; to be used within one event loop.

    Whoever asks while a job is under way shares the next one with all that ask the same: its answer is of
    after they asked, and no more than one of each question waits.
    """

    def __init__(self):
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._waiting: dict[tuple[str, str], asyncio.Task[Answer]] = {}

    async def take(self, place: str, question: str, job: Callable[[], Answer]) -> Answer:
        """What `job` returns or raises, when its turn has come.

        Args:
            question: the same for jobs at a place that answer the same.
        """
        key = (place, question)
        if key not in self._waiting:
            turn = self._turns.setdefault(place, asyncio.Lock())
            self._waiting[key] = asyncio.create_task(self._next(turn, key, job))
        return await asyncio.shield(self._waiting[key])  # the others stay when one goes away

    async def _next(self, turn: asyncio.Lock, key: tuple[str, str], job: Callable[[], Answer]) -> Answer:
        async with turn:
            del self._waiting[key]
            return await asyncio.to_thread(job)
