"""Work on one place after the other, where many ask for it at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

Answer = TypeVar("Answer")
Waits = Callable[[], bool]
"""Says whether somebody still waits for an answer."""
Job = Callable[[Waits], Answer]
"""Makes an answer; it may end early, by an exception, when nobody waits any more."""


@dataclass
class _Asked(Generic[Answer]):
    """A job that has not begun, and those who wait for it."""

    task: "asyncio.Task[Answer]"
    waiting: list[Waits]


class Turns(Generic[Answer]):
    """Jobs in the threads of a pool, at each place one at a time; to be used within one event loop.

    Whoever asks while a job is under way shares the next one with all that ask the same: its answer is of
    after they asked, and no more than one of each question waits.
    """

    def __init__(self, pool: Executor):
        self._pool = pool
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._asked: dict[tuple[str, str], _Asked[Answer]] = {}

    async def take(self, place: str, question: str, job: Job[Answer], waits: Waits = lambda: True) -> Answer:
        """What `job` returns or raises, when its turn has come.

        Args:
            question: the same for jobs at a place that answer the same.
            waits: whether who asks still waits; the job is told whether any of those does who share it.
        """
        key = (place, question)
        if key not in self._asked:
            turn = self._turns.setdefault(place, asyncio.Lock())
            self._asked[key] = _Asked(asyncio.create_task(self._next(turn, key, job)), [])
        asked = self._asked[key]
        asked.waiting.append(waits)
        return await asyncio.shield(asked.task)  # the others stay when one goes away

    async def _next(self, turn: asyncio.Lock, key: tuple[str, str], job: Job[Answer]) -> Answer:
        async with turn:
            waiting = self._asked.pop(key).waiting

            def anybody_waits() -> bool:
                return any(waits() for waits in waiting)

            return await asyncio.get_running_loop().run_in_executor(self._pool, job, anybody_waits)
