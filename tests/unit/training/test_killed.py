"""A training that is killed at any moment and is started again gives what an uninterrupted one gives."""

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from semantic_focus.lora.file import load_lora
from semantic_focus.training.run_folder import CURVES_FILE, RunFolder
from semantic_focus.training.state import load_train_state

from ..forks import Fork, Forks
from .test_resume import equal

STEPS, NAME = 16, "person"
"""As in killed_run.py."""
SAVED = Path(__file__).parents[1] / "saved" / "0.2.0"
KILLS = int(os.environ.get("SEMANTIC_FOCUS_KILLS", "5"))
"""How often the training is killed at random moments."""


@pytest.fixture(scope="module")
def train(forks: Forks) -> Callable[..., Fork]:
    """Begin or go on with the training of killed_run.py in a folder, in a process of its own."""

    forks.load("torch._dynamo")  # which the first optimizer imports

    def start(root: Path, dies_writing: str = "") -> Fork:
        return forks.start("training/killed_run.py", "train_once", str(root), dies_writing)

    return start


@pytest.fixture(scope="module")
def uninterrupted(train: Callable[..., Fork], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("uninterrupted")
    assert train(root).end() == 0
    return root / NAME


def lines(run: Path) -> list[str]:
    path = run / CURVES_FILE
    return path.read_text().splitlines() if path.is_file() else []


def assert_same_result(run: Path, expected: Path) -> None:
    """The last LoRA, everything in the last state, and the curves."""
    name = f"{STEPS:06}.safetensors"
    assert equal(load_lora(run / f"lora_{name}"), load_lora(expected / f"lora_{name}"))
    found, wanted = (load_train_state(folder / f"state_{name}") for folder in (run, expected))
    assert equal(dict(found.tensors), dict(wanted.tensors)) and found.values == wanted.values
    assert [json.loads(line)["step"] for line in lines(run)] == list(range(1, STEPS + 1))
    assert lines(run) == lines(expected)
    assert (RunFolder(run).description() or {})["finished"] is True


def test_two_equal_trainings_write_equal_files(train, uninterrupted: Path, tmp_path: Path):
    assert train(tmp_path).end() == 0
    files = sorted(path.relative_to(uninterrupted) for path in uninterrupted.rglob("*") if path.is_file())
    assert len([path for path in files if path.suffix == ".safetensors"]) == STEPS // 2 + 3  # LoRAs, states
    assert all((uninterrupted / path).read_bytes() == (tmp_path / NAME / path).read_bytes() for path in files)


def test_a_run_that_version_0_2_0_left_is_gone_on_with(train, uninterrupted: Path, tmp_path: Path):
    """It was killed while it wrote the state of step 10. Pictures and noise levels are those of a run that
    was never stopped; what its adapters drop, and so the LoRA, is drawn in another way since.
    """
    shutil.copytree(SAVED / NAME, tmp_path / NAME)
    assert train(tmp_path).end() == 0
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert [json.loads(line)["step"] for line in lines(tmp_path / NAME)] == list(range(1, STEPS + 1))
    lora = f"lora_{STEPS:06}.safetensors"
    found, expected = (
        torch.cat([tensor.flatten() for tensor in load_lora(folder / lora).values()])
        for folder in (tmp_path / NAME, uninterrupted)
    )
    assert torch.cosine_similarity(found, expected, 0) > 0.99
    drawn = [
        [[(one["picture"], one["position"]) for one in json.loads(line)["samples"]] for line in lines(folder)]
        for folder in (tmp_path / NAME, uninterrupted)
    ]
    assert [[picture for picture, _ in step] for step in drawn[0]] == [
        [p for p, _ in step] for step in drawn[1]
    ]
    for one, other in zip(*drawn, strict=True):
        assert [u for _, u in one] == pytest.approx([u for _, u in other], rel=1e-5)
    assert not list((tmp_path / NAME).glob(".*.part"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestKilled:
    def test_at_random_moments(self, train: Callable[..., Fork], uninterrupted: Path, tmp_path: Path):
        """Each life gets a few steps further than the last, and is killed a few milliseconds after that."""
        moments, run, kills = random.Random(0), tmp_path / NAME, 0
        while kills < KILLS:
            if len(lines(run)) >= STEPS - 1:
                run = tmp_path / str(kills) / NAME
            training = train(run.parent)
            goal = len(lines(run)) + moments.randint(0, 3)
            while training.poll() is None and len(lines(run)) < min(goal, STEPS - 1):
                time.sleep(0.001)
            time.sleep(moments.random() * 0.03)
            training.send(signal.SIGKILL)
            assert training.end() in (0, -signal.SIGKILL), training.errors
            kills += training.status == -signal.SIGKILL
        for root in {path.parent for path in tmp_path.rglob(NAME)}:
            if not (RunFolder(root / NAME).description() or {}).get("finished"):  # killed only after its end
                assert train(root).end() == 0
            assert_same_result(root / NAME, uninterrupted)
            assert not (root / f"{NAME}_2").exists()

    @pytest.mark.parametrize("step", [2, 10, STEPS])
    def test_in_the_midst_of_writing_a_state(self, step, train, uninterrupted: Path, tmp_path: Path):
        state = tmp_path / NAME / f"state_{step:06}.safetensors"
        assert train(tmp_path, dies_writing=state.name).end() == -signal.SIGKILL
        assert not state.exists() and len(lines(tmp_path / NAME)) == step
        assert train(tmp_path).end() == 0
        assert_same_result(tmp_path / NAME, uninterrupted)
