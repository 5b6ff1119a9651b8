"""The unit tier: no ComfyUI."""

from collections.abc import Iterator

import pytest
import torch

from .forks import Forks


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """On tensors as small as those of the tests, threads mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # of the programs that tests start
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """Starts programs in processes of their own, without their having to import torch."""
    forks = Forks(tmp_path_factory.mktemp("forks"))
    yield forks
    forks.close()
