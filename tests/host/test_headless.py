"""Training from a shell, with the model code of a real ComfyUI and without its server."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from semantic_focus.files.lines import new_lines
from semantic_focus.training.events import EventReader
from semantic_focus.training.run_folder import RunFolder
from semantic_focus.training.status import TrainingStatus, Watched

from ..hearing import hearing_signals
from ..stand_in_dataset import write_dataset
from .graphs import PATIENCE

if TYPE_CHECKING:
    from host.serve import ComfyServer

STEPS = 40


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("cache") / "dataset")


@pytest.fixture(scope="module")
def config(dataset: Path, stand_in_model: Path) -> Callable[..., Path]:
    """Write a config.toml into a folder; `more` goes to the end of its [training]."""

    def write(folder: Path, more: str = "") -> Path:
        path = folder / "config.toml"
        path.write_text(f"""
[model]
path = "{stand_in_model}"
device = "cpu"

[lora]
rank = 4
alpha = 4.0

[training]
steps = {STEPS}
batch_size = 2
learning_rate = 1e-3
seed = 3
gradient_checkpointing = false
name = "person"
{more}

[semantic_cosine]
face_weight = 1.0
background_weight = 0.0
global_fallback = 0.0
prior_weight = 1.0

[[dataset.sources]]
cache_directory = "{dataset}"
""")
        return path

    return write


@pytest.fixture(scope="module")
def program(comfy: ModuleType, repo: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Start a command as a message would say it, with ComfyUI's place, in a folder that is not ours and in an
    isolated Python; whatever still runs in the end is killed.
    """
    running: list[subprocess.Popen] = []

    def run(folder: Path, *words: object) -> subprocess.Popen:
        command = [comfy.environment_python(), "-I", repo / "semantic_focus", *map(str, words)]
        command += ["--comfyui", comfy.comfyui_folder()]
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        with hearing_signals():
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        running.append(process)
        return running[-1]

    yield run
    for process in running:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def start(program: Callable[..., subprocess.Popen]) -> Callable[..., subprocess.Popen]:
    """Start `train CONFIG`."""
    return lambda path, *more: program(path.parent, "train", path, *more)


@pytest.fixture(scope="module")
def trained(
    start: Callable[..., subprocess.Popen],
    config: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The LoRA of a whole training from the shell."""
    process = start(config(tmp_path_factory.mktemp("whole")))
    output, messages = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, messages
    assert f"step {STEPS}/{STEPS}" in messages
    return Path(output.strip())


def assert_same(lora: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert lora.keys() == other.keys() and lora
    assert [key for key in lora if not torch.equal(lora[key], other[key])] == []


def test_what_a_config_leaves_open_is_the_recipes_if_it_asks_for_one(
    start: Callable[..., subprocess.Popen], config: Callable[..., Path], tmp_path: Path
):
    """It states rank and alpha, as they are by default; the steps are known when the model is."""
    path = config(tmp_path, 'recipe = "auto"\nsave_every = 1')
    text = path.read_text()
    for stated in (f"steps = {STEPS}", "learning_rate = 1e-3"):
        text = text.replace(stated, "")
    path.write_text(text)
    process = start(path)
    seen = []
    assert process.stderr
    for line in process.stderr:
        seen.append(line.strip())
        if "step 1/" in line:
            process.send_signal(signal.SIGTERM)
            break
    process.communicate(timeout=PATIENCE)
    said = "recipe SD3: steps 250, learning_rate 0.0001, layers attention + feed-forward, "
    said += "timesteps logit_normal (mean 0)"
    assert any(said in line for line in seen), seen
    assert "step 1/250" in seen[-1]
    run = json.loads((tmp_path / "output" / "runs" / "person" / "run.json").read_text())
    assert run["identity"]["adapters"]["rank"] == 4
    assert run["identity"]["training"]["steps"] == 250


def test_a_folder_of_the_other_trainer_trains_to_a_lora_that_says_how_it_came_about(trained: Path):
    assert (trained.name, trained.parent.name) == ("person.safetensors", "output")
    lora = load_file(trained)
    assert lora["diffusion_model.joint_blocks.0.x_block.attn.qkv.lora_up.weight"].abs().max() > 0
    with safe_open(trained, "pt") as file:
        header = file.metadata()
    assert header["semantic_focus.steps"] == str(STEPS)
    assert '"face": 1.0' in header["semantic_focus.region_weights"]
    assert header["semantic_focus.base_model"] and header["semantic_focus.dataset"]


def test_a_graph_with_the_same_settings_gives_the_same_lora_bit_for_bit(
    server: "ComfyServer", dataset: Path, stand_in_model: Path, trained: Path
):
    server.run(
        {
            "1": {
                "class_type": "UNETLoader",
                "inputs": {"unet_name": stand_in_model.name, "weight_dtype": "default"},
            },
            "2": {
                "class_type": "SemanticFocusLoadTrainingCache",
                "inputs": {"folder": str(dataset), "resolution_limit": 0},
            },
            "3": {
                "class_type": "SemanticFocusCosineLoss",
                "inputs": {
                    "enabled": True,
                    "preset": "custom",
                    "face_weight": 1.0,
                    "body_weight": 0.5,
                    "clothing_weight": 0.8,
                    "hair_weight": 0.6,
                    "background_weight": 0.0,
                    "lighting_weight": 0.3,
                    "global_fallback": 0.0,
                    "cosine_weight": 1.0,
                    "magnitude_weight": 1.0,
                    "prior_weight": 1.0,
                    "more_weights": "",
                },
            },
            "4": {
                "class_type": "SemanticFocusTrain",
                "inputs": {
                    "model": ["1", 0],
                    "latents": ["2", 0],
                    "conditioning": ["2", 1],
                    "latent_masks": ["2", 2],
                    "objective": ["3", 0],
                    "steps": STEPS,
                    "batch_size": 2,
                    "learning_rate": 1e-3,
                    "lr_schedule": "cosine",
                    "rank": 4,
                    "alpha": 4.0,
                    "layers": "attention + feed-forward",
                    "timesteps": "logit_normal",
                    "seed": 3,
                    "gradient_checkpointing": False,
                },
            },
            "5": {
                "class_type": "SemanticFocusSaveLoRA",
                "inputs": {
                    "lora": ["4", 0],
                    "model": ["1", 0],
                    "filename_prefix": "loras/headless_twin",
                    "key_style": "comfyui",
                },
            },
        }
    )
    [saved] = (server.base_directory / "output" / "loras").glob("headless_twin*.safetensors")
    assert_same(load_file(trained), load_file(saved))


def test_a_stopped_training_resumes_to_the_lora_of_one_that_was_never_stopped(
    start: Callable[..., subprocess.Popen], config: Callable[..., Path], tmp_path: Path, trained: Path
):
    path, events = config(tmp_path), tmp_path / "events.jsonl"
    process = start(path, "--events", str(events))
    assert process.stderr is not None
    for line in process.stderr:
        if "step 1/" in line:
            process.send_signal(signal.SIGHUP)  # the terminal was closed
            break
    output, messages = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (129, ""), messages
    run = tmp_path / "output" / "runs" / "person"
    state = RunFolder(run).newest_state()
    assert state is not None and 0 < state.step < STEPS
    assert f"{run / f'state_{state.step:06}.safetensors'}" in messages and "Traceback" not in messages
    last = json.loads(events.read_text().splitlines()[-1])
    assert (last["event"], last["reason"], last["exit_code"]) == ("stopped", "SIGHUP", 129)
    again = start(path, "--events", str(events))
    output, messages = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, messages
    assert f"going on from step {state.step}\n" in messages
    assert_same(load_file(trained), load_file(output.strip()))
    curves = [json.loads(line) for line in (run / "curves.jsonl").read_text().splitlines()]
    reader = EventReader(lambda clock: TrainingStatus(Watched(None, "1"), 0, clock=clock))
    told = [reader.read(line) for line in new_lines(events)[0]]
    report = reader.status.report()
    assert (report["state"], report["steps"], report["folder"]) == ("finished", STEPS, str(run))
    assert report["points"]["total"] == pytest.approx([line["total"] for line in curves], rel=1e-5)
    assert len(curves) == STEPS and {row["region"] for row in report["rows"]} == {"face", "background"}
    assert told[-1] and told[-1]["lora"] == output.strip()


def test_a_job_that_a_worker_gave_back_goes_on_elsewhere_to_the_same_file(
    program: Callable[..., subprocess.Popen], config: Callable[..., Path], tmp_path: Path, trained: Path
):
    """Its output has a URL: nothing but what lies there is left of the first machine."""
    pytest.importorskip("fsspec")
    spool, store = tmp_path / "spool", tmp_path / "store"
    spool.mkdir()
    store.mkdir()
    text = config(tmp_path).read_text().replace('name = "person"', "")
    (spool / "config.toml").write_text(text)
    output = f"file://{store}/person.safetensors"
    job = {"schema": 1, "kind": "train", "config": "config.toml", "output": output}
    (spool / "person.json").write_text(json.dumps(job))
    worker = program(spool, "work", "--spool", spool)
    assert worker.stderr is not None
    for line in worker.stderr:
        if "step 1/" in line:
            worker.send_signal(signal.SIGTERM)
            break
    said, messages = worker.communicate(timeout=PATIENCE)
    assert (worker.returncode, said) == (143, ""), messages
    assert sorted(path.name for path in store.iterdir()) == ["person.record.json", "person.run.tar"]
    assert sorted(path.name for path in spool.iterdir()) == [
        *("config.toml", "person.events.jsonl", "person.json")
    ]
    again = program(tmp_path, "run", spool / "person.json")
    said, messages = again.communicate(timeout=PATIENCE)
    assert (again.returncode, said) == (0, f"{output}\n"), messages
    assert "going on from step " in messages
    assert (store / "person.safetensors").read_bytes() == trained.read_bytes()
    assert sorted(path.name for path in store.iterdir()) == ["person.record.json", "person.safetensors"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of another process")
def test_a_disk_that_fills_up_on_the_way_ends_with_1_and_what_there_is(
    start: Callable[..., subprocess.Popen], config: Callable[..., Path], tmp_path: Path
):
    import resource

    path = config(tmp_path, "save_every = 10")
    process = start(path)
    assert process.stderr is not None
    messages = ""
    for line in process.stderr:
        messages += line
        if "step 1/" in line:
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1000, 1000))
            break
    output, more = process.communicate(timeout=PATIENCE)
    messages += more
    assert (process.returncode, output) == (1, ""), messages
    assert f"step {STEPS}/{STEPS}" in messages and "Traceback" not in messages
    run = tmp_path / "output" / "runs" / "person"
    for name in ("curves.jsonl", "lora_000010.safetensors", "state_000010.safetensors"):
        assert messages.count(f"{run / name}: cannot be written: ") == 1
    assert "The training is done but its LoRA could not be written: " in messages
    assert "The same command goes on from the last state" in messages
    assert (RunFolder(run).description() or {})["finished"] is False


def test_an_output_folder_that_takes_no_files_ends_with_2(
    start: Callable[..., subprocess.Popen], config: Callable[..., Path], tmp_path: Path
):
    path = config(tmp_path)
    (tmp_path / "output").write_text("a file in its place")
    process = start(path)
    output, messages = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (2, ""), messages
    assert f"{tmp_path / 'output'}: a file, not a folder" in messages and "Traceback" not in messages


def test_an_unusable_model_is_a_message_and_no_traceback(
    start: Callable[..., subprocess.Popen], config: Callable[..., Path], tmp_path: Path, stand_in_model: Path
):
    path = config(tmp_path)
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    path.write_text(path.read_text().replace(str(stand_in_model), str(other)))
    process = start(path)
    output, messages = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output) == (2, "")
    assert f"[model] path {other}" in messages and "Traceback" not in messages
