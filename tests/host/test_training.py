"""The main job over HTTP: photographs -> regions -> mask files -> LoRA, with ComfyUI's nodes around ours."""

import copy
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image
from safetensors.torch import load_file

from .graphs import Graph, curves, on, only, run_folder

if TYPE_CHECKING:
    from host.serve import ComfyServer


@pytest.fixture
def dataset(make_dataset: Callable[[Path], Path], tmp_path: Path) -> Path:
    """Two pictures of one woman, in different sizes, with captions, that nobody has segmented."""
    return make_dataset(tmp_path / "astronaut")


@pytest.fixture
def graph(shared_workflow: Graph, one_woman: Path, run_name: str) -> Graph:
    """The shared workflow; its training is another one than that of any other test."""
    graph = on(copy.deepcopy(shared_workflow), one_woman)
    graph["9"]["inputs"]["run_name"] = run_name
    return graph


def newest_lora(server: "ComfyServer") -> Path:
    folder = server.base_directory / "output" / "loras"
    return max(folder.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)


def forget(server: "ComfyServer") -> None:
    """Make ComfyUI run every node again."""
    server.free()
    # the worker forgets between two prompts
    empty = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
    server.run({"1": empty, "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}})


def pixels(server: "ComfyServer", graph: Graph) -> bytes:
    """The picture that node 18 shows, without the workflow that ComfyUI writes into the file."""
    reference = server.run(only(graph, "18"))["outputs"]["18"]["images"][0]
    return Image.open(io.BytesIO(server.view(reference))).tobytes()


def test_the_shared_workflow_runs_from_photographs_to_a_picture_with_the_lora(
    server: "ComfyServer", graph: Graph, dataset: Path
):
    outputs = server.run(on(graph, dataset))["outputs"]
    assert sorted(path.name for path in dataset.glob("*.safetensors")) == [
        "one_zi_masks.safetensors",
        "two_zi_masks.safetensors",
    ]
    lora = load_file(newest_lora(server))
    layers = {key.rsplit(".lora", 1)[0] for key in lora if key.endswith(".lora_up.weight")}
    assert "diffusion_model.joint_blocks.0.x_block.attn.qkv" in layers
    assert any(tensor.abs().max() > 0 for key, tensor in lora.items() if "lora_up" in key)
    previews = outputs["3"]["semantic_focus"]
    assert [(preview["width"], preview["height"]) for preview in previews] == [(320, 320), (360, 480)]
    coverage = {region["name"]: region["coverage"] for region in previews[0]["regions"]}
    assert 0.05 < coverage["face"] < 0.4
    assert server.view(previews[0]["map"]).startswith(b"\x89PNG")
    assert server.view(outputs["11"]["images"][0]).startswith(b"\x89PNG")
    assert server.view(outputs["18"]["images"][0]).startswith(b"\x89PNG")


def test_masks_are_read_from_their_files_while_they_fit(server: "ComfyServer", graph: Graph, dataset: Path):
    masks = only(on(graph, dataset), "3")
    first = server.run(masks)["outputs"]["3"]["semantic_focus"]
    forget(server)
    again = server.run(masks)["outputs"]["3"]["semantic_focus"]
    shutil.copy(dataset / "two.png", dataset / "one.png")
    edited = server.run(masks)["outputs"]["3"]["semantic_focus"]
    assert [preview["cache"] for preview in first] == ["0/1", "0/1"]
    assert [preview["cache"] for preview in again] == ["1/1", "1/1"]
    assert [preview["cache"] for preview in edited] == ["0/1", "1/1"]
    assert [preview["map"] for preview in first] == [preview["map"] for preview in again]
    assert all(preview["seconds"] > 0 for preview in first)
    assert [preview["seconds"] for preview in again] == [None, None]


def test_the_same_seed_gives_the_same_lora_bit_for_bit(server: "ComfyServer", graph: Graph):
    train = only(graph, "10")
    server.run(train)
    first = newest_lora(server)
    forget(server)
    server.run(train)
    second = newest_lora(server)
    assert first != second
    assert first.read_bytes() == second.read_bytes()
    train["9"]["inputs"]["seed"] = 1
    server.run(train)
    assert newest_lora(server).read_bytes() != first.read_bytes()


def sampled(model: list[Any], graph: Graph) -> Graph:
    """A graph that samples with `model` and shows the picture in node 18."""
    changed = copy.deepcopy(graph)
    changed["16"]["inputs"]["model"] = model
    return changed


def test_cores_lora_loader_applies_the_lora_and_strength_0_is_the_base_model(
    server: "ComfyServer", graph: Graph, logged: Callable[[], str]
):
    server.run(only(graph, "10"))
    saved = newest_lora(server)
    (server.base_directory / "models" / "loras").mkdir(parents=True, exist_ok=True)
    shutil.copy(saved, server.base_directory / "models" / "loras" / "trained.safetensors")

    def picture(model: list[Any], strength: float = 1.0) -> bytes:
        changed = sampled(model, graph)
        changed["loader"] = {
            "class_type": "LoraLoaderModelOnly",
            "inputs": {"model": ["1", 0], "lora_name": "trained.safetensors", "strength_model": strength},
        }
        return pixels(server, changed)

    base = picture(["1", 0])
    assert picture(["loader", 0], strength=0.0) == base
    assert picture(["loader", 0], strength=30.0) != base
    assert "lora key not loaded" not in logged()


def test_training_leaves_the_model_as_it_was(server: "ComfyServer", graph: Graph):
    untrained = sampled(["1", 0], graph)
    before = pixels(server, untrained)
    server.run(only(graph, "10"))
    untrained["16"]["inputs"]["seed"] = 2
    other = pixels(server, untrained)
    # seed 1 is no longer in ComfyUI's cache, so it is sampled again
    untrained["16"]["inputs"]["seed"] = 1
    assert other != before
    assert pixels(server, untrained) == before


def test_cores_plot_takes_the_loss_map(server: "ComfyServer", graph: Graph):
    graph["plot"] = {"class_type": "LossGraphNode", "inputs": {"loss": ["9", 1], "filename_prefix": "loss"}}
    outputs = server.run(only(graph, "plot"))["outputs"]
    assert server.view(outputs["plot"]["images"][0]).startswith(b"\x89PNG")


def test_after_a_cancel_the_same_graph_goes_on_to_the_same_lora(
    server: "ComfyServer",
    graph: Graph,
    comfy: ModuleType,
    eventually: Callable[..., Any],
    logged: Callable[[], str],
):
    train, steps = only(graph, "10"), 60
    train["9"]["inputs"].update(steps=steps, seed=77, run_name="cancelled")
    folder = run_folder(server, "cancelled")
    prompt = server.queue(train)
    eventually(lambda: len(curves(folder)) >= 3)
    server.interrupt()
    begun = len(curves(folder)) + 1
    with pytest.raises(comfy.PromptInterrupted):
        server.wait(prompt)

    done = curves(folder)
    kept = [folder / f"{kind}_{len(done):06}.safetensors" for kind in ("lora", "state")]
    assert 3 <= len(done) <= begun < steps
    assert sorted(folder.glob("*.safetensors")) == kept
    assert f"Training stopped at step {len(done)} (cancelled). Its state is in {kept[1]}" in logged()

    server.run(train)
    assert f"going on from step {len(done)} of {folder}" in logged()
    assert not run_folder(server, "cancelled_2").exists()
    assert curves(folder)[: len(done)] == done and len(curves(folder)) == steps
    resumed = newest_lora(server).read_bytes()
    train["9"]["inputs"]["run_name"] = "uninterrupted"
    server.run(train)
    assert newest_lora(server).read_bytes() == resumed
    assert curves(run_folder(server, "uninterrupted")) == curves(folder)
