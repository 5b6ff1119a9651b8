"""A training that goes on, is cancelled or shows samples ends as one that was left alone."""

import copy
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from ..hearing import hearing_signals
from .graphs import (
    OPTIONS,
    PATIENCE,
    Graph,
    adapter_options,
    curves,
    failure,
    lora_of,
    node,
    picture,
    pixels,
    run_folder,
    same,
    train,
)

if TYPE_CHECKING:
    from host.serve import ComfyServer


def test_three_steps_and_three_more_are_six(server: "ComfyServer", training: Graph, run_name: str):
    training["options"] = node("SemanticFocusTrainingOptions", **{**OPTIONS, "schedule_steps": 6})
    whole, _ = train(server, training, f"{run_name}_whole", steps=6, options=["options", 0])

    training["next"] = copy.deepcopy(training["9"])
    training["next"]["inputs"].update(steps=3, run_name=f"{run_name}_b", train_state=["9", 3])
    training["10"]["inputs"].update(lora=["next", 0], steps=["next", 2], prefix=f"loras/{run_name}")
    first, _ = train(server, training, f"{run_name}_a", steps=3)
    second = run_folder(server, f"{run_name}_b")
    assert [line["step"] for line in curves(first)] == [1, 2, 3]
    assert [line["step"] for line in curves(second)] == [4, 5, 6]
    assert same(lora_of(second, 6), lora_of(whole, 6))
    assert not same(lora_of(second, 6), lora_of(first, 3))
    saved = list((server.base_directory / "output" / "loras").glob(f"{run_name}_6_steps_*.safetensors"))
    assert len(saved) == 1 and same(load_file(saved[0]), lora_of(whole, 6))

    training["loaded"] = node("SemanticFocusLoadTrainState", path=f"semantic_focus/{run_name}_a")
    training["shown"] = node("PreviewAny", source=["loaded", 1])
    del training["next"]
    training["10"]["inputs"].update(lora=["9", 0], steps=["9", 2])
    from_disk, shown = train(server, training, f"{run_name}_c", steps=3, train_state=["loaded", 0])
    assert shown["shown"]["text"] == ["3"]
    assert same(lora_of(from_disk, 6), lora_of(whole, 6))


@pytest.mark.parametrize("by", ["widget", "node"])
def test_a_training_that_goes_on_keeps_its_rank_whatever_is_set(
    server: "ComfyServer", training: Graph, plain: Path, run_name: str, by: str
):
    training["loaded"] = node("SemanticFocusLoadTrainState", path=str(plain))
    if by == "node":
        training["adapter"] = adapter_options(rank=8, alpha=8.0)
        training["9"]["inputs"]["adapter"] = ["adapter", 0]
    train_on = {"rank": 8, "steps": 1, "train_state": ["loaded", 0]}
    folder, shown = train(server, training, run_name, **train_on)
    before, after = lora_of(plain), lora_of(folder, 4)
    assert {key: value.shape for key, value in before.items()} == {
        key: value.shape for key, value in after.items()
    }
    assert "rank 8: not used" in str(shown["9"]["semantic_focus_training"])


def test_a_folder_without_a_state_is_named(server: "ComfyServer", comfy: ModuleType, training: Graph):
    (server.base_directory / "output" / "empty").mkdir(exist_ok=True)
    training["loaded"] = node("SemanticFocusLoadTrainState", path="empty")
    training["9"]["inputs"]["train_state"] = ["loaded", 0]
    message = failure(server, comfy, training)
    assert str(server.base_directory / "output" / "empty") in message and "no training state" in message


@pytest.mark.parametrize("with_vae", [True, False])
def test_samples_on_the_way_do_not_change_the_training(
    server: "ComfyServer", training: Graph, plain: Path, preview: dict[str, Any], with_vae: bool
):
    """Not even with a sampler that draws noise."""
    preview["inputs"]["sampler"] = "euler_ancestral"
    if not with_vae:
        del preview["inputs"]["vae"]
    training["preview"] = preview
    folder, _ = train(server, training, f"samples_{with_vae}", preview=["preview", 0])
    side = 128 if with_vae else 16  # a latent cell is 8 pixels
    rounds = [Image.open(folder / "previews" / f"step_00000{step}.png") for step in (1, 2, 3)]
    assert [image.size for image in rounds] == [(2 * side, side)] * 3
    assert rounds[0].tobytes() != rounds[2].tobytes()
    with Image.open(folder / "previews" / "grid.png") as grid:
        assert grid.width == 2 * side and grid.height > 3 * side
    assert same(lora_of(folder), lora_of(plain))


def test_a_sample_is_what_cores_sampler_paints_with_the_lora(
    server: "ComfyServer", training: Graph, preview: dict[str, Any], run_name: str
):
    """To rounding: the LoRA acts on activations there, on weights here."""
    training["preview"] = preview
    training["loaded"] = node(
        "LoraModelLoader", model=["1", 0], lora=["9", 0], strength_model=1.0, bypass=False
    )
    training["latent"] = node("EmptySD3LatentImage", width=128, height=128, batch_size=1)
    training["sampled"] = node(
        "KSampler",
        model=["loaded", 0],
        positive=["7", 0],
        negative=["7", 0],
        latent_image=["latent", 0],
        sampler_name="euler",
        denoise=1.0,
        **{name: preview["inputs"][name] for name in ("seed", "steps", "cfg", "scheduler")},
    )
    training["decoded"] = node("VAEDecode", samples=["sampled", 0], vae=["1", 2])
    training["shown"] = node("PreviewImage", images=["decoded", 0])
    folder, shown = train(server, training, run_name, preview=["preview", 0], learning_rate=0.05)
    expected = np.hstack([pixels(picture(server, image)) for image in shown["shown"]["images"]])
    first, last = (pixels(Image.open(folder / "previews" / f"step_00000{step}.png")) for step in (1, 3))
    assert np.abs(last - expected).max() <= 2
    assert np.abs(first - expected).max() > 8


def test_a_cancel_while_a_sample_is_made_loses_nothing(
    server: "ComfyServer",
    comfy: ModuleType,
    training: Graph,
    plain: Path,
    preview: dict[str, Any],
    eventually: Callable[..., Any],
    run_name: str,
):
    preview["inputs"].update(every=2, steps=200, sampler="heun")  # takes its time
    training["preview"] = preview
    training["9"]["inputs"].update(preview=["preview", 0], run_name=run_name)
    folder = run_folder(server, run_name)
    prompt = server.queue(training)
    eventually(lambda: len(curves(folder)) >= 2)
    server.interrupt()
    with pytest.raises(comfy.PromptInterrupted):
        server.wait(prompt)
    assert (folder / "state_000002.safetensors").is_file() and not (folder / "previews").exists()
    del training["preview"], training["9"]["inputs"]["preview"]
    train(server, training, run_name)
    assert same(lora_of(folder), lora_of(plain))


@pytest.mark.parametrize("name", ["people/anna", "..", "  "])
def test_a_run_name_is_a_plain_folder_name(
    server: "ComfyServer", comfy: ModuleType, training: Graph, name: str
):
    training["9"]["inputs"]["run_name"] = name
    message = failure(server, comfy, training)
    assert repr(name) in message and "plain folder name" in message


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_keeps_the_state_and_ends_the_server(
    start_server: "Callable[..., ComfyServer]",
    training: Graph,
    eventually: Callable[..., Any],
    number: signal.Signals,
):
    with hearing_signals():
        started = start_server()
    with started as server:
        training["9"]["inputs"].update(steps=100_000, save_every=0, run_name="signalled")
        folder = run_folder(server, "signalled")
        server.queue(training)
        eventually(lambda: len(curves(folder)) >= 2)
        server._process.send_signal(number)
        status = server._process.wait(PATIENCE)
    steps = len(curves(folder))
    states = [file.name for file in folder.glob("*.safetensors")]
    assert sorted(states) == [f"lora_{steps:06}.safetensors", f"state_{steps:06}.safetensors"]
    assert f"Training stopped at step {steps} ({number.name})" in server.log.read_text()
    # SIGINT is Ctrl+C, which ComfyUI answers itself
    assert status == -number if number != signal.SIGINT else "Stopped server" in server.log.read_text()
