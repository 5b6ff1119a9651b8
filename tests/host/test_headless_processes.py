"""Training from a shell in several processes, with the model code of a real ComfyUI."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

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


MORE = """
accumulation = 3
save_every = 10
[validation]
hold_out = "crops"
every = 10
"""
LIVES = ((False, signal.SIGKILL, 1), (True, signal.SIGTERM, 14), (True, signal.SIGKILL, 28))
"""Whether the model is shared out, what is sent, and after which step: SIGTERM to the command, SIGKILL to its
second process.
"""


def change(path: Path, before: str, after: str) -> None:
    """In a text file."""
    text = path.read_text()
    assert re.search(before, text)
    path.write_text(re.sub(before, after, text))


def test_two_processes_that_are_killed_and_stopped_make_the_lora_of_one(
    start: Callable[..., subprocess.Popen],  # noqa: F811
    config: Callable[..., Path],  # noqa: F811
    tmp_path: Path,
):
    """Each with the whole model, then each with a part of it and uneven numbers of passes; what they leave is
    made by one.
    """
    alone = tmp_path / "alone"
    alone.mkdir()
    paths = [config(folder, MORE) for folder in (alone, tmp_path)]
    for path in paths:
        change(path, "batch_size = 2", "batch_size = 1")
        change(path, 'device = "cpu"', 'device = "cpu"\nshard = false')
    output, messages = (process := start(paths[0])).communicate(timeout=PATIENCE)
    assert process.returncode == 0, messages

    path, run = paths[1], tmp_path / "output" / "runs" / "person"
    for shard, kind, step in LIVES:
        change(path, "shard = .*", f"shard = {str(shard).lower()}")
        process = start(path, "--processes", "2")
        pids = begun(process, step)
        victim, cause, status = process.pid, "SIGTERM", 143
        if kind == signal.SIGKILL:
            victim, cause, status = pids[1], f"process 1 (pid {pids[1]} on ", 75
        os.kill(victim, kind)
        said, messages = ended(process, pids)
        assert (process.returncode, said) == (status, ""), messages
        state = RunFolder(run).newest_state()
        assert state is not None and state.step >= step
        assert messages.count(f"Training stopped at step {state.step} ({cause}") == 1
        assert str(run / f"state_{state.step:06}.safetensors") in messages
        assert cause in messages.rstrip().splitlines()[-1]

    process = start(path)
    said, messages = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0 and messages.count(f"step {STEPS}/{STEPS}") == 1, messages
    assert messages.count("[model] shard has no effect in a single process") == 1
    assert_same(load_file(output.strip()), load_file(said.strip()))
    curves = [folder / "output" / "runs" / "person" / "curves.jsonl" for folder in (alone, tmp_path)]
    assert curves[0].read_bytes() == curves[1].read_bytes()


def with_scaled_fp8_weights(path: Path) -> None:
    """Let a config have its model in a file of scaled fp8, and each process a part of it."""
    [model] = re.findall('path = "(.*)"', path.read_text())
    kind = torch.float8_e4m3fn
    tensors = {name: tensor.to(kind) for name, tensor in load_file(model).items()}
    save_file(
        {**tensors, "model.diffusion_model.scaled_fp8": torch.zeros(2).to(kind)},
        path.with_name("fp8.safetensors"),
    )
    change(path, re.escape(model), f'{path.with_name("fp8.safetensors")}"\nshard = true #')


@pytest.mark.parametrize(
    ("spoil", "processes", "message"),
    [
        (lambda _: None, 3, "3 processes and 2 pictures in a step (batch_size 2 × accumulation 1)"),
        (with_scaled_fp8_weights, 2, "weights of SD3 are float8_e4m3fn, single numbers ("),
    ],
    ids=["too few pictures", "weights that cannot be shared out"],
)
def test_a_mistake_is_said_once_and_ends_with_2(
    spoil: Callable[[Path], None],
    processes: int,
    message: str,
    start: Callable[..., subprocess.Popen],  # noqa: F811
    config: Callable[..., Path],  # noqa: F811
    tmp_path: Path,
):
    spoil(path := config(tmp_path))
    process = start(path, "--processes", str(processes))
    output, messages = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (2, ""), messages
    assert messages.count(message) == 1, messages
