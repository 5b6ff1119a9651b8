"""The host tier: one real ComfyUI for the whole session."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from host.serve import ComfyServer


@pytest.fixture(scope="session")
def server(start_server: "Callable[..., ComfyServer]") -> "Iterator[ComfyServer]":
    """A ComfyUI with the pack as its only custom node; its folders are below `server.base_directory`."""
    with start_server() as running:
        yield running
