"""Training from a shell in several processes, with the model code of a real ComfyUI."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from semantic_focus.training.run_folder import RunFolder

from .graphs import PATIENCE
from .test_headless import STEPS, assert_same, config, dataset, program, start  # noqa: F401 (fixtures)

SECONDS = 30
"""In which all have to end once one of them is gone."""

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for the processes in /proc")


def begun(process: subprocess.Popen, step: int) -> list[int]:
    """The processes that a command has started, once it has done so many steps."""
    assert process.stderr is not None
    for line in process.stderr:
        if f"step {step}/" in line:
            break
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def ended(process: subprocess.Popen, pids: list[int]) -> tuple[str, str]:
    """What a command has said up to its end, which comes soon and is that of all its processes."""
    began = time.monotonic()
    output, messages = process.communicate(timeout=PATIENCE)
    assert time.monotonic() - began < SECONDS
    assert not any(Path(f"/proc/{pid}").is_dir() for pid in pids)
    assert "Traceback" not in messages
    return output, messages


def test_two_processes_that_are_killed_and_stopped_make_the_lora_of_one(
    start: Callable[..., subprocess.Popen],  # noqa: F811
    config: Callable[..., Path],  # noqa: F811
    tmp_path: Path,
):
    """SIGKILL of the second process, the same command, SIGTERM to it, and the same command again."""
    alone = tmp_path / "alone"
    alone.mkdir()
    more = "accumulation = 2\nsave_every = 10"
    output, messages = (process := start(config(alone, more))).communicate(timeout=PATIENCE)
    assert process.returncode == 0, messages

    path, run = config(tmp_path, more), tmp_path / "output" / "runs" / "person"
    process = start(path, "--processes", "2")
    pids = begun(process, 1)
    os.kill(pids[1], signal.SIGKILL)
    said, messages = ended(process, pids)
    assert (process.returncode, said) == (75, ""), messages
    gone = f"process 1 (pid {pids[1]} on "
    state = RunFolder(run).newest_state()
    assert state is not None and state.step >= 1
    assert f"Training stopped at step {state.step} ({gone}" in messages
    assert str(run / f"state_{state.step:06}.safetensors") in messages
    assert messages.rstrip().splitlines()[-1].startswith(gone)

    process = start(path, "--processes", "2")
    pids = begun(process, 16)
    process.send_signal(signal.SIGTERM)
    said, messages = ended(process, pids)
    assert (process.returncode, said) == (143, ""), messages
    assert messages.count("Training stopped at step") == messages.count("stopped by SIGTERM") == 1

    process = start(path, "--processes", "2")
    said, messages = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and messages.count(f"step {STEPS}/{STEPS}") == 1, messages
    assert_same(load_file(output.strip()), load_file(said.strip()))
    curves = [folder / "output" / "runs" / "person" / "curves.jsonl" for folder in (alone, tmp_path)]
    assert curves[0].read_bytes() == curves[1].read_bytes()


def test_a_mistake_is_said_once_and_ends_with_2(
    start: Callable[..., subprocess.Popen],  # noqa: F811
    config: Callable[..., Path],  # noqa: F811
    tmp_path: Path,
):
    process = start(config(tmp_path), "--processes", "3")
    output, messages = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (2, ""), messages
    assert messages.count("3 processes and 2 pictures in a step (batch_size 2 × accumulation 1)") == 1
