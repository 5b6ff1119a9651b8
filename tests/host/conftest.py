"""The host tier: one real ComfyUI for the whole session."""

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from host.serve import ComfyServer


@pytest.fixture(scope="session")
def server(start_server: "Callable[..., ComfyServer]") -> "Iterator[ComfyServer]":
    """A ComfyUI with the pack as its only custom node; its folders are below `server.base_directory`."""
    with start_server() as running:
        yield running


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], Any], float], Any]:
    """Ask again until the answer is true: `eventually(question, seconds)`; its last answer."""

    def wait(question: Callable[[], Any], seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while not (answer := question()):
            if time.monotonic() > deadline:
                pytest.fail(f"still {answer!r} after {seconds:g} s")
            time.sleep(0.05)
        return answer

    return wait
