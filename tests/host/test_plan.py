"""What a training will take, told from a shell: from headers alone, and as ComfyUI would load the file."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

from ..stand_in_dataset import write_dataset
from .graphs import PATIENCE


@pytest.fixture(scope="module")
def plan(
    comfy: ModuleType, repo: Path, stand_in_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `plan CONFIG` on three small pictures and the stand-in model."""
    folder = tmp_path_factory.mktemp("plan")
    dataset = write_dataset(folder / "dataset")
    config = folder / "config.toml"

    def run(
        *arguments: str,
        model: Path = stand_in_model,
        data: Path = dataset,
        more: str = "",
        shard: str = "false",
    ) -> subprocess.CompletedProcess[str]:
        config.write_text(f"""
[model]
path = "{model}"
device = "cpu"
shard = {shard}

[[dataset.sources]]
cache_directory = "{data}"
{more}
""")
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
    """Nor does it count what is shared out among processes, whose number it does not know."""
    done = plan("--free", "0.5", shard="true")
    assert done.returncode == 1
    assert "too much" in done.stdout
    *_, refusal, note = done.stdout.splitlines()
    assert "of 0.5 free" in refusal
    assert note.startswith("[model] shard is not counted: each of N processes holds 1/N of the weights")


def of_unknown_type(model: Path, _data: Path) -> None:
    header = b'{"x": {"dtype": "F99", "shape": [2], "data_offsets": [0, 8]}}'
    model.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))


def without(part: str) -> Callable[[Path, Path], None]:
    def change(model: Path, _data: Path) -> None:
        save_file({key: tensor for key, tensor in load_file(model).items() if part not in key}, model)

    return change


def a_lora(model: Path, _data: Path) -> None:
    save_file({f"diffusion_model.x.lora_{part}.weight": torch.ones(2, 2) for part in ("up", "down")}, model)


def of_four_channels(_model: Path, data: Path) -> None:
    for path in data.glob("*x*_zi.safetensors"):
        save_file({key: tensor[:4].clone() for key, tensor in load_file(path).items()}, path)


def of_narrow_text(_model: Path, data: Path) -> None:
    for path in data.glob("*_zi_te.safetensors"):
        save_file({key: tensor[..., :48].clone() for key, tensor in load_file(path).items()}, path)


def of_a_list(_model: Path, data: Path) -> None:
    for path in data.glob("*_zi_te.safetensors"):
        save_file({key: tensor.flatten() for key, tensor in load_file(path).items()}, path)


def as_they_are(_model: Path, _data: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (of_unknown_type, "", "ComfyUI cannot load it (SafetensorError"),
        (without("x_embedder"), "", "ComfyUI cannot load it (KeyError: 'x_embedder"),
        (a_lora, "", "ComfyUI cannot load it (ValueError: it knows no such model). Is it a diffusion model"),
        (of_four_channels, "", "takes latents of 16 channels, those of the dataset have 4: cache them with"),
        (of_narrow_text, "", "come from the VAE and the text encoder of this model"),
        (of_a_list, "", "holds no text embedding (varlen_vl_embed_"),
        (as_they_are, '[lora]\ninclude = ["nowhere"]', "'nowhere' matches no linear layer"),
        (as_they_are, '[training]\nmemory = "swap 120 %"', 'memory is "swap 120 %": choose "auto"'),
    ],
)
def test_what_cannot_be_planned_is_a_sentence_and_exit_code_2(
    plan: Callable[..., subprocess.CompletedProcess[str]],
    stand_in_model: Path,
    tmp_path: Path,
    change: Callable[[Path, Path], None],
    more: str,
    said: str,
):
    model, data = tmp_path / "model.safetensors", write_dataset(tmp_path / "dataset")
    shutil.copyfile(stand_in_model, model)
    change(model, data)
    done = plan("--free", "16", model=model, data=data, more=more)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
