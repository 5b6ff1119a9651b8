"""Workers on a Ray cluster, or on a local Ray that listens on the loopback address: each is an actor.

Pictures and mask files must lie in a folder that all nodes see at the same path. Nothing else of a picture
travels than its path. Ray is imported when the first picture is due.
"""

import logging
import os
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from importlib import import_module
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Any

from ...files.command_lines import PACKAGE, to_install
from ...files.text import in_short
from ...segmenters.protocol import MissingWeightsError
from ...segmenters.runtimes import is_installed
from ..freshness import Due, PictureResult
from .capacity import processes_for
from .crew import Crew, Worker
from .messages import Busy, Full, Gone, Message, Ready
from .order import Order, SegmenterLoadError
from .pipeline import Pipeline
from .plan import Plan
from .worker import HandedOver, load_with_one_thread

ADDRESS = "RAY_ADDRESS"
LOCAL = "local"
LOOPBACK = "127.0.0.1"
MOST_IN_A_BATCH = 64
"""Pictures of one call: the driver has 0.4 ms to do for a call, a picture takes a second."""
Answer = Future[list[Message]]
BATCHES_OF_A_WORKER = 4
"""Into so many batches what is left is cut for each worker, so that all end at about the same time."""
STORE_BYTES = 128 << 20
"""Of a local Ray's object store: nearly nothing goes through it."""


def missing() -> str | None:
    """How to install Ray; None where it is there. It is not imported."""
    if is_installed("ray"):
        return None
    return f"ray is not installed. To install it:{to_install('ray')}"


class Actor:
    """What runs on a node of the cluster."""

    def __init__(self, order: Order, level: int):
        self._order, self._where = order, f"the worker on {socket.gethostname()}"
        self._messages: list[Message] = []
        self._source = _Batch((), self._messages)
        self._is_asked_to_stop = False
        logging.basicConfig(level=level, handlers=[HandedOver(self._messages.append)], force=True)

    def ready(self, folder: Path) -> list[Message]:
        """Load the segmenter, if this node sees a folder of the dataset; what there is to tell."""
        return self._told_of(lambda: self._load(folder))

    def _load(self, folder: Path) -> None:
        if not folder.is_dir():
            raise SegmenterLoadError(
                f"there is no folder {folder}. The dataset must lie where all nodes see it, at the same path"
            )
        load_with_one_thread(self._order)
        self._messages.append(Ready(self._order.freshness.wanted, self._where))

    def work(self, batch: Sequence[Due]) -> list[Message]:
        """Make the masks of some pictures; what there is to tell."""
        self._source = _Batch(batch, self._messages, self._is_asked_to_stop)
        return self._told_of(Pipeline(self._order, self._source).run)

    def _told_of(self, work: Callable[[], None]) -> list[Message]:
        try:
            work()
        except (MissingWeightsError, SegmenterLoadError) as error:
            self._messages.append(type(error)(f"{self._where}: {error}"))
        told = list(self._messages)
        self._messages.clear()
        return told

    def stop(self) -> None:
        """Have `work` leave what it has not begun; called while it runs."""
        self._is_asked_to_stop = self._source.is_asked_to_stop = True


class _Batch:
    """A source of some pictures, which notes what is told."""

    def __init__(self, batch: Sequence[Due], messages: list[Message], is_asked_to_stop: bool = False):
        self._waiting, self._messages = deque(batch), messages
        self.is_asked_to_stop = is_asked_to_stop

    @property
    def is_over(self) -> bool:
        return not self._waiting

    def should_stop(self) -> bool:
        return self.is_asked_to_stop

    def next(self) -> Due | None:
        return self._waiting.popleft() if self._waiting else None

    def wait(self) -> None:
        """Nothing comes later."""

    def settle(self, result: PictureResult) -> None:
        self._messages.append(result)

    def busy(self, due: Due) -> None:
        self._messages.append(Busy(due))

    def leave(self, dues: Iterable[Due]) -> None:
        if not self.is_asked_to_stop:
            self._messages.append(Full())
        for due in (*dues, *self._waiting):
            self.settle(PictureResult(due.picture, "left"))
        self._waiting.clear()


class _Remote(Worker):
    """An actor, and the calls that it has not answered, the oldest first.

    Attributes:
        answers: gets each worker with a call that was answered. Asking Ray again and again would cost the
            driver more than all else.
    """

    def __init__(self, position: int, actor: Any, answers: "Queue[tuple[_Remote, Answer]]"):
        super().__init__(position)
        self.actor, self.answers = actor, answers
        self.calls: dict[Answer, Sequence[Due]] = {}

    def call(self, reference: Any, batch: Sequence[Due] = ()) -> None:
        """Note a call that was made."""
        answer: Answer = reference.future()
        self.calls[answer] = batch
        answer.add_done_callback(lambda answer: self.answers.put((self, answer)))

    @property
    def load(self) -> int:
        return len(self.calls)

    @property
    def under_way(self) -> Sequence[Due]:
        return next(iter(self.calls.values()), ())

    def give(self, batch: Sequence[Due]) -> None:
        self.call(self.actor.work.remote(list(batch)), batch)

    def stop(self) -> None:
        self.actor.stop.options(concurrency_group="control").remote()


class Ray(Crew):
    """The engine; to be used in a `with`."""

    def __init__(self, count: int | None = None, address: str | None = None):
        """
        Args:
            count: of workers; None: as many as the cluster has CPUs, or GPUs if the segmenter runs there.
            address: of a running cluster; None: that of RAY_ADDRESS, else a local one is started.
        """
        super().__init__(count or 1)
        self._remotes: list[_Remote] = []
        self._answers = Queue[tuple[_Remote, Answer]]()
        self._asked, self._address = count, address or os.environ.get(ADDRESS) or LOCAL
        self._ray: Any = None
        self._class: Any = None
        self._printed = ExitStack()

    def __enter__(self) -> "Ray":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ray is not None:
            for worker in self._remotes:
                self._ray.kill(worker.actor)
            self._ray.shutdown()
            self._ray = None
        self._printed.close()

    def _size(self, plan: Plan) -> int:
        return max(1, min(MOST_IN_A_BATCH, plan.most_left // (BATCHES_OF_A_WORKER * self.count)))

    def _connect(self, plan: Plan) -> None:
        ray: Any = import_module("ray")
        order = plan.order
        unit = "GPU" if order.segmenter.device.startswith("cuda") else "CPU"
        path = os.pathsep.join(filter(None, (str(PACKAGE.parent), os.environ.get("PYTHONPATH"))))
        given: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        given["runtime_env"] = {"env_vars": {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}}
        if self._address == LOCAL:
            self.count = self._asked or processes_for(order.segmenter.backend.tier, order.segmenter.device)
            given |= {"_node_ip_address": LOOPBACK, "include_dashboard": False, "num_cpus": self.count}
            given["object_store_memory"] = STORE_BYTES
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # Ray prints where our answer goes when a worker is killed
        self._printed.enter_context(redirect_stdout(sys.stderr))
        try:
            with _signals_as_they_are():
                ray.init(self._address, **given)
        except (OSError, RuntimeError, ValueError) as error:
            raise SegmenterLoadError(
                f"Ray at {self._address!r} cannot be reached ({error}). Start it, or correct --address"
            ) from error
        if self._address != LOCAL:
            self.count = self._asked or max(1, int(ray.cluster_resources().get(unit, 1)))
        needs = {"num_cpus": 1, **({"num_gpus": 1} if unit == "GPU" else {})}
        self._class = ray.remote(max_restarts=0, concurrency_groups={"control": 1}, **needs)(Actor)
        self._ray = ray

    def _started(self, plan: Plan, position: int) -> Worker:
        if self._ray is None:
            self._connect(plan)
        actor = self._class.remote(plan.order, logging.getLogger().getEffectiveLevel())
        remote = _Remote(position, actor, self._answers)
        remote.call(actor.ready.remote(plan.folder))
        self._remotes.append(remote)
        return remote

    def _heard(self, seconds: float) -> Iterable[tuple[Worker, Message]]:
        with suppress(Empty):
            remote, answer = self._answers.get(timeout=seconds) if seconds else self._answers.get_nowait()
            for message in self._told(remote, answer):
                yield remote, message

    def _told(self, remote: _Remote, answer: Answer) -> Iterator[Message]:
        if answer not in remote.calls:
            return  # of a worker that is known to be gone
        try:
            messages = answer.result()
        except self._ray.exceptions.RayActorError as error:
            self._ray.kill(remote.actor)  # one that cannot be reached may live
            self._remotes.remove(remote)
            yield Gone(in_short(error), is_killed=True)
            remote.calls.clear()
        except self._ray.exceptions.RayError as error:
            yield SegmenterLoadError(f"a worker failed: {in_short(error)}")
        else:
            del remote.calls[answer]
            yield from messages


@contextmanager
def _signals_as_they_are() -> Iterator[None]:
    """Within, whoever handles signals to stop may be replaced, as Ray does; it comes back."""
    stopping = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in stopping]
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in zip(stopping, before, strict=True):
                signal.signal(number, handler)
