"""The host tier: one real ComfyUI for the whole session."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .graphs import PATIENCE, Graph, node, on, train, up_to

if TYPE_CHECKING:
    from host.serve import ComfyServer


@pytest.fixture(scope="session")
def server(start_server: "Callable[..., ComfyServer]") -> "Iterator[ComfyServer]":
    """A ComfyUI with the pack as its only custom node; its folders are below `server.base_directory`."""
    with start_server() as running:
        yield running


@pytest.fixture(scope="session")
def eventually() -> Callable[[Callable[[], Any]], Any]:
    """Ask again until the answer is true: `eventually(question)`; its last answer."""

    def wait(question: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (answer := question()):
            if time.monotonic() > deadline:
                pytest.fail(f"still {answer!r} after {PATIENCE:g} s")
            time.sleep(0.05)
        return answer

    return wait


@pytest.fixture(autouse=True)
def ends_its_work(
    request: pytest.FixtureRequest, eventually: Callable[[Callable[[], Any]], Any]
) -> Iterator[None]:
    """What a test leaves running or waiting, because it failed, ends with it: others use the same server."""
    if "server" not in request.fixturenames:
        yield
        return
    server: ComfyServer = request.getfixturevalue("server")
    yield

    def idle() -> bool:
        queue = server._json("/queue")
        if busy := queue["queue_running"] or queue["queue_pending"]:
            server._request("/queue", {"clear": True})
            server.interrupt()
        return not busy

    eventually(idle)


@pytest.fixture
def logged(server: "ComfyServer") -> Callable[[], str]:
    """What the server has written to its log since the test began; other tests share the log."""
    before = len(server.log.read_bytes())
    return lambda: server.log.read_bytes()[before:].decode(errors="replace")


@pytest.fixture(scope="session")
def one_woman(make_dataset: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures of one woman, to be left as they are: one folder, so that it is segmented once."""
    return make_dataset(tmp_path_factory.mktemp("pictures") / "astronaut")


@pytest.fixture
def training(shared_workflow: Graph, one_woman: Path) -> Graph:
    """The shared workflow up to the saved LoRA: node 9 trains, 10 saves."""
    return on(up_to(shared_workflow, 10), one_woman)


@pytest.fixture
def run_name(request: pytest.FixtureRequest) -> str:
    """A name that no other test's training has."""
    return request.node.name.split("[")[0].removeprefix("test_")


@pytest.fixture(scope="session")
def plain(server: "ComfyServer", shared_workflow: Graph, one_woman: Path) -> Path:
    """The folder of a training of three steps that others are compared with."""
    return train(server, on(up_to(shared_workflow, 10), one_woman), "plain")[0]


@pytest.fixture
def saved(server: "ComfyServer", plain: Path) -> Iterator[str]:
    """The LoRA of that training as a file that Load LoRA File offers."""
    folder = server.base_directory / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(plain / "lora_000003.safetensors", folder / "plain.safetensors")
    yield "plain.safetensors"
    (folder / "plain.safetensors").unlink()


@pytest.fixture
def preview() -> dict[str, Any]:
    """Samples in every step, one for each caption, decoded."""
    return node(
        "SemanticFocusPreviewOptions",
        positive=["7", 0],
        negative=["7", 0],
        every=1,
        steps=2,
        cfg=2.0,
        seed=5,
        sampler="euler",
        scheduler="simple",
        with_training_adapter=False,
        vae=["1", 2],
    )
