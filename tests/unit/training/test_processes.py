"""Several processes make the LoRA that one makes, and end together."""

import itertools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from semantic_focus.lora.file import load_lora
from semantic_focus.training.run_folder import RunFolder

from ..forks import Fork, Forks
from .test_killed import lines

CASES: dict[str, dict[str, Any]] = {
    "plain": {"batch_size": 2, "accumulation": 6},
    "average, min-SNR, clipping": {
        "batch_size": 1, "accumulation": 4, "ema_decay": 0.9, "max_grad_norm": 0.05, "snr_gamma": 5.0,
    },
    "prior at every second step": {"batch_size": 2, "accumulation": 3, "prior_every": 2},
    "dropped captions": {"batch_size": 2, "accumulation": 4, "caption_dropout": 0.4},
    "adapter dropout": {"batch_size": 2, "accumulation": 4, "dropout": 0.3},
    "fp16": {"batch_size": 2, "accumulation": 4, "half": True},
    "a batch is cut": {"batch_size": 6, "accumulation": 1},
    "cut, with dropout": {"batch_size": 5, "accumulation": 1, "dropout": 0.3, "caption_dropout": 0.4},
    "cut across batches": {"batch_size": 4, "accumulation": 2, "prior_every": 2},
    "nothing to learn from some": {
        "batch_size": 1, "accumulation": 4, "prior_weight": 0.0, "faceless": True,
    },
    "memory for two": {"batch_size": 5, "accumulation": 2, "limit": 2},
    "memory for two in one process": {"batch_size": 5, "accumulation": 3, "limit": 2, "limited": 1},
}  # fmt: skip
WHOLE = list(CASES)[:6]
"""With a batch or more for each of three processes."""
TRIED_AGAIN = list(CASES)[-2:]
"""With smaller pieces, which those who go in step do not."""
Result = tuple[dict[str, Tensor], str]


class Group:
    """Starts the functions of several.py as so many processes."""

    def __init__(self, forks: Forks, folder: Path):
        self._forks, self._folder, self._numbers = forks, folder, itertools.count()
        forks.load("torch._dynamo")
        forks.load("torch.distributed.fsdp")

    def start(self, function: str, size: int, *arguments: Any) -> list[Fork]:
        store = str(self._folder / f"meeting_{next(self._numbers)}")
        module = "training/several.py"
        return [self._forks.start(module, function, rank, size, store, *arguments) for rank in range(size)]

    def end(self, function: str, size: int, *arguments: Any) -> list[tuple[int, str]]:
        """Exit status and messages of each."""
        started = self.start(function, size, *arguments)
        return [(fork.end(), fork.errors) for fork in started]


@pytest.fixture(scope="module")
def group(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Group:
    return Group(forks, tmp_path_factory.mktemp("meetings"))


@pytest.fixture(scope="module")
def results(group: Group, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Result]:
    """What a case gives in so many processes, by one of them."""
    folder = tmp_path_factory.mktemp("cases")
    for size, in_step in ((1, False), (2, False), (3, False), (2, True), (3, True)):
        cases = [case for name, case in CASES.items() if not in_step or name not in TRIED_AGAIN]
        for status, errors in group.end("train_cases", size, str(folder), cases, in_step):
            assert status == 0, errors

    def result(size: int, case: str, rank: int = 0, in_step: bool = False) -> Result:
        path = folder / f"{size}_{in_step}_{list(CASES).index(case)}_{rank}.safetensors"
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata()["records"]

    return result


def same(one: Result, other: Result) -> bool:
    return (
        one[0].keys() == other[0].keys()
        and all(torch.equal(value, other[0][name]) for name, value in one[0].items())
        and one[1] == other[1]
    )


@pytest.mark.parametrize("size", [2, 3])
class TestAsOne:
    @pytest.mark.parametrize("case", WHOLE)
    def test_where_batches_are_dealt_out_whole_nothing_differs(self, results, size: int, case: str):
        """Gradients, LoRA, the whole state and all that is reported, to the bit."""
        assert same(results(size, case, 0), results(1, case, 0))

    @pytest.mark.parametrize("case", [case for case in CASES if case not in WHOLE])
    def test_where_batches_are_cut_they_differ_by_rounding(self, results, size: int, case: str):
        (found, _), (expected, _) = results(size, case, 0), results(1, case, 0)
        error = (found["gradient"] - expected["gradient"]).norm() / expected["gradient"].norm()
        assert error < 1e-5
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("case", CASES)
    def test_all_processes_hold_the_same(self, results, size: int, case: str):
        assert all(same(results(size, case, rank), results(size, case, 0)) for rank in range(1, size))

    @pytest.mark.parametrize("case", [case for case in CASES if case not in TRIED_AGAIN])
    def test_it_does_not_matter_whether_each_holds_the_whole_model(self, results, size: int, case: str):
        """In step, with as many passes for all: 12 batches, or 3 or 4 pictures, for two or three."""
        expected = results(size, case, 0)
        assert all(same(results(size, case, rank, in_step=True), expected) for rank in range(size))


LOST, FAILED = "ProcessLost: process {} (pid {{pid}} on ", "ProcessFailed: process {} (pid {{pid}} on "
FAULTS = [
    ("stop", "StopTraining: SIGTERM", "StopTraining: SIGTERM"),
    ("stop first", "StopTraining: SIGTERM", "StopTraining: SIGTERM"),
    ("kill", LOST.format(1), LOST.format(1)),
    ("kill first", None, LOST.format(0)),
    ("error", FAILED.format(1), FAILED.format(1)),
    ("nan", "step 4: the loss is not a finite number", "step 4: the loss is not a finite number"),
]
"""What happens to one of three, and what the first one and another then say."""
SHORT = "out of memory with a model that is shared out among processes"
MIDST = [
    ("midst kill", LOST.format(1), LOST.format(1)),
    ("midst memory", FAILED.format(1), SHORT),
    ("midst memory first", SHORT, FAILED.format(0)),
]
"""The same, while the others wait for what it holds of a layer."""


@pytest.fixture(scope="module")
def alone(group: Group, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one process made without a stop."""
    root = tmp_path_factory.mktemp("alone")
    assert group.end("train_run", 1, str(root), 8) == [(0, "")]
    return root / "person"


class TestRuns:
    def assert_as(self, run: Path, alone: Path) -> None:
        """Files, LoRA and curves of a run that came to its end, with its validations."""
        assert (RunFolder(run).description() or {})["finished"] is True
        for name in ("lora_000008.safetensors", "lora_best.safetensors"):
            found, expected = load_lora(run / name), load_lora(alone / name)
            assert all(torch.equal(value, found[key]) for key, value in expected.items())
        assert lines(run) == lines(alone) and len(lines(run)) == 8

    def test_two_go_on_as_three_and_end_as_one(self, group: Group, alone: Path, tmp_path: Path):
        """The number of processes is no part of what is trained, nor is whether each has the whole model."""
        for size, steps, in_step in ((2, 2, False), (3, 4, True), (2, 6, True), (1, 8, True)):
            ended = group.end("train_run", size, str(tmp_path), steps, in_step)
            assert all("enough" in errors if steps < 8 else not errors for _, errors in ended)
        assert [path.name for path in tmp_path.iterdir()] == ["person"]
        self.assert_as(tmp_path / "person", alone)

    @pytest.mark.parametrize(
        ("fault", "first", "others", "in_step"),
        [(*row, in_step) for in_step in (False, True) for row in FAULTS] + [(*row, True) for row in MIDST],
    )
    def test_what_happens_to_one_ends_all_and_the_same_run_goes_on(
        self,
        fault: str,
        first: str | None,
        others: str,
        in_step: bool,
        group: Group,
        alone: Path,
        tmp_path: Path,
    ):
        started = group.start("train_run", 3, str(tmp_path), 8, in_step, fault)
        pid = started[0 if fault.endswith("first") else 1].pid
        ended = [(fork.end(), fork.errors) for fork in started]
        assert ended[0][0] == (1 if first else -signal.SIGKILL) and ended[2][0] == 1
        assert (first or "").format(pid=pid) in ended[0][1] and others.format(pid=pid) in ended[2][1]
        state = RunFolder(tmp_path / "person").newest_state()
        assert state is not None and state.step == (3 if first else 2)
        assert all(status == 0 for status, _ in group.end("train_run", 2, str(tmp_path), 8))
        self.assert_as(tmp_path / "person", alone)
