"""Many questions about one place make few jobs, one at a time; none is answered with what was before it."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from semantic_focus.datasets.turns import Turns

Answer = TypeVar("Answer")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def run(asking: Coroutine[object, object, Answer]) -> Answer:
    """In a thread of its own: this one may have an event loop already, the browser's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, asking).result()


def test_those_who_ask_meanwhile_share_the_next_job(pool: ThreadPoolExecutor):
    begun, go_on = threading.Event(), threading.Event()
    jobs: list[int] = []

    def job(waits: Callable[[], bool]) -> int:
        jobs.append(len(jobs))
        begun.set()
        assert go_on.wait(300)
        return jobs[-1]

    async def ask() -> list[int]:
        turns: Turns[int] = Turns(pool)
        first = asyncio.create_task(turns.take("folder", "all", job))
        await asyncio.to_thread(begun.wait, 300)
        later = [asyncio.create_task(turns.take("folder", "all", job)) for _ in range(9)]
        await asyncio.sleep(0)
        assert len(jobs) == 1
        go_on.set()
        return await asyncio.gather(first, *later)

    assert run(ask()) == [0] + 9 * [1]


def test_other_questions_about_a_place_wait_and_other_places_do_not(pool: ThreadPoolExecutor):
    meet = threading.Barrier(2)
    at_work: list[str] = []
    most: list[int] = []

    def job(name: str) -> str:
        at_work.append(name)
        most.append(sum(one.startswith("here") for one in at_work))
        if name in ("here 0", "there"):
            meet.wait(300)  # both are at work at once
        at_work.remove(name)
        return name

    async def ask() -> list[str]:
        turns: Turns[str] = Turns(pool)
        asked = [("here", f"here {number}") for number in range(4)] + [("there", "there")]
        return await asyncio.gather(
            *(turns.take(place, name, lambda waits, n=name: job(n)) for place, name in asked)
        )

    assert run(ask()) == ["here 0", "here 1", "here 2", "here 3", "there"]
    assert max(most) == 1


def test_an_error_is_told_to_all_and_the_next_may_ask(pool: ThreadPoolExecutor):
    def fails(waits: Callable[[], bool]) -> int:
        raise OSError("away")

    async def ask() -> int:
        turns: Turns[int] = Turns(pool)
        answers = await asyncio.gather(
            *(turns.take("a", "b", fails) for _ in range(3)), return_exceptions=True
        )
        assert [str(answer) for answer in answers] == ["away"] * 3
        with pytest.raises(OSError, match="away"):
            await turns.take("a", "b", fails)
        return await turns.take("a", "b", lambda waits: 7)

    assert run(ask()) == 7


def test_a_job_is_told_when_all_have_gone_who_asked_for_it(pool: ThreadPoolExecutor):
    here = {"one": True, "two": True}
    told: list[bool] = []

    def job(waits: Callable[[], bool]) -> None:
        told.append(waits())
        for name in here:
            here[name] = False
            told.append(waits())

    async def ask() -> None:
        turns: Turns[None] = Turns(pool)
        await asyncio.gather(*(turns.take("a", "b", job, lambda n=name: here[n]) for name in here))

    run(ask())
    assert told == [True, True, False]
