"""What a training will take, told from a shell: from headers alone, and as ComfyUI would load the file."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from .graphs import PATIENCE
from .test_headless import write_dataset


@pytest.fixture(scope="module")
def plan(
    comfy: ModuleType, repo: Path, stand_in_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `plan CONFIG` on three small pictures and the stand-in model."""
    folder = tmp_path_factory.mktemp("plan")
    dataset = write_dataset(folder / "dataset")
    config = folder / "config.toml"
    config.write_text(f"""
[model]
path = "{stand_in_model}"
device = "cpu"

[[dataset.sources]]
cache_directory = "{dataset}"
""")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [comfy.environment_python(), "-I", repo / "semantic_focus", "plan", config]
        command += ["--comfyui", comfy.comfyui_folder(), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=os.environ)

    return run


def test_a_plan_says_what_each_setting_takes_and_what_is_chosen(
    plan: Callable[..., subprocess.CompletedProcess[str]], stand_in_model: Path
):
    done = plan("--free", "16")
    assert done.returncode == 0, done.stderr
    first, head, *rows, last = done.stdout.splitlines()
    assert first == "SD3 on cpu, 16.0 GiB free"
    assert head.split() == ["memory", "peak", "GiB", "in", "RAM"]
    assert [row.split("  ")[0] for row in rows] == [
        "all on the GPU",
        *(f"swap {n} %" for n in (20, 40, 60, 80, 100)),
    ]
    peaks = [float(re.findall(r"\d+\.\d", row)[-2]) for row in rows]
    weights = stand_in_model.stat().st_size / 2**30
    assert weights + 1.0 < peaks[0] < weights + 2.0, "weights, and 1.25 GiB for the device's context"
    assert re.fullmatch(r"SD3 needs about \d\.\d GiB of 16\.0 free \(all on the GPU\)", last)


def test_a_plan_that_does_not_fit_is_exit_code_1(plan: Callable[..., subprocess.CompletedProcess[str]]):
    done = plan("--free", "0.5")
    assert done.returncode == 1
    assert "too much" in done.stdout
    assert "of 0.5 free" in done.stdout.splitlines()[-1]
